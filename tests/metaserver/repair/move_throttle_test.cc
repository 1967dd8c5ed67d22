#include "metaserver/repair/move_throttle.h"

#include <gtest/gtest.h>

#include <vector>

namespace tercet {
namespace {

std::vector<ServerLoad> Loads(std::vector<uint64_t> p99s) {
  std::vector<ServerLoad> loads;
  for (const uint64_t p99 : p99s) {
    loads.emplace_back();
    loads.back().write_p99_us = p99;
  }
  return loads;
}

TEST(MoveThrottleTest, ItGrowsWhileClientsFeelNothing) {
  MoveThrottle throttle;
  const auto calm = Loads({5000, 6000, 7000});
  throttle.Update(calm, false, 0);
  EXPECT_EQ(throttle.limit(), MoveThrottle::kStart);
  for (int i = 0; i < 10; ++i) throttle.Update(calm, true, 0);
  EXPECT_GT(throttle.limit(), 2 * MoveThrottle::kStart);
  for (int i = 0; i < 100; ++i) throttle.Update(calm, true, 0);
  EXPECT_EQ(throttle.limit(), MoveThrottle::kMost);
}

TEST(MoveThrottleTest, ItHalvesWhileClientsWaitHalfAsLongAgainButGoesOn) {
  MoveThrottle throttle;
  for (int i = 0; i < 20; ++i) throttle.Update(Loads({5000, 5000}), false, 0);
  throttle.Update(Loads({8000, 8000}), true, 0);
  EXPECT_TRUE(throttle.backing_off());
  EXPECT_EQ(throttle.limit(), MoveThrottle::kStart / 2);
  for (int i = 0; i < 100; ++i) throttle.Update(Loads({8000, 8000}), true, 0);
  EXPECT_EQ(throttle.limit(), MoveThrottle::kLeast);
  throttle.Update(Loads({5000, 5000}), true, 0);
  EXPECT_FALSE(throttle.backing_off());
  EXPECT_GT(throttle.limit(), MoveThrottle::kLeast);
}

TEST(MoveThrottleTest, TimesWithMovesDoNotBecomeTheMeasure) {
  MoveThrottle throttle;
  for (int i = 0; i < 20; ++i) throttle.Update(Loads({5000}), false, 0);
  for (int i = 0; i < 1000; ++i) throttle.Update(Loads({20000}), true, 0);
  EXPECT_NEAR(throttle.calm_p99_us(), 5000, 1);
  EXPECT_TRUE(throttle.backing_off());
}

TEST(MoveThrottleTest, ServersWithoutClientsAndTinyDifferencesSayNothing) {
  MoveThrottle throttle;
  throttle.Update(Loads({0, 0, 0}), true, 0);
  EXPECT_FALSE(throttle.backing_off());
  throttle.Update(Loads({100}), false, 0);
  throttle.Update(Loads({900}), true, 0);
  EXPECT_FALSE(throttle.backing_off()) << "both are below a millisecond";
}

TEST(MoveThrottleTest, TheAdministratorsLimitHolds) {
  MoveThrottle throttle;
  const uint64_t most = 10 << 20;
  throttle.Update(Loads({5000}), false, most);
  EXPECT_EQ(throttle.limit(), most);
  for (int i = 0; i < 100; ++i) throttle.Update(Loads({5000}), true, most);
  EXPECT_EQ(throttle.limit(), most);
}

}  // namespace
}  // namespace tercet
