// Generations of blocks under which a writer of this mount gave up: servers may still get frames of
// its broken connections, and apply them behind newer ones. Nothing is written under them again.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <set>
#include <utility>

#include "common/base/ids.h"

namespace tercet {

/// Bounded: forgets the oldest, whose frames are long gone. Thread-safe.
class GivenUpGenerations {
 public:
  void Note(BlockId block, Generation generation) {
    std::lock_guard lock(mutex_);
    if (!given_up_.insert({block, generation}).second) return;
    order_.push_back({block, generation});
    if (order_.size() <= kMaxKept) return;
    given_up_.erase(order_.front());
    order_.pop_front();
  }

  bool Has(BlockId block, Generation generation) const {
    std::lock_guard lock(mutex_);
    return given_up_.contains({block, generation});
  }

 private:
  static constexpr size_t kMaxKept = 4'096;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::set<std::pair<BlockId, Generation>> given_up_;
  std::deque<std::pair<BlockId, Generation>> order_;
};

}  // namespace tercet
