#include "chunkserver/replication/buffer_pool.h"

#include <algorithm>
#include <cstdlib>

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

PayloadBuffer::~PayloadBuffer() { pool_->Release(size_class_, data_); }

size_t PayloadBuffer::capacity() const { return BufferPool::kClassBytes[size_class_]; }

BufferPool::BufferPool(size_t max_bytes) : max_bytes_(std::max(max_bytes, kClassBytes.back())) {}

BufferPool::~BufferPool() {
  for (auto& list : free_) {
    for (char* data : list) std::free(data);
  }
}

std::shared_ptr<PayloadBuffer> BufferPool::Acquire(size_t bytes) {
  const auto found = std::lower_bound(kClassBytes.begin(), kClassBytes.end(), bytes);
  if (found == kClassBytes.end()) return nullptr;
  const size_t size_class = static_cast<size_t>(found - kClassBytes.begin());
  char* data = nullptr;
  {
    std::unique_lock lock(mutex_);
    ++waiting_;
    room_.wait(lock, [&] { return closed_ || bytes_in_use_ + *found <= max_bytes_; });
    --waiting_;
    if (closed_) return nullptr;
    bytes_in_use_ += *found;
    if (!free_[size_class].empty()) {
      data = free_[size_class].back();
      free_[size_class].pop_back();
    }
  }
  if (data == nullptr) data = static_cast<char*>(std::aligned_alloc(kPage, *found));
  if (data == nullptr) {  // out of memory: the caller gives up its connection
    Release(size_class, nullptr);
    return nullptr;
  }
  return std::shared_ptr<PayloadBuffer>(new PayloadBuffer(this, size_class, data));
}

void BufferPool::Release(size_t size_class, char* data) {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    bytes_in_use_ -= kClassBytes[size_class];
    if (data != nullptr && free_[size_class].size() < kMaxFree) {
      free_[size_class].push_back(data);
      data = nullptr;
    }
    wake = waiting_ > 0;
  }
  std::free(data);
  // All of them: a small request may fit where the large one that waits longer does not.
  if (wake) room_.notify_all();
}

void BufferPool::Close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  room_.notify_all();
}

size_t BufferPool::bytes_in_use() const {
  std::lock_guard lock(mutex_);
  return bytes_in_use_;
}

}  // namespace tercet
