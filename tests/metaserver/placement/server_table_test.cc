#include "metaserver/placement/server_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "tests/metaserver/placement/placement_test_util.h"

namespace tercet {
namespace {

class ServerTableTest : public testing::Test {
 protected:
  void AddAlive(uint32_t id, uint64_t available) {
    table_.Register(ServerOf(id, {DiskOf(1000 * kGiB, available)}));
  }
  Result<std::vector<ServerId>> Choose(int wanted, int minimum,
                                       std::vector<ServerId> exclude = {}) {
    PlacementRequest request;
    request.wanted = wanted;
    request.minimum = minimum;
    request.bytes = kBlock;
    request.exclude = exclude;
    return table_.Choose(request);
  }

  SimClock clock_;
  SeededRandom random_{42};
  ServerTable table_{PlacementOptions{}, clock_, random_};
};

TEST_F(ServerTableTest, ChoosesDifferentServersUpToWanted) {
  for (uint32_t id = 1; id <= 5; ++id) AddAlive(id, 100 * kGiB);
  for (int i = 0; i < 200; ++i) {
    auto chosen = Choose(3, 2);
    ASSERT_TRUE(chosen.ok()) << chosen.status().ToString();
    EXPECT_EQ(std::set<ServerId>(chosen->begin(), chosen->end()).size(), 3u);
  }
}

TEST_F(ServerTableTest, TakesFewerThanWantedButNeverFewerThanMinimum) {
  AddAlive(1, 100 * kGiB);
  AddAlive(2, 100 * kGiB);
  auto two = Choose(3, 2);
  ASSERT_TRUE(two.ok());
  EXPECT_EQ(two->size(), 2u);
  EXPECT_EQ(Choose(3, 3).code(), StatusCode::kUnavailable);
}

TEST_F(ServerTableTest, ReplicasFollowFreeSpace) {
  AddAlive(1, 100 * kGiB);
  AddAlive(2, 300 * kGiB);
  std::map<ServerId, int> count;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) ++count[Choose(1, 1)->front()];
  // Expected 3/4; the standard deviation of the share is 0.003.
  EXPECT_NEAR(static_cast<double>(count[ServerId(2)]) / kDraws, 0.75, 0.02);
}

TEST_F(ServerTableTest, HeadsAndTailsSpreadEvenlyEvenWhenSpaceDoesNot) {
  AddAlive(1, 10 * kGiB);
  AddAlive(2, 100 * kGiB);
  AddAlive(3, 900 * kGiB);
  std::map<ServerId, int> heads;
  std::map<ServerId, int> tails;
  constexpr int kDraws = 15000;
  for (int i = 0; i < kDraws; ++i) {
    auto chosen = Choose(3, 3);
    ++heads[chosen->front()];
    ++tails[chosen->back()];
  }
  for (uint32_t id = 1; id <= 3; ++id) {
    EXPECT_NEAR(static_cast<double>(heads[ServerId(id)]) / kDraws, 1.0 / 3, 0.03) << id;
    EXPECT_NEAR(static_cast<double>(tails[ServerId(id)]) / kDraws, 1.0 / 3, 0.03) << id;
  }
}

TEST_F(ServerTableTest, FullServersAreLeftOutAndNoSpaceIsTold) {
  AddAlive(1, 100 * kGiB);
  AddAlive(2, 100 * kGiB);
  AddAlive(3, 10 << 20);
  for (int i = 0; i < 50; ++i) {
    auto chosen = Choose(3, 2);
    ASSERT_TRUE(chosen.ok());
    EXPECT_EQ(std::count(chosen->begin(), chosen->end(), ServerId(3)), 0);
  }
  EXPECT_EQ(Choose(3, 3).code(), StatusCode::kNoSpace);
}

TEST_F(ServerTableTest, NearlyFullServersTakeNewBlocksOnlyWhenThereAreTooFewOthers) {
  PlacementRequest request;
  request.wanted = 3;
  request.minimum = 2;
  request.bytes = kBlock;
  request.least_bytes = kLeastRoomForNewBlock;
  const uint64_t reserve = table_.options().disk_reserve_bytes;
  AddAlive(1, 100 * kGiB);
  AddAlive(2, 100 * kGiB);
  AddAlive(3, reserve + (10 << 20));
  AddAlive(4, reserve + kLeastRoomForNewBlock - 1);
  auto chosen = table_.Choose(request);
  ASSERT_TRUE(chosen.ok()) << chosen.status().ToString();
  EXPECT_EQ(std::set<ServerId>(chosen->begin(), chosen->end()),
            (std::set<ServerId>{ServerId(1), ServerId(2), ServerId(3)}));
  AddAlive(5, 100 * kGiB);
  for (int i = 0; i < 50; ++i) {
    chosen = table_.Choose(request);
    ASSERT_TRUE(chosen.ok());
    EXPECT_EQ(std::count(chosen->begin(), chosen->end(), ServerId(3)), 0);
  }
  const std::vector exclude{ServerId(1), ServerId(2), ServerId(5)};
  request.exclude = exclude;
  EXPECT_EQ(table_.Choose(request).code(), StatusCode::kNoSpace) << "one is fewer than two";
}

TEST_F(ServerTableTest, EachDiskKeepsItsReserve) {
  const PlacementOptions options = table_.options();
  // A block fits onto the disk, but not onto what is left of it behind the reserve.
  AddAlive(1, options.disk_reserve_bytes + kBlock - 1);
  EXPECT_EQ(Choose(1, 1).code(), StatusCode::kNoSpace);
  AddAlive(1, options.disk_reserve_bytes + kBlock);
  EXPECT_TRUE(Choose(1, 1).ok());
  // On a small disk the reserve is a twentieth.
  EXPECT_EQ(UsableBytes(DiskOf(200, 100), options), 90u);
}

TEST_F(ServerTableTest, RoomIsCountedPerDiskNotInSum) {
  table_.Register(ServerOf(1, {DiskOf(kGiB, 80 << 20), DiskOf(kGiB, 80 << 20)}));
  EXPECT_EQ(Choose(1, 1).code(), StatusCode::kNoSpace);
}

TEST_F(ServerTableTest, UnhealthyDisksTakeNothing) {
  table_.Register(ServerOf(1, {DiskOf(1000 * kGiB, 900 * kGiB, false)}));
  EXPECT_EQ(Choose(1, 1).code(), StatusCode::kNoSpace);
  EXPECT_EQ(table_.Space().total_bytes, 0u);
}

TEST_F(ServerTableTest, SilentServersDieAndHeartbeatsKeepThemAlive) {
  AddAlive(1, 100 * kGiB);
  AddAlive(2, 100 * kGiB);
  clock_.Advance(std::chrono::seconds(4));
  EXPECT_TRUE(table_.Heartbeat(ServerId(1), 10, {DiskOf(1000 * kGiB, 50 * kGiB)}));
  clock_.Advance(std::chrono::seconds(2));
  EXPECT_EQ(table_.Alive(), std::vector<ServerId>{ServerId(1)});
  EXPECT_EQ(Choose(2, 2).code(), StatusCode::kUnavailable);
  EXPECT_EQ(Choose(2, 1)->size(), 1u);
  // The dead one has to register again.
  EXPECT_FALSE(table_.Heartbeat(ServerId(2), 20, {}));
  EXPECT_FALSE(table_.IsAlive(ServerId(2)));
}

TEST_F(ServerTableTest, AJumpOfTheWallClockKillsNobody) {
  AddAlive(1, 100 * kGiB);
  clock_.JumpWall(std::chrono::hours(10));
  EXPECT_TRUE(table_.IsAlive(ServerId(1)));
}

TEST_F(ServerTableTest, HeartbeatsOfAnotherIncarnationAreRefused) {
  AddAlive(1, 100 * kGiB);
  EXPECT_FALSE(table_.Heartbeat(ServerId(1), 11, {}));
  EXPECT_FALSE(table_.Heartbeat(ServerId(9), 10, {}));
}

TEST_F(ServerTableTest, KnownServersAreNotAliveUntilTheyRegister) {
  table_.AddKnown(ServerOf(1, {DiskOf(1000 * kGiB, 100 * kGiB)}));
  EXPECT_FALSE(table_.IsAlive(ServerId(1)));
  EXPECT_EQ(Choose(1, 1).code(), StatusCode::kUnavailable);
  EXPECT_TRUE(table_.FindByUuid("uuid-1").has_value());
  EXPECT_FALSE(table_.FindByUuid("uuid-2").has_value());
}

TEST_F(ServerTableTest, AfterAStartKnownServersAreWaitedForWhileTheyCouldTakeReplicas) {
  for (uint32_t id = 1; id <= 3; ++id) table_.AddKnown(ServerOf(id, {}));
  table_.ExpectKnown(5000);
  AddAlive(1, 100 * kGiB);
  AddAlive(2, 100 * kGiB);
  EXPECT_EQ(Choose(3, 2).code(), StatusCode::kUnavailable);
  // Not when there are enough without them, nor when the writer could not reach it anyway.
  EXPECT_TRUE(Choose(2, 2).ok());
  EXPECT_TRUE(Choose(3, 2, {ServerId(3)}).ok());
  clock_.Advance(std::chrono::milliseconds(4999));
  EXPECT_TRUE(table_.Heartbeat(ServerId(1), 10, {DiskOf(1000 * kGiB, 50 * kGiB)}));
  EXPECT_TRUE(table_.Heartbeat(ServerId(2), 20, {DiskOf(1000 * kGiB, 50 * kGiB)}));
  EXPECT_EQ(Choose(3, 2).code(), StatusCode::kUnavailable);
  clock_.Advance(std::chrono::milliseconds(1));
  EXPECT_EQ(Choose(3, 2)->size(), 2u);
}

TEST_F(ServerTableTest, ExcludedServersAreNotChosen) {
  for (uint32_t id = 1; id <= 4; ++id) AddAlive(id, 100 * kGiB);
  for (int i = 0; i < 50; ++i) {
    auto chosen = Choose(3, 2, {ServerId(2)});
    ASSERT_TRUE(chosen.ok());
    EXPECT_EQ(std::count(chosen->begin(), chosen->end(), ServerId(2)), 0);
  }
  EXPECT_EQ(Choose(3, 2, {ServerId(1), ServerId(2), ServerId(3)}).code(), StatusCode::kUnavailable);
}

TEST_F(ServerTableTest, NonsenseCountsAreRefused) {
  AddAlive(1, 100 * kGiB);
  EXPECT_EQ(Choose(1, 0).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Choose(1, 2).code(), StatusCode::kInvalidArgument);
}

// Random clusters, random wishes: the outcome is always what a brute-force count says it must be.
TEST(ChooseReplicasProperty, HoldsForRandomClusters) {
  SeededRandom random(7);
  PlacementOptions options;
  for (int round = 0; round < 5000; ++round) {
    const size_t count = random.Below(8);
    std::vector<ServerState> servers;
    for (size_t i = 0; i < count; ++i) {
      std::vector<DiskState> disks;
      for (size_t d = random.Below(4); d > 0; --d) {
        const uint64_t total = (1 + random.Below(100)) * kGiB;
        disks.push_back(
            DiskOf(total, random.Below(3) == 0 ? random.Below(kBlock * 6) : random.Below(total),
                   random.Below(5) != 0));
      }
      servers.push_back(ServerOf(static_cast<uint32_t>(i + 1), disks));
    }
    std::vector<ServerId> exclude;
    for (size_t i = random.Below(3); i > 0; --i) {
      exclude.push_back(ServerId(static_cast<uint32_t>(1 + random.Below(9))));
    }
    const int minimum = static_cast<int>(1 + random.Below(3));
    const int wanted = minimum + static_cast<int>(random.Below(3));

    size_t reachable = 0;
    std::set<ServerId> fitting;
    std::vector<const ServerState*> pointers;
    for (const ServerState& server : servers) {
      pointers.push_back(&server);
      if (std::count(exclude.begin(), exclude.end(), server.id) > 0) continue;
      ++reachable;
      for (const DiskState& disk : server.disks) {
        if (UsableBytes(disk, options) >= kBlock) fitting.insert(server.id);
      }
    }
    PlacementRequest request;
    request.wanted = wanted;
    request.minimum = minimum;
    request.bytes = kBlock;
    request.exclude = exclude;
    auto chosen = ChooseReplicas(pointers, request, options, random);
    if (reachable < static_cast<size_t>(minimum)) {
      EXPECT_EQ(chosen.code(), StatusCode::kUnavailable);
    } else if (fitting.size() < static_cast<size_t>(minimum)) {
      EXPECT_EQ(chosen.code(), StatusCode::kNoSpace);
    } else {
      ASSERT_TRUE(chosen.ok()) << chosen.status().ToString();
      EXPECT_EQ(chosen->size(), std::min(fitting.size(), static_cast<size_t>(wanted)));
      std::set<ServerId> distinct(chosen->begin(), chosen->end());
      EXPECT_EQ(distinct.size(), chosen->size());
      for (ServerId id : distinct) EXPECT_TRUE(fitting.contains(id)) << "round " << round;
    }
  }
}

}  // namespace
}  // namespace tercet
