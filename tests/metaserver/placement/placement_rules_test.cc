#include "metaserver/placement/placement_rules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "common/env/random.h"
#include "tests/metaserver/placement/placement_test_util.h"

namespace tercet {
namespace {

PlacementRule Rack() {
  PlacementRule rule;
  rule.domain = "rack";
  return rule;
}

/// Servers 1, 2, … in the racks of these names; "": without the label.
std::vector<ServerState> InRacks(const std::vector<std::string>& racks) {
  std::vector<ServerState> servers;
  for (size_t i = 0; i < racks.size(); ++i) {
    std::map<std::string, std::string> labels;
    if (!racks[i].empty()) labels["rack"] = racks[i];
    servers.push_back(ServerOf(static_cast<uint32_t>(i + 1), {}, labels));
  }
  return servers;
}

std::vector<const ServerState*> Pick(const std::vector<ServerState>& servers,
                                     const std::vector<size_t>& indexes) {
  std::vector<const ServerState*> picked;
  for (size_t index : indexes) picked.push_back(&servers[index]);
  return picked;
}

TEST(PlacementRules, LabelsAreShortAndPlain) {
  EXPECT_TRUE(IsLabelText("Rack-1_a.b"));
  EXPECT_FALSE(IsLabelText(""));
  EXPECT_FALSE(IsLabelText("a b"));
  EXPECT_FALSE(IsLabelText("ü"));
  EXPECT_TRUE(IsLabelText(std::string(64, 'x')));
  EXPECT_FALSE(IsLabelText(std::string(65, 'x')));
}

TEST(PlacementRules, WithoutADomainEachServerIsAPlace) {
  const auto servers = InRacks({"a", "a"});
  EXPECT_NE(DomainOf(servers[0], {}), DomainOf(servers[1], {}));
  EXPECT_EQ(DomainOf(servers[0], Rack()), DomainOf(servers[1], Rack()));
}

TEST(PlacementRules, ServersWithoutTheLabelAreOnePlace) {
  const auto servers = InRacks({"", "", "a"});
  EXPECT_EQ(DomainOf(servers[0], Rack()), DomainOf(servers[1], Rack()));
  EXPECT_NE(DomainOf(servers[0], Rack()), DomainOf(servers[2], Rack()));
}

TEST(PlacementRules, MisplacedWhenAnEmptyRackIsThere) {
  const auto servers = InRacks({"a", "a", "b", "b", "c"});
  const auto all = Pick(servers, {0, 1, 2, 3, 4});
  EXPECT_TRUE(IsMisplaced(Pick(servers, {0, 1, 2}), all, Rack()));
  EXPECT_FALSE(IsMisplaced(Pick(servers, {0, 2, 4}), all, Rack()));
  // Two racks for three replicas: two and one is as even as it gets.
  EXPECT_FALSE(IsMisplaced(Pick(servers, {0, 1, 2}), Pick(servers, {0, 1, 2, 3}), Rack()));
  EXPECT_FALSE(IsMisplaced(Pick(servers, {0, 1, 2}), all, {}));
}

TEST(PlacementRules, MisplacedWhenAMemberLacksALabelThatAnotherHas) {
  std::vector<ServerState> servers = InRacks({"a", "b", "c"});
  servers[0].labels["medium"] = "ssd";
  servers[2].labels["medium"] = "ssd";
  PlacementRule rule;
  rule.require = {{"medium", "ssd"}};
  EXPECT_TRUE(IsMisplaced(Pick(servers, {0, 1}), Pick(servers, {0, 1, 2}), rule));
  EXPECT_FALSE(IsMisplaced(Pick(servers, {0, 1}), Pick(servers, {0, 1}), rule));
}

TEST(PlacementRules, AMoveMustNotCrowdARack) {
  const auto servers = InRacks({"a", "b", "b", "c", "a"});
  const auto members = Pick(servers, {0, 1});
  EXPECT_FALSE(MoveKeepsRule(members, 0, servers[2], Rack())) << "both would be in b";
  EXPECT_TRUE(MoveKeepsRule(members, 1, servers[2], Rack())) << "within b";
  EXPECT_TRUE(MoveKeepsRule(members, 0, servers[3], Rack()));
  EXPECT_FALSE(MoveKeepsRule(members, 0, servers[1], Rack())) << "it is a member";
  EXPECT_TRUE(MoveKeepsRule(members, 0, servers[2], {}));
  PlacementRule rule;
  rule.require = {{"medium", "ssd"}};
  EXPECT_FALSE(MoveKeepsRule(members, 0, servers[3], rule));
}

// Whatever MoveKeepsRule allows leaves the fullest place no fuller and as many places in use.
TEST(PlacementRules, AllowedMovesNeverSpreadReplicasWorse) {
  SeededRandom random(5);
  int allowed = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::string> racks;
    const size_t count = 2 + random.Below(8);
    for (size_t i = 0; i < count; ++i) {
      racks.push_back(
          random.Below(6) == 0 ? "" : std::string(1, static_cast<char>('a' + random.Below(4))));
    }
    const auto servers = InRacks(racks);
    std::vector<const ServerState*> members;
    for (const ServerState& server : servers) {
      if (random.Below(2) == 0) members.push_back(&server);
    }
    if (members.empty()) continue;
    const ServerState& to = servers[random.Below(count)];
    const size_t from = random.Below(members.size());
    if (!MoveKeepsRule(members, from, to, Rack())) continue;
    ++allowed;
    const auto spread = [](const std::vector<const ServerState*>& chain) {
      std::map<std::string, int> counts;
      for (const ServerState* member : chain) ++counts[DomainOf(*member, Rack())];
      int most = 0;
      for (const auto& [domain, replicas] : counts) most = std::max(most, replicas);
      return std::pair(most, static_cast<int>(counts.size()));
    };
    const auto before = spread(members);
    std::vector<const ServerState*> moved = members;
    moved[from] = &to;
    const auto after = spread(moved);
    EXPECT_LE(after.first, before.first);
    EXPECT_GE(after.second, before.second);
  }
  EXPECT_GT(allowed, 1000);
}

class PolicyChecks : public testing::Test {
 protected:
  Status Check(int replicas, int min_replicas, bool force = false) {
    return CheckPolicy({replicas, min_replicas, rule_}, servers_, force);
  }
  static bool Says(const Status& status, const std::string& text) {
    return status.code() == StatusCode::kInvalidArgument &&
           status.message().find(text) != std::string::npos;
  }

  std::vector<ServerState> servers_ = InRacks({"a", "a", "b"});
  PlacementRule rule_;
};

TEST_F(PolicyChecks, CountsHaveBounds) {
  EXPECT_TRUE(Check(3, 2).ok());
  EXPECT_TRUE(Check(1, 1).ok());
  EXPECT_TRUE(Says(Check(0, 1), "replicas must be between 1 and 16"));
  EXPECT_TRUE(Says(Check(-1, 1), "replicas must be"));
  EXPECT_TRUE(Says(Check(17, 1, true), "replicas must be"));
  EXPECT_TRUE(Says(Check(2, 3, true), "min_replicas must be"));
  EXPECT_TRUE(Says(Check(2, 0, true), "min_replicas must be"));
}

TEST_F(PolicyChecks, MoreReplicasThanServersInServiceNeedForce) {
  EXPECT_TRUE(Says(Check(4, 2), "only 3 are in service"));
  EXPECT_TRUE(Check(4, 2, true).ok());
  servers_[0].service = ServiceState::kDraining;
  EXPECT_TRUE(Says(Check(3, 2), "only 2 are in service"));
}

TEST_F(PolicyChecks, MoreReplicasThanDomainsNeedForce) {
  rule_.domain = "rack";
  EXPECT_TRUE(Check(2, 1).ok());
  EXPECT_TRUE(Says(Check(3, 2), "there are only 2"));
  EXPECT_TRUE(Check(3, 2, true).ok());
}

TEST_F(PolicyChecks, UnknownLabelsAreRefused) {
  rule_.domain = "rak";
  EXPECT_TRUE(Says(Check(2, 1, true), "no chunk server has a label 'rak'; there are: rack"));
  rule_.domain = "a b";
  EXPECT_TRUE(Says(Check(2, 1, true), "is no label"));
  rule_.domain.clear();
  rule_.require = {{"medium", "ssd"}};
  EXPECT_TRUE(Says(Check(1, 1, true), "no chunk server has a label 'medium'"));
  rule_.require = {{"rack", "c"}};
  EXPECT_TRUE(Says(Check(1, 1), "values of 'rack' are: a, b"));
  EXPECT_TRUE(Check(1, 1, true).ok()) << "servers may be on their way";
  rule_.require = {{"rack", "b"}};
  EXPECT_TRUE(Check(1, 1).ok());
  EXPECT_TRUE(Says(Check(2, 1), "only 1 are in service with the required labels"));
}

TEST_F(PolicyChecks, LabelsOfRemovedServersAreGone) {
  servers_[2].service = ServiceState::kRemoved;
  rule_.require = {{"rack", "b"}};
  EXPECT_TRUE(Says(Check(1, 1), "no chunk server has the label rack=b"));
}

}  // namespace
}  // namespace tercet
