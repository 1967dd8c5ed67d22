#include <gtest/gtest.h>

#include "tests/metaserver/raft/raft_test_util.h"

namespace tercet {
namespace {

/// Member 1 as follower of member 2, with the records 1..5: epochs 1 1 2 2 4. Nothing is known to
/// be committed. What it says to the leader waits in the network.
class RaftFollowerTest : public testing::Test {
 protected:
  RaftFollowerTest() : group_(VotersOnly(3)) {
    for (uint64_t i = 1; i <= 5; ++i) me().records.push_back(Record(i, kEpochs[i]));
    me().durable = JournalIndex(5);
    me().hard.epoch = Epoch(4);
    group_.Start(1);
  }

  TestMember& me() { return group_[1]; }
  RaftCore& core() { return group_.core(1); }

  AppendRequest Request(uint64_t previous, uint64_t previous_epoch,
                        std::vector<CommittedRecord> records = {}, uint64_t commit = 0) {
    AppendRequest request;
    request.previous_index = JournalIndex(previous);
    request.previous_epoch = Epoch(previous_epoch);
    request.records = std::move(records);
    request.commit_index = JournalIndex(commit);
    request.sent_ns = group_.now;
    return request;
  }

  /// The answer to a request, if there is one.
  std::optional<AppendResponse> Receive(AppendRequest request, uint64_t epoch = 7,
                                        uint32_t from = 2) {
    group_.network.clear();
    group_.Deliver(group_.Message(from, 1, epoch, std::move(request)));
    std::vector<AppendResponse> answers = Waiting<AppendResponse>(group_, from);
    EXPECT_LE(answers.size(), 1u);
    if (answers.empty()) return std::nullopt;
    return answers.front();
  }

  void ExpectLog(std::vector<uint64_t> epochs) {
    std::vector<uint64_t> found;
    for (const CommittedRecord& record : me().records) found.push_back(record.epoch.value());
    EXPECT_EQ(found, epochs);
    for (uint64_t i = 1; i <= epochs.size(); ++i) {
      EXPECT_EQ(core().EpochAt(JournalIndex(i)).value(), Epoch(epochs[i - 1]));
    }
  }

  static constexpr uint64_t kEpochs[] = {0, 1, 1, 2, 2, 4};
  TestGroup group_;
};

TEST_F(RaftFollowerTest, TakesRecordsThatFollowItsLast) {
  std::optional<AppendResponse> answer = Receive(Request(5, 4, {Record(6, 7), Record(7, 7)}, 6));
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->accepted);
  EXPECT_EQ(answer->match_index, JournalIndex(7));
  EXPECT_EQ(answer->durable_index, JournalIndex(7));
  EXPECT_EQ(answer->echoed_sent_ns, group_.now);
  ExpectLog({1, 1, 2, 2, 4, 7, 7});
  EXPECT_EQ(core().commit_index(), JournalIndex(6));
  EXPECT_EQ(core().leader(), MemberId(2));
  EXPECT_EQ(me().hard, (HardState{Epoch(7), MemberId(0)}));
}

TEST_F(RaftFollowerTest, AcknowledgesRecordsOnlyWhenTheyAreDurable) {
  me().sync_at_once = false;
  EXPECT_FALSE(Receive(Request(5, 4, {Record(6, 7)}, 6)));
  // Heartbeats do not wait for the disk.
  std::optional<AppendResponse> heartbeat = Receive(Request(6, 7));
  ASSERT_TRUE(heartbeat);
  EXPECT_TRUE(heartbeat->accepted);
  EXPECT_EQ(heartbeat->match_index, JournalIndex(5));
  EXPECT_EQ(heartbeat->durable_index, JournalIndex(5));
  group_.network.clear();
  group_.Sync(1);
  ASSERT_EQ(Waiting<AppendResponse>(group_, 2).size(), 1u);
  EXPECT_EQ(Waiting<AppendResponse>(group_, 2)[0].match_index, JournalIndex(6));
}

TEST_F(RaftFollowerTest, AcknowledgesOnlyWhatItComparedWithThisLeader) {
  std::optional<AppendResponse> answer = Receive(Request(3, 2));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->match_index, JournalIndex(3));
  EXPECT_EQ(answer->durable_index, JournalIndex(5));
  // A later epoch's leader begins anew.
  answer = Receive(Request(1, 1), 8, 3);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->match_index, JournalIndex(1));
}

TEST_F(RaftFollowerTest, CommitsOnlyWhatItComparedWithThisLeader) {
  Receive(Request(3, 2, {}, 5));
  EXPECT_EQ(core().commit_index(), JournalIndex(3));
  Receive(Request(5, 4, {}, 4));
  EXPECT_EQ(core().commit_index(), JournalIndex(4));
  Receive(Request(5, 4, {}, 2));
  EXPECT_EQ(core().commit_index(), JournalIndex(4));
}

TEST_F(RaftFollowerTest, KeepsWhatItHasAndTakesWhatIsNew) {
  std::optional<AppendResponse> answer =
      Receive(Request(2, 1, {Record(3, 2), Record(4, 2), Record(5, 4), Record(6, 5)}));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->match_index, JournalIndex(6));
  ExpectLog({1, 1, 2, 2, 4, 5});
}

TEST_F(RaftFollowerTest, ADuplicateThatIsLateTakesNothingBack) {
  Receive(Request(5, 4, {Record(6, 7), Record(7, 7)}));
  std::optional<AppendResponse> answer = Receive(Request(4, 2, {Record(5, 4), Record(6, 7)}));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->match_index, JournalIndex(7));
  ExpectLog({1, 1, 2, 2, 4, 7, 7});
}

TEST_F(RaftFollowerTest, TakesBackRecordsThatTheLeaderDoesNotHave) {
  std::optional<AppendResponse> answer = Receive(Request(3, 2, {Record(4, 3)}));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->match_index, JournalIndex(4));
  EXPECT_EQ(answer->durable_index, JournalIndex(4));
  ExpectLog({1, 1, 2, 3});
}

TEST_F(RaftFollowerTest, RecordsTakenBackBeforeTheDriverSawThemNeverReachIt) {
  core().Receive(group_.Message(2, 1, 7, Request(5, 4, {Record(6, 7, "a"), Record(7, 7, "b")})),
                 group_.now);
  core().Receive(group_.Message(3, 1, 8, Request(6, 7, {Record(7, 8, "c")})), group_.now);
  RaftEffects effects = core().TakeEffects();
  EXPECT_FALSE(effects.truncate_after);
  ASSERT_EQ(effects.append.size(), 2u);
  EXPECT_EQ(effects.append[1].payload, "c");
  // Deeper than what waits: the log is cut as well.
  core().Receive(group_.Message(3, 1, 8, Request(7, 8, {Record(8, 8, "d")})), group_.now);
  core().Receive(group_.Message(2, 1, 9, Request(3, 2, {Record(4, 9, "e")})), group_.now);
  effects = core().TakeEffects();
  EXPECT_EQ(effects.truncate_after, JournalIndex(3));
  ASSERT_EQ(effects.append.size(), 1u);
  EXPECT_EQ(effects.append[0].payload, "e");
}

TEST_F(RaftFollowerTest, ASyncOfRecordsThatWereTakenBackMeansNothing) {
  me().sync_at_once = false;
  Receive(Request(5, 4, {Record(6, 7)}));
  Receive(Request(5, 4, {Record(6, 8)}), 8, 3);
  core().LogDurable(JournalIndex(6), Epoch(7), group_.now);
  std::optional<AppendResponse> answer = Receive(Request(6, 8), 8, 3);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->match_index, JournalIndex(5));
  EXPECT_EQ(answer->durable_index, JournalIndex(5));
}

TEST_F(RaftFollowerTest, RefusesAGapAndSaysWhereItsLogEnds) {
  std::optional<AppendResponse> answer = Receive(Request(9, 7, {Record(10, 7)}));
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->accepted);
  EXPECT_EQ(answer->hint_index, JournalIndex(5));
  EXPECT_EQ(answer->hint_epoch, Epoch(4));
  ExpectLog({1, 1, 2, 2, 4});
}

TEST_F(RaftFollowerTest, ARefusalSkipsAllRecordsOfEpochsThatCannotAgree) {
  std::optional<AppendResponse> answer = Receive(Request(5, 3));
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->accepted);
  EXPECT_EQ(answer->hint_index, JournalIndex(4));
  EXPECT_EQ(answer->hint_epoch, Epoch(2));
  answer = Receive(Request(4, 1));
  EXPECT_EQ(answer->hint_index, JournalIndex(2));
  EXPECT_EQ(answer->hint_epoch, Epoch(1));
  answer = Receive(Request(4, 3));  // the leader's is newer: that one cannot agree, the others may
  EXPECT_EQ(answer->hint_index, JournalIndex(3));
  EXPECT_EQ(answer->hint_epoch, Epoch(2));
}

TEST_F(RaftFollowerTest, ALeaderOfAnEarlierEpochIsToldSo) {
  Receive(Request(5, 4), 9, 3);
  group_.network.clear();
  group_.Deliver(group_.Message(2, 1, 7, Request(5, 4, {Record(6, 7)})));
  ASSERT_EQ(group_.network.size(), 1u);
  EXPECT_EQ(group_.network[0].epoch, Epoch(9));
  EXPECT_FALSE(std::get<AppendResponse>(group_.network[0].body).accepted);
  ExpectLog({1, 1, 2, 2, 4});
}

TEST_F(RaftFollowerTest, AnEpochHasOneLeader) {
  Receive(Request(5, 4));
  EXPECT_FALSE(Receive(Request(2, 1, {Record(3, 7)}), 7, 3));
  ExpectLog({1, 1, 2, 2, 4});
  EXPECT_EQ(core().leader(), MemberId(2));
}

TEST_F(RaftFollowerTest, ACommittedRecordIsNeverTakenBack) {
  Receive(Request(5, 4, {}, 4));
  Receive(Request(3, 2, {Record(4, 3)}), 8, 3);
  EXPECT_FALSE(me().fatal.empty());
  ExpectLog({1, 1, 2, 2, 4});
}

TEST_F(RaftFollowerTest, ALeaderThatDisagreesAboutACommittedRecordEndsTheMember) {
  Receive(Request(5, 4, {}, 4));
  EXPECT_FALSE(Receive(Request(4, 3), 8, 3));
  EXPECT_FALSE(me().fatal.empty());
  // And nothing more comes from it.
  EXPECT_FALSE(Receive(Request(5, 4), 9, 3));
}

TEST_F(RaftFollowerTest, RequestsThatMakeNoSenseChangeNothing) {
  std::vector<AppendRequest> nonsense = {
      Request(5, 4, {Record(7, 7)}),                // a hole
      Request(5, 4, {Record(6, 7), Record(6, 7)}),  // twice
      Request(5, 4, {Record(6, 7), Record(7, 6)}),  // epochs go back
      Request(5, 4, {Record(6, 3)}),                // below the one before
      Request(5, 4, {Record(6, 8)}),                // above the leader's own
      Request(5, 8),
      Request(0, 0, {Record(1, 0)}),
  };
  AppendRequest garbage = Request(5, 4, {Record(6, 7, "no membership")});
  garbage.records[0].kind = RecordKind::kMembership;
  nonsense.push_back(garbage);
  AppendRequest newer = Request(5, 4, {Record(6, 7, VotersOnly(2).Encode())});
  newer.records[0].kind = RecordKind::kMembership;
  newer.records[0].payload[0] = 9;
  nonsense.push_back(newer);
  AppendRequest kind = Request(5, 4, {Record(6, 7)});
  kind.records[0].kind = static_cast<RecordKind>(2);
  nonsense.push_back(kind);
  for (size_t i = 0; i < nonsense.size(); ++i) {
    EXPECT_FALSE(Receive(nonsense[i])) << i;
    EXPECT_EQ(core().rejected_messages(), i + 1);
  }
  ExpectLog({1, 1, 2, 2, 4});
  EXPECT_EQ(core().epoch(), Epoch(4));
  EXPECT_EQ(core().leader(), MemberId(0));
}

TEST_F(RaftFollowerTest, RecordsBeforeTheLogsFirstAreTakenForKnown) {
  Receive(Request(5, 4, {}, 5));
  core().LogReleased(JournalIndex(5));
  me().records.erase(me().records.begin(), me().records.begin() + 4);
  me().first = JournalIndex(5);
  std::optional<AppendResponse> answer = Receive(
      Request(1, 1, {Record(2, 1), Record(3, 2), Record(4, 2), Record(5, 4), Record(6, 7)}));
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->accepted);
  EXPECT_EQ(answer->match_index, JournalIndex(6));
  EXPECT_EQ(core().EpochAt(JournalIndex(4)).value(), Epoch(2));
  EXPECT_EQ(core().EpochAt(JournalIndex(3)).code(), StatusCode::kNotFound);
}

TEST_F(RaftFollowerTest, AMembershipIsInForceWithItsRecordAndGoesWithIt) {
  AppendRequest request = Request(5, 4, {Record(6, 7, VotersOnly(5).Encode()), Record(7, 7)});
  request.records[0].kind = RecordKind::kMembership;
  Receive(request);
  EXPECT_EQ(core().membership(), VotersOnly(5));
  EXPECT_EQ(core().membership_index(), JournalIndex(6));
  Receive(Request(5, 4, {Record(6, 8)}), 8, 3);
  EXPECT_EQ(core().membership(), VotersOnly(3));
  EXPECT_EQ(core().membership_index(), JournalIndex(0));
}

TEST_F(RaftFollowerTest, WithoutRoomItDropsRecordsButAnswers) {
  core().SetShortOfSpace(true);
  std::optional<AppendResponse> answer =
      Receive(Request(4, 2, {Record(5, 4), Record(6, 7), Record(7, 7)}, 7));
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->accepted);
  EXPECT_TRUE(answer->short_of_space);
  EXPECT_EQ(answer->match_index, JournalIndex(5));
  EXPECT_EQ(core().commit_index(), JournalIndex(5));
  ExpectLog({1, 1, 2, 2, 4});
}

TEST_F(RaftFollowerTest, RecordsThatTheJournalHadNoRoomForAreNotInTheLog) {
  core().Receive(group_.Message(2, 1, 7, Request(5, 4, {Record(6, 7), Record(7, 7)}, 7)),
                 group_.now);
  const RaftEffects effects = core().TakeEffects();
  ASSERT_EQ(effects.append.size(), 2u);
  me().records.push_back(effects.append[0]);
  core().AppendRefused(JournalIndex(6));
  group_.Sync(1);
  EXPECT_EQ(core().last_index(), JournalIndex(6));
  EXPECT_EQ(core().commit_index(), JournalIndex(6));
  std::optional<AppendResponse> answer = Receive(Request(7, 7));
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->accepted);
  EXPECT_EQ(answer->hint_index, JournalIndex(6));
  EXPECT_TRUE(answer->short_of_space);
}

TEST_F(RaftFollowerTest, AnOfferOfAStateIsTakenOnlyWhenItIsAhead) {
  Receive(Request(5, 4, {}, 3));
  const StateOffer known{JournalIndex(5), Epoch(4), VotersOnly(3)};
  const StateOffer committed{JournalIndex(2), Epoch(9), VotersOnly(3)};
  const StateOffer ahead{JournalIndex(50), Epoch(6), VotersOnly(3)};
  group_.Deliver(group_.Message(2, 1, 7, known));
  EXPECT_FALSE(me().offer);
  group_.Deliver(group_.Message(2, 1, 7, committed));
  EXPECT_FALSE(me().offer);
  group_.Deliver(group_.Message(2, 1, 6, ahead));  // of an earlier epoch
  EXPECT_FALSE(me().offer);
  group_.Deliver(group_.Message(2, 1, 7, ahead));
  ASSERT_TRUE(me().offer);
  EXPECT_EQ(me().offer->base_index, JournalIndex(50));
}

TEST_F(RaftFollowerTest, ALogThatBeganAnewGoesOnBehindItsBase) {
  Receive(Request(5, 4, {}, 3));
  core().LogReset(JournalIndex(50), Epoch(6), VotersOnly(5), group_.now);
  me().records.clear();
  me().first = JournalIndex(51);
  me().durable = JournalIndex(50);
  EXPECT_EQ(core().first_index(), JournalIndex(51));
  EXPECT_EQ(core().commit_index(), JournalIndex(50));
  EXPECT_EQ(core().membership(), VotersOnly(5));
  // The leader still thinks that the member is behind, and then goes on.
  std::optional<AppendResponse> answer = Receive(Request(40, 5));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->match_index, JournalIndex(50));
  answer = Receive(Request(50, 6, {Record(51, 7)}, 51));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->match_index, JournalIndex(51));
}

TEST_F(RaftFollowerTest, ANoticeOfLostRecordsCountsOnlyWhenTheyAreLost) {
  Receive(Request(5, 4));
  group_.Deliver(group_.Message(2, 1, 7, AmnesiaNotice{JournalIndex(5)}));
  group_.Deliver(group_.Message(3, 1, 7, AmnesiaNotice{JournalIndex(9)}));  // not the leader
  group_.Deliver(group_.Message(2, 1, 6, AmnesiaNotice{JournalIndex(9)}));  // not now
  EXPECT_TRUE(me().fatal.empty());
  group_.Deliver(group_.Message(2, 1, 7, AmnesiaNotice{JournalIndex(6)}));
  EXPECT_NE(me().fatal.find("meta remove 1"), std::string::npos) << me().fatal;
}

TEST_F(RaftFollowerTest, RandomRequestsNeverBreakTheLog) {
  SeededRandom random(11);
  for (int i = 0; i < 20'000; ++i) {
    AppendRequest request;
    request.previous_index = JournalIndex(random.Below(12));
    request.previous_epoch = Epoch(random.Below(9));
    request.commit_index = JournalIndex(random.Below(2) == 0 ? 0 : random.Below(3));
    request.sent_ns = static_cast<int64_t>(random.Next());
    uint64_t index = request.previous_index.value();
    uint64_t epoch = request.previous_epoch.value();
    for (uint64_t n = random.Below(4); n > 0; --n) {
      index += random.Below(20) == 0 ? random.Below(3) : 1;
      epoch += random.Below(3);
      request.records.push_back(Record(index, epoch));
    }
    group_.network.clear();
    group_.Deliver(group_.Message(2 + random.Below(2), 1, 1 + random.Below(12), request));
    if (!me().fatal.empty()) {  // the nonsense went as far as the committed records
      me().fatal.clear();
      group_.Crash(1);
      group_.Start(1);
    }
    Epoch newest;
    for (const CommittedRecord& record : me().records) {
      ASSERT_GE(record.epoch, newest);
      newest = record.epoch;
    }
    ASSERT_EQ(core().last_index(), me().last());
    ASSERT_LE(core().commit_index(), core().last_index());
  }
}

}  // namespace
}  // namespace tercet
