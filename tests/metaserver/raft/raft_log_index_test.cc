#include "metaserver/raft/raft_log_index.h"

#include <gtest/gtest.h>

#include "common/env/random.h"
#include "tests/metaserver/raft/raft_test_util.h"

namespace tercet {
namespace {

/// Records 11..20: epochs 3 (11-13), 5 (14-18), 6 (19-20); record 10 had epoch 2.
LogSummary Summary() {
  LogSummary summary;
  summary.first = JournalIndex(11);
  summary.last = JournalIndex(20);
  summary.base_epoch = Epoch(2);
  summary.runs = {
      {JournalIndex(11), Epoch(3)}, {JournalIndex(14), Epoch(5)}, {JournalIndex(19), Epoch(6)}};
  summary.base_membership = VotersOnly(1);
  summary.base_membership_index = JournalIndex(4);
  summary.memberships = {{JournalIndex(12), VotersOnly(2)}, {JournalIndex(17), VotersOnly(3)}};
  return summary;
}

TEST(RaftLogIndexTest, KnowsTheEpochOfEachRecordAndOfTheOneBefore) {
  const RaftLogIndex log(Summary());
  const uint64_t epochs[] = {2, 3, 3, 3, 5, 5, 5, 5, 5, 6, 6};
  for (uint64_t i = 0; i < std::size(epochs); ++i) {
    EXPECT_EQ(log.EpochAt(JournalIndex(10 + i)), Epoch(epochs[i])) << 10 + i;
  }
  EXPECT_EQ(log.EpochAt(JournalIndex(9)), std::nullopt);
  EXPECT_EQ(log.EpochAt(JournalIndex(21)), std::nullopt);
}

TEST(RaftLogIndexTest, AnEmptyLogHasTheRecordBeforeItsFirst) {
  RaftLogIndex log(LogSummary{});
  EXPECT_EQ(log.last(), JournalIndex(0));
  EXPECT_EQ(log.EpochAt(JournalIndex(0)), Epoch(0));
  EXPECT_EQ(log.last_epoch(), Epoch(0));
  log.Append(Epoch(4));
  EXPECT_EQ(log.EpochAt(JournalIndex(1)), Epoch(4));
}

TEST(RaftLogIndexTest, FindsTheNewestRecordOfAnEpochNotAbove) {
  const RaftLogIndex log(Summary());
  EXPECT_EQ(log.NewestUpTo(JournalIndex(20), Epoch(9)), JournalIndex(20));
  EXPECT_EQ(log.NewestUpTo(JournalIndex(99), Epoch(9)), JournalIndex(20));
  EXPECT_EQ(log.NewestUpTo(JournalIndex(20), Epoch(5)), JournalIndex(18));
  EXPECT_EQ(log.NewestUpTo(JournalIndex(16), Epoch(5)), JournalIndex(16));
  EXPECT_EQ(log.NewestUpTo(JournalIndex(20), Epoch(4)), JournalIndex(13));
  EXPECT_EQ(log.NewestUpTo(JournalIndex(20), Epoch(2)), JournalIndex(10));
  EXPECT_EQ(log.NewestUpTo(JournalIndex(20), Epoch(1)), std::nullopt);
  EXPECT_EQ(log.NewestUpTo(JournalIndex(9), Epoch(9)), std::nullopt);
}

TEST(RaftLogIndexTest, TruncationTakesMembershipsBack) {
  RaftLogIndex log(Summary());
  EXPECT_EQ(log.membership(), VotersOnly(3));
  log.TruncateAfter(JournalIndex(16));
  EXPECT_EQ(log.membership(), VotersOnly(2));
  EXPECT_EQ(log.membership_index(), JournalIndex(12));
  EXPECT_EQ(log.last_epoch(), Epoch(5));
  log.TruncateAfter(JournalIndex(11));
  EXPECT_EQ(log.membership(), VotersOnly(1));
  EXPECT_EQ(log.membership_index(), JournalIndex(4));
  log.TruncateAfter(JournalIndex(10));
  EXPECT_EQ(log.last_epoch(), Epoch(2));
}

TEST(RaftLogIndexTest, ReleaseKeepsTheNewestMembershipAndTheEpochBefore) {
  RaftLogIndex log(Summary());
  log.ReleaseBefore(JournalIndex(18));
  EXPECT_EQ(log.first(), JournalIndex(18));
  EXPECT_EQ(log.base_epoch(), Epoch(5));
  EXPECT_EQ(log.EpochAt(JournalIndex(18)), Epoch(5));
  EXPECT_EQ(log.MembershipAt(JournalIndex(18)).first, JournalIndex(17));
  EXPECT_EQ(*log.MembershipAt(JournalIndex(20)).second, VotersOnly(3));
  log.ReleaseBefore(JournalIndex(3));
  EXPECT_EQ(log.first(), JournalIndex(18));
  log.ReleaseBefore(JournalIndex(21));
  EXPECT_EQ(log.last(), JournalIndex(20));
  EXPECT_EQ(log.last_epoch(), Epoch(6));
}

TEST(RaftLogIndexTest, FindsTheMembershipThatWasInForceAtARecord) {
  const RaftLogIndex log(Summary());
  EXPECT_EQ(log.MembershipAt(JournalIndex(11)).first, JournalIndex(4));
  EXPECT_EQ(log.MembershipAt(JournalIndex(12)).first, JournalIndex(12));
  EXPECT_EQ(log.MembershipAt(JournalIndex(16)).first, JournalIndex(12));
  EXPECT_EQ(log.MembershipAt(JournalIndex(17)).first, JournalIndex(17));
}

TEST(RaftLogIndexTest, ARandomWalkAgreesWithAListOfAllEpochs) {
  SeededRandom random(3);
  RaftLogIndex log(LogSummary{});
  std::vector<Epoch> all = {Epoch(0)};  // by index
  uint64_t first = 1;
  for (int step = 0; step < 5000; ++step) {
    switch (random.Below(12)) {
      case 0: {
        const uint64_t keep = first - 1 + random.Below(all.size() - (first - 1));
        all.resize(keep + 1);
        log.TruncateAfter(JournalIndex(keep));
        break;
      }
      case 1:
        first += random.Below(all.size() - first + 1);
        log.ReleaseBefore(JournalIndex(first));
        break;
      default:
        all.push_back(Epoch(all.back().value() + (random.Below(5) == 0 ? 1 + random.Below(3) : 0)));
        log.Append(all.back());
    }
    ASSERT_EQ(log.first(), JournalIndex(first));
    ASSERT_EQ(log.last(), JournalIndex(all.size() - 1));
    ASSERT_EQ(log.last_epoch(), all.back());
    const uint64_t probe = first - 1 + random.Below(all.size() - (first - 1));
    ASSERT_EQ(log.EpochAt(JournalIndex(probe)), all[probe]);
    const Epoch most(random.Below(all.back().value() + 2));
    std::optional<JournalIndex> expected;
    for (uint64_t i = first - 1; i <= probe; ++i) {
      if (all[i] <= most) expected = JournalIndex(i);
    }
    ASSERT_EQ(log.NewestUpTo(JournalIndex(probe), most), expected);
  }
}

}  // namespace
}  // namespace tercet
