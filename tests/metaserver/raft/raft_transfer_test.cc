#include <gtest/gtest.h>

#include "tests/metaserver/raft/raft_test_util.h"

namespace tercet {
namespace {

StatusCode Transfer(TestGroup& group, uint32_t leader, uint32_t target) {
  const Status status = group.core(leader).Transfer(MemberId(target), group.now);
  group.Drive(group[leader]);
  return status.code();
}

TEST(RaftTransferTest, TheTargetLeadsWithoutWaitingForAnyTimeout) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  EXPECT_EQ(Transfer(group, 1, 2), StatusCode::kOk);
  EXPECT_TRUE(group.core(1).transferring());
  group.DeliverAll();
  EXPECT_TRUE(group.core(2).is_leader());
  EXPECT_EQ(group.core(1).role(), RaftRole::kFollower);
  EXPECT_EQ(group.core(3).leader(), MemberId(2));
}

TEST(RaftTransferTest, WaitsUntilTheTargetHasAllRecordsAndTakesNoNewOnes) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group[2].sync_at_once = false;
  ASSERT_TRUE(group.Propose(1, "a").ok());
  group.DeliverAll();
  EXPECT_EQ(Transfer(group, 1, 2), StatusCode::kOk);
  group.DeliverAll();
  EXPECT_TRUE(group.core(1).is_leader());
  EXPECT_EQ(group.Propose(1, "b").code(), StatusCode::kNotActive);
  group.Sync(2);
  group.DeliverAll();
  EXPECT_TRUE(group.core(2).is_leader());
}

TEST(RaftTransferTest, ChoosesTheMemberThatHasMost) {
  TestGroup group(WithKind(VotersOnly(4), 2, MemberKind::kWitness));
  group.MakeLeader(1);
  group.filter = [](const RaftMessage& m) {
    const auto* request = std::get_if<AppendRequest>(&m.body);
    return request == nullptr || request->records.empty() || m.to != MemberId(3);
  };
  ASSERT_TRUE(group.Propose(1, "a").ok());
  group.DeliverAll();
  EXPECT_EQ(Transfer(group, 1, 0), StatusCode::kOk);
  group.DeliverAll();
  EXPECT_EQ(group.Leader(), 4u);
}

TEST(RaftTransferTest, RefusesWhoCannotTakeOverAndSaysWhy) {
  TestGroup group(With(WithKind(VotersOnly(5), 2, MemberKind::kWitness), 6, /*voter=*/false));
  group.MakeLeader(1);
  group.core(3).SetLacksState(true);
  group.core(4).SetShortOfSpace(true);
  group.Crash(5);
  group.Run(500);
  const std::pair<uint32_t, const char*> reasons[] = {
      {1, "is the leader"},   {2, "witness"}, {3, "namespace"}, {4, "room"},
      {5, "does not answer"}, {6, "vote"},    {7, "not in"}};
  for (const auto& [target, reason] : reasons) {
    const Status status = group.core(1).Transfer(MemberId(target), group.now);
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << target;
    EXPECT_NE(status.message().find(reason), std::string::npos) << status.message();
  }
  EXPECT_EQ(Transfer(group, 1, 0), StatusCode::kFailedPrecondition);
  EXPECT_EQ(group.core(3).Transfer(MemberId(1), group.now).code(), StatusCode::kNotActive);
  EXPECT_TRUE(group.core(1).may_serve());
}

TEST(RaftTransferTest, RefusesAMemberThatIsFarBehind) {
  TestGroup group(VotersOnly(3));
  group.options.max_transfer_lag = 5;
  group.Start(1);
  group.MakeLeader(1);
  group.filter = [](const RaftMessage& m) {
    const auto* request = std::get_if<AppendRequest>(&m.body);
    return request == nullptr || request->records.empty() || m.to != MemberId(2);
  };
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(group.Propose(1, "a").ok());
  group.DeliverAll();
  EXPECT_EQ(Transfer(group, 1, 2), StatusCode::kFailedPrecondition);
  EXPECT_EQ(Transfer(group, 1, 3), StatusCode::kOk);
}

TEST(RaftTransferTest, OneAtATime) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  EXPECT_EQ(Transfer(group, 1, 2), StatusCode::kOk);
  EXPECT_EQ(Transfer(group, 1, 3), StatusCode::kBusy);
}

TEST(RaftTransferTest, ALostRequestToTakeOverIsRepeated) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  int lost = 2;
  group.filter = [&](const RaftMessage& m) {
    return !std::holds_alternative<TimeoutNow>(m.body) || lost-- <= 0;
  };
  EXPECT_EQ(Transfer(group, 1, 2), StatusCode::kOk);
  group.Run(200);
  EXPECT_EQ(group.Leader(), 2u);
}

TEST(RaftTransferTest, WhenTheTargetDiesTheLeaderGivesUpAndSomebodyLeads) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  const Epoch epoch = group.core(1).epoch();
  group.Isolate(2);
  EXPECT_EQ(Transfer(group, 1, 2), StatusCode::kOk);
  EXPECT_TRUE(group.RunUntil(
      [&] { return group.Leader() != 0 && group.core(group.Leader()).epoch() > epoch; }, 2500));
}

TEST(RaftTransferTest, ALateRequestToTakeOverDoesNothing) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  const uint64_t epoch = group.core(1).epoch().value();
  EXPECT_EQ(Transfer(group, 1, 2), StatusCode::kOk);
  group.DeliverAll();
  ASSERT_EQ(group.Leader(), 2u);
  group.OpenEpoch(2);
  group.DeliverAll();
  group.Deliver(group.Message(1, 2, epoch, TimeoutNow{}));
  group.Deliver(group.Message(1, 3, epoch, TimeoutNow{}));
  group.Deliver(group.Message(1, 3, epoch + 1, TimeoutNow{}));  // not from its leader
  group.DeliverAll();
  EXPECT_TRUE(group.core(2).is_leader());
  EXPECT_EQ(group.core(2).epoch(), Epoch(epoch + 1));
}

TEST(RaftTransferTest, AnElectionThatWasHandedOverIsLostWithAnOlderLog) {
  // The target lost its newest records (unsynced) between the request and the election.
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  ASSERT_TRUE(group.Propose(1, "a").ok());
  group.DeliverAll();
  const uint64_t epoch = group.core(1).epoch().value();
  VoteRequest stale{.last_index = JournalIndex(1), .last_epoch = Epoch(epoch), .transfer = true};
  group.Deliver(group.Message(2, 3, epoch + 1, stale));
  const std::vector<VoteResponse> answers = Waiting<VoteResponse>(group, 2);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_FALSE(answers[0].granted);
  EXPECT_TRUE(answers[0].log_is_newer);
}

TEST(RaftTransferTest, AnActiveWithoutRoomHandsOverWhenSomebodyHasRoom) {
  TestGroup group(WithKind(VotersOnly(3), 3, MemberKind::kWitness));
  group.MakeLeader(1);
  group.core(2).SetShortOfSpace(true);
  group.Settle();
  group.core(1).SetShortOfSpace(true);
  group.Run(1000);
  EXPECT_EQ(group.Leader(), 1u);
  EXPECT_TRUE(group.core(1).may_serve());  // reads go on
  group.core(2).SetShortOfSpace(false);
  EXPECT_TRUE(group.RunUntil([&] { return group.Leader() == 2; }, 100));
}

TEST(RaftTransferTest, WhoResignsTellsTheBestMemberToTakeOver) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group.core(1).Resign(group.now);
  EXPECT_FALSE(group.core(1).is_leader());
  group.Drive(group[1]);
  group.DeliverAll();
  EXPECT_GT(group.Leader(), 1u);
}

TEST(RaftTransferTest, WhoResignsAloneLeadsAgainLater) {
  TestGroup group(VotersOnly(1));
  group.MakeLeader(1);
  group.core(1).Resign(group.now);
  group.Drive(group[1]);
  group.Run(700);
  EXPECT_FALSE(group.core(1).is_leader());
  group.Run(300);
  EXPECT_TRUE(group.core(1).is_leader());
}

TEST(RaftTransferTest, AWitnessHandsOverToOneWithLittleRoomWhenThereIsNoOther) {
  TestGroup group(WithKind(VotersOnly(3), 3, MemberKind::kWitness));
  group.Crash(1);
  group.core(2).SetShortOfSpace(true);
  bool handed_over = false;
  group.filter = [&](const RaftMessage& m) {
    if (m.from == MemberId(3) && std::holds_alternative<TimeoutNow>(m.body)) handed_over = true;
    return true;
  };
  for (int i = 0; i < 1000 && !group.core(2).is_leader(); ++i) {
    group.now += 5 * kMs;
    group.Tick(3);
    group.DeliverAll();
  }
  EXPECT_TRUE(group.core(2).is_leader());
  EXPECT_TRUE(handed_over);
}

}  // namespace
}  // namespace tercet
