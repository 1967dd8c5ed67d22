// A group of one member: nobody to wait for, and nothing that another could repair.
#include <atomic>
#include <thread>

#include "tests/metaserver/group/group_test_util.h"

namespace tercet {
namespace {

class SingleMemberTest : public testing::Test {
 protected:
  SingleMemberTest() {
    node_.state.group_id = kGroupId;
    node_.state.self = MemberId(1);
    node_.state.base_membership.members = {
        {MemberId(1), MemberKind::kMetaserver, true, node_.address}};
    node_.state.base_membership.next_id = MemberId(2);
    options_.raft.heartbeat_interval_ns = 1'000'000'000;  // so that ticks do not interfere
  }
  void Start() {
    node_.Start();
    if (HasFatalFailure()) return;
    ASSERT_TRUE(WaitUntil([&] { return node_.active(); }));
    member_ = node_.member.get();
    epoch_ = member_->state().epoch;
  }
  void Stop() {
    node_.Stop();
    member_ = nullptr;
  }
  /// kill -9, and what the disk had not synced is lost.
  void Crash() {
    Stop();
    disk_.Crash(random_);
  }
  Status Commit(const std::string& payload) {
    Result<JournalIndex> index = member_->Append(epoch_, payload);
    if (!index.ok()) return index.status();
    return member_->WaitApplied(epoch_, *index);
  }
  // Until the maintenance has filled the second segment's file; then it leaves the disk alone.
  void AwaitSpare() {
    ASSERT_TRUE(WaitUntil([&] { return member_->counters().spares_prepared > 0; }));
  }

  TestNode node_{5};
  SimDisk& disk_ = node_.disk;
  SeededRandom random_{5};
  MemoryApplier& applier_ = node_.applier;
  GroupMemberOptions& options_ = node_.options;
  uint64_t& segment_bytes_ = node_.segment_bytes;
  GroupMember* member_ = nullptr;
  Epoch epoch_;
};

TEST_F(SingleMemberTest, AStartOpensANewEpochWithARecordOfItsOwn) {
  Start();
  ConsensusState state = member_->state();
  EXPECT_TRUE(state.active);
  EXPECT_EQ(state.epoch, Epoch(1));
  EXPECT_EQ(state.applied_index, JournalIndex(1));
  EXPECT_EQ(state.active_hint, node_.address);
  Stop();
  Start();
  EXPECT_EQ(epoch_, Epoch(2));
  EXPECT_EQ(node_.role.activations(), 2);
  EXPECT_EQ(applier_.payloads(), (std::vector<std::string>{"new epoch", "new epoch"}));
}

TEST_F(SingleMemberTest, ACommittedRecordIsDurableAndApplied) {
  Start();
  ASSERT_TRUE(Commit("a").ok());
  EXPECT_EQ(applier_.payloads().back(), "a");
  ConsensusState state = member_->state();
  EXPECT_EQ(state.last_index, JournalIndex(2));
  EXPECT_EQ(state.commit_index, JournalIndex(2));
  EXPECT_EQ(state.applied_index, JournalIndex(2));
  Crash();
  Start();
  EXPECT_EQ(applier_.payloads()[1], "a");
}

TEST_F(SingleMemberTest, AllAppendedRecordsShareOneSyncAndOneApply) {
  Start();
  const uint64_t applies = applier_.applies();
  JournalIndex last;
  for (int i = 0; i < 20; ++i) last = member_->Append(epoch_, std::to_string(i)).value();
  const GroupMemberCounters before = member_->counters();
  ASSERT_TRUE(member_->WaitApplied(last).ok());
  EXPECT_EQ(member_->counters().syncs, before.syncs + 1);
  EXPECT_EQ(member_->counters().max_batch_records, 20u);
  EXPECT_EQ(applier_.applies(), applies + 1);
  EXPECT_EQ(applier_.payloads().back(), "19");
  EXPECT_TRUE(member_->WaitApplied(JournalIndex(3)).ok());
}

TEST_F(SingleMemberTest, WhoComesDuringASyncSharesTheNextOne) {
  Start();
  AwaitSpare();
  const uint64_t syncs = member_->counters().syncs;
  std::atomic<bool> in_sync{false};
  std::atomic<bool> go_on{false};
  disk_.SetSyncHook([&](const std::string&) {
    in_sync = true;
    WaitUntil([&] { return go_on.load(); });
  });
  std::vector<std::thread> threads;
  threads.emplace_back([&] { EXPECT_TRUE(Commit("first").ok()); });
  ASSERT_TRUE(WaitUntil([&] { return in_sync.load(); }));
  for (int i = 0; i < 8; ++i) {
    const JournalIndex index = member_->Append(epoch_, "more").value();
    threads.emplace_back([&, index] { EXPECT_TRUE(member_->WaitApplied(index).ok()); });
  }
  go_on = true;
  for (std::thread& thread : threads) thread.join();
  disk_.SetSyncHook(nullptr);
  EXPECT_EQ(member_->counters().syncs, syncs + 2);
  EXPECT_EQ(member_->counters().max_batch_records, 8u);
}

TEST_F(SingleMemberTest, ABatchIsSyncedWhileAnotherIsApplied) {
  Start();
  applier_.SetGate(true);
  const JournalIndex first = member_->Append(epoch_, "first").value();
  std::thread applying([&] { EXPECT_TRUE(member_->WaitApplied(first).ok()); });
  ASSERT_TRUE(WaitUntil([&] { return member_->state().commit_index == first; }));
  const JournalIndex second = member_->Append(epoch_, "second").value();
  std::thread syncing([&] { EXPECT_TRUE(member_->WaitApplied(second).ok()); });
  ASSERT_TRUE(WaitUntil([&] { return member_->state().commit_index == second; }));
  EXPECT_LT(member_->state().applied_index, first);
  applier_.SetGate(false);
  applying.join();
  syncing.join();
  EXPECT_EQ(member_->state().applied_index, second);
}

TEST_F(SingleMemberTest, ARestartReplaysOnlyWhatTheStateLacks) {
  Start();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(Commit(std::to_string(i)).ok());
  const std::vector<std::string> all = applier_.payloads();
  Stop();
  applier_.Truncate(20);
  Start();
  EXPECT_EQ(member_->counters().replayed_records, 31u);
  std::vector<std::string> replayed = applier_.payloads();
  replayed.pop_back();  // the new epoch
  EXPECT_EQ(replayed, all);
}

TEST_F(SingleMemberTest, AStateThatDoesNotFitTheJournalIsRefused) {
  Start();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Commit("x").ok());
  Stop();
  // The journal was lost: the state is ahead of a new one.
  TestNode other(6);
  other.state = node_.state;
  other.applier.Fetch(applier_);
  EXPECT_EQ(other.TryStart().code(), StatusCode::kCorruption);
  // The state was lost: the journal begins behind it.
  segment_bytes_ = Journal::kMinSegmentBytes;
  options_.checkpoint_bytes = 4 << 10;
  Start();
  while (member_->counters().checkpoints < 20) ASSERT_TRUE(Commit(std::string(1000, 'x')).ok());
  Stop();
  applier_.Truncate(0);
  Status status = node_.TryStart();
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  EXPECT_NE(status.message().find("restore"), std::string::npos);
}

TEST_F(SingleMemberTest, AnotherEpochAndAnUnknownIndexAreRefused) {
  Start();
  EXPECT_EQ(member_->Append(Epoch(0), "x").code(), StatusCode::kNotActive);
  EXPECT_EQ(member_->Append(epoch_.Next(), "x").code(), StatusCode::kNotActive);
  EXPECT_EQ(member_->WaitApplied(JournalIndex(2)).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(member_->state().last_index, JournalIndex(1));
}

TEST_F(SingleMemberTest, AFailedSyncEndsLeadershipForEveryone) {
  Start();
  AwaitSpare();
  ASSERT_TRUE(Commit("durable").ok());
  std::vector<JournalIndex> indexes;
  for (int i = 0; i < 4; ++i) indexes.push_back(member_->Append(epoch_, "lost?").value());
  disk_.FailSync(1);
  std::vector<std::thread> threads;
  for (JournalIndex index : indexes) {
    threads.emplace_back(
        [&, index] { EXPECT_EQ(member_->WaitApplied(index).code(), StatusCode::kNotActive); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(member_->state().active);
  EXPECT_EQ(member_->state().active_hint, "");
  Result<JournalIndex> later = member_->Append(epoch_, "later");
  EXPECT_EQ(later.code(), StatusCode::kNotActive);
  EXPECT_NE(later.status().message().find(kJournalFolder), std::string::npos)
      << "the reason is missing: " << later.status().ToString();
  EXPECT_TRUE(member_->WaitApplied(JournalIndex(2)).ok()) << "that one was applied before";
  Stop();
  Start();
  EXPECT_EQ(applier_.payloads()[1], "durable");
  EXPECT_TRUE(Commit("again").ok());
}

TEST_F(SingleMemberTest, AFailedApplyOrCheckpointEndsLeadership) {
  Start();
  applier_.FailApply(Status(StatusCode::kIo, "the state's disk is gone"));
  EXPECT_EQ(Commit("x").code(), StatusCode::kNotActive);
  EXPECT_FALSE(member_->state().active);
  Stop();
  applier_.FailApply(Status::Ok());
  options_.checkpoint_bytes = 100;
  Start();
  applier_.FailSync(Status(StatusCode::kIo, "the state's disk is gone"));
  ASSERT_TRUE(WaitUntil([&] { return !Commit(std::string(100, 'x')).ok(); }));
  EXPECT_FALSE(member_->state().active);
  EXPECT_NE(member_->failure().message().find("gone"), std::string::npos);
}

TEST_F(SingleMemberTest, StoppingAnswersThoseWhoWait) {
  Start();
  applier_.SetGate(true);
  const JournalIndex first = member_->Append(epoch_, "first").value();
  std::thread applying([&] { EXPECT_TRUE(member_->WaitApplied(first).ok()); });
  ASSERT_TRUE(WaitUntil([&] { return member_->state().commit_index == first; }));
  std::thread waiting(
      [&] { EXPECT_EQ(member_->WaitApplied(first).code(), StatusCode::kNotActive); });
  std::thread stopping([&] { member_->Stop(); });
  waiting.join();
  EXPECT_EQ(member_->Append(epoch_, "x").code(), StatusCode::kNotActive);
  applier_.SetGate(false);
  applying.join();
  stopping.join();
}

TEST_F(SingleMemberTest, AFullDiskRefusesNewRecordsUntilThereIsRoom) {
  applier_.LimitSync(0);  // so that no segment may be recycled
  Start();
  AwaitSpare();
  disk_.SetCapacity(0);
  Status status;
  uint64_t committed = 0;
  for (; (status = Commit(std::string(1000, 'x'))).ok(); ++committed) ASSERT_LT(committed, 1000u);
  EXPECT_EQ(status.code(), StatusCode::kNoSpace);
  EXPECT_GT(committed, 100u) << "the spare was not used";
  EXPECT_TRUE(member_->state().active);
  EXPECT_EQ(member_->state().last_index, JournalIndex(committed + 1));
  EXPECT_EQ(member_->counters().no_space_refusals, 1u);
  EXPECT_EQ(Commit(std::string(1000, 'x')).code(), StatusCode::kNoSpace);
  disk_.SetCapacity(UINT64_MAX);
  EXPECT_TRUE(Commit("there is room again").ok());
  EXPECT_EQ(applier_.payloads().back(), "there is room again");
}

TEST_F(SingleMemberTest, TooLittleFreeSpaceRefusesNewRecordsUntilThereIsMore) {
  options_.min_free_bytes = 1 << 20;
  options_.watched_folders = {kJournalFolder};
  disk_.SetCapacity(512 << 10);
  Start();
  Status status;
  ASSERT_TRUE(WaitUntil([&] { return !(status = Commit("x")).ok(); }));
  EXPECT_EQ(status.code(), StatusCode::kNoSpace);
  EXPECT_NE(status.message().find(kJournalFolder), std::string::npos);
  disk_.SetCapacity(64 << 20);
  ASSERT_TRUE(WaitUntil([&] { return Commit("x").ok(); }));
  EXPECT_TRUE(member_->state().active);
}

TEST_F(SingleMemberTest, CheckpointsKeepTheJournalSmall) {
  segment_bytes_ = Journal::kMinSegmentBytes;
  options_.checkpoint_bytes = 8 << 10;
  Start();
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(Commit(std::string(500, 'x')).ok());
  ASSERT_TRUE(WaitUntil([&] { return member_->counters().checkpoints > 0; }));
  // 1 MB went through it; how far the checkpoints lag is a matter of scheduling, but they do come.
  EXPECT_GT(member_->status().first_index, JournalIndex(1));
}

TEST_F(SingleMemberTest, AFullQueueIsWorkedOffByTheOneWhoAppends) {
  options_.max_queued_bytes = 1000;
  Start();
  JournalIndex last;
  for (int i = 0; i < 100; ++i) {
    last = member_->Append(epoch_, std::string(300, 'x')).value();
    const ConsensusState state = member_->state();
    ASSERT_LE(state.last_index.value() - state.applied_index.value(), 3u);
  }
  // Larger than the queue: goes alone.
  last = member_->Append(epoch_, std::string(2000, 'y')).value();
  EXPECT_EQ(member_->state().applied_index.value() + 1, last.value());
  EXPECT_TRUE(member_->WaitApplied(last).ok());
}

// Proposers as the service has them: one lock around Append, waiting outside of it.
class Proposers {
 public:
  Proposers(GroupMember& member, Epoch epoch, int threads, int records) {
    for (int t = 0; t < threads; ++t) {
      threads_.emplace_back([this, &member, epoch, t, records] {
        for (int i = 0; i < records; ++i) {
          std::string payload = std::to_string(t) + "/" + std::to_string(i) + "/" +
                                std::string(static_cast<size_t>(i * 37 % 400), 'p');
          Result<JournalIndex> index = Append(member, epoch, payload);
          if (!index.ok() || !member.WaitApplied(*index).ok()) return;
          std::lock_guard lock(mutex_);
          acknowledged_.emplace_back(*index, std::move(payload));
        }
      });
    }
  }
  std::vector<std::pair<JournalIndex, std::string>> Join() {
    for (std::thread& thread : threads_) thread.join();
    return acknowledged_;
  }

 private:
  Result<JournalIndex> Append(GroupMember& member, Epoch epoch, const std::string& payload) {
    std::lock_guard lock(mutex_);
    return member.Append(epoch, payload);
  }

  std::mutex mutex_;
  std::vector<std::pair<JournalIndex, std::string>> acknowledged_;  // guarded by mutex_
  std::vector<std::thread> threads_;
};

TEST_F(SingleMemberTest, ManyThreadsCommitWhileSegmentsRollAndCheckpointsRun) {
  segment_bytes_ = Journal::kMinSegmentBytes;
  options_.checkpoint_bytes = 20 << 10;
  Start();
  const auto acknowledged = Proposers(*member_, epoch_, 16, 100).Join();
  ASSERT_EQ(acknowledged.size(), 1600u);
  const std::vector<std::string> applied = applier_.payloads();
  for (const auto& [index, payload] : acknowledged) {
    ASSERT_EQ(applied[index.value() - 1], payload);
  }
  const GroupMemberCounters counters = member_->counters();
  EXPECT_EQ(counters.records, 1601u);  // and the one that opened the epoch
  EXPECT_LE(counters.syncs, 1601u);
}

TEST_F(SingleMemberTest, WhatWasAcknowledgedSurvivesPowerCutsUnderLoad) {
  segment_bytes_ = Journal::kMinSegmentBytes;
  options_.checkpoint_bytes = 10 << 10;
  std::vector<std::pair<JournalIndex, std::string>> acknowledged;
  uint64_t cut_short = 0;
  for (uint64_t round = 0; round < 40; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Start();
    if (HasFatalFailure()) return;
    const std::vector<std::string> applied = applier_.payloads();
    for (const auto& [index, payload] : acknowledged) {
      ASSERT_LE(index.value(), applied.size());
      ASSERT_EQ(applied[index.value() - 1], payload);
    }
    disk_.CutPowerAfter(1 + random_.Below(60));
    const auto more = Proposers(*member_, epoch_, 4, 30).Join();
    acknowledged.insert(acknowledged.end(), more.begin(), more.end());
    if (more.size() < 120) ++cut_short;
    Stop();
    disk_.Crash(random_);
    applier_.Crash(random_);
  }
  EXPECT_GT(cut_short, 20u);
  EXPECT_GT(acknowledged.size(), 100u);
}

}  // namespace
}  // namespace tercet
