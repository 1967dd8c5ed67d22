#include "fuse_client/core/bad_replica_reporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

namespace tercet {
namespace {

using std::chrono::milliseconds;
using Reason = wire::BadReplicaReason;

class BadReplicaReporterTest : public testing::Test {
 protected:
  BadReplicaReporterTest() {
    options_.interval = milliseconds(1);
    options_.settle_time = milliseconds(0);
  }
  void Start() {
    reporter_ = std::make_unique<BadReplicaReporter>(
        [this](BadReplicaReporter::Replicas replicas) {
          std::unique_lock lock(mutex_);
          calls_.push_back(std::move(replicas));
          changed_.notify_all();
          changed_.wait(lock, [&] { return !held_; });
          return answer_;
        },
        options_);
  }
  void Note(uint64_t block, StatusCode code) {
    reporter_->Note({BlockId(block), Generation(3), ServerId(7), Status(code, "bad")});
  }
  void AwaitCalls(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return calls_.size() >= count; });
  }
  void Hold(bool held) {
    std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }
  std::vector<BadReplicaReporter::Replicas> calls() {
    std::lock_guard lock(mutex_);
    return calls_;
  }

  BadReplicaReporterOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<BadReplicaReporter::Replicas> calls_;
  bool held_ = false;
  Status answer_;
  std::unique_ptr<BadReplicaReporter> reporter_;
};

TEST_F(BadReplicaReporterTest, TellsWhatIsWrongWithAReplica) {
  Start();
  Note(1, StatusCode::kCorruption);
  AwaitCalls(1);
  Note(2, StatusCode::kNotFound);
  AwaitCalls(2);
  Note(3, StatusCode::kStaleGeneration);
  AwaitCalls(3);
  const auto told = calls();
  EXPECT_EQ(told[0][0].block_id, 1);
  EXPECT_EQ(told[0][0].generation, 3);
  EXPECT_EQ(told[0][0].server_id, 7);
  EXPECT_EQ(told[0][0].reason, Reason::DAMAGED);
  EXPECT_EQ(told[1][0].reason, Reason::MISSING);
  EXPECT_EQ(told[2][0].reason, Reason::MISSING);
}

TEST_F(BadReplicaReporterTest, ServersThatAreNotReachedSayNothingAboutReplicas) {
  Start();
  Note(1, StatusCode::kUnavailable);
  Note(2, StatusCode::kDeadlineExceeded);
  Note(3, StatusCode::kCorruption);
  AwaitCalls(1);
  ASSERT_EQ(calls()[0].size(), 1u);
  EXPECT_EQ(calls()[0][0].block_id, 3);
}

TEST_F(BadReplicaReporterTest, OneReplicaIsToldOnceAndManyInOneCall) {
  Start();
  Hold(true);
  Note(1, StatusCode::kCorruption);
  AwaitCalls(1);
  for (uint64_t block = 1; block <= 100; ++block) {
    Note(block, StatusCode::kCorruption);
    Note(block, StatusCode::kCorruption);
  }
  Hold(false);
  AwaitCalls(2);
  EXPECT_EQ(calls()[1].size(), 99u);
  Note(50, StatusCode::kCorruption);
  Note(200, StatusCode::kCorruption);
  AwaitCalls(3);
  ASSERT_EQ(calls()[2].size(), 1u);
  EXPECT_EQ(calls()[2][0].block_id, 200);
}

TEST_F(BadReplicaReporterTest, WhatIsKeptAndToldAtOnceIsBounded) {
  options_.max_kept = 10;
  options_.max_per_call = 4;
  Start();
  Hold(true);
  Note(1, StatusCode::kCorruption);
  AwaitCalls(1);
  for (uint64_t block = 1; block <= 100; ++block) Note(block, StatusCode::kCorruption);
  Hold(false);
  AwaitCalls(4);
  size_t told = 0;
  for (const auto& call : calls()) {
    EXPECT_LE(call.size(), 4u);
    told += call.size();
  }
  EXPECT_EQ(told, 10u);
}

TEST_F(BadReplicaReporterTest, AMissingReplicaWaitsAndDamageDoesNot) {
  options_.settle_time = std::chrono::hours(1);
  Start();
  Note(1, StatusCode::kNotFound);
  Note(2, StatusCode::kNotFound);
  Note(3, StatusCode::kCorruption);
  AwaitCalls(1);
  ASSERT_EQ(calls()[0].size(), 1u);
  EXPECT_EQ(calls()[0][0].block_id, 3);
  // It turns out to be damaged, which is told at once.
  Note(2, StatusCode::kCorruption);
  AwaitCalls(2);
  ASSERT_EQ(calls()[1].size(), 1u);
  EXPECT_EQ(calls()[1][0].block_id, 2);
  EXPECT_EQ(calls()[1][0].reason, Reason::DAMAGED);
}

TEST_F(BadReplicaReporterTest, EndsWithReportsThatWait) {
  options_.settle_time = std::chrono::hours(1);
  answer_ = Status(StatusCode::kUnavailable, "no active");
  Start();
  Note(1, StatusCode::kNotFound);
  Note(2, StatusCode::kCorruption);
  AwaitCalls(1);
  reporter_->Stop();
  EXPECT_EQ(reporter_->reported(), 0u);
}

}  // namespace
}  // namespace tercet
