#include "chunkserver/replication/buffer_pool.h"

#include <algorithm>
#include <cstdlib>

#include "common/env/clock.h"
#include "common/rpc/frame.h"

namespace tercet {

namespace {

constexpr size_t kPage = 4096;
/// Free buffers kept per size; a page fault on each 4 KiB of a fresh megabyte costs more than its
/// copy.
constexpr size_t kMaxFree = 64;

}  // namespace

// Small payloads get small buffers, so that a queue of many 4 KiB writes does not count as
// megabytes.
const std::array<size_t, BufferPool::kClasses> BufferPool::kClassBytes = {
    2 * kPage, 16 * kPage, (kMaxFramePayloadBytes + kPage - 1) / kPage* kPage};

PayloadBuffer::~PayloadBuffer() { pool_->Release(size_class_, hops_, data_); }

size_t PayloadBuffer::capacity() const { return BufferPool::kClassBytes[size_class_]; }

BufferPool::BufferPool(size_t max_bytes) : max_bytes_(std::max(max_bytes, kClassBytes.back())) {}

BufferPool::~BufferPool() {
  for (auto& list : free_) {
    for (char* data : list) std::free(data);
  }
}

size_t BufferPool::LimitOf(size_t hops) const {
  // In 32nds of the whole, so that chains of usual length get along, and long ones at all.
  static constexpr std::array<size_t, kMaxHops + 1> kParts = {32, 24, 16, 15, 14, 13, 12, 11,
                                                              10, 9,  8,  7,  6,  5,  4,  3};
  const size_t limit = max_bytes_ / 32 * kParts[std::min(hops, kMaxHops)];
  return hops == 0 ? max_bytes_ : std::max(limit, kClassBytes.back());
}

int BufferPool::ObstacleLocked(size_t bytes, size_t hops) const {
  for (size_t i = hops + 1; i-- > 0;) {
    if (used_from_[i] + bytes > LimitOf(i)) return static_cast<int>(i);
  }
  return -1;
}

void BufferPool::TakeLocked(size_t bytes, size_t hops) {
  for (size_t i = 0; i <= hops; ++i) used_from_[i] += bytes;
}

void BufferPool::GrantLocked() {
  if (closed_) return;
  // From this limit on what becomes free is for somebody who came earlier.
  size_t spoken_for = kMaxHops + 1;
  for (auto place = waiters_.begin(); place != waiters_.end() && spoken_for > 0;) {
    Waiter& waiter = **place;
    if (waiter.hops >= spoken_for) {
      ++place;
      continue;
    }
    if (const int obstacle = ObstacleLocked(waiter.bytes, waiter.hops); obstacle >= 0) {
      spoken_for = static_cast<size_t>(obstacle);
      ++place;
      continue;
    }
    TakeLocked(waiter.bytes, waiter.hops);
    waiter.granted = true;
    last_wait_ended_nanos_.store(RealClock().MonotonicNanos(), std::memory_order_relaxed);
    place = waiters_.erase(place);
    waiter.changed.notify_one();
  }
}

bool BufferPool::AwaitLocked(std::unique_lock<std::mutex>& lock, Waiter& waiter) {
  waiters_.push_back(&waiter);
  GrantLocked();
  waiter.changed.wait(lock, [&] {
    return waiter.granted || closed_ ||
           (waiter.closing != nullptr && waiter.closing->load(std::memory_order_acquire));
  });
  if (waiter.granted) return true;
  waiters_.remove(&waiter);
  GrantLocked();  // it may have been in others' way
  return false;
}

std::shared_ptr<PayloadBuffer> BufferPool::Acquire(size_t bytes, size_t hops,
                                                   const std::atomic<bool>* closing) {
  hops = std::min(hops, kMaxHops);
  const auto found = std::lower_bound(kClassBytes.begin(), kClassBytes.end(), bytes);
  if (found == kClassBytes.end()) return nullptr;
  const size_t size_class = static_cast<size_t>(found - kClassBytes.begin());
  char* data = nullptr;
  {
    std::unique_lock lock(mutex_);
    if (closed_) return nullptr;
    if (waiters_.empty() && ObstacleLocked(*found, hops) < 0) {
      TakeLocked(*found, hops);
    } else {
      Waiter waiter{.bytes = *found, .hops = hops, .closing = closing};
      if (!AwaitLocked(lock, waiter)) return nullptr;
    }
    if (!free_[size_class].empty()) {
      data = free_[size_class].back();
      free_[size_class].pop_back();
    }
  }
  if (data == nullptr) data = static_cast<char*>(std::aligned_alloc(kPage, *found));
  if (data == nullptr) {  // out of memory: the caller gives up its connection
    Release(size_class, hops, nullptr);
    return nullptr;
  }
  return std::shared_ptr<PayloadBuffer>(new PayloadBuffer(this, size_class, hops, data));
}

void BufferPool::Release(size_t size_class, size_t hops, char* data) {
  {
    std::lock_guard lock(mutex_);
    for (size_t i = 0; i <= hops; ++i) used_from_[i] -= kClassBytes[size_class];
    if (data != nullptr && free_[size_class].size() < kMaxFree) {
      free_[size_class].push_back(data);
      data = nullptr;
    }
    GrantLocked();
  }
  std::free(data);
}

void BufferPool::WakeClosing() {
  std::lock_guard lock(mutex_);
  for (Waiter* waiter : waiters_) waiter->changed.notify_one();
}

void BufferPool::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  for (Waiter* waiter : waiters_) waiter->changed.notify_one();
}

size_t BufferPool::bytes_in_use() const {
  std::lock_guard lock(mutex_);
  return used_from_[0];
}

}  // namespace tercet
