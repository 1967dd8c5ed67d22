// Copies that were begun: those of generation 0 with the time when somebody last worked on them,
// and suspect replicas that are being made good.
#pragma once

#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/base/ids.h"
#include "common/env/clock.h"

namespace tercet {

/// Thread-safe. Bounded by the number of incomplete and suspect replicas.
class IncompleteReplicas {
 public:
  /// `clock` must outlive it.
  explicit IncompleteReplicas(const Clock& clock) : clock_(clock) {}

  void Touch(BlockId block) {
    const int64_t now_ms = clock_.MonotonicMillis();
    std::lock_guard lock(mutex_);
    touched_ms_[block] = now_ms;
  }
  void Forget(BlockId block) {
    std::lock_guard lock(mutex_);
    touched_ms_.erase(block);
    suspect_bases_.erase(block);
  }
  /// A suspect replica serves as base of a copy: it may be written to from now on.
  void AddSuspectBase(BlockId block) {
    std::lock_guard lock(mutex_);
    suspect_bases_.insert(block);
  }
  bool IsSuspectBase(BlockId block) const {
    std::lock_guard lock(mutex_);
    return suspect_bases_.contains(block);
  }
  /// Those that were not touched for `retention_ms`.
  std::vector<BlockId> Untouched(int64_t retention_ms) const {
    const int64_t now_ms = clock_.MonotonicMillis();
    std::vector<BlockId> blocks;
    std::lock_guard lock(mutex_);
    for (const auto& [block, touched_ms] : touched_ms_) {
      if (now_ms - touched_ms >= retention_ms) blocks.push_back(block);
    }
    return blocks;
  }

 private:
  const Clock& clock_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::unordered_map<BlockId, int64_t> touched_ms_;
  std::unordered_set<BlockId> suspect_bases_;
};

}  // namespace tercet
