#include "metaserver/placement/repair_planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "common/env/random.h"

namespace tercet {
namespace {

using Outcome = RepairPlanner::Outcome;

RepairEntry Entry(uint64_t block, RepairClass repair_class, int64_t since_ms = 0,
                  std::vector<uint32_t> sources = {}) {
  RepairEntry entry;
  entry.block = BlockId(block);
  entry.repair_class = repair_class;
  entry.since_ms = since_ms;
  for (uint32_t source : sources) entry.sources.push_back(ServerId(source));
  return entry;
}

/// From the first source that can send to the first of `targets` that can receive.
RepairPlanner::Assign Copying(std::vector<uint32_t> targets) {
  return [targets](const RepairEntry& entry, const RepairPlanner::SlotTest& can_send,
                   const RepairPlanner::SlotTest& can_receive) -> std::optional<RepairSlots> {
    RepairSlots slots;
    for (ServerId source : entry.sources) {
      if (!slots.source && can_send(source)) slots.source = source;
    }
    for (uint32_t target : targets) {
      if (slots.targets.empty() && can_receive(ServerId(target))) {
        slots.targets.push_back(ServerId(target));
      }
    }
    if (!slots.source || slots.targets.empty()) return std::nullopt;
    return slots;
  };
}

/// Takes no slots.
std::optional<RepairSlots> NoCopy(const RepairEntry&, const RepairPlanner::SlotTest&,
                                  const RepairPlanner::SlotTest&) {
  return RepairSlots();
}

uint64_t TakeBlock(RepairPlanner& planner, int64_t now_ms = 0) {
  auto job = planner.Take(now_ms, NoCopy);
  return job ? job->entry.block.value() : 0;
}

TEST(ClassifyBlock, TheMostUrgentThingCounts) {
  const auto classify = [](int wanted, int members, int good, int bad = 0, int leaving = 0,
                           bool misplaced = false) {
    return ClassifyBlock({wanted, 2, members, good, bad, leaving, misplaced});
  };
  EXPECT_EQ(classify(3, 3, 3), std::nullopt);
  EXPECT_EQ(classify(3, 3, 0), RepairClass::kLost);
  EXPECT_EQ(classify(3, 3, 1), RepairClass::kOneLeft);
  EXPECT_EQ(classify(3, 3, 1, 2), RepairClass::kOneLeft);
  EXPECT_EQ(classify(3, 3, 2), RepairClass::kBelowWanted);
  EXPECT_EQ(classify(3, 3, 2, 1), RepairClass::kDamaged);
  EXPECT_EQ(classify(3, 4, 4), RepairClass::kSurplus);
  EXPECT_EQ(classify(3, 3, 3, 0, 1), RepairClass::kDrain);
  EXPECT_EQ(classify(3, 4, 4, 0, 1), RepairClass::kDrain);
  EXPECT_EQ(classify(3, 3, 3, 0, 0, true), RepairClass::kMisplaced);
  EXPECT_EQ(ClassifyBlock({4, 3, 4, 2, 0, 0, false}), RepairClass::kBelowMinimum);
  BlockHealth doubtful{3, 2, 3, 3, 0, 1, true};
  doubtful.doubtful = 3;
  EXPECT_EQ(ClassifyBlock(doubtful), RepairClass::kDoubtful) << "before what is only moved";
  doubtful.good = 2;
  EXPECT_EQ(ClassifyBlock(doubtful), RepairClass::kBelowWanted) << "whose commit settles it";
  EXPECT_EQ(ClassifyBlock({1, 1, 1, 1, 0, 0, false}), std::nullopt) << "one is all it wants";
}

TEST(RepairPlanner, UrgentFirstThenTheOldest) {
  RepairPlanner planner{RepairPlannerOptions{}};
  planner.Put(Entry(1, RepairClass::kBalance, 1));
  planner.Put(Entry(2, RepairClass::kBelowWanted, 30));
  planner.Put(Entry(3, RepairClass::kBelowWanted, 20));
  planner.Put(Entry(4, RepairClass::kOneLeft, 40));
  planner.Put(Entry(5, RepairClass::kDamaged, 50));
  std::vector<uint64_t> order;
  while (const uint64_t block = TakeBlock(planner)) order.push_back(block);
  EXPECT_EQ(order, (std::vector<uint64_t>{4, 5, 3, 2, 1}));
}

TEST(RepairPlanner, LostBlocksAreCountedButNeverTaken) {
  RepairPlanner planner{RepairPlannerOptions{}};
  planner.Put(Entry(1, RepairClass::kLost, 7));
  EXPECT_EQ(TakeBlock(planner), 0u);
  EXPECT_EQ(planner.Count(RepairClass::kLost).blocks, 1);
  EXPECT_EQ(planner.Count(RepairClass::kLost).oldest_since_ms, 7);
  planner.Put(Entry(1, RepairClass::kOneLeft, 9));
  EXPECT_EQ(planner.Count(RepairClass::kLost).blocks, 0);
  EXPECT_EQ(TakeBlock(planner), 1u);
}

RepairPlannerOptions WithSlots(int slots, int urgent_slots) {
  RepairPlannerOptions options;
  options.slots = slots;
  options.urgent_slots = urgent_slots;
  return options;
}

TEST(RepairPlanner, ServersHaveSlotsAndUrgentBlocksHaveMore) {
  RepairPlanner planner{WithSlots(2, 4)};
  for (uint64_t block = 1; block <= 10; ++block) {
    planner.Put(Entry(block, RepairClass::kBelowWanted, 0, {1}));
  }
  int taken = 0;
  while (planner.Take(0, Copying({2, 3, 4}))) ++taken;
  EXPECT_EQ(taken, 2);
  EXPECT_EQ(planner.Outgoing(ServerId(1)), 2);
  for (uint64_t block = 11; block <= 20; ++block) {
    planner.Put(Entry(block, RepairClass::kOneLeft, 5, {1}));
  }
  while (planner.Take(0, Copying({2, 3, 4}))) ++taken;
  EXPECT_EQ(taken, 4);
  EXPECT_EQ(planner.Outgoing(ServerId(1)), 4);
  planner.Finish(BlockId(11), Outcome::kDone, 0);
  EXPECT_EQ(planner.Outgoing(ServerId(1)), 3);
}

TEST(RepairPlanner, MovesHaveSlotsOfTheirOwnNumber) {
  RepairPlannerOptions options = WithSlots(4, 6);
  options.move_slots = 1;
  RepairPlanner planner{options};
  for (uint64_t block = 1; block <= 10; ++block) {
    planner.Put(Entry(block, RepairClass::kDrain, 0, {1}));
  }
  ASSERT_TRUE(planner.Take(0, Copying({2, 3})));
  EXPECT_FALSE(planner.Take(0, Copying({2, 3})));
}

TEST(RepairPlanner, ABusySourceHoldsUpNobodyElse) {
  RepairPlanner planner{WithSlots(2, 4)};
  for (uint64_t block = 1; block <= 1000; ++block) {
    planner.Put(Entry(block, RepairClass::kBelowWanted, 0, {1}));
  }
  planner.Put(Entry(2000, RepairClass::kBelowWanted, 99, {2}));
  ASSERT_TRUE(planner.Take(0, Copying({5, 6})));
  ASSERT_TRUE(planner.Take(0, Copying({5, 6})));
  auto job = planner.Take(0, Copying({5, 6}));
  ASSERT_TRUE(job);
  EXPECT_EQ(job->entry.block, BlockId(2000));
}

TEST(RepairPlanner, WhatCannotBeAssignedStepsBack) {
  RepairPlanner planner{RepairPlannerOptions{}};
  for (uint64_t block = 1; block <= 10; ++block) {
    planner.Put(Entry(block, RepairClass::kBelowWanted, 0, {1}));
  }
  int asked = 0;
  const auto refuse = [&](const RepairEntry&, const auto&,
                          const auto&) -> std::optional<RepairSlots> {
    ++asked;
    return std::nullopt;
  };
  EXPECT_FALSE(planner.Take(0, refuse));
  EXPECT_EQ(asked, 10);
  EXPECT_FALSE(planner.Take(0, refuse)) << "they wait";
  EXPECT_EQ(asked, 10);
  EXPECT_EQ(planner.NextDue(), 200);
  EXPECT_EQ(planner.Count(RepairClass::kBelowWanted).waiting, 10);
  EXPECT_EQ(TakeBlock(planner, 199), 0u);
  EXPECT_EQ(TakeBlock(planner, 200), 1u);
}

TEST(RepairPlanner, AClassOfWhichNothingCanBeDoneHoldsUpNoOther) {
  RepairPlanner planner{RepairPlannerOptions{}};
  for (uint64_t block = 1; block <= 10'000; ++block) {
    planner.Put(Entry(block, RepairClass::kOneLeft));
    planner.Put(Entry(20'000 + block, RepairClass::kBelowWanted));
  }
  planner.Put(Entry(99'999, RepairClass::kDrain));
  int asked = 0;
  const auto assign = [&](const RepairEntry& entry, const auto&,
                          const auto&) -> std::optional<RepairSlots> {
    ++asked;
    if (entry.block == BlockId(99'999)) return RepairSlots();
    return std::nullopt;
  };
  const auto job = planner.Take(0, assign);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->entry.block, BlockId(99'999));
  EXPECT_LE(asked, RepairPlanner::kMaxAssigns);
}

TEST(RepairPlanner, SlowMovesLeaveRoomForWhatIsMoreUrgent) {
  RepairPlannerOptions options;
  options.max_moves = 2;
  options.max_not_urgent = 3;
  RepairPlanner planner{options};
  for (uint64_t block = 1; block <= 10; ++block) {
    planner.Put(Entry(block, RepairClass::kDrain));
    planner.Put(Entry(10 + block, RepairClass::kOneLeft));
  }
  int urgent = 0;
  int moves = 0;
  while (const uint64_t block = TakeBlock(planner)) ++(block > 10 ? urgent : moves);
  EXPECT_EQ(urgent, 10);
  EXPECT_EQ(moves, 2);
  planner.Put(Entry(31, RepairClass::kDamaged));
  planner.Put(Entry(32, RepairClass::kDamaged));
  EXPECT_EQ(TakeBlock(planner), 31u);
  EXPECT_EQ(TakeBlock(planner), 0u);
  planner.Put(Entry(33, RepairClass::kOneLeft));
  EXPECT_EQ(TakeBlock(planner), 33u);
}

TEST(RepairPlanner, WhatIsHopelessIsSeldomTried) {
  RepairPlanner planner{RepairPlannerOptions{}};
  planner.Put(Entry(1, RepairClass::kDamaged));
  ASSERT_EQ(TakeBlock(planner), 1u);
  planner.Put(Entry(1, RepairClass::kDamaged));
  planner.Finish(BlockId(1), Outcome::kHopeless, 0);
  planner.Put(Entry(1, RepairClass::kDamaged));
  EXPECT_EQ(TakeBlock(planner, 3'599'999), 0u);
  EXPECT_EQ(TakeBlock(planner, 3'600'000), 1u);
}

TEST(RepairPlanner, FailuresBackOffAndASuccessEndsThat) {
  RepairPlanner planner{RepairPlannerOptions{}};
  planner.Put(Entry(1, RepairClass::kBelowWanted));
  int64_t now_ms = 0;
  for (int64_t pause : {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000}) {
    ASSERT_EQ(TakeBlock(planner, now_ms), 1u);
    planner.Finish(BlockId(1), Outcome::kFailed, now_ms);
    EXPECT_EQ(planner.NextDue(), now_ms + pause);
    EXPECT_EQ(TakeBlock(planner, now_ms + pause - 1), 0u);
    now_ms += pause;
  }
  // More urgent: at once.
  planner.Put(Entry(1, RepairClass::kBelowWanted));
  ASSERT_EQ(TakeBlock(planner, now_ms), 1u);
  planner.Finish(BlockId(1), Outcome::kFailed, now_ms);
  planner.Put(Entry(1, RepairClass::kOneLeft));
  ASSERT_EQ(TakeBlock(planner, now_ms), 1u);
  planner.Finish(BlockId(1), Outcome::kDone, now_ms);
  EXPECT_EQ(planner.size(), 0u);
}

TEST(RepairPlanner, ABlockIsWorkedUponOnceAtATime) {
  RepairPlanner planner{RepairPlannerOptions{}};
  planner.Put(Entry(1, RepairClass::kBelowWanted, 5));
  ASSERT_EQ(TakeBlock(planner), 1u);
  planner.Put(Entry(1, RepairClass::kOneLeft, 6));
  planner.Remove(BlockId(1));
  planner.Put(Entry(1, RepairClass::kDamaged, 7));
  EXPECT_EQ(TakeBlock(planner), 0u);
  planner.Finish(BlockId(1), Outcome::kDone, 0);
  // What was noticed meanwhile is done now.
  EXPECT_EQ(planner.Count(RepairClass::kDamaged).blocks, 1);
  EXPECT_EQ(planner.Count(RepairClass::kDamaged).oldest_since_ms, 7);
  EXPECT_EQ(TakeBlock(planner), 1u);
  planner.Finish(BlockId(1), Outcome::kDone, 0);
  EXPECT_FALSE(planner.Contains(BlockId(1)));
  EXPECT_EQ(planner.running(), 0);
}

TEST(RepairPlanner, UpdatesKeepTheAge) {
  RepairPlanner planner{RepairPlannerOptions{}};
  planner.Put(Entry(1, RepairClass::kBelowWanted, 5));
  planner.Put(Entry(2, RepairClass::kBelowWanted, 6));
  planner.Put(Entry(1, RepairClass::kBelowWanted, 9, {4}));
  auto job = planner.Take(0, NoCopy);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->entry.block, BlockId(1));
  EXPECT_EQ(job->entry.since_ms, 5);
  EXPECT_EQ(job->entry.sources, std::vector<ServerId>{ServerId(4)});
}

TEST(RepairPlanner, WhenFullTheLeastUrgentAndYoungestIsLeftOut) {
  RepairPlannerOptions options;
  options.max_entries = 3;
  RepairPlanner planner(options);
  EXPECT_TRUE(planner.Put(Entry(1, RepairClass::kDrain, 1)));
  EXPECT_TRUE(planner.Put(Entry(2, RepairClass::kDrain, 2)));
  EXPECT_TRUE(planner.Put(Entry(3, RepairClass::kBelowWanted, 3)));
  EXPECT_FALSE(planner.Put(Entry(4, RepairClass::kDrain, 0))) << "no less urgent one is there";
  EXPECT_TRUE(planner.Put(Entry(5, RepairClass::kOneLeft, 9)));
  EXPECT_FALSE(planner.Contains(BlockId(2)));
  EXPECT_TRUE(planner.Contains(BlockId(1)));
  ASSERT_EQ(TakeBlock(planner), 5u);
  ASSERT_EQ(TakeBlock(planner), 3u);
  ASSERT_EQ(TakeBlock(planner), 1u);
  EXPECT_FALSE(planner.Put(Entry(6, RepairClass::kOneLeft))) << "what runs is not put out";
}

TEST(RepairPlanner, SaysWhenThereIsRoomForWhatWasLeftOut) {
  RepairPlannerOptions options;
  options.max_entries = 4;
  RepairPlanner planner(options);
  for (uint64_t block = 1; block <= 4; ++block) planner.Put(Entry(block, RepairClass::kDrain));
  EXPECT_FALSE(planner.TakeRoomAgain()) << "nothing was left out";
  EXPECT_FALSE(planner.Put(Entry(5, RepairClass::kDrain)));
  planner.Remove(BlockId(1));
  EXPECT_FALSE(planner.TakeRoomAgain()) << "it is still nearly full";
  planner.Remove(BlockId(2));
  EXPECT_TRUE(planner.TakeRoomAgain());
  EXPECT_FALSE(planner.TakeRoomAgain());
}

TEST(RepairPlanner, LostBlocksTakeNoRoomFromWhatCanBeRepaired) {
  RepairPlannerOptions options;
  options.max_entries = 4;
  options.max_lost = 6;
  RepairPlanner planner(options);
  EXPECT_TRUE(planner.Put(Entry(100, RepairClass::kBalance)));
  for (uint64_t block = 1; block <= 10; ++block) {
    EXPECT_EQ(planner.Put(Entry(block, RepairClass::kLost)), block <= 6);
  }
  EXPECT_EQ(planner.Count(RepairClass::kLost).blocks, 6);
  EXPECT_TRUE(planner.Contains(BlockId(100)));
  for (uint64_t block = 101; block <= 103; ++block) {
    EXPECT_TRUE(planner.Put(Entry(block, RepairClass::kDrain)));
  }
  EXPECT_FALSE(planner.Put(Entry(104, RepairClass::kBalance)));
  planner.Remove(BlockId(100));
  planner.Remove(BlockId(101));
  EXPECT_TRUE(planner.TakeRoomAgain()) << "lost ones never go, and are no reason to wait";
  EXPECT_EQ(TakeBlock(planner), 102u);
  planner.Finish(BlockId(102), Outcome::kDone, 0);
  // One that comes back competes again, one that is lost does not any more.
  EXPECT_TRUE(planner.Put(Entry(1, RepairClass::kOneLeft)));
  EXPECT_TRUE(planner.Put(Entry(103, RepairClass::kLost)));
  EXPECT_EQ(planner.Count(RepairClass::kLost).blocks, 6);
  EXPECT_EQ(TakeBlock(planner), 1u);
  planner.Put(Entry(1, RepairClass::kLost));
  planner.Finish(BlockId(1), Outcome::kDone, 0);
  EXPECT_FALSE(planner.Contains(BlockId(1))) << "there is no room for another lost one";
}

TEST(RepairPlanner, AClassOfWhichNothingCanBeDoneShutsOutNoOther) {
  RepairPlannerOptions options;
  options.max_entries = 100;  // a share is 5
  RepairPlanner planner(options);
  for (uint64_t block = 1; block <= 100; ++block) {
    ASSERT_TRUE(planner.Put(Entry(block, RepairClass::kBelowWanted)));
  }
  for (uint64_t i = 0; i < 20; ++i) {
    planner.Put(Entry(1000 + i, RepairClass::kDrain));
    planner.Put(Entry(2000 + i, RepairClass::kSurplus));
  }
  EXPECT_EQ(planner.Count(RepairClass::kDrain).blocks, 5);
  EXPECT_EQ(planner.Count(RepairClass::kSurplus).blocks, 5);
  EXPECT_EQ(planner.size(), 100u);
  // What is more urgent takes all but those shares.
  for (uint64_t i = 0; i < 200; ++i) planner.Put(Entry(3000 + i, RepairClass::kOneLeft));
  EXPECT_EQ(planner.Count(RepairClass::kDrain).blocks, 5);
  EXPECT_EQ(planner.Count(RepairClass::kBelowWanted).blocks, 5);
  EXPECT_EQ(planner.Count(RepairClass::kOneLeft).blocks, 85);
}

TEST(RepairPlanner, EveryClassIsAskedForWhateverTheOthersHold) {
  RepairPlanner planner{RepairPlannerOptions{}};
  for (uint64_t block = 1; block <= 100; ++block) {
    for (int c = 1; c < kRepairClasses - 1; ++c) {
      planner.Put(Entry(1000 * static_cast<uint64_t>(c) + block, static_cast<RepairClass>(c)));
    }
  }
  planner.Put(Entry(99'999, RepairClass::kBalance));
  const auto job = planner.Take(
      0, [](const RepairEntry& entry, const auto&, const auto&) -> std::optional<RepairSlots> {
        if (entry.block == BlockId(99'999)) return RepairSlots();
        return std::nullopt;
      });
  ASSERT_TRUE(job);
  EXPECT_EQ(job->entry.block, BlockId(99'999));
}

TEST(RepairPlanner, WhatIsNotServedGoesFirstWithinItsClassAndNeverLacksRoom) {
  RepairPlannerOptions options;
  options.max_entries = 3;
  RepairPlanner planner(options);
  for (uint64_t block = 1; block <= 3; ++block) {
    planner.Put(Entry(block, RepairClass::kOneLeft, static_cast<int64_t>(block)));
  }
  EXPECT_FALSE(planner.Put(Entry(4, RepairClass::kOneLeft, 0)));
  RepairEntry sealed = Entry(5, RepairClass::kOneLeft, 9);
  sealed.first = true;
  EXPECT_TRUE(planner.Put(sealed));
  EXPECT_FALSE(planner.Contains(BlockId(3))) << "the youngest";
  EXPECT_EQ(planner.Count(RepairClass::kOneLeft).oldest_since_ms, 1);
  EXPECT_EQ(TakeBlock(planner), 5u);
  EXPECT_EQ(TakeBlock(planner), 1u);
  planner.Finish(BlockId(5), Outcome::kDone, 0);
  planner.Finish(BlockId(1), Outcome::kFailed, 0);
  // Sealed now: it does not wait for what failed before.
  RepairEntry again = Entry(1, RepairClass::kOneLeft, 20);
  again.first = true;
  planner.Put(again);
  EXPECT_EQ(TakeBlock(planner), 1u);
}

TEST(RepairPlanner, BlockedEntriesAreCountedAndNeverTakenAndGiveWay) {
  RepairPlannerOptions options;
  options.max_entries = 3;
  RepairPlanner planner(options);
  for (uint64_t block = 1; block <= 3; ++block) {
    RepairEntry entry = Entry(block, RepairClass::kDrain, static_cast<int64_t>(block));
    entry.blocked = true;
    planner.Put(entry);
  }
  EXPECT_EQ(TakeBlock(planner, 1'000'000), 0u);
  EXPECT_EQ(planner.Count(RepairClass::kDrain).blocks, 3);
  EXPECT_EQ(planner.Count(RepairClass::kDrain).waiting, 3);
  EXPECT_EQ(planner.Blocked(BlockId(2), 1), std::vector<BlockId>{BlockId(2)});
  EXPECT_EQ(planner.Blocked(BlockId(), 10).size(), 3u);
  EXPECT_TRUE(planner.Put(Entry(4, RepairClass::kDrain, 50)));
  EXPECT_FALSE(planner.Contains(BlockId(3)));
  planner.Put(Entry(2, RepairClass::kDrain, 60));
  EXPECT_EQ(TakeBlock(planner), 2u) << "with its age";
  EXPECT_EQ(TakeBlock(planner), 4u);
  planner.Finish(BlockId(2), Outcome::kNotNow, 0);
  EXPECT_EQ(planner.Count(RepairClass::kDrain).waiting, 2);
  planner.Remove(BlockId(1));
  EXPECT_EQ(planner.Count(RepairClass::kDrain).waiting, 1);
  EXPECT_TRUE(planner.Blocked(BlockId(), 10).empty());
}

/// What holds at every moment, whatever is called in whatever order.
class Walk {
 public:
  explicit Walk(uint64_t seed) : random_(seed) {}

  void Run(int steps) {
    for (int i = 0; i < steps; ++i) {
      now_ms_ += static_cast<int64_t>(random_.Below(300));
      switch (random_.Below(5)) {
        case 0:
        case 1:
          Put();
          break;
        case 2:
          Take();
          break;
        case 3:
          Finish();
          break;
        default:
          planner_.Remove(BlockId(1 + random_.Below(60)));
      }
      Check();
    }
    Drain();
  }

 private:
  void Put() {
    std::vector<uint32_t> sources;
    for (uint64_t i = random_.Below(3); i > 0; --i) {
      sources.push_back(static_cast<uint32_t>(1 + random_.Below(6)));
    }
    RepairEntry entry =
        Entry(1 + random_.Below(60), static_cast<RepairClass>(random_.Below(kRepairClasses)),
              now_ms_, sources);
    entry.first = random_.Below(5) == 0;
    entry.blocked = random_.Below(5) == 0;
    const bool entered = planner_.Put(entry);
    EXPECT_EQ(entered, planner_.Contains(entry.block));
  }
  void Take() {
    auto job = planner_.Take(now_ms_,
                             [&](const RepairEntry& entry, const auto& can_send,
                                 const auto& can_receive) -> std::optional<RepairSlots> {
                               if (random_.Below(4) == 0) return std::nullopt;
                               RepairSlots slots;
                               for (ServerId source : entry.sources) {
                                 if (can_send(source)) slots.source = source;
                               }
                               const ServerId target(static_cast<uint32_t>(1 + random_.Below(6)));
                               if (can_receive(target)) slots.targets.push_back(target);
                               return slots;
                             });
    if (!job) return;
    EXPECT_FALSE(job->entry.blocked);
    EXPECT_NE(job->entry.repair_class, RepairClass::kLost);
    EXPECT_TRUE(running_.emplace(job->entry.block, *job).second) << "twice at once";
  }
  void Finish() {
    if (running_.empty()) return;
    auto it = running_.begin();
    std::advance(it, static_cast<long>(random_.Below(running_.size())));
    planner_.Finish(it->first, static_cast<Outcome>(random_.Below(4)), now_ms_);
    running_.erase(it);
  }
  void Check() {
    std::map<ServerId, std::pair<int, int>> used;  // in, out
    for (const auto& [block, job] : running_) {
      EXPECT_TRUE(planner_.Contains(block));
      if (job.slots.source) ++used[*job.slots.source].second;
      for (ServerId target : job.slots.targets) ++used[target].first;
    }
    for (uint32_t id = 1; id <= 6; ++id) {
      const ServerId server(id);
      EXPECT_EQ(planner_.Incoming(server), used[server].first);
      EXPECT_EQ(planner_.Outgoing(server), used[server].second);
      EXPECT_LE(used[server].first, options_.urgent_slots);
      EXPECT_LE(used[server].second, options_.urgent_slots);
    }
    int64_t blocks = 0;
    for (int c = 0; c < kRepairClasses; ++c) {
      blocks += planner_.Count(static_cast<RepairClass>(c)).blocks;
    }
    EXPECT_EQ(blocks, static_cast<int64_t>(planner_.size()));
    const int64_t lost = planner_.Count(RepairClass::kLost).blocks;
    EXPECT_LE(lost, static_cast<int64_t>(options_.max_lost));
    EXPECT_LE(blocks - lost, static_cast<int64_t>(options_.max_entries));
    EXPECT_EQ(planner_.running(), static_cast<int>(running_.size()));
  }
  /// When nothing new comes, everything has its turn.
  void Drain() {
    while (!running_.empty()) {
      planner_.Finish(running_.begin()->first, Outcome::kDone, now_ms_);
      running_.erase(running_.begin());
    }
    for (int i = 0; i < 2000; ++i) {
      now_ms_ += 3'600'000;
      auto job = planner_.Take(now_ms_, NoCopy);
      if (!job) break;
      planner_.Finish(job->entry.block, Outcome::kDone, now_ms_);
    }
    EXPECT_EQ(planner_.size(), planner_.Blocked(BlockId(), 1000).size());
    EXPECT_FALSE(planner_.NextDue());
  }

  SeededRandom random_;
  const RepairPlannerOptions options_ = [] {
    RepairPlannerOptions options;
    options.max_entries = 40;
    options.max_lost = 10;
    return options;
  }();
  RepairPlanner planner_{options_};
  std::map<BlockId, RepairJob> running_;
  int64_t now_ms_ = 0;
};

TEST(RepairPlannerWalk, HoldsForThousandsOfHistories) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Walk(seed).Run(150);
    if (testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace tercet
