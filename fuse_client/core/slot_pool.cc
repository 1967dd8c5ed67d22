#include "fuse_client/core/slot_pool.h"

namespace tercet {

SlotPool::SlotPool(int slot_count) {
  for (int slot = slot_count - 1; slot >= 0; --slot) free_.push_back(slot);
}

Result<SlotPool::Lease> SlotPool::Acquire() {
  std::unique_lock lock(mutex_);
  freed_.wait(lock, [&] { return stopped_ || !free_.empty(); });
  if (stopped_) return Status(StatusCode::kCancelled, "the mount is ending");
  const int32_t slot = free_.back();
  free_.pop_back();
  return Lease(this, slot, next_sequence_++);
}

void SlotPool::Stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  freed_.notify_all();
}

void SlotPool::Release(int32_t slot) {
  // Notified under the lock: the pool may be gone right after the last lease.
  std::lock_guard lock(mutex_);
  free_.push_back(slot);
  freed_.notify_one();
}

}  // namespace tercet
