// Memory for the payloads that pass through a chunk server.
//
// Invariants:
//  - A buffer is in one of the classes 0 … kMaxHops: the number of servers that its frame has still
//    to go to. The buffers of class h and above together take no more than LimitOf(h), which gets
//    smaller with h: what has a longer way to go always leaves room to what has a shorter one.
//  - So memory never brings chains to a standstill (chain.md has the whole argument): frames at
//    their tail wait for nothing but the disk, and give their buffers back; there always is, or
//    will be, room for those that have one hop left, which give theirs back once the tail has taken
//    them; and so on by the number of hops.
//  - Who waits is served in the order of arrival among those that wait for the same limit.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <list>
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
  PayloadBuffer(BufferPool* pool, size_t size_class, size_t hops, char* data)
      : pool_(pool), size_class_(size_class), hops_(hops), data_(data) {}

  BufferPool* const pool_;  // outlives all its buffers
  const size_t size_class_;
  const size_t hops_;
  char* const data_;
};

/// Hands out buffers of three sizes up to limits on their sum. Thread-safe. All buffers must be
/// gone when it is destroyed.
class BufferPool {
 public:
  /// Frames that have more hops to go count as if it were so many.
  static constexpr size_t kMaxHops = 15;

  explicit BufferPool(size_t max_bytes);
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  /// A buffer for at least `bytes` (at most kMaxFramePayloadBytes) of a frame that has `hops` more
  /// servers to go to. Waits for room within the limits. Null after Close, when the machine is out
  /// of memory, and when it would wait while `closing` (may be null) is true: see
  /// WakeClosing.
  std::shared_ptr<PayloadBuffer> Acquire(size_t bytes, size_t hops,
                                         const std::atomic<bool>* closing = nullptr);
  /// To be called after some caller's `closing` became true.
  void WakeClosing();
  /// Makes all calls of Acquire return null, waiting ones too.
  void Close();

  size_t bytes_in_use() const;
  /// What the buffers of frames with `hops` or more to go may take together.
  size_t LimitOf(size_t hops) const;
  /// Monotonic time at which somebody who had waited got a buffer; 0: never yet. Those who wait are
  /// served as long as this goes on.
  int64_t last_wait_ended_nanos() const {
    return last_wait_ended_nanos_.load(std::memory_order_relaxed);
  }

 private:
  friend class PayloadBuffer;
  static constexpr size_t kClasses = 3;  // of size
  static const std::array<size_t, kClasses> kClassBytes;
  struct Waiter {
    size_t bytes = 0;
    size_t hops = 0;
    const std::atomic<bool>* closing = nullptr;
    std::condition_variable changed = {};
    bool granted = false;
  };

  bool AwaitLocked(std::unique_lock<std::mutex>& lock, Waiter& waiter);
  /// The highest of the limits 0 … `hops` in whose way so many bytes more would be; -1: none.
  int ObstacleLocked(size_t bytes, size_t hops) const;
  void TakeLocked(size_t bytes, size_t hops);
  /// Gives what is free to those who wait.
  void GrantLocked();
  void Release(size_t size_class, size_t hops, char* data);

  const size_t max_bytes_;
  std::atomic<int64_t> last_wait_ended_nanos_{0};

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::array<std::vector<char*>, kClasses> free_;    // not part of what is in use
  std::array<size_t, kMaxHops + 1> used_from_ = {};  // by buffers of this class and above
  std::list<Waiter*> waiters_;                       // in the order of arrival
  bool closed_ = false;
};

}  // namespace tercet
