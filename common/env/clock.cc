#include "common/env/clock.h"

#include <thread>

namespace tercet {
namespace {

class MachineClock final : public Clock {
 public:
  int64_t WallNanos() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  int64_t MonotonicNanos() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  void SleepFor(std::chrono::nanoseconds duration) override {
    std::this_thread::sleep_for(duration);
  }
};

}  // namespace

Clock& RealClock() {
  static MachineClock* clock = new MachineClock;
  return *clock;
}

SimClock::SimClock(int64_t wall_nanos) : wall_nanos_(wall_nanos) {}

int64_t SimClock::WallNanos() const { return wall_nanos_.load(); }

int64_t SimClock::MonotonicNanos() const { return monotonic_nanos_.load(); }

void SimClock::SleepFor(std::chrono::nanoseconds duration) { Advance(duration); }

void SimClock::Advance(std::chrono::nanoseconds duration) {
  wall_nanos_ += duration.count();
  monotonic_nanos_ += duration.count();
}

void SimClock::JumpWall(std::chrono::nanoseconds by) { wall_nanos_ += by.count(); }

}  // namespace tercet
