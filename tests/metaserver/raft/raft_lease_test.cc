#include <gtest/gtest.h>

#include "tests/metaserver/raft/raft_test_util.h"

namespace tercet {
namespace {

bool HoldsLease(TestGroup& group, uint32_t id) {
  return group.core(id).may_serve() && group.core(id).lease_until_ns() > group.now;
}

TEST(RaftLeaseTest, AGroupOfOneNeverLosesIt) {
  TestGroup group(VotersOnly(1));
  EXPECT_EQ(group.core(1).lease_until_ns(), 0);
  group.MakeLeader(1);
  EXPECT_EQ(group.core(1).lease_until_ns(), INT64_MAX);
}

TEST(RaftLeaseTest, CountsFromTheSendingOfWhatAMajorityAnswered) {
  TestGroup group(VotersOnly(5));
  group.MakeLeader(1);
  const int64_t before = group.core(1).lease_until_ns();
  group.now += group.options.heartbeat_interval_ns;
  const int64_t sent = group.now;
  group.Tick(1);
  group.now += 20 * kMs;  // the way there
  std::erase_if(group.network, [](const RaftMessage& m) { return m.to >= MemberId(4); });
  std::deque<RaftMessage> heartbeats;
  heartbeats.swap(group.network);
  for (RaftMessage& message : heartbeats) group.Deliver(std::move(message));
  group.now += 20 * kMs;  // and back
  ASSERT_EQ(group.network.size(), 2u);
  RaftMessage first = group.network.front();
  group.network.pop_front();
  group.Deliver(std::move(first));
  EXPECT_EQ(group.core(1).lease_until_ns(), before);  // two of five
  group.DeliverAll();
  EXPECT_EQ(group.core(1).lease_until_ns(), sent + group.options.lease_ns);
}

TEST(RaftLeaseTest, AnswersOfWhoDoesNotVoteDoNotCount) {
  Membership membership = VotersOnly(3);
  for (uint32_t id : {4, 5, 6}) membership = With(membership, id, /*voter=*/false);
  TestGroup group(membership);
  group.MakeLeader(1);
  group.Crash(2);
  group.Crash(3);
  const int64_t before = group.core(1).lease_until_ns();
  group.Settle();
  group.Settle();
  EXPECT_EQ(group.core(1).lease_until_ns(), before);
}

TEST(RaftLeaseTest, ALateAnswerProlongsNothing) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  const int64_t before = group.core(1).lease_until_ns();
  AppendResponse late;
  late.accepted = true;
  late.echoed_sent_ns = group.now - 30 * kMs;
  late.match_index = late.durable_index = group.core(1).last_index();
  group.now += 100 * kMs;
  group.Deliver(group.Message(2, 1, group.core(1).epoch().value(), late));
  EXPECT_EQ(group.core(1).lease_until_ns(), before);
}

TEST(RaftLeaseTest, ANewEpochBeginsWithoutIt) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  EXPECT_TRUE(HoldsLease(group, 1));
  group.Isolate(1);
  group.filter = [](const RaftMessage& m) {
    return !std::holds_alternative<AppendResponse>(m.body);
  };
  ASSERT_TRUE(group.RunUntil([&] { return group.Leader() > 1; }));
  EXPECT_EQ(group.core(1).lease_until_ns(), 0);
  EXPECT_EQ(group.core(group.Leader()).lease_until_ns(), 0);
}

TEST(RaftLeaseTest, ItIsOverBeforeTheOtherSideOfAPartitionElects) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    TestGroup group(VotersOnly(3), seed);
    group.MakeLeader(1);
    // The cut may come in any phase of a heartbeat, in one direction first.
    group.Run(static_cast<int64_t>(5 * group.random.Below(20)));
    ASSERT_EQ(group.Leader(), 1u);
    const bool outward_first = group.random.Below(2) == 0;
    for (uint32_t id : {2, 3}) outward_first ? group.Cut(1, id) : group.Cut(id, 1);
    group.Run(static_cast<int64_t>(5 * group.random.Below(20)));
    group.Isolate(1);
    bool elected = false;
    group.after_step = [&] {
      elected = group.Leader() > 1;
      if (elected) {
        EXPECT_LE(group.core(1).lease_until_ns(), group.now) << "seed " << seed;
      }
    };
    ASSERT_TRUE(group.RunUntil([&] { return elected; })) << "seed " << seed;
  }
}

TEST(RaftLeaseTest, AVoterThatRestartsKeepsWhatItPromised) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  const int64_t lease = group.core(1).lease_until_ns();
  group.Isolate(1);
  group.Crash(2);
  group.Start(2);
  bool elected = false;
  group.after_step = [&] {
    if (group.Leader() > 1) elected = true;
    if (elected) {
      EXPECT_GT(group.now, lease);
    }
  };
  EXPECT_TRUE(group.RunUntil([&] { return elected; }));
}

TEST(RaftLeaseTest, AddingAVoterDoesNotMakeOldAnswersOfFewCountAsAMajority) {
  TestGroup group(With(VotersOnly(1), 2, /*voter=*/false));
  group.MakeLeader(1);
  EXPECT_EQ(group.core(1).lease_until_ns(), INT64_MAX);
  group.Isolate(1);
  const int64_t heard = group.now;
  group.now += 200 * kMs;
  ASSERT_TRUE(group.ProposeMembership(1, With(VotersOnly(1), 2, /*voter=*/true)).ok());
  EXPECT_EQ(group.core(1).lease_until_ns(), heard + group.options.lease_ns);
}

TEST(RaftLeaseTest, HandingOverEndsItForGood) {
  TestGroup group(VotersOnly(3));
  group.MakeLeader(1);
  ASSERT_TRUE(HoldsLease(group, 1));
  ASSERT_TRUE(group.core(1).Transfer(MemberId(2), group.now).ok());
  EXPECT_EQ(group.core(1).lease_until_ns(), 0);
  group.Drive(group[1]);
  std::erase_if(group.network,
                [](const RaftMessage& m) { return std::holds_alternative<TimeoutNow>(m.body); });
  group.filter = [](const RaftMessage& m) { return !std::holds_alternative<TimeoutNow>(m.body); };
  const Epoch epoch = group.core(1).epoch();
  group.after_step = [&] {
    if (group.core(1).epoch() == epoch) {
      EXPECT_EQ(group.core(1).lease_until_ns(), 0);
    }
  };
  group.Run(900);
  EXPECT_TRUE(group.core(1).is_leader());
  EXPECT_FALSE(group.core(1).may_serve());
  group.Run(110);  // the transfer is given up
  EXPECT_TRUE(!group.core(1).is_leader() || group.core(1).epoch() > epoch);
}

TEST(RaftLeaseTest, ItNeverOutlivesThePromisesWhateverTheOptionsSay) {
  TestGroup group(VotersOnly(3));
  group.options.lease_ns = 10 * group.options.election_timeout_ns;
  group.Start(1);
  group.MakeLeader(1);
  EXPECT_EQ(group.core(1).lease_until_ns(), group.now + group.options.election_timeout_ns / 4 * 3);
}

TEST(RaftLeaseTest, AWitnessMayNotServeThoughItLeads) {
  TestGroup group(WithKind(VotersOnly(1), 1, MemberKind::kWitness));
  group.MakeLeader(1);
  EXPECT_FALSE(group.core(1).may_serve());
}

}  // namespace
}  // namespace tercet
