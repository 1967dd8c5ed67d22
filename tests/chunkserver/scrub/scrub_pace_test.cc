#include "chunkserver/scrub/scrub_pace.h"

#include <gtest/gtest.h>

#include <functional>

namespace tercet {
namespace {

using std::chrono::hours;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kGiB = 1 << 30;

/// A round of steps of 1 MiB that cost no time. Returns how long it takes.
struct Round {
  nanoseconds period{};
  uint64_t total = 0;
  nanoseconds elapsed{};  // when it begins to be looked at
  uint64_t done = 0;
  std::function<bool(nanoseconds)> clients_active = [](nanoseconds) { return false; };

  nanoseconds Run() {
    nanoseconds last{};
    uint64_t last_cost = 0;
    for (int turns = 0; done < total; ++turns) {
      EXPECT_LT(turns, 10'000'000) << "it does not end";
      if (turns >= 10'000'000) break;
      const nanoseconds wait = ScrubWait({.period = period,
                                          .elapsed = elapsed,
                                          .total_cost = total,
                                          .done_cost = done,
                                          .last_cost = last_cost,
                                          .since_last = elapsed - last,
                                          .clients_active = clients_active(elapsed)});
      EXPECT_GE(wait.count(), 0);
      EXPECT_LE(wait, seconds(1)) << "it would not notice a change of the period";
      elapsed += wait;
      if (wait.count() > 0) continue;
      last = elapsed;
      last_cost = std::min(kScrubStepBytes, total - done);
      done += last_cost;
    }
    return elapsed;
  }
};

TEST(ScrubPace, WithIdleClientsItIsDoneInHalfOfThePlan) {
  Round round{.period = hours(10), .total = 100 * kGiB};
  const nanoseconds took = round.Run();
  EXPECT_LT(took, hours(6));
  EXPECT_GT(took, hours(2));
}

TEST(ScrubPace, LittleGoesAtOneMebibytePerSecondAndNotFaster) {
  Round round{.period = hours(24 * 14), .total = 60 * kMiB};
  const nanoseconds took = round.Run();
  EXPECT_GE(took, seconds(58));
  EXPECT_LE(took, seconds(62));
}

TEST(ScrubPace, WithClientsThatNeverRestItKeepsItsPlan) {
  Round round{.period = hours(10), .total = 100 * kGiB};
  round.clients_active = [](nanoseconds) { return true; };
  const nanoseconds took = round.Run();
  EXPECT_GT(took, hours(8)) << "never faster than it has to";
  EXPECT_LE(took, hours(9) + seconds(60));
}

TEST(ScrubPace, AheadOfThePlanItStopsForClients) {
  ScrubSituation situation{.period = hours(10),
                           .elapsed = hours(1),
                           .total_cost = 100 * kGiB,
                           .done_cost = 50 * kGiB,
                           .last_cost = kMiB,
                           .since_last = seconds(100),
                           .clients_active = true};
  EXPECT_EQ(ScrubWait(situation), kScrubClientPause);
  situation.done_cost = kGiB;
  EXPECT_EQ(ScrubWait(situation).count(), 0) << "behind it goes on";
  situation.done_cost = 50 * kGiB;
  situation.clients_active = false;
  EXPECT_EQ(ScrubWait(situation).count(), 0);
}

TEST(ScrubPace, ALateRoundIsDoneWithinAThirdOfThePeriod) {
  Round round{.period = hours(10), .total = 100 * kGiB, .elapsed = hours(500), .done = kGiB};
  round.clients_active = [](nanoseconds) { return true; };
  const nanoseconds took = round.Run() - hours(500);
  EXPECT_GT(took, hours(2)) << "nor all at once";
  EXPECT_LT(took, std::chrono::minutes(200));
}

TEST(ScrubPace, AWrongEstimateDoesNotStopIt) {
  EXPECT_EQ(ScrubWait({.period = seconds(1),
                       .elapsed = seconds(10),
                       .total_cost = 0,
                       .done_cost = kGiB,
                       .last_cost = 0,
                       .since_last = seconds(0),
                       .clients_active = true})
                .count(),
            0);
  const nanoseconds wait = ScrubWait({.period = seconds(1),
                                      .elapsed = seconds(10),
                                      .total_cost = kMiB,
                                      .done_cost = kGiB,
                                      .last_cost = kMiB,
                                      .since_last = seconds(2),
                                      .clients_active = false});
  EXPECT_EQ(wait.count(), 0);
}

}  // namespace
}  // namespace tercet
