#include "fuse_client/core/interval_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace tercet {
namespace {

using testing::ElementsAre;
using testing::Pair;

TEST(IntervalSetTest, TouchingIntervalsBecomeOne) {
  IntervalSet set;
  set.Add(10, 20);
  set.Add(30, 40);
  set.Add(20, 30);
  EXPECT_THAT(set.Intervals(), ElementsAre(Pair(10, 40)));
}

TEST(IntervalSetTest, GapsAreWhatIsMissing) {
  IntervalSet set;
  set.Add(10, 20);
  set.Add(30, 40);
  EXPECT_THAT(set.Gaps(0, 50), ElementsAre(Pair(0, 10), Pair(20, 30), Pair(40, 50)));
  EXPECT_THAT(set.Gaps(12, 18), ElementsAre());
  EXPECT_THAT(set.Gaps(15, 32), ElementsAre(Pair(20, 30)));
}

TEST(IntervalSetTest, BehavesLikeASetOfPositions) {
  const uint64_t seed = 7;
  std::mt19937_64 random(seed);
  IntervalSet set;
  std::vector<bool> model(200);
  for (int step = 0; step < 20'000; ++step) {
    const uint64_t begin = random() % 200;
    const uint64_t end = begin + random() % (201 - begin);
    const bool add = random() % 2 == 0;
    if (add) {
      set.Add(begin, end);
    } else {
      set.Remove(begin, end);
    }
    std::fill(model.begin() + begin, model.begin() + end, add);
    std::vector<bool> seen(200, true);
    for (auto [from, to] : set.Gaps(0, 200)) {
      std::fill(seen.begin() + from, seen.begin() + to, false);
    }
    ASSERT_EQ(seen, model) << "seed " << seed << " step " << step;
    uint64_t last_end = UINT64_MAX;
    for (auto [from, to] : set.Intervals()) {
      ASSERT_LT(from, to);
      ASSERT_TRUE(last_end == UINT64_MAX || last_end < from) << "adjacent intervals";
      last_end = to;
    }
  }
}

}  // namespace
}  // namespace tercet
