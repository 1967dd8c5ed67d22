#include "fuse_client/core/memory_budget.h"

#include <cassert>
#include <chrono>

namespace tercet {
namespace {

constexpr std::chrono::milliseconds kAskAgainAfter{50};

}  // namespace

bool MemoryBudget::Acquire(uint64_t bytes, const std::function<void()>& on_wait) {
  assert(bytes <= limit_bytes_);
  std::unique_lock lock(mutex_);
  auto fits = [&] { return stopped_ || used_bytes_ + bytes <= limit_bytes_; };
  while (!fits()) {
    lock.unlock();
    on_wait();
    lock.lock();
    freed_.wait_for(lock, kAskAgainAfter, fits);
  }
  if (stopped_) return false;
  used_bytes_ += bytes;
  return true;
}

bool MemoryBudget::TryAcquire(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  if (stopped_ || used_bytes_ + bytes > limit_bytes_) return false;
  used_bytes_ += bytes;
  return true;
}

void MemoryBudget::Release(uint64_t bytes) {
  if (bytes == 0) return;
  {
    std::lock_guard lock(mutex_);
    assert(used_bytes_ >= bytes);
    used_bytes_ -= bytes;
  }
  freed_.notify_all();
}

void MemoryBudget::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  freed_.notify_all();
}

uint64_t MemoryBudget::used_bytes() const {
  std::lock_guard lock(mutex_);
  return used_bytes_;
}

}  // namespace tercet
