// A consensus without a disk: records are committed when the test lets them.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "metaserver/namespace/database.h"
#include "metaserver/raft/consensus.h"

namespace tercet {

/// Thread-safe. Applies to `database` in WaitApplied, unless held.
class FakeConsensus final : public Consensus {
 public:
  explicit FakeConsensus(Database& database) : database_(database) {
    last_index_ = database.applied_index();
    first_index_ = last_index_;
  }

  Result<JournalIndex> Append(Epoch epoch, std::string payload) override {
    std::lock_guard lock(mutex_);
    if (!active_ || epoch != epoch_) return Status(StatusCode::kNotActive, "deposed");
    if (!append_failure_.ok()) return append_failure_;
    last_index_ = last_index_.Next();
    pending_.push_back({last_index_, epoch, std::move(payload)});
    return last_index_;
  }

  Status WaitApplied(JournalIndex index) override {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !held_ || !active_ || !wait_failure_.ok(); });
    --waiting_;
    if (database_.applied_index() >= index) return Status::Ok();
    if (!wait_failure_.ok()) return wait_failure_;
    if (!active_) return Status(StatusCode::kNotActive, "deposed");
    // Everything that was appended, as group commit does.
    std::vector<CommittedRecord> batch = std::move(pending_);
    pending_.clear();
    syncs_ += 1;
    for (const CommittedRecord& record : batch) log_.push_back(record);
    return database_.Apply(batch);
  }

  Status WaitApplied(Epoch epoch, JournalIndex index) override {
    {
      std::lock_guard lock(mutex_);
      if (epoch != epoch_) return Status(StatusCode::kNotActive, "deposed");
    }
    return WaitApplied(index);
  }

  bool HoldsLease(Epoch epoch) const override {
    std::lock_guard lock(mutex_);
    return active_ && lease_ && epoch == epoch_;
  }

  ConsensusState state() const override {
    std::lock_guard lock(mutex_);
    ConsensusState state;
    state.active = active_;
    state.epoch = epoch_;
    state.last_index = last_index_;
    state.applied_index = database_.applied_index();
    state.commit_index = state.applied_index;
    if (!active_) state.active_hint = "other:9400";
    return state;
  }

  // ---- what tests do to it ----

  /// Nothing is committed until Release.
  void Hold() {
    std::lock_guard lock(mutex_);
    held_ = true;
  }
  void Release() {
    std::lock_guard lock(mutex_);
    held_ = false;
    changed_.notify_all();
  }
  /// Blocks until so many threads wait for a commit.
  void AwaitWaiters(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= count; });
  }
  /// What is pending is lost.
  void Depose() {
    std::lock_guard lock(mutex_);
    active_ = false;
    pending_.clear();
    last_index_ = database_.applied_index();
    changed_.notify_all();
  }
  /// Still the leader, but nobody answers it.
  void LoseLease() {
    std::lock_guard lock(mutex_);
    lease_ = false;
  }
  void RegainLease() {
    std::lock_guard lock(mutex_);
    lease_ = true;
  }
  Epoch Elect() {
    std::lock_guard lock(mutex_);
    active_ = lease_ = true;
    epoch_ = epoch_.Next();
    return epoch_;
  }
  void FailAppends(Status failure) {
    std::lock_guard lock(mutex_);
    append_failure_ = std::move(failure);
  }
  void FailWaits(Status failure) {
    std::lock_guard lock(mutex_);
    wait_failure_ = std::move(failure);
    changed_.notify_all();
  }
  /// What was applied.
  std::vector<CommittedRecord> log() const {
    std::lock_guard lock(mutex_);
    return log_;
  }
  uint64_t appended() const {
    std::lock_guard lock(mutex_);
    return last_index_.value() - first_index_.value();
  }

 private:
  Database& database_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  bool active_ = true;
  bool lease_ = true;
  bool held_ = false;
  int waiting_ = 0;
  int syncs_ = 0;
  Epoch epoch_{1};
  JournalIndex first_index_;
  JournalIndex last_index_;
  std::vector<CommittedRecord> pending_;
  std::vector<CommittedRecord> log_;
  Status append_failure_;
  Status wait_failure_;
};

}  // namespace tercet
