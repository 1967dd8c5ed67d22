// Time as an interface: a simulated twin moves only when told to.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace tercet {

/// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Nanoseconds since 1970-01-01 UTC. May jump.
  virtual int64_t WallNanos() const = 0;
  /// Nanoseconds since an arbitrary start. Never goes back.
  virtual int64_t MonotonicNanos() const = 0;
  virtual void SleepFor(std::chrono::nanoseconds duration) = 0;

  int64_t MonotonicMillis() const { return MonotonicNanos() / 1'000'000; }
};

/// The machine's clock. Never destroyed.
Clock& RealClock();

/// A clock that stands still until Advance; SleepFor advances it.
class SimClock final : public Clock {
 public:
  explicit SimClock(int64_t wall_nanos = 1'700'000'000'000'000'000);
  int64_t WallNanos() const override;
  int64_t MonotonicNanos() const override;
  void SleepFor(std::chrono::nanoseconds duration) override;
  void Advance(std::chrono::nanoseconds duration);
  /// Moves the wall clock alone, as an administrator or NTP would.
  void JumpWall(std::chrono::nanoseconds by);

 private:
  std::atomic<int64_t> wall_nanos_;
  std::atomic<int64_t> monotonic_nanos_{0};
};

}  // namespace tercet
