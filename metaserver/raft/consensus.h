// What the metaserver needs of the replicated journal, and what the journal's driver needs of the
// metaserver.
//
// Invariants:
//  - Records have consecutive indexes from 1. A record that was reported as applied is never lost
//    or changed.
//  - Records are applied in order of their indexes, each exactly once with respect to the applier's
//    own durable applied index.
//  - Only the active appends, and only under the epoch in which it became active.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "common/base/ids.h"
#include "common/base/status.h"

namespace tercet {

/// The numbers are part of the journal's format.
enum class RecordKind : uint8_t {
  kData = 1,        // a write set
  kMembership = 3,  // a membership of the group (metaserver/raft/format.md); no change of the state
};

struct CommittedRecord {
  JournalIndex index;
  Epoch epoch;
  std::string payload;
  RecordKind kind = RecordKind::kData;
};

/// Takes committed records into the state. Called by one thread at a time, in order.
class Applier {
 public:
  virtual ~Applier() = default;
  /// Applies all records or none (one LevelDB batch that includes the new applied index).
  virtual Status Apply(std::span<const CommittedRecord> records) = 0;
  /// The state survives a power cut up to the returned index; the journal may be cut behind it.
  virtual Result<JournalIndex> SyncApplied() = 0;
  virtual JournalIndex applied_index() const = 0;
};

/// What runs on the active only. Called by one thread, in turns: BecomeActive, BecomeStandby, …
class ActiveRole {
 public:
  virtual ~ActiveRole() = default;
  /// This member is the active under `epoch`; all that is committed is applied. When it returns OK
  /// the member serves. An error makes it resign. Bounded by the number of sessions and servers.
  virtual Status BecomeActive(Epoch epoch) = 0;
  /// It is no longer; Append and WaitApplied already say so. Also after a BecomeActive that failed.
  virtual void BecomeStandby() = 0;
};

struct ConsensusState {
  bool active = false;  // leader, and allowed to serve
  Epoch epoch;
  JournalIndex last_index;
  JournalIndex commit_index;
  JournalIndex applied_index;
  std::string active_hint;  // "HOST:PORT" or empty
};

/// Thread-safe.
class Consensus {
 public:
  virtual ~Consensus() = default;

  /// Puts a record at the end of the log and returns its index, without waiting for the disk. Calls
  /// of one active must come one at a time (the proposer's lock), so that index order is evaluation
  /// order. kNotActive when `epoch` is not the epoch of this active; kNoSpace when the journal has
  /// no room (nothing was appended).
  virtual Result<JournalIndex> Append(Epoch epoch, std::string payload) = 0;

  /// Blocks until the record is durable, committed and applied. kNotActive when leadership was lost
  /// before: whether the record survives is unknown, a retry elsewhere finds out.
  virtual Status WaitApplied(JournalIndex index) = 0;
  /// The same for a record that was appended under `epoch`: right also when leadership was lost and
  /// another record took the index since, or this member became the active again.
  virtual Status WaitApplied(Epoch epoch, JournalIndex index) {
    (void)epoch;
    return WaitApplied(index);
  }

  /// Whether this member is still the active of `epoch` and no other can have become it up to now.
  /// A read is current when this is true after it. No locks: for every call.
  virtual bool HoldsLease(Epoch epoch) const = 0;

  virtual ConsensusState state() const = 0;
};

}  // namespace tercet
