#include "metaserver/placement/balance_planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "metaserver/placement/placement_rules.h"
#include "tests/metaserver/placement/placement_test_util.h"

namespace tercet {
namespace {

BalanceServerState StateOf(uint32_t id, uint64_t total, uint64_t used, bool takes_part = true) {
  BalanceServerState state;
  state.id = ServerId(id);
  state.total_bytes = total;
  state.used_bytes = used;
  state.usable_bytes = total > used ? total - used : 0;
  state.takes_part = takes_part;
  state.identity = id;
  return state;
}

/// Four filled servers and an empty one.
std::vector<BalanceServerState> AddedServer() {
  std::vector<BalanceServerState> states;
  for (uint32_t id = 1; id <= 4; ++id) states.push_back(StateOf(id, 100 * kGiB, 50 * kGiB));
  states.push_back(StateOf(5, 100 * kGiB, 0));
  return states;
}

TEST(PlanBalance, SaysWhatIsMovedAndHowItEnds) {
  auto plan = PlanBalance(AddedServer(), {}, 5, 1000);
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  // The mean is 40 %; four points from it is where a run ends.
  uint64_t before = 0;
  uint64_t after = 0;
  for (const BalancePlan::Server& server : plan->servers) {
    before += server.used_bytes;
    after += server.used_after_bytes;
    EXPECT_NEAR(static_cast<double>(server.used_after_bytes) / (100.0 * kGiB), 0.40, 0.0405);
  }
  EXPECT_EQ(before, after);
  EXPECT_EQ(plan->bytes_to_move, plan->servers[4].used_after_bytes);
  EXPECT_NEAR(static_cast<double>(plan->bytes_to_move), 36.0 * kGiB, 1.0 * kGiB);
  EXPECT_TRUE(plan->notes.empty());
}

TEST(PlanBalance, NothingToDoWithinTheThreshold) {
  std::vector<BalanceServerState> states = {StateOf(1, 100 * kGiB, 54 * kGiB),
                                            StateOf(2, 100 * kGiB, 46 * kGiB)};
  auto plan = PlanBalance(states, {}, 5, 0);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->bytes_to_move, 0u);
  EXPECT_GT(PlanBalance(states, {}, 3, 0)->bytes_to_move, 0u);
}

TEST(PlanBalance, ThresholdsHaveBounds) {
  for (double threshold : {0.0, 0.05, -1.0, 51.0, std::nan("")}) {
    EXPECT_EQ(PlanBalance(AddedServer(), {}, threshold, 0).code(), StatusCode::kInvalidArgument);
  }
}

TEST(PlanBalance, ServersThatDoNotTakePartAreLeftAlone) {
  std::vector<BalanceServerState> states = AddedServer();
  states[0].takes_part = false;
  auto plan = PlanBalance(states, {}, 5, 0);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->servers[0].used_after_bytes, plan->servers[0].used_bytes);
  ASSERT_EQ(plan->notes.size(), 1u);
  EXPECT_NE(plan->notes[0].find("chunk server 1 does not take part"), std::string::npos);
}

TEST(PlanBalance, KnowsThatBlocksCannotGoWhereTheyAre) {
  // Everything is on all three servers: the fullest one (a smaller disk) has nothing to give away.
  std::vector<BalanceServerState> states = {StateOf(1, 100 * kGiB, 60 * kGiB),
                                            StateOf(2, 400 * kGiB, 60 * kGiB),
                                            StateOf(3, 400 * kGiB, 60 * kGiB)};
  const std::vector<BalanceBlockSet> sets = {{{ServerId(1), ServerId(2), ServerId(3)}, 960}};
  auto plan = PlanBalance(states, sets, 5, 0);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->bytes_to_move, 0u);
  ASSERT_FALSE(plan->notes.empty());
  EXPECT_NE(plan->notes[0].find("chunk server 1 stays at 60.0 %"), std::string::npos)
      << plan->notes[0];
}

TEST(BalancePlanToken, CarriesThePlanAndIsChecked) {
  const std::vector<BalanceServerState> states = AddedServer();
  auto plan = PlanBalance(states, {}, 5, 1000);
  ASSERT_TRUE(plan.ok());
  const std::string token = EncodeBalancePlan(*plan);
  auto decoded = DecodeBalancePlan(token);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(decoded->created_ns, 1000);
  EXPECT_DOUBLE_EQ(decoded->threshold_points, 5.0);
  EXPECT_TRUE(CheckBalancePlan(*decoded, states, 2000).ok());
  for (size_t i = 0; i < token.size(); ++i) {
    std::string damaged = token;
    damaged[i] = static_cast<char>(damaged[i] ^ 4);
    EXPECT_EQ(DecodeBalancePlan(damaged).code(), StatusCode::kInvalidArgument) << i;
    EXPECT_EQ(DecodeBalancePlan(token.substr(0, i)).code(), StatusCode::kInvalidArgument) << i;
  }
}

TEST(BalancePlanToken, IsAsTheFormatDocumentSays) {
  BalancePlan plan;
  plan.created_ns = 1000;
  plan.threshold_points = 5;
  plan.servers.push_back({ServerId(7), 100, 50, 0, 0x0102, true});
  const std::string expected(
      "TBAL\x01\xe8\x03\0\0\0\0\0\0\x88\x13\0\0\x01"
      "\x07\0\0\0\x01\x64\0\0\0\0\0\0\0\x32\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0"
      "\x2c\x30\x0a\x17",
      51);
  EXPECT_EQ(EncodeBalancePlan(plan), expected);
}

TEST(BalancePlanToken, IsRefusedWhenTheClusterChanged) {
  const std::vector<BalanceServerState> states = AddedServer();
  const BalancePlan plan = *PlanBalance(states, {}, 5, 0);
  const auto conflict = [&](const std::vector<BalanceServerState>& now, const std::string& text,
                            int64_t now_ns = 0) {
    const Status status = CheckBalancePlan(plan, now, now_ns);
    return status.code() == StatusCode::kConflict &&
           status.message().find(text) != std::string::npos &&
           status.message().find("older than the cluster's state") != std::string::npos;
  };
  EXPECT_TRUE(conflict(states, "more than an hour ago", int64_t{3601} * 1'000'000'000));
  auto now = states;
  now.pop_back();
  EXPECT_TRUE(conflict(now, "chunk server 5 is not there"));
  now = states;
  now.push_back(StateOf(6, kGiB, 0));
  EXPECT_TRUE(conflict(now, "chunk server 6 is new"));
  now = states;
  now[1].takes_part = false;
  EXPECT_TRUE(conflict(now, "chunk server 2 does not take part"));
  now = states;
  now[1].identity = 99;
  EXPECT_TRUE(conflict(now, "chunk server 2 has another state"));
  now = states;
  now[2].used_bytes += 2 * kGiB;
  EXPECT_TRUE(conflict(now, "chunk server 3 is filled to 52.0 %, in the plan to 50.0 %"));
  now[2].used_bytes -= 3 * kGiB / 2;
  EXPECT_TRUE(CheckBalancePlan(plan, now, 0).ok()) << "clients write on";
}

TEST(BalanceStates, KnowsStatesLabelsAndDisks) {
  SimClock clock;
  SeededRandom random(1);
  ServerTable table(PlacementOptions{}, clock, random);
  ServerState server = ServerOf(1, {DiskOf(1000 * kGiB, 500 * kGiB), DiskOf(kGiB, kGiB)});
  server.disks[0].uuid = "d0";
  server.disks[0].replica_bytes = 7 * kGiB;
  server.disks[1].uuid = "d1";
  table.Register(server);
  const auto state = [&] { return BalanceStates(table)[0]; };
  const BalanceServerState first = state();
  EXPECT_TRUE(first.takes_part);
  EXPECT_EQ(first.used_bytes, 7 * kGiB);
  EXPECT_EQ(first.total_bytes, 1001 * kGiB);
  table.SetDiskCommands(ServerId(1), {{"d1", DiskCommandState::kEjected}});
  EXPECT_NE(state().identity, first.identity);
  EXPECT_EQ(state().total_bytes, 1000 * kGiB);
  table.SetDiskCommands(ServerId(1), {});
  EXPECT_EQ(state().identity, first.identity);
  server.labels["rack"] = "r1";
  table.Register(server);
  EXPECT_NE(state().identity, first.identity);
  table.Suspect(ServerId(1));
  EXPECT_FALSE(state().takes_part);
  clock.Advance(std::chrono::seconds(10));
  EXPECT_FALSE(state().takes_part);
  ServerState removed = *table.Find(ServerId(1));
  removed.service = ServiceState::kRemoved;
  table.AddKnown(removed);
  EXPECT_TRUE(BalanceStates(table).empty());
}

// ---- runs ----

constexpr uint64_t kMiB = 1 << 20;

TEST(BalancePlanner, MovesOnlyAsMuchAsDoesNotTurnTwoServersAround) {
  BalancePlanner planner(5, 1000);
  std::vector<BalanceServerState> states = {StateOf(1, 1000 * kMiB, 500 * kMiB),
                                            StateOf(2, 3000 * kMiB, 300 * kMiB)};
  planner.Update(states, 0);
  planner.Next(
      [](const BalancePlanner::Wish& wish) {
        EXPECT_EQ(wish.from, ServerId(1));
        EXPECT_EQ(wish.to, std::vector<ServerId>{ServerId(2)});
        // (500 - x) / 1000 = (300 + x) / 3000
        EXPECT_NEAR(static_cast<double>(wish.max_bytes[0]), 300.0 * kMiB, 1.0 * kMiB);
        return BalancePlanner::Pick();
      },
      0);
}

TEST(BalancePlanner, AFullServerIsNotMovedTo) {
  BalancePlanner planner(5, 1000);
  std::vector<BalanceServerState> states = {StateOf(1, 1000 * kMiB, 500 * kMiB),
                                            StateOf(2, 1000 * kMiB, 0),
                                            StateOf(3, 1000 * kMiB, 100 * kMiB)};
  states[1].usable_bytes = 0;  // other files fill it
  planner.Update(states, 0);
  planner.Next(
      [](const BalancePlanner::Wish& wish) {
        EXPECT_EQ(wish.to, std::vector<ServerId>{ServerId(3)});
        return BalancePlanner::Pick();
      },
      0);
}

TEST(BalancePlanner, WhatIsNotReportedYetCounts) {
  BalancePlanner planner(5, 2000);
  const std::vector<BalanceServerState> states = {StateOf(1, 1000 * kMiB, 200 * kMiB),
                                                  StateOf(2, 1000 * kMiB, 0)};
  planner.Update(states, 0);
  const auto pick = [](const BalancePlanner::Wish& wish) {
    return BalancePlanner::Pick{
        BalanceMove{BlockId(1), wish.from, wish.to[0], std::min(wish.max_bytes[0], 64 * kMiB)}};
  };
  auto move = planner.Next(pick, 0);
  ASSERT_TRUE(move);
  EXPECT_EQ(planner.state(0), BalancePlanner::State::kSettling);
  EXPECT_FALSE(planner.Next(pick, 0)) << "with it they are even";
  planner.Finished(*move, true, 100);
  // Heartbeats that do not show it yet.
  planner.Update(states, 1000);
  EXPECT_FALSE(planner.Next(pick, 1000));
  EXPECT_EQ(planner.state(1000), BalancePlanner::State::kSettling);
  planner.Update(std::vector<BalanceServerState>{StateOf(1, 1000 * kMiB, 136 * kMiB),
                                                 StateOf(2, 1000 * kMiB, 64 * kMiB)},
                 2100);
  EXPECT_EQ(planner.state(2100), BalancePlanner::State::kEven);
  EXPECT_EQ(planner.left_bytes(), 0u);
}

TEST(BalancePlanner, AFailedMoveIsTakenBack) {
  BalancePlanner planner(5, 2000);
  planner.Update(std::vector<BalanceServerState>{StateOf(1, 1000 * kMiB, 200 * kMiB),
                                                 StateOf(2, 1000 * kMiB, 0)},
                 0);
  const auto pick = [](const BalancePlanner::Wish& wish) {
    return BalancePlanner::Pick{BalanceMove{BlockId(1), wish.from, wish.to[0], 64 * kMiB}};
  };
  auto move = planner.Next(pick, 0);
  ASSERT_TRUE(move);
  planner.Finished(*move, false, 10);
  EXPECT_EQ(planner.state(10), BalancePlanner::State::kMoving);
  EXPECT_TRUE(planner.Next(pick, 10));
}

TEST(BalancePlanner, StuckWhenNoBlockMayBeMovedAndAskedAgainLater) {
  BalancePlanner planner(5, 1000);
  planner.Update(AddedServer(), 0);
  int asked = 0;
  const auto none = [&](const BalancePlanner::Wish&) {
    ++asked;
    return BalancePlanner::Pick{{}, true};
  };
  EXPECT_EQ(planner.state(0), BalancePlanner::State::kMoving);
  EXPECT_FALSE(planner.Next(none, 0));
  EXPECT_EQ(asked, 4) << "each of the four that could give";
  EXPECT_EQ(planner.state(0), BalancePlanner::State::kStuck);
  EXPECT_FALSE(planner.Next(none, 4999));
  EXPECT_EQ(asked, 4);
  EXPECT_FALSE(planner.Next(none, 5000));
  EXPECT_EQ(asked, 8);
}

TEST(BalancePlanner, NotStuckWhileThereAreMoreBlocksToLookAt) {
  BalancePlanner planner(5, 1000);
  planner.Update(AddedServer(), 0);
  int asked = 0;
  const auto not_here = [&](const BalancePlanner::Wish&) {
    ++asked;
    return BalancePlanner::Pick();
  };
  EXPECT_FALSE(planner.Next(not_here, 0));
  EXPECT_FALSE(planner.Next(not_here, 0));
  EXPECT_EQ(asked, 8);
  EXPECT_EQ(planner.state(0), BalancePlanner::State::kMoving);
}

/// A cluster of blocks with replicas, in which a run is carried out move by move with reports that
/// come late, moves that fail and clients that write.
class BalanceWalk {
 public:
  explicit BalanceWalk(uint64_t seed) : random_(seed) {
    rule_.domain = random_.Below(2) == 0 ? "rack" : "";
    const size_t servers = 2 + random_.Below(8);
    for (uint32_t id = 1; id <= servers; ++id) {
      servers_[ServerId(id)] =
          ServerOf(id, {}, {{"rack", std::string(1, static_cast<char>('a' + random_.Below(4)))}});
      totals_[ServerId(id)] = (1 + random_.Below(4)) * 4096;
    }
    // Blocks are where space was: some servers came later.
    const size_t first = 1 + random_.Below(servers);
    const size_t replicas = 1 + random_.Below(std::min<size_t>(first, 3));
    for (uint64_t block = 1; block <= 300; ++block) {
      std::vector<ServerId> chain;
      while (chain.size() < replicas) {
        const ServerId id(static_cast<uint32_t>(1 + random_.Below(first)));
        if (std::ranges::find(chain, id) == chain.end()) chain.push_back(id);
      }
      const uint64_t size = 1 + random_.Below(16);
      for (ServerId id : chain) used_[id] += size;
      blocks_[BlockId(block)] = {size, chain};
    }
  }

  void Run() {
    BalancePlanner planner(kThreshold, kSettleMs);
    Report(&planner);
    const uint64_t needed = planner.left_bytes();
    int quiet = 0;
    for (int step = 0; step < 20'000 && quiet < 200; ++step) {
      now_ms_ += 1 + static_cast<int64_t>(random_.Below(50));
      if (now_ms_ >= next_report_ms_) Report(&planner);
      if (running_.size() < 4) Start(&planner);
      if (!running_.empty() && random_.Below(2) == 0) Finish(&planner);
      const auto state = planner.state(now_ms_);
      const bool over =
          state == BalancePlanner::State::kEven || state == BalancePlanner::State::kStuck;
      quiet = running_.empty() && over ? quiet + 1 : 0;
    }
    EXPECT_GE(quiet, 200) << "the run does not end";
    CheckEnd();
    EXPECT_LE(moved_, 2 * needed + 16 * totals_.size());
  }

 private:
  static constexpr double kThreshold = 5;
  static constexpr int64_t kSettleMs = 3000;
  static constexpr int64_t kReportMs = 1000;

  struct Block {
    uint64_t size = 0;
    std::vector<ServerId> chain;
  };

  std::vector<BalanceServerState> States() {
    std::vector<BalanceServerState> states;
    for (const auto& [id, total] : totals_) {
      BalanceServerState state = StateOf(id.value(), total, used_[id]);
      states.push_back(state);
    }
    return states;
  }
  /// Servers report once a second what they held a second ago.
  void Report(BalancePlanner* planner) {
    if (!reported_.empty()) planner->Update(reported_, now_ms_);
    reported_ = States();
    if (next_report_ms_ == 0) planner->Update(reported_, now_ms_);
    next_report_ms_ = now_ms_ + kReportMs;
  }

  std::vector<const ServerState*> Members(const Block& block) {
    std::vector<const ServerState*> members;
    for (ServerId id : block.chain) members.push_back(&servers_[id]);
    return members;
  }

  double Unevenness() {
    std::map<ServerId, uint64_t> planned = used_;
    for (const auto& [block, move] : running_) {
      planned[move.from] -= move.bytes;
      planned[move.to] += move.bytes;
    }
    double sum = 0;
    for (const auto& [id, total] : totals_) {
      const auto used = static_cast<double>(planned[id]);
      sum += used * used / static_cast<double>(total);
    }
    return sum;
  }

  bool MayMove(const Block& block, ServerId from, ServerId to) {
    auto at = std::ranges::find(block.chain, from);
    if (at == block.chain.end()) return false;
    return MoveKeepsRule(Members(block), static_cast<size_t>(at - block.chain.begin()),
                         servers_[to], rule_);
  }

  BalancePlanner::Pick PickBlock(const BalancePlanner::Wish& wish) {
    // As one that looks at some rows at a time.
    if (random_.Below(4) == 0) return {};
    for (size_t i = 0; i < wish.to.size(); ++i) {
      for (const auto& [id, block] : blocks_) {
        if (block.size > wish.max_bytes[i] || running_.contains(id)) continue;
        if (MayMove(block, wish.from, wish.to[i])) {
          return {BalanceMove{id, wish.from, wish.to[i], block.size}};
        }
      }
    }
    return {std::nullopt, true};
  }

  void Start(BalancePlanner* planner) {
    auto move = planner->Next([&](const auto& wish) { return PickBlock(wish); }, now_ms_);
    if (!move) return;
    // What makes the moves come to an end, whatever the reports said: with all that is under way
    // counted as done, the servers are the more even for it.
    const double before = Unevenness();
    running_[move->block] = *move;
    EXPECT_LT(Unevenness(), before);
  }

  void Finish(BalancePlanner* planner) {
    auto it = running_.begin();
    std::advance(it, static_cast<long>(random_.Below(running_.size())));
    const BalanceMove move = it->second;
    running_.erase(it);
    const bool moved = random_.Below(8) != 0;
    planner->Finished(move, moved, now_ms_);
    if (!moved) return;
    Block& block = blocks_[move.block];
    const size_t before = block.chain.size();
    std::ranges::replace(block.chain, move.from, move.to);
    EXPECT_EQ(std::set<ServerId>(block.chain.begin(), block.chain.end()).size(), before);
    used_[move.from] -= move.bytes;
    used_[move.to] += move.bytes;
    moved_ += move.bytes;
  }

  void CheckEnd() {
    double used = 0;
    double total = 0;
    for (const auto& [id, size] : totals_) {
      total += static_cast<double>(size);
      used += static_cast<double>(used_[id]);
    }
    const double mean = used / total;
    for (const auto& [id, size] : totals_) {
      const double filling = static_cast<double>(used_[id]) / static_cast<double>(size);
      if (std::abs(filling - mean) <= kThreshold / 100) continue;
      // Not within the threshold: then no block may go from a fuller server to an emptier one.
      for (const auto& [other, other_size] : totals_) {
        const double other_filling =
            static_cast<double>(used_[other]) / static_cast<double>(other_size);
        const ServerId from = filling > other_filling ? id : other;
        const ServerId to = filling > other_filling ? other : id;
        for (const auto& [block_id, block] : blocks_) {
          if (from == to || !MayMove(block, from, to)) continue;
          const double gap = std::abs(filling - other_filling);
          const double shift =
              static_cast<double>(block.size) / static_cast<double>(totals_[from]) +
              static_cast<double>(block.size) / static_cast<double>(totals_[to]);
          EXPECT_GT(shift, gap) << "block " << block_id << " could go from " << from << " to "
                                << to;
          if (shift <= gap) return;
        }
      }
    }
  }

  SeededRandom random_;
  PlacementRule rule_;
  std::map<ServerId, ServerState> servers_;
  std::map<ServerId, uint64_t> totals_;
  std::map<ServerId, uint64_t> used_;
  std::map<BlockId, Block> blocks_;
  std::map<BlockId, BalanceMove> running_;
  std::vector<BalanceServerState> reported_;
  int64_t now_ms_ = 0;
  int64_t next_report_ms_ = 0;
  uint64_t moved_ = 0;
};

TEST(BalanceWalk, EndsNearTheMeanAndEveryMoveHelps) {
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    BalanceWalk(seed).Run();
    if (testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace tercet
