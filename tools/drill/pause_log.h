// How long a thread's operations took, and when, so that the pause of a fault can be told.
//
// The pause of a thread in a window of time is the longest of its operations that were under way at
// any moment of the window: those begun before it count with all of their time.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace tercet {

struct ThreadPause {
  std::chrono::nanoseconds longest{0};
  std::string operation;  // which one it was
};

/// Thread-safe: one thread writes, another asks.
class PauseLog {
 public:
  using Clock = std::chrono::steady_clock;

  void Begin(const char* operation);
  /// Of the one begun last.
  void End();
  uint64_t count() const;

  /// Forgets operations that ended before.
  void ForgetBefore(Clock::time_point time);
  /// Up to now; one that is still under way counts with its time so far.
  ThreadPause LongestSince(Clock::time_point time) const;
  /// An operation that began after `time` has ended.
  bool HasEndedOneBegunAfter(Clock::time_point time) const;

 private:
  struct Operation {
    const char* name;
    Clock::time_point begin;
    Clock::time_point end;
  };
  /// Quick ones are not kept one by one: there may be millions. The longest of them does for all.
  static constexpr std::chrono::milliseconds kQuick{2};
  static constexpr size_t kMaxKept = 100'000;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<Operation> slow_;
  Operation quick_{"", {}, {}};  // the longest quick one since the last ForgetBefore
  const char* running_ = nullptr;
  Clock::time_point running_since_;
  Clock::time_point last_begin_ended_;  // begin of the operation that ended last
  uint64_t count_ = 0;
};

/// Of all threads of a load, in a window of time.
struct LoadPause {
  std::chrono::nanoseconds longest{0};
  std::chrono::nanoseconds median_of_threads{0};
  std::string operation;  // the longest one
};
LoadPause PauseOfLoad(const std::vector<ThreadPause>& threads);

/// The value below or at which `share` of the pauses are, by the nearest rank; 0 without any.
std::chrono::nanoseconds PercentileOf(std::vector<std::chrono::nanoseconds> pauses, double share);

}  // namespace tercet
