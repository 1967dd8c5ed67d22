#include "metaserver/repair/move_throttle.h"

#include <algorithm>
#include <vector>

namespace tercet {
namespace {

constexpr double kTooLong = 1.5;
constexpr double kGrowth = 1.1;
/// Weight of the newest second in the average of calm times.
constexpr double kWeight = 0.1;
/// Below this (microseconds) differences are those of the scheduler, not of the disks.
constexpr double kFloorUs = 1000;

}  // namespace

double MoveThrottle::MedianP99(std::span<const ServerLoad> loads) {
  std::vector<double> figures;
  for (const ServerLoad& load : loads) {
    const uint64_t p99 = std::max(load.read_p99_us, load.write_p99_us);
    if (p99 > 0) figures.push_back(static_cast<double>(p99));
  }
  if (figures.empty()) return 0;
  const auto middle = figures.begin() + static_cast<std::ptrdiff_t>(figures.size() / 2);
  std::nth_element(figures.begin(), middle, figures.end());
  return *middle;
}

void MoveThrottle::Update(std::span<const ServerLoad> loads, bool moving, uint64_t most) {
  const double p99 = MedianP99(loads);
  const uint64_t ceiling = most == 0 ? kMost : std::clamp(most, kLeast, kMost);
  if (!moving) {
    if (p99 > 0) {
      calm_p99_us_ = calm_p99_us_ == 0 ? p99 : calm_p99_us_ + kWeight * (p99 - calm_p99_us_);
    }
    backing_off_ = false;
    limit_ = std::min(kStart, ceiling);
    return;
  }
  // Clients that began after the moves did: what they saw first has to do.
  if (calm_p99_us_ == 0) calm_p99_us_ = p99;
  backing_off_ = p99 > kTooLong * std::max(calm_p99_us_, kFloorUs);
  const double next =
      backing_off_ ? static_cast<double>(limit_) / 2 : static_cast<double>(limit_) * kGrowth;
  limit_ = std::clamp(static_cast<uint64_t>(next), std::min(kLeast, ceiling), ceiling);
}

}  // namespace tercet
