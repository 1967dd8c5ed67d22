// How much pulls may copy per second.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace tercet {

/// A token bucket shared by the pulls of one class: it may be overdrawn by one request, and fills
/// up again at the rate, up to a quarter of a second's worth. Thread-safe.
class PullThrottle {
 public:
  /// Bytes per second; 0: no limit. Those who wait go on at the new rate.
  void SetRate(uint64_t bytes_per_second);

  enum class Outcome { kGranted, kNotYet, kCancelled };
  /// Asks for `bytes`. With `wait` it waits for them until `cancelled` is true (then Wake must be
  /// called); without it answers kNotYet.
  template <typename Cancelled>
  Outcome Take(uint64_t bytes, bool wait, Cancelled&& cancelled) {
    std::unique_lock lock(mutex_);
    for (;;) {
      if (cancelled()) return Outcome::kCancelled;
      if (TakeLocked(bytes)) return Outcome::kGranted;
      if (!wait) return Outcome::kNotYet;
      changed_.wait_until(lock, ReadyAtLocked());
    }
  }
  /// True when there is a limit.
  bool limited() const {
    std::lock_guard lock(mutex_);
    return rate_ != 0;
  }
  /// Lets those who wait look whether they are cancelled.
  void Wake();

 private:
  using SteadyTime = std::chrono::steady_clock::time_point;

  void RefillLocked();
  bool TakeLocked(uint64_t bytes);
  SteadyTime ReadyAtLocked() const;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  double rate_ = 0;    // bytes per second; 0: no limit
  double tokens_ = 0;  // bytes; below 0: overdrawn
  SteadyTime refilled_at_ = std::chrono::steady_clock::now();
};

}  // namespace tercet
