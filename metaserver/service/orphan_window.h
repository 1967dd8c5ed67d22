// Which orphans the sessions are being asked about, and which of them nobody holds open.
//
// An orphan is a file without a name. Its row in the journaled state is the queue; this window is
// the part of the queue that is being worked on, so memory is bounded whatever the number of
// orphans.
//
// Life of an orphan in the window, and what a crash of the metaserver leaves:
//  1. Add: from now on each session finds it in Condemned. Nothing is durable; after a crash the
//     sessions are asked again, and their earlier promises hold all the same.
//  2. Released by every session: it is ready. A session that opens meanwhile is asked too.
//  3. TakeReady: the reclaimer journals its removal, then calls Remove. A crash before the record
//     is durable starts again at 1; after it the orphan's row is gone.
//  4. Or Rotate: somebody holds it open for long, and others wait for its place; the scan of the
//     queue comes back to it in its next round.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "common/base/ids.h"

namespace tercet {

/// Pure; not thread-safe.
class OrphanWindow {
 public:
  explicit OrphanWindow(size_t capacity);

  void AddSession(SessionId session);
  /// Its releases are no longer waited for.
  void RemoveSession(SessionId session);

  /// False when there is no room. An orphan that is in the window already stays as it is.
  bool Add(InodeId orphan, int64_t now_ms);
  /// The session does not hold these open and never will. Unknown ids are ignored.
  void Release(SessionId session, std::span<const InodeId> orphans);
  /// What the session has not released yet, at most `max`, oldest first.
  std::vector<InodeId> Condemned(SessionId session, size_t max) const;

  /// At most `max` orphans that every session released. They stay in the window until Remove, and
  /// are not taken twice unless PutBack.
  std::vector<InodeId> TakeReady(size_t max);
  /// The orphan that was taken could not be finished: it is ready again.
  void PutBack(InodeId orphan);
  void Remove(InodeId orphan);
  /// Drops the orphans that have waited for `min_age_ms` or longer and are not ready.
  size_t Rotate(int64_t now_ms, int64_t min_age_ms);
  /// Forgets orphans and sessions.
  void Clear();

  size_t size() const { return slot_of_.size(); }
  size_t room() const { return free_slots_.size(); }
  size_t ready_count() const { return ready_.size(); }

 private:
  struct Slot {
    InodeId orphan;
    int64_t added_ms = 0;
    uint64_t order = 0;     // of its Add, for "oldest first"
    size_t unreleased = 0;  // sessions that have not released it
    bool taken = false;
  };
  void FreeSlot(size_t index);
  void MaybeReady(size_t index);

  std::vector<Slot> slots_;
  std::vector<size_t> free_slots_;
  std::map<uint64_t, size_t> by_order_;              // order → slot
  std::unordered_map<InodeId, size_t> slot_of_;      // orphan → slot
  std::map<SessionId, std::vector<bool>> released_;  // one bit per slot
  std::set<std::pair<uint64_t, size_t>> ready_;      // (order, slot), not taken
  uint64_t next_order_ = 1;
};

}  // namespace tercet
