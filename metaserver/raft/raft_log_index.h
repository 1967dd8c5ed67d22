// What the core knows of the log: which epoch each record has and where memberships are, without
// the records.
//
// Invariants:
//  - first <= last + 1. The record before `first` has the epoch base_epoch, 0 when there never was
//    one.
//  - Runs ascend strictly in index and epoch; together they cover [first, last].
//  - Memberships ascend in index and lie in [first, last]; the base one is of a record before
//    `first`.
#pragma once

#include <deque>
#include <optional>
#include <utility>

#include "metaserver/raft/raft_core.h"

namespace tercet {

/// Not thread-safe. Each call costs at most the logarithm of the number of epochs in the log.
class RaftLogIndex {
 public:
  explicit RaftLogIndex(LogSummary summary);

  JournalIndex first() const { return first_; }
  JournalIndex last() const { return last_; }
  Epoch base_epoch() const { return base_epoch_; }
  Epoch last_epoch() const { return runs_.empty() ? base_epoch_ : runs_.back().epoch; }
  /// Nothing outside of [first - 1, last].
  std::optional<Epoch> EpochAt(JournalIndex index) const;
  /// The newest record at or before `index` whose epoch is at most `epoch`; nothing when that would
  /// be before first - 1.
  std::optional<JournalIndex> NewestUpTo(JournalIndex index, Epoch epoch) const;

  const Membership& membership() const;
  JournalIndex membership_index() const;
  /// The newest at or before `index`; for an index before first - 1 the base one.
  std::pair<JournalIndex, const Membership*> MembershipAt(JournalIndex index) const;

  /// One more record behind the last; `epoch` is at least last_epoch().
  void Append(Epoch epoch);
  /// Says what the last record, a membership, holds.
  void SetMembershipOfLast(Membership membership);
  /// All records behind `index` go; it is at least first - 1.
  void TruncateAfter(JournalIndex index);
  /// Records before `first` go; it is at most last + 1. No change when they are gone already.
  void ReleaseBefore(JournalIndex first);
  /// The log begins anew behind `base`.
  void Reset(JournalIndex base, Epoch base_epoch, Membership membership);

 private:
  JournalIndex first_;
  JournalIndex last_;
  Epoch base_epoch_;
  std::deque<LogSummary::Run> runs_;
  Membership base_membership_;
  JournalIndex base_membership_index_;
  std::deque<std::pair<JournalIndex, Membership>> memberships_;
};

inline JournalIndex Before(JournalIndex index) { return JournalIndex(index.value() - 1); }

}  // namespace tercet
