#include <gtest/gtest.h>

#include "tests/metaserver/raft/raft_test_util.h"

namespace tercet {
namespace {

VoteRequest Ask(uint64_t last_index, uint64_t last_epoch) {
  return {.last_index = JournalIndex(last_index), .last_epoch = Epoch(last_epoch)};
}
VoteRequest AskFirst(uint64_t last_index, uint64_t last_epoch) {
  VoteRequest request = Ask(last_index, last_epoch);
  request.pre_vote = true;
  return request;
}

/// What `voter` answers to a vote request, with its epoch.
std::pair<VoteResponse, Epoch> Answer(TestGroup& group, uint32_t from, uint32_t voter,
                                      uint64_t epoch, VoteRequest request) {
  group.network.clear();
  group.Deliver(group.Message(from, voter, epoch, request));
  for (const RaftMessage& message : group.network) {
    const auto* response = std::get_if<VoteResponse>(&message.body);
    if (response == nullptr || message.to != MemberId(from)) continue;
    const std::pair<VoteResponse, Epoch> found{*response, message.epoch};
    group.network.clear();
    return found;
  }
  ADD_FAILURE() << "no answer";
  return {};
}

TEST(RaftElectionTest, AGroupOfOneElectsItselfAtTheFirstTick) {
  TestGroup group(VotersOnly(1));
  group.Tick(1);
  EXPECT_TRUE(group.core(1).is_leader());
  EXPECT_EQ(group[1].hard, (HardState{Epoch(1), MemberId(1)}));
  EXPECT_FALSE(group.core(1).may_serve());
  group.OpenEpoch(1);
  EXPECT_TRUE(group.core(1).may_serve());
  EXPECT_EQ(group.core(1).commit_index(), JournalIndex(1));
}

TEST(RaftElectionTest, ThreeMembersElectExactlyOne) {
  TestGroup group(VotersOnly(3));
  ASSERT_TRUE(group.RunUntil([&] { return group.Leader() != 0; }, 1500));
  group.Run(1000);
  int leaders = 0;
  for (uint32_t id : {1, 2, 3}) {
    leaders += group.core(id).is_leader() ? 1 : 0;
    EXPECT_EQ(group.core(id).leader(), MemberId(group.Leader()));
    EXPECT_EQ(group.core(id).epoch(), group.core(1).epoch());
  }
  EXPECT_EQ(leaders, 1);
}

TEST(RaftElectionTest, AMemberThatStartedVotesForNobodyUntilEarlierPromisesAreOver) {
  TestGroup group(VotersOnly(3));
  EXPECT_FALSE(Answer(group, 2, 1, 5, Ask(9, 4)).first.granted);
  EXPECT_FALSE(Answer(group, 2, 1, 5, AskFirst(9, 4)).first.granted);
  EXPECT_EQ(group.core(1).epoch(), Epoch(0));
  group.now += group.options.election_timeout_ns - 1;
  EXPECT_FALSE(Answer(group, 2, 1, 5, Ask(9, 4)).first.granted);
  group.now += 1;
  EXPECT_TRUE(Answer(group, 2, 1, 5, AskFirst(9, 4)).first.granted);
  EXPECT_TRUE(Answer(group, 2, 1, 5, Ask(9, 4)).first.granted);
}

TEST(RaftElectionTest, OneVoteInAnEpochEvenOverARestart) {
  TestGroup group(VotersOnly(3));
  group.now += group.options.election_timeout_ns;
  EXPECT_TRUE(Answer(group, 2, 1, 5, Ask(0, 0)).first.granted);
  EXPECT_EQ(group[1].hard, (HardState{Epoch(5), MemberId(2)}));
  EXPECT_TRUE(Answer(group, 2, 1, 5, Ask(0, 0)).first.granted);  // it asked again
  EXPECT_FALSE(Answer(group, 3, 1, 5, Ask(0, 0)).first.granted);
  group.Crash(1);
  group.Start(1);
  group.now += group.options.election_timeout_ns;
  EXPECT_FALSE(Answer(group, 3, 1, 5, Ask(0, 0)).first.granted);
  EXPECT_TRUE(Answer(group, 2, 1, 5, Ask(0, 0)).first.granted);
}

TEST(RaftElectionTest, TheVoteGoesToTheDiskWithTheAnswer) {
  TestGroup group(VotersOnly(3));
  group.now += group.options.election_timeout_ns;
  group.core(1).Receive(group.Message(2, 1, 5, Ask(0, 0)), group.now);
  const RaftEffects effects = group.core(1).TakeEffects();
  EXPECT_EQ(effects.hard_state, (HardState{Epoch(5), MemberId(2)}));
  EXPECT_EQ(effects.messages.size(), 1u);
}

TEST(RaftElectionTest, AnOlderLogGetsNoVoteAndIsToldWhy) {
  TestGroup group(VotersOnly(3));
  group[1].records = {Record(1, 1), Record(2, 3), Record(3, 3)};
  group[1].durable = JournalIndex(3);
  group[1].hard.epoch = Epoch(3);
  group.Start(1);
  group.now += group.options.election_timeout_ns;
  uint64_t epoch = 3;
  for (VoteRequest older : {Ask(9, 2), Ask(2, 3), AskFirst(9, 2), AskFirst(2, 3)}) {
    const VoteResponse response = Answer(group, 2, 1, ++epoch, older).first;
    EXPECT_FALSE(response.granted);
    EXPECT_TRUE(response.log_is_newer);
  }
  EXPECT_TRUE(Answer(group, 2, 1, 8, AskFirst(3, 3)).first.granted);
  EXPECT_TRUE(Answer(group, 2, 1, 8, Ask(1, 4)).first.granted);
}

TEST(RaftElectionTest, APreVoteChangesNothingAtTheVoter) {
  TestGroup group(VotersOnly(3));
  group.now += group.options.election_timeout_ns;
  const auto [response, epoch] = Answer(group, 2, 1, 5, AskFirst(0, 0));
  EXPECT_TRUE(response.granted);
  EXPECT_EQ(epoch, Epoch(5));
  EXPECT_EQ(group.core(1).epoch(), Epoch(0));
  EXPECT_TRUE(Answer(group, 3, 1, 5, AskFirst(0, 0)).first.granted);
}

TEST(RaftElectionTest, WhoHearsFromALeaderHelpsNobodyElseAndKeepsItsEpoch) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  const Epoch epoch = group.core(1).epoch();
  for (uint32_t voter : {1, 2}) {
    EXPECT_FALSE(Answer(group, 3, voter, 50, Ask(99, 49)).first.granted) << voter;
    EXPECT_FALSE(Answer(group, 3, voter, 50, AskFirst(99, 49)).first.granted) << voter;
    EXPECT_EQ(group.core(voter).epoch(), epoch);
  }
  EXPECT_TRUE(group.core(1).is_leader());
}

TEST(RaftElectionTest, ThePromiseEndsAnElectionTimeoutAfterTheLeaderWasHeard) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group.Crash(1);
  group.now += group.options.election_timeout_ns - 1;
  EXPECT_FALSE(Answer(group, 3, 2, 50, AskFirst(99, 49)).first.granted);
  group.now += 1;
  EXPECT_TRUE(Answer(group, 3, 2, 50, AskFirst(99, 49)).first.granted);
}

TEST(RaftElectionTest, ALeaderThatAsksForVotesIsNoLeaderAnyMoreSoItsFollowersNeedNotWait) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  const uint64_t next = group.core(1).epoch().value() + 1;
  EXPECT_FALSE(Answer(group, 3, 2, next, AskFirst(1, 1)).first.granted);
  EXPECT_TRUE(Answer(group, 1, 2, next, AskFirst(1, 1)).first.granted);
  EXPECT_TRUE(Answer(group, 3, 2, next, AskFirst(1, 1)).first.granted);
}

TEST(RaftElectionTest, ACutOffMemberDisturbsNobodyWhenItComesBack) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group.Isolate(3);
  group.Run(3000);
  const Epoch epoch = group.core(1).epoch();
  EXPECT_EQ(group.core(3).epoch(), epoch);
  EXPECT_EQ(group.core(3).role(), RaftRole::kPreCandidate);
  group.Heal();
  group.Run(1000);
  EXPECT_EQ(group.Leader(), 1u);
  EXPECT_EQ(group.core(3).leader(), MemberId(1));
  EXPECT_EQ(group.core(1).epoch(), epoch);
}

TEST(RaftElectionTest, AMemberThatHearsTheOthersButNotTheLeaderDisturbsNobody) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  const Epoch epoch = group.core(1).epoch();
  group.Cut(1, 3);
  group.Run(3000);
  EXPECT_EQ(group.Leader(), 1u);
  EXPECT_EQ(group.core(2).epoch(), epoch);
}

TEST(RaftElectionTest, OneVotersAnswersCountOnce) {
  TestGroup group(VotersOnly(5));
  group.filter = [](const RaftMessage& m) { return m.from == MemberId(1); };
  group.Wait(1, 2 * group.options.election_timeout_ns);
  ASSERT_EQ(group.core(1).role(), RaftRole::kPreCandidate);
  const VoteResponse pre{.granted = true, .pre_vote = true};
  for (int i = 0; i < 5; ++i) group.Deliver(group.Message(2, 1, 1, pre));
  EXPECT_EQ(group.core(1).role(), RaftRole::kPreCandidate);
  group.Deliver(group.Message(3, 1, 1, pre));
  ASSERT_EQ(group.core(1).role(), RaftRole::kCandidate);
  const VoteResponse vote{.granted = true};
  for (int i = 0; i < 5; ++i) group.Deliver(group.Message(2, 1, 1, vote));
  EXPECT_EQ(group.core(1).role(), RaftRole::kCandidate);
  group.Deliver(group.Message(9, 1, 1, vote));  // who is that?
  group.Deliver(group.Message(3, 1, 7, pre));   // of another question
  EXPECT_EQ(group.core(1).role(), RaftRole::kCandidate);
  group.Deliver(group.Message(4, 1, 1, vote));
  EXPECT_TRUE(group.core(1).is_leader());
}

TEST(RaftElectionTest, VotesForAnEarlierEpochDoNotCount) {
  TestGroup group(VotersOnly(3));
  group.filter = [](const RaftMessage& m) { return m.from == MemberId(1); };
  const auto stand = [&] {
    group.Wait(1, 2 * group.options.election_timeout_ns);
    group.Deliver(group.Message(2, 1, group.core(1).epoch().value() + 1,
                                VoteResponse{.granted = true, .pre_vote = true}));
  };
  stand();
  ASSERT_EQ(group.core(1).role(), RaftRole::kCandidate);
  stand();
  ASSERT_EQ(group.core(1).role(), RaftRole::kCandidate);
  ASSERT_EQ(group.core(1).epoch(), Epoch(2));
  group.Deliver(group.Message(2, 1, 1, VoteResponse{.granted = true}));
  EXPECT_EQ(group.core(1).role(), RaftRole::kCandidate);
  group.Deliver(group.Message(3, 1, 2, VoteResponse{.granted = true}));
  EXPECT_TRUE(group.core(1).is_leader());
}

TEST(RaftElectionTest, AVoteThatComesAfterTheCandidateGaveUpDoesNotCount) {
  TestGroup group(VotersOnly(3));
  group.filter = [](const RaftMessage& m) { return m.from == MemberId(1); };
  group.Wait(1, 2 * group.options.election_timeout_ns);
  group.Deliver(group.Message(2, 1, 1, VoteResponse{.granted = true, .pre_vote = true}));
  ASSERT_EQ(group.core(1).role(), RaftRole::kCandidate);
  group.Wait(1, group.options.election_timeout_ns);
  ASSERT_EQ(group.core(1).role(), RaftRole::kPreCandidate);
  group.Deliver(group.Message(2, 1, 1, VoteResponse{.granted = true}));
  EXPECT_FALSE(group.core(1).is_leader());
}

TEST(RaftElectionTest, PreVotesOfLongAgoDoNotAddUp) {
  TestGroup group(VotersOnly(5));
  group.filter = [](const RaftMessage& m) { return m.from == MemberId(1); };
  group.Wait(1, 2 * group.options.election_timeout_ns);
  const VoteResponse pre{.granted = true, .pre_vote = true};
  group.Deliver(group.Message(2, 1, 1, pre));
  group.Wait(1, 2 * group.options.election_timeout_ns);
  group.Deliver(group.Message(3, 1, 1, pre));
  EXPECT_EQ(group.core(1).role(), RaftRole::kPreCandidate);
}

TEST(RaftElectionTest, ASplitVoteIsSettledByAnotherRound) {
  TestGroup group(VotersOnly(4));
  group.filter = [](const RaftMessage&) { return false; };
  group.Wait(1, 2 * group.options.election_timeout_ns);
  group.Wait(2, 2 * group.options.election_timeout_ns);
  group.Wait(1, 200 * kMs);
  // Two candidates of the same epoch with two votes each.
  for (uint32_t candidate : {1, 2}) {
    for (uint32_t voter : {3, 4}) {
      group.Deliver(group.Message(voter, candidate, 1, VoteResponse{true, /*pre_vote=*/true}));
    }
    ASSERT_EQ(group.core(candidate).role(), RaftRole::kCandidate);
    group.filter = nullptr;
    group.Deliver(group.Message(candidate, candidate + 2, 1, Ask(0, 0)));
    group.DeliverAll();
    ASSERT_EQ(group.core(candidate).role(), RaftRole::kCandidate);
    group.filter = [](const RaftMessage&) { return false; };
  }
  group.filter = nullptr;
  EXPECT_TRUE(group.RunUntil([&] { return group.Leader() != 0; }, 3000));
}

TEST(RaftElectionTest, TheOtherMembersTakeOverSoonAfterTheLeaderDies) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    TestGroup group(VotersOnly(3), seed);
    group.MakeLeader(1);
    group.Crash(1);
    EXPECT_TRUE(group.RunUntil([&] { return group.Leader() > 1; }, 700)) << "seed " << seed;
  }
}

TEST(RaftElectionTest, ALeaderWithoutAMajorityResigns) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group.Crash(2);
  group.Run(1000);
  EXPECT_TRUE(group.core(1).is_leader());
  group.Isolate(1);
  group.Run(450);
  EXPECT_FALSE(group.core(1).is_leader());
  EXPECT_EQ(group.core(1).leader(), MemberId(0));
  EXPECT_EQ(group.core(1).Propose(RecordKind::kData, nullptr, group.now).code(),
            StatusCode::kNotActive);
}

TEST(RaftElectionTest, ALeaderWhoseAnswersAreLostResignsAndTheOthersElect) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group.Cut(2, 1);
  group.Cut(3, 1);
  EXPECT_TRUE(group.RunUntil([&] { return group.Leader() > 1; }, 3000));
}

TEST(RaftElectionTest, AfterAStandstillOfAllMembersTheLeaderStays) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  const Epoch epoch = group.core(1).epoch();
  for (int i = 0; i < 5; ++i) {
    group.now += 3'000 * kMs;  // the machine slept
    EXPECT_LT(group.core(1).lease_until_ns(), group.now);
    group.Run(500);
    EXPECT_EQ(group.Leader(), 1u);
    EXPECT_EQ(group.core(1).epoch(), epoch);
    EXPECT_GT(group.core(1).lease_until_ns(), group.now);
  }
}

TEST(RaftElectionTest, MembersThatAreAlwaysLateElectAllTheSame) {
  TestGroup group(VotersOnly(3));
  for (int i = 0; i < 20; ++i) {
    group.now += 150 * kMs;
    for (uint32_t id : {1, 2, 3}) {
      group.Tick(id);
      group.DeliverAll();
    }
  }
  EXPECT_NE(group.Leader(), 0u);
}

TEST(RaftElectionTest, ALeaderThatStoodStillAloneFindsThatItIsNoLonger) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group.Isolate(1);
  ASSERT_TRUE(group.RunUntil([&] { return group.Leader() > 1; }));
  group.Heal();
  group.now += 3'000 * kMs;
  group.Run(200);
  EXPECT_FALSE(group.core(1).is_leader());
}

TEST(RaftElectionTest, AnAnswerOfALaterEpochEndsLeadership) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group.Deliver(group.Message(2, 1, 9, AppendResponse{}));
  EXPECT_EQ(group.core(1).role(), RaftRole::kFollower);
  EXPECT_EQ(group[1].hard, (HardState{Epoch(9), MemberId(0)}));
}

TEST(RaftElectionTest, AWitnessWaitsTwiceAsLong) {
  TestGroup group(WithKind(VotersOnly(3), 3, MemberKind::kWitness));
  group.Wait(3, 2 * group.options.election_timeout_ns - 1);
  EXPECT_EQ(group.core(3).role(), RaftRole::kFollower);
  group.Wait(3, group.options.election_timeout_ns / 4 + 1);
  EXPECT_EQ(group.core(3).role(), RaftRole::kPreCandidate);
}

TEST(RaftElectionTest, AWitnessWithTheNewestLogLeadsOnlyToHandOver) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    TestGroup group(WithKind(VotersOnly(3), 3, MemberKind::kWitness), seed);
    group.MakeLeader(1);
    group.Crash(2);
    ASSERT_TRUE(group.Propose(1, "only the active and the witness have it").ok());
    group.DeliverAll();
    group.Settle();
    const JournalIndex committed = group.core(1).commit_index();
    ASSERT_EQ(committed, group.core(1).last_index());
    group.Crash(1);
    group.Start(2);
    bool witness_led = false;
    group.filter = [&](const RaftMessage& message) {
      if (message.from != MemberId(3)) return true;
      if (std::holds_alternative<TimeoutNow>(message.body)) witness_led = true;
      EXPECT_FALSE(group.core(3).may_serve());
      return true;
    };
    ASSERT_TRUE(group.RunUntil([&] { return group.Leader() == 2; }, 1000)) << "seed " << seed;
    EXPECT_TRUE(witness_led);
    EXPECT_GE(group.core(2).last_index(), committed);
  }
}

TEST(RaftElectionTest, AMetaserverWithoutTheNamespaceHandsOverAsWell) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group.core(1).SetLacksState(true);
  EXPECT_FALSE(group.core(1).may_serve());
  EXPECT_TRUE(group.RunUntil([&] { return group.Leader() > 1; }, 50));
}

TEST(RaftElectionTest, ARemovedMemberIsToldSoAndAsksNoMore) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group.Isolate(3);
  ASSERT_TRUE(group.ProposeMembership(1, Without(VotersOnly(3), 3)).ok());
  group.DeliverAll();
  group.Run(1000);
  ASSERT_EQ(group.core(3).role(), RaftRole::kPreCandidate);
  EXPECT_FALSE(group.core(3).removed());
  group.Heal();
  group.Run(500);
  EXPECT_TRUE(group.core(3).removed());
  EXPECT_EQ(group.core(3).role(), RaftRole::kFollower);
  group.Run(2000);
  EXPECT_EQ(group.core(3).role(), RaftRole::kFollower);
  EXPECT_EQ(group.Leader(), 1u);
}

TEST(RaftElectionTest, ARemovalThatIsNotCommittedIsNoReasonToCallAMemberRemoved) {
  TestGroup group(VotersOnly(4));
  group.MakeLeader(1);
  group.Isolate(1);
  ASSERT_TRUE(group.ProposeMembership(1, Without(VotersOnly(4), 4)).ok());
  group.Heal();
  EXPECT_FALSE(Answer(group, 4, 1, 50, AskFirst(9, 9)).first.unknown_member);
}

TEST(RaftElectionTest, AVoterThatIsBehindDoesNotCallANewMemberRemoved) {
  TestGroup group(VotersOnly(2));
  group.now += group.options.election_timeout_ns;
  const VoteResponse response = Answer(group, 7, 1, 5, Ask(9, 4)).first;
  EXPECT_FALSE(response.unknown_member);
  EXPECT_TRUE(response.granted);
}

TEST(RaftElectionTest, WhoDoesNotVoteDoesNotCampaign) {
  TestGroup group(With(VotersOnly(1), 2, /*voter=*/false));
  group.Add(MemberId(9));
  group.Wait(2, 5'000 * kMs);
  group.Wait(9, 5'000 * kMs);
  EXPECT_EQ(group.core(2).role(), RaftRole::kFollower);
  EXPECT_EQ(group.core(9).role(), RaftRole::kFollower);
}

TEST(RaftElectionTest, ImpossibleSendersAndEpochsAreDropped) {
  TestGroup group(VotersOnly(3));
  group.now += group.options.election_timeout_ns;
  group.core(1).Receive(group.Message(2, 3, 1, Ask(0, 0)), group.now);
  group.core(1).Receive(group.Message(1, 1, 1, Ask(0, 0)), group.now);
  group.core(1).Receive(group.Message(0, 1, 1, Ask(0, 0)), group.now);
  group.core(1).Receive(group.Message(2, 1, UINT64_MAX, Ask(0, 0)), group.now);
  EXPECT_TRUE(group.core(1).TakeEffects().empty());
  EXPECT_EQ(group.core(1).rejected_messages(), 4u);
}

TEST(RaftElectionTest, ALogOfALaterEpochThanTheHardStateGivesNoVoteInThatEpoch) {
  TestGroup group(VotersOnly(3));
  group[1].records = {Record(1, 6)};
  group[1].durable = JournalIndex(1);
  group.Start(1);
  group.now += group.options.election_timeout_ns;
  EXPECT_EQ(group.core(1).epoch(), Epoch(6));
  EXPECT_FALSE(Answer(group, 2, 1, 6, Ask(1, 6)).first.granted);
  EXPECT_TRUE(Answer(group, 2, 1, 7, Ask(1, 6)).first.granted);
}

}  // namespace
}  // namespace tercet
