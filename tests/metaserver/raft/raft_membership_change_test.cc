#include <gtest/gtest.h>

#include "tests/metaserver/raft/raft_test_util.h"

namespace tercet {
namespace {

TEST(RaftMembershipChangeTest, AGroupGrowsFromOneToThree) {
  TestGroup group(VotersOnly(1));
  group.MakeLeader(1);
  Membership now = VotersOnly(1);
  for (uint32_t id : {2, 3}) {
    group.Add(MemberId(id));
    for (bool voter : {false, true}) {
      now = With(now, id, voter);
      ASSERT_TRUE(group.ProposeMembership(1, now).ok());
      group.Run(120);
      EXPECT_EQ(group.core(1).commit_index(), group.core(1).last_index());
      EXPECT_EQ(group.core(id).membership(), now);
    }
  }
  group.Crash(1);
  EXPECT_TRUE(group.RunUntil([&] { return group.Leader() > 1; }));
}

TEST(RaftMembershipChangeTest, AMemberThatDoesNotVoteIsSentRecordsButDoesNotCount) {
  TestGroup group(VotersOnly(2));
  group.MakeLeader(1);
  group.Add(MemberId(3));
  ASSERT_TRUE(group.ProposeMembership(1, With(VotersOnly(2), 3, /*voter=*/false)).ok());
  group.DeliverAll();
  group.Settle();
  group.Isolate(2);
  const JournalIndex index = *group.Propose(1, "a");
  group.DeliverAll();
  group.Settle();
  EXPECT_EQ(group[3].last(), index);
  EXPECT_LT(group.core(1).commit_index(), index);
}

TEST(RaftMembershipChangeTest, OneChangeAtATime) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group.Isolate(1);
  ASSERT_TRUE(group.ProposeMembership(1, With(VotersOnly(3), 4, false)).ok());
  EXPECT_EQ(group.ProposeMembership(1, With(VotersOnly(3), 4, true)).code(), StatusCode::kBusy);
  group.Heal();
  group.Run(100);
  EXPECT_EQ(group.core(1).CanPropose(RecordKind::kMembership, &group.initial).code(),
            StatusCode::kInvalidArgument);  // the next id would go back
  const Membership next = With(VotersOnly(3), 4, true);
  EXPECT_TRUE(group.ProposeMembership(1, next).ok());
}

TEST(RaftMembershipChangeTest, NotBeforeTheLeadersFirstRecordIsCommitted) {
  TestGroup group(VotersOnly(1));
  group[1].sync_at_once = false;
  group.Tick(1);
  ASSERT_TRUE(group.core(1).is_leader());
  const Membership next = With(VotersOnly(1), 2, false);
  EXPECT_EQ(group.ProposeMembership(1, next).code(), StatusCode::kBusy);
  group.OpenEpoch(1);
  EXPECT_EQ(group.ProposeMembership(1, next).code(), StatusCode::kBusy);
  group.Sync(1);
  EXPECT_TRUE(group.ProposeMembership(1, next).ok());
}

TEST(RaftMembershipChangeTest, RefusesWhatIsNotOneStep) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  const auto code = [&](const Membership& next) {
    return group.core(1).CanPropose(RecordKind::kMembership, &next).code();
  };
  EXPECT_EQ(code(With(With(VotersOnly(3), 4, true), 5, true)), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(With(Without(VotersOnly(3), 2), 4, true)), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(VotersOnly(1)), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Membership()), StatusCode::kInvalidArgument);
  Membership bad = VotersOnly(3);
  bad.members[0].id = MemberId(0);
  EXPECT_EQ(code(bad), StatusCode::kInvalidArgument);
  EXPECT_EQ(group.core(1).CanPropose(RecordKind::kMembership, nullptr).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code(With(VotersOnly(3), 4, true)), StatusCode::kOk);
  EXPECT_EQ(code(WithKind(VotersOnly(3), 3, MemberKind::kWitness)), StatusCode::kOk);
  EXPECT_EQ(code(Without(VotersOnly(3), 3)), StatusCode::kOk);
}

TEST(RaftMembershipChangeTest, AnIdIsNeverUsedAgain) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  ASSERT_TRUE(group.ProposeMembership(1, Without(VotersOnly(3), 3)).ok());
  group.DeliverAll();
  const Membership again = With(Without(VotersOnly(3), 3), 3, false);
  EXPECT_EQ(group.core(1).CanPropose(RecordKind::kMembership, &again).code(),
            StatusCode::kInvalidArgument);
}

TEST(RaftMembershipChangeTest, TheNewMajorityCountsFromTheRecordOn) {
  TestGroup group(With(VotersOnly(2), 3, false));
  group.MakeLeader(1);
  group.Crash(2);
  // Of two voters one is dead; the third makes the majority that commits its own admission.
  const JournalIndex index = *group.ProposeMembership(1, With(VotersOnly(2), 3, true));
  group.DeliverAll();
  EXPECT_EQ(group.core(1).commit_index(), index);
}

TEST(RaftMembershipChangeTest, AChangeThatIsTakenBackIsNotInForce) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group.Isolate(1);
  ASSERT_TRUE(group.ProposeMembership(1, With(VotersOnly(3), 4, true)).ok());
  EXPECT_EQ(group.core(1).membership().voter_count(), 4u);
  ASSERT_TRUE(group.RunUntil([&] { return group.Leader() > 1; }));
  group.OpenEpoch(group.Leader());
  group.Heal();
  group.Run(300);
  EXPECT_EQ(group.core(1).membership(), VotersOnly(3));
  EXPECT_EQ(group.core(1).membership_index(), JournalIndex(0));
}

TEST(RaftMembershipChangeTest, ALeaderThatIsRemovedLeadsUpToThat) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  for (uint32_t id : {2, 3}) group[id].sync_at_once = false;
  ASSERT_TRUE(group.ProposeMembership(1, Without(VotersOnly(3), 1)).ok());
  group.DeliverAll();
  EXPECT_TRUE(group.core(1).is_leader());
  group.Sync(2);
  group.DeliverAll();
  EXPECT_TRUE(group.core(1).is_leader());  // its own copy does not count: one of two
  group.Sync(3);
  group.DeliverAll();
  EXPECT_FALSE(group.core(1).is_leader());
  EXPECT_TRUE(group.core(1).removed());
  for (uint32_t id : {2, 3}) group[id].sync_at_once = true;
  EXPECT_TRUE(group.RunUntil([&] { return group.Leader() > 1; }));
  group.Run(2000);
  EXPECT_EQ(group.core(1).role(), RaftRole::kFollower);
}

TEST(RaftMembershipChangeTest, TheLastOfTwoGoesOnAlone) {
  TestGroup group(VotersOnly(2));
  group.MakeLeader(1);
  group.Crash(2);
  // Nothing can be committed by two; the one that stays is a majority of one.
  ASSERT_TRUE(group.ProposeMembership(1, Without(VotersOnly(2), 2)).ok());
  EXPECT_EQ(group.core(1).commit_index(), group.core(1).last_index());
  EXPECT_EQ(group.core(1).lease_until_ns(), INT64_MAX);
}

TEST(RaftMembershipChangeTest, TheMembershipAtARecordIsTheOneInForceThere) {
  TestGroup group(VotersOnly(1));
  group.MakeLeader(1);
  const Membership two = With(VotersOnly(1), 2, false);
  const JournalIndex index = *group.ProposeMembership(1, two);
  ASSERT_TRUE(group.Propose(1, "a").ok());
  EXPECT_EQ(group.core(1).MembershipAt(JournalIndex(index.value() - 1)).second, VotersOnly(1));
  EXPECT_EQ(group.core(1).MembershipAt(index), std::pair(index, two));
  group.core(1).LogReleased(index.Next());
  EXPECT_EQ(group.core(1).MembershipAt(index), std::pair(index, two));
  EXPECT_EQ(group.core(1).membership(), two);
}

}  // namespace
}  // namespace tercet
