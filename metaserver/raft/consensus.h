// What the metaserver needs of the replicated journal, whoever implements it: a single voter
// (metaserver/journal/single_voter.h) or a Raft group.
//
// Invariants:
//  - Records have consecutive indexes from 1. A record that was reported as applied is never lost or changed.
//  - Records are applied in order of their indexes, each exactly once with respect to the applier's own
//    durable applied index.
//  - Only the active appends, and only under the epoch in which it became active.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "common/base/ids.h"
#include "common/base/status.h"

namespace tercet {

struct CommittedRecord {
  JournalIndex index;
  Epoch epoch;
  std::string payload;
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

struct ConsensusState {
  bool active = false;
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

  /// Puts a record at the end of the log and returns its index, without waiting for the disk. Calls of
  /// one active must come one at a time (the proposer's lock), so that index order is evaluation order.
  /// kNotActive when `epoch` is not the epoch of this active; kNoSpace when the journal has no room
  /// (nothing was appended).
  virtual Result<JournalIndex> Append(Epoch epoch, std::string payload) = 0;

  /// Blocks until the record is durable, committed and applied. kNotActive when leadership was lost
  /// before: whether the record survives is unknown, a retry elsewhere finds out.
  virtual Status WaitApplied(JournalIndex index) = 0;

  virtual ConsensusState state() const = 0;
};

}  // namespace tercet
