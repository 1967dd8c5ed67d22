// Exactly once: which mutation each slot of each session carried last, and what came of it.
//
// The truth is the slot-reply table of the journaled state; this is a cache of its sequence
// numbers, so that a mutation costs no database read. File system errors that were answered are
// journaled as replies, too: a late duplicate of a request that failed must not be carried out after
// all, here or at the next active. Only when the journal has no room for that they are kept here
// alone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/view.h"

namespace tercet {

/// Needs the proposer's lock.
class SlotTable {
 public:
  explicit SlotTable(uint32_t slot_count) : slot_count_(slot_count) {}
  uint32_t slot_count() const { return slot_count_; }

  /// What is known of a request. Exactly one of these holds:
  ///  - fresh: it is to be evaluated;
  ///  - `reply` is set: it was done, and this was the serialized answer, as soon as `index` is
  ///  applied;
  ///  - `failure` is not OK: it was answered with this.
  struct Outcome {
    bool fresh = false;
    std::optional<std::string> reply;
    JournalIndex index;  // 0: applied long ago
    Status failure;
  };

  /// Reads through `view`, which is the proposed state. Fails when the request cannot be judged:
  /// kStaleHandle (no such session), kInvalidArgument (no such slot, or a sequence number below the
  /// slot's newest), kIo, kCorruption.
  Result<Outcome> Look(const View& view, SessionId session, uint32_t slot, uint64_t sequence);

  /// The fresh request was proposed as this record, or failed. Only after Look said fresh.
  void RecordProposed(SessionId session, uint32_t slot, uint64_t sequence, JournalIndex index);
  void RecordFailure(SessionId session, uint32_t slot, uint64_t sequence, Status failure);

  /// The session has ended, or its end was proposed.
  void Forget(SessionId session) { sessions_.erase(session); }
  /// Leadership was lost: what was proposed may never have been.
  void Clear() { sessions_.clear(); }
  size_t cached_sessions() const { return sessions_.size(); }

 private:
  struct Slot {
    bool loaded = false;
    uint64_t sequence = 0;
    JournalIndex index;
    std::unique_ptr<Status> failure;
  };

  const uint32_t slot_count_;
  std::unordered_map<SessionId, std::vector<Slot>> sessions_;  // open ones that were looked at
};

}  // namespace tercet
