// Bad replicas that were found here, until the active metaserver knows of them.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "chunkserver/store/block_store.h"
#include "common/env/clock.h"

namespace tercet {

/// Thread-safe.
class BadReplicaQueue {
 public:
  /// What there is no room for is dropped: it will be found again.
  static constexpr size_t kMaxQueued = 10'000;
  /// What was acknowledged is not taken again for so long.
  static constexpr int64_t kQuietMs = 60'000;

  /// `clock` must outlive the queue.
  explicit BadReplicaQueue(const Clock& clock) : clock_(clock) {}

  /// False when the queue is full.
  bool Add(const BadReplicaFound& found);
  /// The oldest ones, at most `max`. They stay until Acknowledge.
  std::vector<BadReplicaFound> Take(size_t max) const;
  /// The active knows of these. They are named, because the queue may have changed since Take.
  void Acknowledge(const std::vector<BadReplicaFound>& reported);
  /// The block's replica is gone, or good again.
  void Forget(BlockId block);

 private:
  using Key = std::tuple<BlockId, Generation, ReplicaFault>;
  static Key KeyOf(const BadReplicaFound& found) {
    return {found.block, found.generation, found.fault};
  }

  const Clock& clock_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::deque<BadReplicaFound> queue_;
  std::map<Key, int64_t> known_;  // → when it was acknowledged; -1: it is queued
};

}  // namespace tercet
