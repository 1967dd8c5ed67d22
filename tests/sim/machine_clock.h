// A machine's clock in a simulation: its own rate, its own idea of the date.
#pragma once

#include <chrono>
#include <cstdint>

#include "common/env/clock.h"
#include "tests/sim/event_queue.h"

namespace tercet::sim {

class MachineClock final : public Clock {
 public:
  /// `queue` must outlive the clock. `rate_ppm`: a million is true time.
  MachineClock(const EventQueue& queue, int64_t rate_ppm, int64_t wall_offset_ns)
      : queue_(queue), rate_ppm_(rate_ppm), wall_offset_ns_(wall_offset_ns) {}

  int64_t WallNanos() const override {
    return 1'700'000'000'000'000'000 + wall_offset_ns_ + Scaled(queue_.now());
  }
  /// Goes on over a restart of the process, begins anew with the machine.
  int64_t MonotonicNanos() const override { return 1 + Scaled(queue_.now()) - boot_ns_; }
  /// Nothing in a simulation sleeps.
  void SleepFor(std::chrono::nanoseconds) override {}

  void Reboot() { boot_ns_ = Scaled(queue_.now()); }
  void JumpWall(int64_t by_ns) { wall_offset_ns_ += by_ns; }
  /// True time that goes by while this clock goes on by `local_ns`.
  SimTime TrueTime(int64_t local_ns) const { return local_ns * 1'000'000 / rate_ppm_ + 1; }

 private:
  int64_t Scaled(SimTime time) const { return time / 1000 * rate_ppm_ / 1000; }

  const EventQueue& queue_;
  const int64_t rate_ppm_;
  int64_t wall_offset_ns_;
  int64_t boot_ns_ = 0;
};

}  // namespace tercet::sim
