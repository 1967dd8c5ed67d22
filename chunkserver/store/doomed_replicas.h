// Replicas that left their chain: they are not served although they are still there, or may come
// into being late.
#pragma once

#include <atomic>
#include <deque>
#include <mutex>
#include <unordered_map>

#include "common/base/ids.h"

namespace tercet {

/// Thread-safe.
class DoomedReplicas {
 public:
  static constexpr size_t kMaxDoomed = 4'000'000;
  /// Of deleted replicas so many are remembered, so that a late write does not make one anew.
  static constexpr size_t kMaxDeleted = 65'536;

  /// False when there is no room: the replica has to be put away at once.
  bool Add(BlockId block, Generation up_to);
  /// Replicas of the block up to this generation are doomed; 0: none.
  Generation UpTo(BlockId block) const;
  /// There is no replica of the block any more.
  void Deleted(BlockId block);
  /// The replica has `generation` now: lifts a doom that does not reach it.
  void Promoted(BlockId block, Generation generation);
  void Clear();

 private:
  struct Doom {
    Generation up_to;
    bool deleted = false;
  };
  std::atomic<size_t> count_{0};  // so that nobody takes the lock for nothing
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::unordered_map<BlockId, Doom> dooms_;
  std::deque<BlockId> deleted_;  // the oldest first
};

}  // namespace tercet
