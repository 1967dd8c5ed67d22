// Whole groups in one process: each member has a simulated disk, a real journal on it, a state in
// memory and a server on the loopback interface. Cuts between members are made in front of the
// members' handlers.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/env/clock.h"
#include "common/env/random.h"
#include "common/env/sim_disk.h"
#include "common/rpc/thrift_server.h"
#include "common/rpc/wire_status.h"
#include "metaserver/group/group_member.h"
#include "metaserver/group/join_waiter.h"

namespace tercet {

inline constexpr char kJournalFolder[] = "/data/journal";
inline constexpr char kMemberFile[] = "/data/journal/member";
inline constexpr char kClusterId[] = "CLUSTER-CLUSTER-";
inline constexpr uint64_t kGroupId = 4711;

/// Polls; fails the test when it takes longer than any machine should need.
inline bool WaitUntil(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

/// A state in memory that remembers what it was given, across the "processes" of a test.
class MemoryApplier final : public Applier {
 public:
  Status Apply(std::span<const CommittedRecord> records) override {
    std::unique_lock lock(mutex_);
    gate_opened_.wait(lock, [&] { return !gate_closed_; });
    if (!apply_status_.ok()) return apply_status_;
    ++applies_;
    for (const CommittedRecord& record : records) {
      EXPECT_EQ(record.index.value(), base_ + payloads_.size() + 1);
      payloads_.push_back(record.kind == RecordKind::kData ? record.payload : "(membership)");
      epochs_.push_back(record.epoch);
    }
    return Status::Ok();
  }
  Result<JournalIndex> SyncApplied() override {
    std::lock_guard lock(mutex_);
    if (!sync_status_.ok()) return sync_status_;
    durable_ = std::max(durable_, std::min<uint64_t>(base_ + payloads_.size(), sync_limit_));
    return JournalIndex(durable_);
  }
  JournalIndex applied_index() const override {
    std::lock_guard lock(mutex_);
    return JournalIndex(base_ + payloads_.size());
  }

  /// A power cut: what was applied and not synced may be gone.
  void Crash(Random& random) {
    std::lock_guard lock(mutex_);
    const uint64_t applied = base_ + payloads_.size();
    payloads_.resize(durable_ + random.Below(applied - durable_ + 1) - base_);
    epochs_.resize(payloads_.size());
  }
  /// Becomes a copy of another state, as of its applied index.
  void Fetch(const MemoryApplier& from) {
    std::scoped_lock lock(mutex_, from.mutex_);
    payloads_ = from.payloads_;
    epochs_ = from.epochs_;
    base_ = from.base_;
    durable_ = base_ + payloads_.size();
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
  void Truncate(uint64_t size) {
    std::lock_guard lock(mutex_);
    payloads_.resize(size);
    epochs_.resize(size);
  }
  std::vector<std::string> payloads() const {
    std::lock_guard lock(mutex_);
    return payloads_;
  }
  /// Empty when it is not there.
  std::string At(JournalIndex index) const {
    std::lock_guard lock(mutex_);
    return index.value() > base_ && index.value() <= base_ + payloads_.size()
               ? payloads_[index.value() - base_ - 1]
               : std::string();
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
  uint64_t base_ = 0;  // records before are in the state without being remembered
  std::vector<std::string> payloads_;
  std::vector<Epoch> epochs_;
  uint64_t sync_limit_ = UINT64_MAX;
  uint64_t durable_ = 0;
  uint64_t applies_ = 0;
};

/// Checks that it is told in turns.
class TestRole final : public ActiveRole {
 public:
  Status BecomeActive(Epoch epoch) override {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(told_active_) << "told twice";
    EXPECT_GT(epoch, epoch_);
    told_active_ = true;
    epoch_ = epoch;
    ++activations_;
    return activation_status_;
  }
  void BecomeStandby() override {
    std::lock_guard lock(mutex_);
    EXPECT_TRUE(told_active_);
    told_active_ = false;
  }
  /// A new process.
  void Restart() {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(told_active_) << "BecomeStandby was skipped";
    told_active_ = false;
  }
  void FailActivations(Status status) {
    std::lock_guard lock(mutex_);
    activation_status_ = std::move(status);
  }
  bool told_active() const {
    std::lock_guard lock(mutex_);
    return told_active_;
  }
  int activations() const {
    std::lock_guard lock(mutex_);
    return activations_;
  }

 private:
  mutable std::mutex mutex_;
  bool told_active_ = false;
  Epoch epoch_;
  int activations_ = 0;
  Status activation_status_;
};

/// Stands before a member's handler; the member may come and go.
class TestGate final : public wire::GroupServiceIf {
 public:
  void SetTarget(std::shared_ptr<wire::GroupServiceIf> target) {
    std::lock_guard lock(mutex_);
    target_ = std::move(target);
  }
  /// Nothing comes in from `member`, or everything again.
  void Cut(MemberId member, bool cut) {
    std::lock_guard lock(mutex_);
    if (cut) {
      cut_.insert(static_cast<int32_t>(member.value()));
    } else {
      cut_.erase(static_cast<int32_t>(member.value()));
    }
  }

  void Hello(wire::HelloResponse& response, const wire::HelloRequest& request) override {
    if (auto target = Target(request.from_member)) {
      target->Hello(response, request);
    } else {
      response.status = ToWire(Status(StatusCode::kUnavailable, "cut"));
    }
  }
  void Join(wire::JoinResponse& response, const wire::JoinRequest& request) override {
    if (auto target = Target(0)) {
      target->Join(response, request);
    } else {
      response.status = ToWire(Status(StatusCode::kUnavailable, "cut"));
    }
  }
  void Deliver(const wire::GroupMessage& message) override {
    if (auto target = Target(message.from_member)) target->Deliver(message);
  }

 private:
  std::shared_ptr<wire::GroupServiceIf> Target(int32_t from) {
    std::lock_guard lock(mutex_);
    return cut_.contains(from) ? nullptr : target_;
  }

  std::mutex mutex_;
  std::shared_ptr<wire::GroupServiceIf> target_;
  std::set<int32_t> cut_;
};

/// The machine of one member.
struct TestNode {
  explicit TestNode(uint64_t seed) : random(seed), gate(std::make_shared<TestGate>()) {
    ThriftServerOptions server_options;
    server_options.listen = HostPort{"127.0.0.1", 0};
    auto started = ThriftServer::Start(
        server_options, {{"group", std::make_shared<wire::GroupServiceProcessor>(gate)}});
    EXPECT_TRUE(started.ok()) << started.status().ToString();
    server = std::move(started).value();
    address = "127.0.0.1:" + std::to_string(server->port());
    options.member_state_path = kMemberFile;
    options.address = address;
    options.epoch_payload = "new epoch";
    options.min_free_bytes = 0;
    options.watched_folders = {kJournalFolder};
  }
  ~TestNode() { Stop(); }

  MemberId id() const { return state.self; }
  bool active() const { return member != nullptr && member->status().active; }

  Status TryStart(bool with_state = true) {
    JournalOptions journal_options;
    journal_options.folder = kJournalFolder;
    journal_options.identity.cluster_id = kClusterId;
    journal_options.segment_bytes = segment_bytes;
    journal_options.max_payload_bytes = segment_bytes / 2;
    auto journal = Journal::Open(disk, random, journal_options);
    if (!journal.ok()) return journal.status();
    auto loaded = LoadMemberState(disk, kMemberFile);
    if (loaded.ok()) state = *loaded;
    role.Restart();
    auto started = GroupMember::Start(options, std::move(journal).value(), state,
                                      with_state ? &applier : nullptr, with_state ? &role : nullptr,
                                      disk, RealClock(), random);
    if (!started.ok()) return started.status();
    member = std::move(started).value();
    gate->SetTarget(member->Handler());
    return Status::Ok();
  }
  void Start(bool with_state = true) {
    const Status status = TryStart(with_state);
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  void Stop() {
    gate->SetTarget(nullptr);
    if (member != nullptr) member->Stop();
    member.reset();
  }

  SimDisk disk;
  SeededRandom random;
  MemoryApplier applier;
  TestRole role;
  GroupMemberOptions options;
  uint64_t segment_bytes = 64 << 10;
  MemberState state;  // that it starts with when its disk has none
  std::string address;
  std::shared_ptr<TestGate> gate;
  std::unique_ptr<ThriftServer> server;
  std::unique_ptr<GroupMember> member;
};

struct Acknowledged {
  JournalIndex index;
  std::string payload;
};

class GroupTest : public testing::Test {
 protected:
  ~GroupTest() override {
    for (auto& node : nodes_) node->Stop();
  }

  TestNode& Add(uint64_t seed = 0) {
    nodes_.push_back(std::make_unique<TestNode>(seed + 100 * nodes_.size() + 7));
    TestNode& node = *nodes_.back();
    node.options.raft = raft_;
    if (tune_) tune_(node);
    return node;
  }
  /// Members 1, 2, … of these kinds, all voters.
  void Form(const std::vector<MemberKind>& kinds) {
    Membership membership;
    for (size_t i = 0; i < kinds.size(); ++i) {
      TestNode& node = Add();
      node.state.group_id = kGroupId;
      node.state.self = membership.next_id;
      node.state.kind = kinds[i];
      membership.members.push_back({membership.next_id, kinds[i], true, node.address});
      membership.next_id = membership.next_id.Next();
    }
    for (auto& node : nodes_) node->state.base_membership = membership;
  }
  void StartAll() {
    for (auto& node : nodes_) {
      node->Start(node->state.kind == MemberKind::kMetaserver);
      if (HasFatalFailure()) return;
    }
  }
  void FormAndStart(const std::vector<MemberKind>& kinds) {
    Form(kinds);
    StartAll();
  }

  TestNode& node(size_t number) { return *nodes_[number - 1]; }
  TestNode& Node(MemberId id) {
    for (auto& node : nodes_) {
      if (node->id() == id) return *node;
    }
    ADD_FAILURE() << "no member " << id;
    return *nodes_.front();
  }

  /// Who serves under the highest epoch, `except` aside; null when nobody does.
  TestNode* FindActive(const TestNode* except = nullptr) {
    TestNode* best = nullptr;
    Epoch best_epoch;
    for (auto& node : nodes_) {
      if (node->member == nullptr || node.get() == except) continue;
      const GroupStatus status = node->member->status();
      if (status.active && status.epoch > best_epoch) {
        best = node.get();
        best_epoch = status.epoch;
      }
    }
    return best;
  }
  TestNode& AwaitActive(TestNode* other_than = nullptr) {
    TestNode* active = nullptr;
    EXPECT_TRUE(WaitUntil([&] {
      active = FindActive(other_than);
      return active != nullptr;
    })) << "nobody becomes active";
    return active != nullptr ? *active : *nodes_.front();
  }
  TestNode& Standby() {
    TestNode& active = AwaitActive();
    for (auto& node : nodes_) {
      if (node.get() != &active && node->member != nullptr &&
          node->state.kind == MemberKind::kMetaserver) {
        return *node;
      }
    }
    ADD_FAILURE() << "no standby";
    return active;
  }

  /// Nothing goes to or comes from the node.
  void Isolate(TestNode& node, bool cut = true) {
    for (auto& other : nodes_) {
      if (other.get() == &node) continue;
      other->gate->Cut(node.id(), cut);
      node.gate->Cut(other->id(), cut);
    }
  }
  /// kill -9, with a power cut if `lose_unsynced`. Links to it are whole when it comes back.
  void Kill(TestNode& node, bool lose_unsynced = false) {
    Isolate(node);
    node.Stop();
    if (lose_unsynced) {
      node.disk.Crash(node.random);
      node.applier.Crash(node.random);
    } else {
      node.disk.KillProcess();
    }
    Isolate(node, false);
  }

  /// Through whoever is active, again and again until it is acknowledged.
  Acknowledged Commit(const std::string& payload) {
    Acknowledged done;
    EXPECT_TRUE(WaitUntil([&] {
      TestNode* active = FindActive();
      if (active == nullptr) return false;
      const Epoch epoch = active->member->state().epoch;
      Result<JournalIndex> index = active->member->Append(epoch, payload);
      if (!index.ok() || !active->member->WaitApplied(epoch, *index).ok()) return false;
      EXPECT_EQ(active->applier.At(*index), payload);
      done = {*index, payload};
      return true;
    })) << "cannot commit";
    return done;
  }
  std::vector<Acknowledged> CommitMany(int count, const std::string& prefix, size_t bytes = 0) {
    std::vector<Acknowledged> all;
    for (int i = 0; i < count && !HasFailure(); ++i) {
      all.push_back(Commit(prefix + std::to_string(i) + std::string(bytes, '.')));
    }
    return all;
  }
  void ExpectHas(const TestNode& node, const std::vector<Acknowledged>& records) {
    for (const Acknowledged& record : records) {
      ASSERT_EQ(node.applier.At(record.index), record.payload)
          << "member " << node.id() << " index " << record.index;
    }
  }
  bool AwaitApplied(TestNode& node, JournalIndex index) {
    return WaitUntil([&] { return node.applier.applied_index() >= index; });
  }

  RaftOptions raft_;
  std::function<void(TestNode&)> tune_;
  std::vector<std::unique_ptr<TestNode>> nodes_;
};

}  // namespace tercet
