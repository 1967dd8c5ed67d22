#include <gtest/gtest.h>

#include "tests/metaserver/raft/raft_test_util.h"

namespace tercet {
namespace {

std::vector<AppendRequest> WithRecords(const TestGroup& group, uint32_t to) {
  std::vector<AppendRequest> requests = Waiting<AppendRequest>(group, to);
  std::erase_if(requests, [](const AppendRequest& r) { return r.records.empty(); });
  return requests;
}

TEST(RaftReplicationTest, ARecordIsCommittedOnceAMajorityHasItDurably) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  for (uint32_t id : {1, 2, 3}) group[id].sync_at_once = false;
  const JournalIndex index = *group.Propose(1, "a");
  group.DeliverAll();
  EXPECT_EQ(group[2].last(), index);
  EXPECT_LT(group.core(1).commit_index(), index);
  group.Sync(2);
  group.DeliverAll();
  EXPECT_LT(group.core(1).commit_index(), index);
  group.Sync(3);  // two of three; the leader's own disk is still at it
  group.DeliverAll();
  EXPECT_EQ(group.core(1).commit_index(), index);
}

TEST(RaftReplicationTest, TheOthersLearnOfTheCommitWithinAHeartbeat) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  const JournalIndex index = *group.Propose(1, "a");
  group.Run(60);
  EXPECT_EQ(group.core(2).commit_index(), index);
  EXPECT_EQ(group.core(3).commit_index(), index);
}

TEST(RaftReplicationTest, RecordsOfEarlierEpochsAreCommittedOnlyWithOneOfTheOwn) {
  // Figure 8 of the Raft paper: a later leader may still take such records back.
  TestGroup group(VotersOnly(3));
  for (uint32_t id : {1, 2, 3}) {
    group[id].records = {Record(1, 1), Record(2, 2)};
    if (id == 3) group[id].records.pop_back();
    group[id].durable = group[id].last();
    group[id].hard.epoch = Epoch(2);
    group.Start(id);
  }
  for (int i = 0; i < 1000 && !group.core(1).is_leader(); ++i) {
    group.now += 5 * kMs;
    group.Tick(1);
    group.DeliverAll();
  }
  group.Settle();
  for (const PeerProgress& peer : group.core(1).progress()) {
    ASSERT_EQ(peer.match_index, JournalIndex(2));
  }
  EXPECT_EQ(group.core(1).commit_index(), JournalIndex(0));
  EXPECT_FALSE(group.core(1).may_serve());
  group.OpenEpoch(1);
  group.DeliverAll();
  EXPECT_EQ(group.core(1).commit_index(), JournalIndex(3));
  EXPECT_TRUE(group.core(1).may_serve());
}

TEST(RaftReplicationTest, HeartbeatsGoOutWhetherThereIsTrafficOrNot) {
  TestGroup group(VotersOnly(2));
  group.MakeLeader(1);
  int heartbeats = 0;
  group.filter = [&](const RaftMessage& message) {
    const auto* request = std::get_if<AppendRequest>(&message.body);
    if (request != nullptr && request->records.empty()) ++heartbeats;
    return true;
  };
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(group.Propose(1, "a").ok());
    group.Run(5);
  }
  EXPECT_GE(heartbeats, 19);
  EXPECT_LE(heartbeats, 21);
}

TEST(RaftReplicationTest, SendsAheadOfTheAnswersUpToTheWindow) {
  TestGroup group(VotersOnly(2));
  group.MakeLeader(1);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(group.Propose(1, "a").ok());
  EXPECT_EQ(WithRecords(group, 2).size(), static_cast<size_t>(group.options.max_in_flight));
  group.DeliverAll();
  EXPECT_EQ(group.core(1).commit_index(), group.core(1).last_index());
}

TEST(RaftReplicationTest, UntilTheFirstAnswerOneRequestIsUnderWay) {
  TestGroup group(VotersOnly(2));
  group.MakeLeader(1);
  group.core(1).LinkReset(MemberId(2));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(group.Propose(1, "a").ok());
  EXPECT_EQ(WithRecords(group, 2).size(), 1u);
  group.DeliverAll();
  EXPECT_EQ(group.core(1).commit_index(), group.core(1).last_index());
}

TEST(RaftReplicationTest, ALostRequestShowsWithTheNextHeartbeat) {
  TestGroup group(VotersOnly(2));
  group.MakeLeader(1);
  const JournalIndex index = *group.Propose(1, "lost");
  group.network.clear();
  group.Settle();
  EXPECT_EQ(group.core(1).commit_index(), index);
}

TEST(RaftReplicationTest, ManyRefusalsOfOneGapSendTheRecordsOnceMoreOnly) {
  TestGroup group(VotersOnly(2));
  group.MakeLeader(1);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(group.Propose(1, "a").ok());
  ASSERT_EQ(WithRecords(group, 2).size(), 10u);
  group.network.pop_front();  // the first is lost, nine are refused
  std::vector<RaftMessage> refusals;
  group.now += kMs;
  while (!group.network.empty() && group.network.front().to == MemberId(2)) {
    RaftMessage message = std::move(group.network.front());
    group.network.pop_front();
    group.Deliver(std::move(message));
  }
  size_t sent = 0;
  group.filter = [&](const RaftMessage& message) {
    const auto* request = std::get_if<AppendRequest>(&message.body);
    if (request != nullptr) sent += request->records.size();
    return true;
  };
  group.now += kMs;
  group.DeliverAll();
  EXPECT_EQ(sent, 10u);
  EXPECT_EQ(group.core(1).commit_index(), group.core(1).last_index());
}

TEST(RaftReplicationTest, ANewLinkSendsAgainWhatWasNotAcknowledged) {
  TestGroup group(VotersOnly(2));
  group.MakeLeader(1);
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(group.Propose(1, "a").ok());
  group.network.clear();
  group.core(1).LinkReset(MemberId(2));
  group.SendAppends(group[1]);
  group.DeliverAll();
  EXPECT_EQ(group.core(1).commit_index(), group.core(1).last_index());
}

TEST(RaftReplicationTest, AMemberWithAnotherTailIsBroughtIntoLineInFewRounds) {
  TestGroup group(VotersOnly(3));
  // Member 1: 3000 records of epoch 5. Member 2: 1000 of them, then 2000 of ten other epochs.
  for (uint64_t i = 1; i <= 3000; ++i) {
    group[1].records.push_back(Record(i, i <= 1000 ? 1 : 20, "mine"));
    group[2].records.push_back(Record(i, i <= 1000 ? 1 : 2 + (i - 1001) / 200, "other"));
  }
  for (uint32_t id : {1, 2}) {
    group[id].durable = JournalIndex(3000);
    group[id].hard.epoch = Epoch(20);
    group.Start(id);
  }
  group.Isolate(2);
  group.MakeLeader(1);
  group.Heal();
  int refusals = 0;
  group.filter = [&](const RaftMessage& message) {
    const auto* response = std::get_if<AppendResponse>(&message.body);
    if (response != nullptr && !response->accepted) ++refusals;
    return true;
  };
  group.Run(1000);
  EXPECT_LE(refusals, 12);
  EXPECT_EQ(group[2].last(), group[1].last());
  EXPECT_EQ(group[2].At(1000).payload, "other");  // the same record, by index and epoch
  EXPECT_EQ(group[2].At(1001).payload, "mine");
}

TEST(RaftReplicationTest, AnswersOfAnEarlierEpochAndNonsenseDoNotCount) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group.Isolate(1);
  const JournalIndex index = *group.Propose(1, "a");
  AppendResponse response;
  response.accepted = true;
  response.match_index = response.durable_index = index;
  response.echoed_sent_ns = group.now;
  const uint64_t epoch = group.core(1).epoch().value();
  group.Deliver(group.Message(2, 1, epoch - 1, response));
  AppendResponse beyond = response;
  beyond.match_index = index.Next();
  group.Deliver(group.Message(2, 1, epoch, beyond));
  AppendResponse future = response;
  future.echoed_sent_ns = group.now + 1;
  group.Deliver(group.Message(2, 1, epoch, future));
  group.Deliver(group.Message(8, 1, epoch, response));  // who is that?
  EXPECT_LT(group.core(1).commit_index(), index);
  EXPECT_EQ(group.core(1).rejected_messages(), 2u);
  group.Deliver(group.Message(2, 1, epoch, response));
  EXPECT_EQ(group.core(1).commit_index(), index);
}

TEST(RaftReplicationTest, AnswersThatAreLateTakeNothingBack) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  ASSERT_TRUE(group.Propose(1, "a").ok());
  group.DeliverAll();
  const JournalIndex commit = group.core(1).commit_index();
  AppendResponse late;
  late.accepted = true;
  late.match_index = late.durable_index = JournalIndex(1);
  late.echoed_sent_ns = 1;
  group.Deliver(group.Message(2, 1, group.core(1).epoch().value(), late));
  EXPECT_EQ(group.core(1).progress()[0].match_index, commit);
  EXPECT_FALSE(group.core(1).progress()[0].amnesia);
}

TEST(RaftReplicationTest, AMemberBehindTheLogsFirstRecordGetsAnOfferNowAndThen) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group.Crash(3);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(group.Propose(1, "a").ok());
  group.Run(200);
  const uint64_t first = 31;
  group.core(1).LogReleased(JournalIndex(first));
  group[1].records.erase(group[1].records.begin(), group[1].records.begin() + (first - 1));
  group[1].first = JournalIndex(first);
  int offers = 0;
  group.filter = [&](const RaftMessage& message) {
    if (std::holds_alternative<StateOffer>(message.body)) ++offers;
    return true;
  };
  group.Start(3);
  group.Run(1000);
  EXPECT_GE(offers, 2);
  EXPECT_LE(offers, 3);
  ASSERT_TRUE(group[3].offer);
  EXPECT_EQ(group[3].offer->base_index, JournalIndex(first - 1));
  EXPECT_EQ(group[3].offer->membership, VotersOnly(3));
  EXPECT_EQ(group.core(3).role(), RaftRole::kFollower);  // heartbeats keep it calm
  // It fetched a state of a later moment.
  const JournalIndex base(40);
  group.core(3).LogReset(base, group.core(1).EpochAt(base).value(), VotersOnly(3), group.now);
  group[3].records.clear();
  group[3].first = base.Next();
  group[3].durable = base;
  group.Run(100);
  EXPECT_EQ(group[3].last(), group[1].last());
  EXPECT_EQ(group.core(1).progress()[1].match_index, group[1].last());
}

TEST(RaftReplicationTest, KeepsTheRecordsThatMembersMayNeed) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  EXPECT_EQ(group.core(1).needed_from(), group.core(1).last_index().Next());
  group.Crash(3);
  const JournalIndex had = group.core(1).last_index();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(group.Propose(1, "a").ok());
  group.Run(100);
  EXPECT_EQ(group.core(1).needed_from(), had.Next());
  EXPECT_EQ(group.core(2).needed_from(), group.core(2).last_index().Next());
  // A new leader does not know what the dead member has.
  group.Crash(1);
  ASSERT_TRUE(group.RunUntil([&] {
    group.Start(1);
    return true;
  }));
  ASSERT_TRUE(group.RunUntil([&] { return group.Leader() != 0; }));
  EXPECT_EQ(group.core(group.Leader()).needed_from(), JournalIndex(1));
}

TEST(RaftReplicationTest, AMemberWithoutRoomGetsHeartbeatsOnlyAndCatchesUpLater) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group.core(3).SetShortOfSpace(true);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(group.Propose(1, "a").ok());
  group.Run(100);
  ASSERT_TRUE(group.core(1).progress()[1].short_of_space);
  EXPECT_EQ(group.core(1).commit_index(), group.core(1).last_index());
  ASSERT_TRUE(group.Propose(1, "b").ok());
  EXPECT_TRUE(WithRecords(group, 3).empty());
  group.Run(100);
  group.core(3).SetShortOfSpace(false);
  group.Run(110);
  EXPECT_EQ(group[3].last(), group[1].last());
}

TEST(RaftReplicationTest, ClocksThatDifferShow) {
  TestGroup group(VotersOnly(2));
  group.core(1).SetWallOffset(1'000'000 * kMs);
  group.core(2).SetWallOffset(1'000'000 * kMs + 7 * kMs);
  group.MakeLeader(1);
  EXPECT_EQ(group.core(1).progress()[0].clock_skew_ns, 7 * kMs);
  EXPECT_EQ(group.core(1).progress()[0].last_contact_ns, group.now);
}

TEST(RaftReplicationTest, AMemberThatLostWhatItAcknowledgedIsFoundAndDoesNotCount) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(group.Propose(1, "a").ok());
  group.Run(100);
  // An old copy of its folder.
  group.Crash(2);
  while (group[2].last() > JournalIndex(2)) group[2].records.pop_back();
  group[2].durable = JournalIndex(2);
  group.Start(2);
  group.Run(60);
  EXPECT_TRUE(group.core(1).progress()[0].amnesia);
  EXPECT_NE(group[2].fatal.find("acknowledged"), std::string::npos);
  group.Crash(2);
  // With member 3 alone there is still a majority; without it there is none.
  ASSERT_TRUE(group.Propose(1, "b").ok());
  group.DeliverAll();
  EXPECT_EQ(group.core(1).commit_index(), group.core(1).last_index());
  group.Isolate(3);
  const JournalIndex alone = *group.Propose(1, "c");
  AppendResponse forgetful;
  forgetful.accepted = true;
  forgetful.match_index = forgetful.durable_index = alone;
  forgetful.echoed_sent_ns = group.now;
  group.Deliver(group.Message(2, 1, group.core(1).epoch().value(), forgetful));
  EXPECT_LT(group.core(1).commit_index(), alone);
}

TEST(RaftReplicationTest, ARestartThatKeepsWhatWasAcknowledgedIsNoLoss) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  group[2].sync_at_once = false;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(group.Propose(1, "a").ok());
  group.Run(100);
  group.Crash(2);  // five records that nobody was told of are gone
  group.Start(2);
  group[2].sync_at_once = true;
  group.Run(200);
  EXPECT_FALSE(group.core(1).progress()[0].amnesia);
  EXPECT_TRUE(group[2].fatal.empty());
  EXPECT_EQ(group[2].last(), group[1].last());
}

}  // namespace
}  // namespace tercet
