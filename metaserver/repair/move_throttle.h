// How fast replicas may be moved (drain, balance, changed policies) without clients feeling it.
// Pure.
//
// It grows by a tenth each second as long as clients' requests take about as long as they did when
// nothing moved, and halves when they take half as long again. What it compares is the median over
// the servers of the 99th percentiles that they report; servers without clients say nothing.
#pragma once

#include <cstdint>
#include <span>

#include "metaserver/placement/server_state.h"

namespace tercet {

/// Not thread-safe.
class MoveThrottle {
 public:
  static constexpr uint64_t kStart = 64ull << 20;
  static constexpr uint64_t kLeast = 1ull << 20;
  static constexpr uint64_t kMost = 4ull << 30;

  /// To be called about once a second. `moving`: something is being moved; `most`: the
  /// administrator's limit, 0: none.
  void Update(std::span<const ServerLoad> loads, bool moving, uint64_t most);

  /// Bytes per second and server.
  uint64_t limit() const { return limit_; }
  /// Clients waited noticeably longer at the last update.
  bool backing_off() const { return backing_off_; }
  double calm_p99_us() const { return calm_p99_us_; }

 private:
  static double MedianP99(std::span<const ServerLoad> loads);

  uint64_t limit_ = kStart;
  double calm_p99_us_ = 0;  // moving average over times without moves; 0: not known
  bool backing_off_ = false;
};

}  // namespace tercet
