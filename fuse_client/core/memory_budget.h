// A bound on memory that many threads share.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

namespace tercet {

/// Thread-safe.
class MemoryBudget {
 public:
  explicit MemoryBudget(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  /// Waits until `bytes` (at most the limit) fit. `on_wait` is called without locks held, before
  /// the wait and again from time to time: it sees to it that somebody gives memory back. False
  /// after Stop.
  bool Acquire(uint64_t bytes, const std::function<void()>& on_wait);
  /// Takes `bytes` if they fit now.
  bool TryAcquire(uint64_t bytes);
  void Release(uint64_t bytes);
  /// All waits end, now and later.
  void Stop();

  uint64_t used_bytes() const;

 private:
  const uint64_t limit_bytes_;
  mutable std::mutex mutex_;
  std::condition_variable freed_;
  // Guarded by mutex_.
  uint64_t used_bytes_ = 0;
  bool stopped_ = false;
};

}  // namespace tercet
