// Empties disks that the active set to draining: their replicas move to the server's other disks,
// while they go on being read and written.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "chunkserver/scrub/step_thread.h"
#include "chunkserver/store/block_store.h"
#include "common/base/status.h"
#include "common/env/clock.h"

namespace tercet {

/// How far a draining disk is emptied.
struct EvacuationProgress {
  std::string disk_uuid;
  std::string disk_path;
  uint64_t left_replicas = 0;  // unfinished copies included: they go by themselves
  // Since it began to drain, or since the start of the process.
  uint64_t moved_replicas = 0;
  uint64_t moved_bytes = 0;
  /// Attempts that failed because of the replica itself, in the pass under way.
  uint64_t failed_replicas = 0;
  /// Why nothing moves just now; OK: it does, or all is done. kNoSpace: the other disks have no
  /// room.
  Status blocked;
  /// Nothing is left to be moved.
  bool done = false;
};

/// The moves, one at a time. Step is for one thread at a time; Progress is thread-safe.
class Evacuation {
 public:
  static constexpr std::chrono::seconds kRetryAfter{10};

  /// The references must outlive it.
  Evacuation(BlockStore& store, Clock& clock);

  /// Moves one replica of a draining disk, and returns how long to wait before the next call.
  /// `bytes_per_second`: at most so fast; 0: no limit.
  std::chrono::nanoseconds Step(uint64_t bytes_per_second, bool clients_active);

  /// Of the disks that drain, by path.
  std::vector<EvacuationProgress> Progress() const;

 private:
  struct Draining {
    EvacuationProgress progress;
    BlockId position;
    std::deque<ReplicaInfo> ahead;
    int64_t next_attempt_ms = 0;
    int64_t blocked_logged_ms = -1;
  };

  /// Brings draining_ up to date with what the disks' states are. Returns the first that has work.
  Draining* Choose(const std::vector<StoreDiskStatus>& disks);
  /// False when the pass is over.
  bool Refill(Draining& disk);
  std::chrono::nanoseconds MoveNext(Draining& disk, uint64_t bytes_per_second, bool clients_active);
  void NoteBlocked(Draining& disk, const Status& why);

  BlockStore& store_;
  Clock& clock_;

  /// Changed by the stepping thread only, under mutex_; by disk uuid.
  mutable std::mutex mutex_;
  std::map<std::string, Draining> draining_;
};

/// Thread-safe. Does the moves in a thread of its own.
class Evacuator {
 public:
  /// The references must outlive it. `clients_active`: thread-safe.
  Evacuator(BlockStore& store, Clock& clock, uint64_t bytes_per_second,
            std::function<bool()> clients_active);

  /// 0: no limit. In force at the next move.
  void SetLimit(uint64_t bytes_per_second) { bytes_per_second_.store(bytes_per_second); }
  /// A disk's state has changed.
  void Wake() { thread_.Wake(); }
  std::vector<EvacuationProgress> Progress() const { return evacuation_.Progress(); }

 private:
  const std::function<bool()> clients_active_;
  std::atomic<uint64_t> bytes_per_second_;
  Evacuation evacuation_;
  StepThread thread_;
};

}  // namespace tercet
