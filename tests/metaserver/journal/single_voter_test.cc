#include "metaserver/journal/single_voter.h"

#include <atomic>
#include <set>
#include <thread>

#include "tests/metaserver/journal/journal_test_util.h"

namespace tercet {
namespace {

// A state in memory that remembers what it was given, across the "processes" of a test.
class MemoryApplier final : public Applier {
 public:
  Status Apply(std::span<const CommittedRecord> records) override {
    std::unique_lock lock(mutex_);
    gate_opened_.wait(lock, [&] { return !gate_closed_; });
    if (!apply_status_.ok()) return apply_status_;
    ++applies_;
    for (const CommittedRecord& record : records) {
      EXPECT_EQ(record.index.value(), payloads_.size() + 1);
      payloads_.push_back(record.payload);
      epochs_.push_back(record.epoch);
    }
    return Status::Ok();
  }
  Result<JournalIndex> SyncApplied() override {
    std::lock_guard lock(mutex_);
    if (!sync_status_.ok()) return sync_status_;
    durable_ = std::min<uint64_t>(payloads_.size(), sync_limit_);
    return JournalIndex(durable_);
  }
  JournalIndex applied_index() const override {
    std::lock_guard lock(mutex_);
    return JournalIndex(payloads_.size());
  }

  /// A power cut: what was applied and not synced may be gone.
  void Crash(Random& random) {
    payloads_.resize(durable_ + random.Below(payloads_.size() - durable_ + 1));
    epochs_.resize(payloads_.size());
  }
  void SetGate(bool closed) {
    std::lock_guard lock(mutex_);
    gate_closed_ = closed;
    gate_opened_.notify_all();
  }
  void FailApply(Status status) {
    std::lock_guard lock(mutex_);
    apply_status_ = std::move(status);
  }
  void FailSync(Status status) {
    std::lock_guard lock(mutex_);
    sync_status_ = std::move(status);
  }
  /// SyncApplied reaches no further.
  void LimitSync(uint64_t index) {
    std::lock_guard lock(mutex_);
    sync_limit_ = index;
  }
  void Truncate(uint64_t size) { payloads_.resize(size); }
  std::vector<std::string> payloads() const {
    std::lock_guard lock(mutex_);
    return payloads_;
  }
  std::vector<Epoch> epochs() const {
    std::lock_guard lock(mutex_);
    return epochs_;
  }
  uint64_t applies() const {
    std::lock_guard lock(mutex_);
    return applies_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable gate_opened_;
  bool gate_closed_ = false;
  Status apply_status_;
  Status sync_status_;
  std::vector<std::string> payloads_;
  std::vector<Epoch> epochs_;
  uint64_t sync_limit_ = UINT64_MAX;
  uint64_t durable_ = 0;
  uint64_t applies_ = 0;
};

class SingleVoterTest : public testing::Test {
 protected:
  SingleVoterTest() {
    options_.epoch_payload = "new epoch";
    options_.address = "meta-1:9000";
    options_.min_free_bytes = 0;
  }
  Result<std::unique_ptr<SingleVoter>> TryStart() {
    Result<std::unique_ptr<Journal>> journal =
        Journal::Open(disk_, random_, SmallJournal(segment_bytes_));
    if (!journal.ok()) return journal.status();
    return SingleVoter::Start(options_, std::move(journal).value(), applier_, disk_);
  }
  void Start() {
    Result<std::unique_ptr<SingleVoter>> voter = TryStart();
    ASSERT_TRUE(voter.ok()) << voter.status().ToString();
    voter_ = std::move(voter).value();
    epoch_ = voter_->state().epoch;
  }
  Status Commit(const std::string& payload) {
    Result<JournalIndex> index = voter_->Append(epoch_, payload);
    if (!index.ok()) return index.status();
    return voter_->WaitApplied(*index);
  }
  // Until the maintenance has filled the second segment's file; then it leaves the disk alone.
  void AwaitSpare() {
    WaitUntil([&] { return voter_->counters().spares_prepared > 0; });
  }
  template <typename Condition>
  void WaitUntil(Condition condition) {
    while (!condition()) std::this_thread::yield();
  }

  SimDisk disk_;
  SeededRandom random_{5};
  MemoryApplier applier_;
  SingleVoterOptions options_;
  uint64_t segment_bytes_ = 64 << 10;
  std::unique_ptr<SingleVoter> voter_;
  Epoch epoch_;
};

TEST_F(SingleVoterTest, AStartOpensANewEpochWithARecordOfItsOwn) {
  Start();
  ConsensusState state = voter_->state();
  EXPECT_TRUE(state.active);
  EXPECT_EQ(state.epoch, Epoch(1));
  EXPECT_EQ(state.applied_index, JournalIndex(1));
  EXPECT_EQ(state.active_hint, "meta-1:9000");
  voter_.reset();
  Start();
  EXPECT_EQ(epoch_, Epoch(2));
  EXPECT_EQ(applier_.payloads(), (std::vector<std::string>{"new epoch", "new epoch"}));
}

TEST_F(SingleVoterTest, ACommittedRecordIsDurableAndApplied) {
  Start();
  ASSERT_TRUE(Commit("a").ok());
  EXPECT_EQ(applier_.payloads().back(), "a");
  ConsensusState state = voter_->state();
  EXPECT_EQ(state.last_index, JournalIndex(2));
  EXPECT_EQ(state.commit_index, JournalIndex(2));
  EXPECT_EQ(state.applied_index, JournalIndex(2));
  voter_.reset();
  disk_.Crash(random_);
  Start();
  EXPECT_EQ(applier_.payloads()[1], "a");
}

TEST_F(SingleVoterTest, AllAppendedRecordsShareOneSyncAndOneApply) {
  Start();
  const uint64_t applies = applier_.applies();
  JournalIndex last;
  for (int i = 0; i < 20; ++i) last = voter_->Append(epoch_, std::to_string(i)).value();
  const SingleVoterCounters before = voter_->counters();
  ASSERT_TRUE(voter_->WaitApplied(last).ok());
  EXPECT_EQ(voter_->counters().syncs, before.syncs + 1);
  EXPECT_EQ(voter_->counters().max_batch_records, 20u);
  EXPECT_EQ(applier_.applies(), applies + 1);
  EXPECT_EQ(applier_.payloads().back(), "19");
  EXPECT_TRUE(voter_->WaitApplied(JournalIndex(3)).ok());
}

TEST_F(SingleVoterTest, WhoComesDuringASyncSharesTheNextOne) {
  Start();
  AwaitSpare();
  std::atomic<bool> in_sync{false};
  std::atomic<bool> go_on{false};
  disk_.SetSyncHook([&](const std::string&) {
    in_sync = true;
    WaitUntil([&] { return go_on.load(); });
  });
  std::vector<std::thread> threads;
  threads.emplace_back([&] { EXPECT_TRUE(Commit("first").ok()); });
  WaitUntil([&] { return in_sync.load(); });
  for (int i = 0; i < 8; ++i) {
    const JournalIndex index = voter_->Append(epoch_, "more").value();
    threads.emplace_back([&, index] { EXPECT_TRUE(voter_->WaitApplied(index).ok()); });
  }
  go_on = true;
  for (std::thread& thread : threads) thread.join();
  disk_.SetSyncHook(nullptr);
  EXPECT_EQ(voter_->counters().syncs, 2u);
  EXPECT_EQ(voter_->counters().max_batch_records, 8u);
}

TEST_F(SingleVoterTest, ABatchIsSyncedWhileAnotherIsApplied) {
  Start();
  applier_.SetGate(true);
  const JournalIndex first = voter_->Append(epoch_, "first").value();
  std::thread applying([&] { EXPECT_TRUE(voter_->WaitApplied(first).ok()); });
  WaitUntil([&] { return voter_->state().commit_index == first; });
  const JournalIndex second = voter_->Append(epoch_, "second").value();
  std::thread syncing([&] { EXPECT_TRUE(voter_->WaitApplied(second).ok()); });
  WaitUntil([&] { return voter_->state().commit_index == second; });
  EXPECT_LT(voter_->state().applied_index, first);
  applier_.SetGate(false);
  applying.join();
  syncing.join();
  EXPECT_EQ(voter_->state().applied_index, second);
}

TEST_F(SingleVoterTest, ARestartReplaysOnlyWhatTheStateLacks) {
  Start();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(Commit(std::to_string(i)).ok());
  const std::vector<std::string> all = applier_.payloads();
  voter_.reset();
  applier_.Truncate(20);
  Start();
  EXPECT_EQ(voter_->counters().replayed_records, 31u);
  std::vector<std::string> replayed = applier_.payloads();
  replayed.pop_back();  // the new epoch
  EXPECT_EQ(replayed, all);
}

TEST_F(SingleVoterTest, AStateThatDoesNotFitTheJournalIsRefused) {
  Start();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Commit("x").ok());
  voter_.reset();
  // The journal was lost: the state is ahead of a new one.
  SimDisk empty;
  Result<std::unique_ptr<SingleVoter>> voter =
      SingleVoter::Start(options_, MustOpen(empty, random_), applier_, empty);
  EXPECT_EQ(voter.code(), StatusCode::kCorruption);
  // The state was lost: the journal begins behind it.
  segment_bytes_ = Journal::kMinSegmentBytes;
  options_.checkpoint_bytes = 4 << 10;
  Start();
  while (voter_->counters().checkpoints < 20) ASSERT_TRUE(Commit(std::string(1000, 'x')).ok());
  voter_.reset();
  applier_.Truncate(0);
  Status status = TryStart().status();
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  EXPECT_NE(status.message().find("restore"), std::string::npos);
}

TEST_F(SingleVoterTest, AnotherEpochAndAnUnknownIndexAreRefused) {
  Start();
  EXPECT_EQ(voter_->Append(Epoch(0), "x").code(), StatusCode::kNotActive);
  EXPECT_EQ(voter_->Append(epoch_.Next(), "x").code(), StatusCode::kNotActive);
  EXPECT_EQ(voter_->WaitApplied(JournalIndex(2)).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(voter_->state().last_index, JournalIndex(1));
}

TEST_F(SingleVoterTest, AFailedSyncEndsLeadershipForEveryone) {
  Start();
  AwaitSpare();
  ASSERT_TRUE(Commit("durable").ok());
  std::vector<JournalIndex> indexes;
  for (int i = 0; i < 4; ++i) indexes.push_back(voter_->Append(epoch_, "lost?").value());
  disk_.FailSync(1);
  std::vector<std::thread> threads;
  for (JournalIndex index : indexes) {
    threads.emplace_back(
        [&, index] { EXPECT_EQ(voter_->WaitApplied(index).code(), StatusCode::kNotActive); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(voter_->state().active);
  EXPECT_EQ(voter_->state().active_hint, "");
  Result<JournalIndex> later = voter_->Append(epoch_, "later");
  EXPECT_EQ(later.code(), StatusCode::kNotActive);
  EXPECT_NE(later.status().message().find(kFolder), std::string::npos)
      << "the reason is missing: " << later.status().ToString();
  EXPECT_TRUE(voter_->WaitApplied(JournalIndex(2)).ok()) << "that one was applied before";
  voter_.reset();
  Start();
  EXPECT_EQ(applier_.payloads()[1], "durable");
  EXPECT_TRUE(Commit("again").ok());
}

TEST_F(SingleVoterTest, AFailedApplyOrCheckpointEndsLeadership) {
  Start();
  applier_.FailApply(Status(StatusCode::kIo, "the state's disk is gone"));
  EXPECT_EQ(Commit("x").code(), StatusCode::kNotActive);
  EXPECT_FALSE(voter_->state().active);
  voter_.reset();
  applier_.FailApply(Status::Ok());
  options_.checkpoint_bytes = 100;
  Start();
  applier_.FailSync(Status(StatusCode::kIo, "the state's disk is gone"));
  WaitUntil([&] { return !Commit(std::string(100, 'x')).ok(); });
  EXPECT_FALSE(voter_->state().active);
  EXPECT_NE(voter_->failure().message().find("gone"), std::string::npos);
}

TEST_F(SingleVoterTest, StepDownAnswersThoseWhoWait) {
  Start();
  applier_.SetGate(true);
  const JournalIndex first = voter_->Append(epoch_, "first").value();
  std::thread applying([&] { EXPECT_TRUE(voter_->WaitApplied(first).ok()); });
  WaitUntil([&] { return voter_->state().commit_index == first; });
  std::thread waiting(
      [&] { EXPECT_EQ(voter_->WaitApplied(first).code(), StatusCode::kNotActive); });
  voter_->StepDown("the server is being stopped");
  waiting.join();
  EXPECT_EQ(voter_->Append(epoch_, "x").code(), StatusCode::kNotActive);
  applier_.SetGate(false);
  applying.join();
}

TEST_F(SingleVoterTest, AFullDiskRefusesNewRecordsUntilThereIsRoom) {
  applier_.LimitSync(0);  // so that no segment may be recycled
  Start();
  AwaitSpare();
  disk_.SetCapacity(0);
  Status status;
  uint64_t committed = 0;
  for (; (status = Commit(std::string(1000, 'x'))).ok(); ++committed) ASSERT_LT(committed, 1000u);
  EXPECT_EQ(status.code(), StatusCode::kNoSpace);
  EXPECT_GT(committed, 100u) << "the spare was not used";
  EXPECT_TRUE(voter_->state().active);
  EXPECT_EQ(voter_->state().last_index, JournalIndex(committed + 1));
  EXPECT_EQ(voter_->counters().no_space_refusals, 1u);
  EXPECT_EQ(Commit(std::string(1000, 'x')).code(), StatusCode::kNoSpace);
  disk_.SetCapacity(UINT64_MAX);
  EXPECT_TRUE(Commit("there is room again").ok());
  EXPECT_EQ(applier_.payloads().back(), "there is room again");
}

TEST_F(SingleVoterTest, TooLittleFreeSpaceRefusesNewRecordsUntilThereIsMore) {
  options_.min_free_bytes = 1 << 20;
  options_.watched_folders = {kFolder};
  disk_.SetCapacity(512 << 10);
  Start();
  Status status;
  WaitUntil([&] { return !(status = Commit("x")).ok(); });
  EXPECT_EQ(status.code(), StatusCode::kNoSpace);
  EXPECT_NE(status.message().find(kFolder), std::string::npos);
  disk_.SetCapacity(64 << 20);
  WaitUntil([&] { return Commit("x").ok(); });
  EXPECT_TRUE(voter_->state().active);
}

TEST_F(SingleVoterTest, CheckpointsKeepTheJournalSmall) {
  segment_bytes_ = Journal::kMinSegmentBytes;
  options_.checkpoint_bytes = 8 << 10;
  Start();
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(Commit(std::string(500, 'x')).ok());
  WaitUntil([&] { return voter_->counters().checkpoints > 0; });
  // 1 MB went through it; how far the checkpoints lag is a matter of scheduling, but they do come.
  voter_.reset();
  auto journal = MustOpen(disk_, random_, SmallJournal(segment_bytes_));
  EXPECT_GT(journal->range().first, JournalIndex(1));
}

TEST_F(SingleVoterTest, AFullQueueIsWorkedOffByTheOneWhoAppends) {
  options_.max_queued_bytes = 1000;
  Start();
  JournalIndex last;
  for (int i = 0; i < 100; ++i) {
    last = voter_->Append(epoch_, std::string(300, 'x')).value();
    const ConsensusState state = voter_->state();
    ASSERT_LE(state.last_index.value() - state.applied_index.value(), 3u);
  }
  // Larger than the queue: goes alone.
  last = voter_->Append(epoch_, std::string(2000, 'y')).value();
  EXPECT_EQ(voter_->state().applied_index.value() + 1, last.value());
  EXPECT_TRUE(voter_->WaitApplied(last).ok());
}

// Proposers as the service has them: one lock around Append, waiting outside of it.
class Proposers {
 public:
  Proposers(SingleVoter& voter, Epoch epoch, int threads, int records) {
    for (int t = 0; t < threads; ++t) {
      threads_.emplace_back([this, &voter, epoch, t, records] {
        for (int i = 0; i < records; ++i) {
          std::string payload = std::to_string(t) + "/" + std::to_string(i) + "/" +
                                std::string(static_cast<size_t>(i * 37 % 400), 'p');
          Result<JournalIndex> index = Append(voter, epoch, payload);
          if (!index.ok() || !voter.WaitApplied(*index).ok()) return;
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
  Result<JournalIndex> Append(SingleVoter& voter, Epoch epoch, const std::string& payload) {
    std::lock_guard lock(mutex_);
    return voter.Append(epoch, payload);
  }

  std::mutex mutex_;
  std::vector<std::pair<JournalIndex, std::string>> acknowledged_;  // guarded by mutex_
  std::vector<std::thread> threads_;
};

TEST_F(SingleVoterTest, ManyThreadsCommitWhileSegmentsRollAndCheckpointsRun) {
  segment_bytes_ = Journal::kMinSegmentBytes;
  options_.checkpoint_bytes = 20 << 10;
  Start();
  const auto acknowledged = Proposers(*voter_, epoch_, 16, 100).Join();
  ASSERT_EQ(acknowledged.size(), 1600u);
  const std::vector<std::string> applied = applier_.payloads();
  for (const auto& [index, payload] : acknowledged) {
    ASSERT_EQ(applied[index.value() - 1], payload);
  }
  const SingleVoterCounters counters = voter_->counters();
  EXPECT_EQ(counters.records, 1600u);
  EXPECT_LE(counters.syncs, 1600u);
}

TEST_F(SingleVoterTest, WhatWasAcknowledgedSurvivesPowerCutsUnderLoad) {
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
    const auto more = Proposers(*voter_, epoch_, 4, 30).Join();
    acknowledged.insert(acknowledged.end(), more.begin(), more.end());
    if (more.size() < 120) ++cut_short;
    voter_.reset();
    disk_.Crash(random_);
    applier_.Crash(random_);
  }
  EXPECT_GT(cut_short, 20u);
  EXPECT_GT(acknowledged.size(), 100u);
}

}  // namespace
}  // namespace tercet
