#include "chunkserver/replication/pull_throttle.h"

#include <algorithm>

namespace tercet {

namespace {

constexpr double kBurstSeconds = 0.25;
/// Nobody sleeps for longer without looking at the rate again.
constexpr double kMaxSleepSeconds = 5;

}  // namespace

void PullThrottle::SetRate(uint64_t bytes_per_second) {
  {
    std::lock_guard lock(mutex_);
    if (rate_ == static_cast<double>(bytes_per_second)) return;
    RefillLocked();
    rate_ = static_cast<double>(bytes_per_second);
    tokens_ = std::min(tokens_, rate_ * kBurstSeconds);
  }
  changed_.notify_all();
}

void PullThrottle::RefillLocked() {
  const SteadyTime now = std::chrono::steady_clock::now();
  const double seconds = std::chrono::duration<double>(now - refilled_at_).count();
  refilled_at_ = now;
  tokens_ = std::min(tokens_ + rate_ * seconds, rate_ * kBurstSeconds);
}

bool PullThrottle::TakeLocked(uint64_t bytes) {
  if (rate_ == 0) return true;
  RefillLocked();
  if (tokens_ < 0) return false;
  tokens_ -= static_cast<double>(bytes);
  return true;
}

PullThrottle::SteadyTime PullThrottle::ReadyAtLocked() const {
  const double seconds = std::min(-tokens_ / rate_, kMaxSleepSeconds);
  // A little later rather than earlier: waking up for nothing costs more.
  return refilled_at_ + std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6) + 50);
}

void PullThrottle::Wake() {
  // Whoever has looked already, but does not wait yet, must not miss it.
  { std::lock_guard lock(mutex_); }
  changed_.notify_all();
}

}  // namespace tercet
