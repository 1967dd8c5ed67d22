// The newest records of the log in memory: what is yet to be applied, and what other members will
// ask for next.
//
// Invariants:
//  - The indexes are consecutive.
//  - A record that is not durable in the journal yet is here: nobody could read it from there.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "metaserver/raft/consensus.h"

namespace tercet {

/// Not thread-safe.
class RecordTail {
 public:
  /// Keeps no more than `max_bytes` of payload once they are durable.
  explicit RecordTail(uint64_t max_bytes) : max_bytes_(max_bytes) {}

  /// last + 1 when none is there.
  JournalIndex first() const { return first_; }
  JournalIndex last() const { return JournalIndex(first_.value() + records_.size() - 1); }
  uint64_t bytes() const { return bytes_; }

  /// Forgets everything; the next record is `next`.
  void Reset(JournalIndex next);
  /// `record.index` must be last + 1.
  void Push(CommittedRecord record);
  /// Takes back all behind `index`.
  void TruncateAfter(JournalIndex index);
  /// Forgets the oldest durable ones as far as the bound asks for it.
  void Trim(JournalIndex durable);
  /// Forgets all up to `index`.
  void DropThrough(JournalIndex index);

  /// Whether record `index` is here.
  bool Has(JournalIndex index) const { return index >= first_ && index <= last(); }
  /// Records from `from`, which must be here, to `to`: at least one, and no more once their
  /// payloads exceed `max_bytes`.
  std::vector<CommittedRecord> Copy(JournalIndex from, JournalIndex to, uint64_t max_bytes) const;

 private:
  void PopFront();

  const uint64_t max_bytes_;
  JournalIndex first_{1};
  std::deque<CommittedRecord> records_;
  uint64_t bytes_ = 0;  // of their payloads
};

}  // namespace tercet
