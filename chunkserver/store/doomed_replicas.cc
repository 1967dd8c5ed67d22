#include "chunkserver/store/doomed_replicas.h"

#include <algorithm>

namespace tercet {

bool DoomedReplicas::Add(BlockId block, Generation up_to) {
  std::lock_guard lock(mutex_);
  if (dooms_.size() >= kMaxDoomed && !dooms_.contains(block)) return false;
  Doom& doom = dooms_[block];
  doom.up_to = std::max(doom.up_to, up_to);
  doom.deleted = false;
  count_.store(dooms_.size(), std::memory_order_release);
  return true;
}

Generation DoomedReplicas::UpTo(BlockId block) const {
  if (count_.load(std::memory_order_acquire) == 0) return Generation(0);
  std::lock_guard lock(mutex_);
  auto found = dooms_.find(block);
  return found == dooms_.end() ? Generation(0) : found->second.up_to;
}

void DoomedReplicas::Deleted(BlockId block) {
  if (count_.load(std::memory_order_acquire) == 0) return;
  std::lock_guard lock(mutex_);
  auto found = dooms_.find(block);
  if (found == dooms_.end() || found->second.deleted) return;
  found->second.deleted = true;
  deleted_.push_back(block);
  while (deleted_.size() > kMaxDeleted) {
    auto oldest = dooms_.find(deleted_.front());
    if (oldest != dooms_.end() && oldest->second.deleted) dooms_.erase(oldest);
    deleted_.pop_front();
  }
  count_.store(dooms_.size(), std::memory_order_release);
}

void DoomedReplicas::Promoted(BlockId block, Generation generation) {
  if (count_.load(std::memory_order_acquire) == 0) return;
  std::lock_guard lock(mutex_);
  auto found = dooms_.find(block);
  if (found != dooms_.end() && found->second.up_to < generation) dooms_.erase(found);
  count_.store(dooms_.size(), std::memory_order_release);
}

void DoomedReplicas::Clear() {
  std::lock_guard lock(mutex_);
  dooms_.clear();
  deleted_.clear();
  count_.store(0, std::memory_order_release);
}

}  // namespace tercet
