// The times that operations put into the state.
//
// They never go back: they follow the wall clock while it is ahead, and run on slowly (at 7/8 of
// the monotonic clock's pace) while it is behind, so that it catches up.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/env/clock.h"

namespace tercet {

/// Not thread-safe.
class TimeSource {
 public:
  /// `clock` must outlive it.
  explicit TimeSource(const Clock& clock) : clock_(clock) {}

  /// Not below `floor_ns` from now on: a metaserver before this one got so far.
  void StartAt(int64_t floor_ns) {
    last_ns_ = std::max(Now(), floor_ns);
    monotonic_ns_ = clock_.MonotonicNanos();
  }

  /// Nanoseconds since 1970-01-01 UTC.
  int64_t Now() {
    const int64_t monotonic_ns = clock_.MonotonicNanos();
    const int64_t passed_ns = std::max<int64_t>(monotonic_ns - monotonic_ns_, 0);
    // The few nanoseconds that the division drops are made up for by the wall clock or not at all.
    const int64_t run_on_ns = last_ns_ + passed_ns - passed_ns / 8;
    last_ns_ = std::max(clock_.WallNanos(), run_on_ns);
    monotonic_ns_ = monotonic_ns;
    return last_ns_;
  }

 private:
  const Clock& clock_;
  int64_t last_ns_ = 0;
  int64_t monotonic_ns_ = 0;  // when last_ns_ was
};

}  // namespace tercet
