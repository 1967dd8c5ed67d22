#include "chunkserver/store/bad_replica_queue.h"

#include <algorithm>

namespace tercet {

bool BadReplicaQueue::Add(const BadReplicaFound& found) {
  const int64_t now_ms = clock_.MonotonicMillis();
  std::lock_guard lock(mutex_);
  auto known = known_.find(KeyOf(found));
  if (known != known_.end()) {
    if (known->second < 0 || now_ms - known->second < kQuietMs) return true;
    known_.erase(known);
  }
  if (queue_.size() >= kMaxQueued) return false;
  queue_.push_back(found);
  known_[KeyOf(found)] = -1;
  return true;
}

std::vector<BadReplicaFound> BadReplicaQueue::Take(size_t max) const {
  std::lock_guard lock(mutex_);
  const size_t count = std::min(max, queue_.size());
  return {queue_.begin(), queue_.begin() + static_cast<ptrdiff_t>(count)};
}

void BadReplicaQueue::Acknowledge(const std::vector<BadReplicaFound>& reported) {
  const int64_t now_ms = clock_.MonotonicMillis();
  std::lock_guard lock(mutex_);
  for (const BadReplicaFound& found : reported) {
    auto known = known_.find(KeyOf(found));
    if (known != known_.end() && known->second < 0) known->second = now_ms;
  }
  std::erase_if(queue_, [&](const BadReplicaFound& found) { return known_[KeyOf(found)] >= 0; });
  if (known_.size() <= 2 * kMaxQueued) return;
  std::erase_if(known_, [&](const auto& entry) {
    return entry.second >= 0 && now_ms - entry.second >= kQuietMs;
  });
  // Rather told twice than without bound.
  if (known_.size() > 2 * kMaxQueued) {
    std::erase_if(known_, [](const auto& entry) { return entry.second >= 0; });
  }
}

void BadReplicaQueue::Forget(BlockId block) {
  std::lock_guard lock(mutex_);
  auto first = known_.lower_bound({block, Generation(0), ReplicaFault(0)});
  auto last = first;
  bool queued = false;
  for (; last != known_.end() && std::get<0>(last->first) == block; ++last) {
    queued = queued || last->second < 0;
  }
  known_.erase(first, last);
  if (queued) {
    std::erase_if(queue_, [block](const BadReplicaFound& found) { return found.block == block; });
  }
}

}  // namespace tercet
