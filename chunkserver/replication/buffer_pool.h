// Memory for the payloads that pass through a chunk server.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace tercet {

class BufferPool;

/// Page-aligned memory for one payload; not zeroed. Goes back to its pool when destroyed.
class PayloadBuffer {
 public:
  ~PayloadBuffer();
  PayloadBuffer(const PayloadBuffer&) = delete;
  PayloadBuffer& operator=(const PayloadBuffer&) = delete;

  char* data() { return data_; }
  const char* data() const { return data_; }
  /// What the buffer counts for in the pool's limit; at least what was asked for.
  size_t capacity() const;

 private:
  friend class BufferPool;
  PayloadBuffer(BufferPool* pool, size_t size_class, char* data)
      : pool_(pool), size_class_(size_class), data_(data) {}

  BufferPool* const pool_;  // outlives all its buffers
  const size_t size_class_;
  char* const data_;
};

/// Hands out buffers of three sizes up to a limit on their sum. Thread-safe. All buffers must be
/// gone when it is destroyed.
class BufferPool {
 public:
  explicit BufferPool(size_t max_bytes);
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  /// A buffer for at least `bytes` (at most kMaxFramePayloadBytes). Waits while the limit is
  /// reached; null after Close, and when the machine is out of memory.
  std::shared_ptr<PayloadBuffer> Acquire(size_t bytes);
  /// Makes all calls of Acquire return null, waiting ones too.
  void Close();

  size_t bytes_in_use() const;

 private:
  friend class PayloadBuffer;
  static constexpr size_t kClasses = 3;
  static const std::array<size_t, kClasses> kClassBytes;
  void Release(size_t size_class, char* data);

  const size_t max_bytes_;

  mutable std::mutex mutex_;
  std::condition_variable room_;
  // Guarded by mutex_.
  std::array<std::vector<char*>, kClasses> free_;  // not part of bytes_in_use_
  size_t bytes_in_use_ = 0;
  size_t waiting_ = 0;
  bool closed_ = false;
};

}  // namespace tercet
