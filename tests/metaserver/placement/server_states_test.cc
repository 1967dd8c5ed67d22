// The choice of servers by state, suspicion, load, labels and failure domains.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "metaserver/placement/server_table.h"
#include "tests/metaserver/placement/placement_test_util.h"

namespace tercet {
namespace {

class ServerStatesTest : public testing::Test {
 protected:
  void AddAlive(uint32_t id, std::map<std::string, std::string> labels = {}) {
    table_.Register(ServerOf(id, {DiskOf(1000 * kGiB, 100 * kGiB)}, std::move(labels)));
  }
  void SetService(uint32_t id, ServiceState service, int64_t until_ns = 0) {
    ServerState server = *table_.Find(ServerId(id));
    server.service = service;
    server.service_until_ns = until_ns;
    table_.AddKnown(server);
  }
  void BeatAll(std::vector<uint32_t> ids) {
    for (uint32_t id : ids) {
      ASSERT_TRUE(table_.Heartbeat(ServerId(id), id * 10, {DiskOf(1000 * kGiB, 100 * kGiB)}));
    }
  }
  PlacementRequest Request(int wanted, int minimum = 1) {
    PlacementRequest request;
    request.wanted = wanted;
    request.minimum = minimum;
    request.bytes = kBlock;
    request.rule = &rule_;
    return request;
  }
  /// Who is ever chosen in many draws.
  std::set<uint32_t> Chosen(const PlacementRequest& request, int draws = 200) {
    std::set<uint32_t> ids;
    for (int i = 0; i < draws; ++i) {
      auto chosen = table_.Choose(request);
      EXPECT_TRUE(chosen.ok()) << chosen.status().ToString();
      if (!chosen.ok()) break;
      for (ServerId id : *chosen) ids.insert(id.value());
    }
    return ids;
  }

  SimClock clock_;
  SeededRandom random_{42};
  ServerTable table_{PlacementOptions{}, clock_, random_};
  PlacementRule rule_;
};

TEST_F(ServerStatesTest, OnlyServersInServiceGetReplicas) {
  for (uint32_t id = 1; id <= 5; ++id) AddAlive(id);
  SetService(2, ServiceState::kDraining);
  SetService(3, ServiceState::kMaintenance);
  SetService(4, ServiceState::kRemoved);
  EXPECT_EQ(Chosen(Request(3)), (std::set<uint32_t>{1, 5}));
  auto refused = table_.Choose(Request(3, 3));
  EXPECT_EQ(refused.code(), StatusCode::kUnavailable);
  EXPECT_NE(refused.status().message().find("drained"), std::string::npos);
}

TEST_F(ServerStatesTest, MaintenanceEndsByItself) {
  AddAlive(1);
  AddAlive(2);
  SetService(2, ServiceState::kMaintenance, clock_.WallNanos() + 1'000'000'000);
  EXPECT_EQ(Chosen(Request(2)), (std::set<uint32_t>{1}));
  clock_.Advance(std::chrono::milliseconds(999));
  EXPECT_EQ(table_.Find(ServerId(2))->service, ServiceState::kMaintenance);
  clock_.Advance(std::chrono::milliseconds(1));
  EXPECT_EQ(Chosen(Request(2)), (std::set<uint32_t>{1, 2}));
  EXPECT_EQ(table_.All()[1].service, ServiceState::kInService);
}

TEST_F(ServerStatesTest, StatesAndDiskCommandsOutliveARegistration) {
  AddAlive(1);
  AddAlive(2);
  SetService(2, ServiceState::kDraining);
  table_.SetDiskCommands(ServerId(1), {{"", DiskCommandState::kDraining}});
  AddAlive(1);
  AddAlive(2);
  EXPECT_EQ(table_.Find(ServerId(2))->service, ServiceState::kDraining);
  EXPECT_EQ(table_.Choose(Request(1)).code(), StatusCode::kNoSpace);
  table_.SetDiskCommands(ServerId(1), {});
  EXPECT_EQ(Chosen(Request(1)), (std::set<uint32_t>{1}));
}

TEST_F(ServerStatesTest, DisksThatAreNotInServiceTakeNothing) {
  ServerState server = ServerOf(1, {DiskOf(1000 * kGiB, 100 * kGiB)});
  server.disks[0].state = DiskCommandState::kEjected;
  table_.Register(server);
  EXPECT_EQ(table_.Choose(Request(1)).code(), StatusCode::kNoSpace);
  EXPECT_EQ(table_.Space().total_bytes, 0u);
  server.disks[0].state = DiskCommandState::kDraining;
  table_.Register(server);
  EXPECT_EQ(table_.Choose(Request(1)).code(), StatusCode::kNoSpace);
  EXPECT_EQ(table_.Space().total_bytes, 1000 * kGiB);
  EXPECT_EQ(table_.Space().available_bytes, 0u);
}

TEST_F(ServerStatesTest, ASuspectIsAvoidedUntilItIsHeardOfAWhileLater) {
  AddAlive(1);
  AddAlive(2);
  table_.Suspect(ServerId(2));
  EXPECT_EQ(Chosen(Request(2)), (std::set<uint32_t>{1}));
  // This one may have been on its way when the server stopped.
  clock_.Advance(std::chrono::milliseconds(999));
  BeatAll({1, 2});
  EXPECT_EQ(Chosen(Request(2)), (std::set<uint32_t>{1}));
  clock_.Advance(std::chrono::milliseconds(1));
  BeatAll({1, 2});
  EXPECT_EQ(Chosen(Request(2)), (std::set<uint32_t>{1, 2}));
}

TEST_F(ServerStatesTest, ARegistrationEndsSuspicion) {
  AddAlive(1);
  table_.Suspect(ServerId(1));
  EXPECT_EQ(table_.Choose(Request(1)).code(), StatusCode::kUnavailable);
  AddAlive(1);
  EXPECT_TRUE(table_.Choose(Request(1)).ok());
}

TEST_F(ServerStatesTest, TheRemovedAreNotAliveHoweverTheyBeat) {
  AddAlive(1);
  AddAlive(2);
  auto removed = *table_.Find(ServerId(2));
  removed.service = ServiceState::kRemoved;
  table_.AddKnown(removed);
  EXPECT_FALSE(table_.IsAlive(ServerId(2)));
  EXPECT_EQ(table_.Alive(), std::vector<ServerId>{ServerId(1)});
  EXPECT_FALSE(table_.Heartbeat(ServerId(2), removed.incarnation, {}));
}

TEST_F(ServerStatesTest, ANewActiveWaitsForServersInServiceOnly) {
  EXPECT_FALSE(table_.WaitsForKnown());
  for (uint32_t id : {1, 2}) {
    ServerState server;
    server.id = ServerId(id);
    server.incarnation = 1;
    table_.AddKnown(server);
  }
  EXPECT_FALSE(table_.WaitsForKnown()) << "it listened for long enough before";
  table_.BecomeActive();
  EXPECT_TRUE(table_.WaitsForKnown());
  AddAlive(1);
  EXPECT_TRUE(table_.WaitsForKnown());
  ServerState removed;
  removed.id = ServerId(2);
  removed.service = ServiceState::kRemoved;
  table_.AddKnown(removed);
  EXPECT_FALSE(table_.WaitsForKnown());
  removed.service = ServiceState::kInService;
  table_.AddKnown(removed);
  EXPECT_TRUE(table_.WaitsForKnown());
  clock_.Advance(std::chrono::seconds(5));
  EXPECT_FALSE(table_.WaitsForKnown()) << "it had its time";
}

TEST_F(ServerStatesTest, SlowServersGetFewerReplicas) {
  ServerLoad usual;
  usual.write_p99_us = 1000;
  ServerLoad slow;
  slow.write_p99_us = 1'000'000;
  for (uint32_t id = 1; id <= 4; ++id) {
    AddAlive(id);
    ASSERT_TRUE(table_.Heartbeat(ServerId(id), id * 10, {DiskOf(1000 * kGiB, 100 * kGiB)},
                                 id == 4 ? slow : usual));
  }
  std::map<ServerId, int> count;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) ++count[table_.Choose(Request(1))->front()];
  // A quarter of the weight of the others: 0.25 / 3.25.
  EXPECT_NEAR(static_cast<double>(count[ServerId(4)]) / kDraws, 0.077, 0.01);
}

TEST_F(ServerStatesTest, ReplicasGoToDifferentDomains) {
  // One large rack and two small ones.
  for (uint32_t id = 1; id <= 6; ++id) AddAlive(id, {{"rack", "r1"}});
  AddAlive(7, {{"rack", "r2"}});
  AddAlive(8, {{"rack", "r3"}});
  rule_.domain = "rack";
  for (int i = 0; i < 200; ++i) {
    auto chosen = table_.Choose(Request(3, 3));
    ASSERT_TRUE(chosen.ok());
    EXPECT_EQ(std::ranges::count(*chosen, ServerId(7)), 1);
    EXPECT_EQ(std::ranges::count(*chosen, ServerId(8)), 1);
  }
}

TEST_F(ServerStatesTest, FewerDomainsThanReplicasAreFilledEvenly) {
  for (uint32_t id = 1; id <= 4; ++id) AddAlive(id, {{"rack", id <= 2 ? "r1" : "r2"}});
  rule_.domain = "rack";
  for (int i = 0; i < 200; ++i) {
    auto chosen = table_.Choose(Request(4, 4));
    ASSERT_TRUE(chosen.ok());
    EXPECT_EQ(chosen->size(), 4u);
    chosen = table_.Choose(Request(2, 2));
    ASSERT_TRUE(chosen.ok());
    EXPECT_NE((*chosen)[0].value() <= 2, (*chosen)[1].value() <= 2);
  }
}

TEST_F(ServerStatesTest, KeptServersCountForTheirDomainsAndAreNotChosen) {
  for (uint32_t id = 1; id <= 4; ++id) AddAlive(id, {{"rack", id <= 2 ? "r1" : "r2"}});
  rule_.domain = "rack";
  const std::vector<ServerId> keep = {ServerId(1)};
  PlacementRequest request = Request(1);
  request.keep = keep;
  EXPECT_EQ(Chosen(request), (std::set<uint32_t>{3, 4}));
  // Also when the kept one is dead: its replica still is where it is.
  clock_.Advance(std::chrono::seconds(4));
  BeatAll({2, 3, 4});
  clock_.Advance(std::chrono::seconds(2));
  ASSERT_FALSE(table_.IsAlive(ServerId(1)));
  EXPECT_EQ(Chosen(request), (std::set<uint32_t>{3, 4}));
}

TEST_F(ServerStatesTest, RequiredLabelsAreRequired) {
  AddAlive(1, {{"medium", "ssd"}});
  AddAlive(2, {{"medium", "hdd"}});
  AddAlive(3);
  rule_.require = {{"medium", "ssd"}};
  EXPECT_EQ(Chosen(Request(3)), (std::set<uint32_t>{1}));
  auto refused = table_.Choose(Request(2, 2));
  EXPECT_EQ(refused.code(), StatusCode::kUnavailable);
  EXPECT_NE(refused.status().message().find("labels"), std::string::npos);
}

TEST_F(ServerStatesTest, MisplacedOnlyWhenALiveServerWouldDoBetter) {
  for (uint32_t id = 1; id <= 3; ++id) AddAlive(id, {{"rack", id <= 2 ? "r1" : "r2"}});
  rule_.domain = "rack";
  const std::vector<ServerId> crowded = {ServerId(1), ServerId(2)};
  EXPECT_TRUE(table_.IsMisplaced(crowded, rule_, kBlock));
  SetService(3, ServiceState::kDraining);
  EXPECT_FALSE(table_.IsMisplaced(crowded, rule_, kBlock));
  SetService(3, ServiceState::kInService);
  EXPECT_FALSE(table_.IsMisplaced(crowded, rule_, 200 * kGiB)) << "there is no room";
  EXPECT_FALSE(table_.IsMisplaced(crowded, PlacementRule(), kBlock));
  EXPECT_FALSE(table_.IsMisplaced(std::vector<ServerId>{ServerId(1), ServerId(9)}, rule_, kBlock));
}

}  // namespace
}  // namespace tercet
