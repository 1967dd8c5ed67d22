// How fast replicas are verified: a pure function.
//
// A round is to be completed within nine tenths of the period, at an even rate: that is its plan.
//  - While clients use the server, nothing is verified as long as the round is ahead of its plan;
//    behind it, verification goes on at the rate that reaches the end in time.
//  - While they do not, it goes twice as fast as it has to, and at least 1 MiB/s, and so gets
//    ahead.
// So a server whose clients never rest is verified all the same, at the lowest rate that will do.
#pragma once

#include <chrono>
#include <cstdint>

namespace tercet {

/// Work is measured in bytes; opening a replica counts as so many, so that many small ones are not
/// taken for little.
inline constexpr uint64_t kScrubReplicaCost = 64 << 10;
inline constexpr uint64_t kScrubStepBytes = 1 << 20;
inline constexpr uint64_t kScrubLeastRate = 1 << 20;  // bytes per second, with idle clients
/// How long after a client's request a server counts as idle.
inline constexpr std::chrono::milliseconds kScrubClientPause{100};

struct ScrubSituation {
  std::chrono::nanoseconds period{};   // positive
  std::chrono::nanoseconds elapsed{};  // since the round began
  uint64_t total_cost = 0;             // of the whole round, estimated
  uint64_t done_cost = 0;
  /// The step before, and how long ago it began.
  uint64_t last_cost = 0;
  std::chrono::nanoseconds since_last{};
  bool clients_active = false;
};

/// How long to wait before the next step, or before asking again; zero: now.
std::chrono::nanoseconds ScrubWait(const ScrubSituation& situation);

}  // namespace tercet
