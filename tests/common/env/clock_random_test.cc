#include <gtest/gtest.h>

#include <set>

#include "common/env/clock.h"
#include "common/env/random.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

TEST(SimClockTest, MovesOnlyWhenTold) {
  SimClock clock(1'000);
  EXPECT_EQ(clock.WallNanos(), 1'000);
  EXPECT_EQ(clock.MonotonicNanos(), 0);
  clock.SleepFor(milliseconds(2));
  clock.Advance(milliseconds(1));
  EXPECT_EQ(clock.WallNanos(), 3'001'000);
  EXPECT_EQ(clock.MonotonicMillis(), 3);
}

TEST(SimClockTest, AJumpLeavesMonotonicTimeAlone) {
  SimClock clock;
  int64_t before = clock.WallNanos();
  clock.JumpWall(milliseconds(-5));
  EXPECT_EQ(clock.WallNanos(), before - 5'000'000);
  EXPECT_EQ(clock.MonotonicNanos(), 0);
}

TEST(RealClockTest, SleepsAtLeastAsLongAsAsked) {
  int64_t before = RealClock().MonotonicNanos();
  RealClock().SleepFor(milliseconds(2));
  EXPECT_GE(RealClock().MonotonicNanos() - before, 2'000'000);
  EXPECT_GT(RealClock().WallNanos(), 1'700'000'000'000'000'000);
}

TEST(SeededRandomTest, TheSameSeedGivesTheSameSequence) {
  SeededRandom a(7);
  SeededRandom b(7);
  SeededRandom c(8);
  uint64_t first = a.Next();
  EXPECT_EQ(first, b.Next());
  EXPECT_NE(first, c.Next());
  EXPECT_EQ(a.Bytes(13), b.Bytes(13));
}

TEST(RandomTest, BelowStaysBelowAndReachesAll) {
  SeededRandom random(1);
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.Below(5));
  EXPECT_EQ(seen, (std::set<uint64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(random.Below(1), 0u);
  for (int i = 0; i < 100; ++i)
    EXPECT_LT(random.Below((uint64_t{1} << 63) + 1), (uint64_t{1} << 63) + 1);
}

TEST(SystemRandomTest, DoesNotRepeatItself) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    std::string bytes = SystemRandom().Bytes(16);
    ASSERT_EQ(bytes.size(), 16u);
    EXPECT_TRUE(seen.insert(bytes).second);
  }
}

}  // namespace
}  // namespace tercet
