#include "metaserver/repair/target_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "common/env/clock.h"
#include "common/env/random.h"
#include "tests/metaserver/placement/placement_test_util.h"

namespace tercet {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class TargetChoiceTest : public testing::Test {
 protected:
  /// Two servers in each of the racks r1, r2, r3: 1 and 2, 3 and 4, 5 and 6.
  void SetUp() override {
    for (uint32_t id = 1; id <= 6; ++id) {
      const std::string rack = "r" + std::to_string((id + 1) / 2);
      servers_.Register(ServerOf(id, {DiskOf(100 * kGiB, 90 * kGiB)}, {{"rack", rack}}));
    }
    facts_.rule.domain = "rack";
    facts_.bytes = kBlock;
  }

  /// A member of rack r3 is gone, those of the others are well.
  void LoseOneOfThree() {
    facts_.chain = {ServerId(1), ServerId(3), ServerId(5)};
    facts_.keep = {ServerId(1), ServerId(3)};
    facts_.new_ones = 1;
    facts_.avoid = {ServerId(5)};
  }
  /// Two members are in r1.
  void Misplace() {
    facts_.chain = {ServerId(1), ServerId(2), ServerId(3)};
    facts_.keep = {ServerId(2), ServerId(3)};
    facts_.new_ones = 1;
  }

  TargetChoice Choose(RepairClass repair_class, int64_t now_ms = 0) {
    RepairEntry entry;
    entry.repair_class = repair_class;
    entry.sources = facts_.chain;
    return ChooseTargets(
        servers_, facts_, entry, [this](ServerId server) { return !busy_.contains(server); },
        now_ms);
  }

  SimClock clock_;
  SeededRandom random_{1};
  ServerTable servers_{PlacementOptions{}, clock_, random_};
  BlockFacts facts_;
  std::set<ServerId> busy_;
};

TEST_F(TargetChoiceTest, ABusyServerInTheRightPlaceIsWaitedFor) {
  LoseOneOfThree();
  EXPECT_THAT(Choose(RepairClass::kBelowWanted).targets, ElementsAre(ServerId(6)));
  busy_ = {ServerId(6)};
  for (int i = 0; i < 20; ++i) {
    const TargetChoice choice = Choose(RepairClass::kBelowWanted);
    ASSERT_THAT(choice.targets, IsEmpty());
    EXPECT_TRUE(choice.busy);
  }
}

TEST_F(TargetChoiceTest, UrgentBlocksTakeWhoIsFreeAndOthersDoAfterAWhile) {
  LoseOneOfThree();
  busy_ = {ServerId(6)};
  EXPECT_EQ(Choose(RepairClass::kOneLeft).targets.size(), 1u);
  EXPECT_THAT(Choose(RepairClass::kBelowWanted, kWaitForPlaceMs - 1).targets, IsEmpty());
  EXPECT_EQ(Choose(RepairClass::kBelowWanted, kWaitForPlaceMs).targets.size(), 1u);
  EXPECT_THAT(Choose(RepairClass::kDrain, kWaitForPlaceMs).targets, IsEmpty());
}

TEST_F(TargetChoiceTest, WithoutARuleOrInAnEqualPlaceNobodyWaits) {
  LoseOneOfThree();
  facts_.avoid.clear();
  facts_.chain = facts_.keep;
  busy_ = {ServerId(6)};
  EXPECT_THAT(Choose(RepairClass::kBelowWanted).targets, ElementsAre(ServerId(5)));
  facts_.rule.domain.clear();
  busy_ = {ServerId(5), ServerId(6), ServerId(2)};
  EXPECT_THAT(Choose(RepairClass::kBelowWanted).targets, ElementsAre(ServerId(4)));
  busy_.insert(ServerId(4));
  EXPECT_TRUE(Choose(RepairClass::kBelowWanted).busy);
  EXPECT_TRUE(Choose(RepairClass::kOneLeft).busy) << "the fault is not with those who failed";
}

TEST_F(TargetChoiceTest, NothingIsMovedToWhereItIsNoBetter) {
  Misplace();
  busy_ = {ServerId(5)};
  EXPECT_THAT(Choose(RepairClass::kMisplaced).targets, ElementsAre(ServerId(6)));
  busy_ = {ServerId(5), ServerId(6)};
  EXPECT_TRUE(Choose(RepairClass::kMisplaced).busy);
  EXPECT_THAT(Choose(RepairClass::kMisplaced).targets, IsEmpty());
  // Those that would be right failed, so that there is nothing to wait for.
  busy_.clear();
  facts_.avoid = {ServerId(5), ServerId(6)};
  const TargetChoice choice = Choose(RepairClass::kMisplaced);
  EXPECT_THAT(choice.targets, IsEmpty());
  EXPECT_FALSE(choice.busy);
}

TEST_F(TargetChoiceTest, BadAndStaleReplicasAreWaitedForUnlessItIsUrgent) {
  facts_.chain = {ServerId(1), ServerId(3), ServerId(5)};
  facts_.keep = {ServerId(1)};
  facts_.heal = {ServerId(3)};
  busy_ = {ServerId(3)};
  EXPECT_TRUE(Choose(RepairClass::kDamaged).busy) << "it would have to leave";
  facts_.heal.clear();
  facts_.chain = facts_.keep = {ServerId(1), ServerId(3)};
  facts_.stale = {ServerId(6)};
  facts_.new_ones = 1;
  busy_ = {ServerId(6)};
  EXPECT_TRUE(Choose(RepairClass::kBelowWanted).busy);
  EXPECT_THAT(Choose(RepairClass::kOneLeft).targets, ElementsAre(ServerId(5)));
  busy_.clear();
  EXPECT_THAT(Choose(RepairClass::kBelowWanted).targets, ElementsAre(ServerId(6)));
}

}  // namespace
}  // namespace tercet
