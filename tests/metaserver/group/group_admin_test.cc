// Members come, go and change; the role is handed over; logs are released; disks fill up.
#include <atomic>
#include <mutex>
#include <thread>

#include "tests/metaserver/group/group_test_util.h"

namespace tercet {
namespace {

constexpr MemberKind kMeta = MemberKind::kMetaserver;
constexpr MemberKind kWitness = MemberKind::kWitness;

class GroupAdminTest : public GroupTest {
 protected:
  /// An empty machine asks to be added and is.
  TestNode& Join(MemberKind kind) {
    TestNode& node = Add();
    auto waiter = std::make_shared<JoinWaiter>(
        JoinWaiterOptions{kJournalFolder, std::string(kJournalFolder) + "/identity", kMemberFile,
                          ""},
        node.disk, node.random);
    node.gate->SetTarget(waiter);
    Result<MemberId> id = AtActive<Result<MemberId>>(
        [&](GroupMember& member) { return member.AddMember(node.address, kind); });
    EXPECT_TRUE(id.ok()) << id.status().ToString();
    const auto state = waiter->Await(std::chrono::seconds(60));
    EXPECT_TRUE(state.has_value());
    if (state && id.ok()) {
      EXPECT_EQ(state->self, *id);
      EXPECT_EQ(state->kind, kind);
      node.state = *state;
    }
    return node;
  }
  /// Retries what only the active can do while the role moves or another change is under way.
  template <typename Outcome>
  Outcome AtActive(const std::function<Outcome(GroupMember&)>& call) {
    std::optional<Outcome> outcome;
    WaitUntil([&] {
      outcome.emplace(call(*AwaitActive().member));
      return outcome->code() != StatusCode::kNotActive && outcome->code() != StatusCode::kBusy;
    });
    return *std::move(outcome);
  }
  bool AwaitVoters(size_t count) {
    return WaitUntil([&] {
      const Membership membership = AwaitActive().member->status().membership;
      return membership.voter_count() == count && membership.members.size() == count;
    });
  }
  /// Small segments, checkpointed often, little kept for others.
  void KeepLittle() {
    tune_ = [](TestNode& node) {
      node.segment_bytes = Journal::kMinSegmentBytes;
      node.options.checkpoint_bytes = 16 << 10;
      node.options.retain_bytes = 128 << 10;
      node.options.max_queued_bytes = 8 << 10;
    };
  }
  void CommitUntilReleased(JournalIndex index) {
    for (int i = 0; AwaitActive().member->status().first_index <= index; ++i) {
      ASSERT_LT(i, 20000);
      Commit(std::string(1000, 'x'));
    }
  }
  /// Takes the state from another member, as one that lacks it would.
  void FetchAndStart(TestNode& node) {
    if (node.member == nullptr) node.Start(/*with_state=*/false);
    const JournalIndex index = Commit("fetched").index;
    ASSERT_TRUE(WaitUntil([&] { return node.member->status().durable_index >= index; }));
    node.applier.Fetch(AwaitActive().applier);
    ASSERT_TRUE(WaitUntil(
        [&] { return node.member->status().durable_index >= node.applier.applied_index(); }));
    node.Stop();
    node.Start();
  }
};

TEST_F(GroupAdminTest, AGroupOfOneGrowsToThreeWithoutLosingARecord) {
  FormAndStart({kMeta});
  std::vector<Acknowledged> records = CommitMany(20, "alone ");
  TestNode& second = Join(kMeta);
  EXPECT_FALSE(second.state.base_membership.IsVoter(second.id()));
  second.Start();
  ASSERT_TRUE(AwaitVoters(2));
  TestNode& third = Join(kWitness);
  third.Start(/*with_state=*/false);
  ASSERT_TRUE(AwaitVoters(3));
  const auto more = CommitMany(20, "three ");
  records.insert(records.end(), more.begin(), more.end());
  ASSERT_TRUE(AwaitApplied(second, records.back().index));
  Kill(node(1));
  ExpectHas(AwaitActive(&node(1)), records);
  EXPECT_EQ(AwaitActive(&node(1)).id(), second.id());
}

TEST_F(GroupAdminTest, AddingTheSameMemberAgainIsFine) {
  FormAndStart({kMeta});
  TestNode& second = Join(kMeta);
  second.Start();
  ASSERT_TRUE(AwaitVoters(2));
  const auto again = AtActive<Result<MemberId>>(
      [&](GroupMember& member) { return member.AddMember(second.address, kMeta); });
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(*again, second.id());
  EXPECT_EQ(AtActive<Result<MemberId>>([&](GroupMember& member) {
              return member.AddMember(second.address, kWitness);
            }).code(),
            StatusCode::kFailedPrecondition);
  // Nobody there, and one that belongs to a group already.
  EXPECT_EQ(AtActive<Result<MemberId>>([&](GroupMember& member) {
              return member.AddMember("127.0.0.1:1", kMeta);
            }).code(),
            StatusCode::kUnavailable);
  TestNode stranger(77);
  stranger.state.group_id = kGroupId + 1;
  stranger.state.self = MemberId(1);
  stranger.state.base_membership.members = {{MemberId(1), kMeta, true, stranger.address}};
  stranger.state.base_membership.next_id = MemberId(2);
  stranger.Start();
  const auto taken = AtActive<Result<MemberId>>(
      [&](GroupMember& member) { return member.AddMember(stranger.address, kMeta); });
  EXPECT_EQ(taken.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(taken.status().message().find("data_dir"), std::string::npos);
}

TEST_F(GroupAdminTest, ARemovedMemberLearnsItAndTheOthersGoOn) {
  FormAndStart({kMeta, kMeta, kMeta});
  Commit("x");
  TestNode& gone = Standby();
  const Status removed =
      AtActive<Status>([&](GroupMember& member) { return member.RemoveMember(gone.id(), false); });
  ASSERT_TRUE(removed.ok()) << removed.ToString();
  EXPECT_TRUE(WaitUntil([&] { return gone.member->status().removed; }));
  Commit("without it");
  EXPECT_EQ(AwaitActive().member->status().membership.voter_count(), 2u);
  EXPECT_EQ(AtActive<Status>([&](GroupMember& member) {
              return member.RemoveMember(gone.id(), false);
            }).code(),
            StatusCode::kNotFound);
}

TEST_F(GroupAdminTest, TheActiveHandsOverBeforeItIsRemoved) {
  FormAndStart({kMeta, kMeta, kMeta});
  const auto records = CommitMany(10, "r");
  TestNode& old = AwaitActive();
  ASSERT_TRUE(WaitUntil([&] {
    return old.member->RemoveMember(old.id(), false).code() != StatusCode::kFailedPrecondition;
  })) << "a standby was not heard of";
  TestNode& next = AwaitActive(&old);
  ExpectHas(next, records);
  const Status removed =
      AtActive<Status>([&](GroupMember& member) { return member.RemoveMember(old.id(), false); });
  EXPECT_TRUE(removed.ok()) << removed.ToString();
}

TEST_F(GroupAdminTest, RemovalsThatWouldStopTheGroupAreRefused) {
  FormAndStart({kMeta, kMeta, kMeta});
  Commit("x");
  TestNode& away = Standby();
  Kill(away);
  TestNode& active = AwaitActive();
  TestNode& alive = [&]() -> TestNode& {
    for (auto& node : nodes_) {
      if (node.get() != &away && node.get() != &active) return *node;
    }
    return active;
  }();
  // The away one counts as heard of for one more election timeout.
  Status status;
  ASSERT_TRUE(WaitUntil([&] {
    Commit("time goes by");
    const GroupStatus now = active.member->status();
    for (const PeerProgress& peer : now.peers) {
      if (peer.id == away.id()) {
        return now.now_ns - peer.last_contact_ns > active.options.raft.election_timeout_ns;
      }
    }
    return false;
  }));
  status = active.member->RemoveMember(alive.id(), false);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << status.ToString();
  EXPECT_TRUE(active.member->RemoveMember(away.id(), false).ok());
  EXPECT_EQ(active.member->status().membership.voter_count(), 2u);
}

TEST_F(GroupAdminTest, TheLastMetaserverStays) {
  FormAndStart({kMeta, kWitness});
  Commit("x");
  const Status status =
      AtActive<Status>([&](GroupMember& member) { return member.RemoveMember(MemberId(1), true); });
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("last metaserver"), std::string::npos);
}

TEST_F(GroupAdminTest, APromotedWitnessFetchesTheStateAndCanLead) {
  FormAndStart({kMeta, kMeta, kWitness});
  auto records = CommitMany(20, "r");
  TestNode& witness = node(3);
  const Status promoted =
      AtActive<Status>([&](GroupMember& member) { return member.PromoteWitness(witness.id()); });
  ASSERT_TRUE(promoted.ok()) << promoted.ToString();
  ASSERT_TRUE(WaitUntil([&] { return witness.member->kind() == kMeta; }));
  EXPECT_TRUE(WaitUntil([&] { return witness.member->status().lacks_state; }));
  FetchAndStart(witness);
  ASSERT_TRUE(AwaitApplied(witness, Commit("y").index));
  Result<MemberId> target = AtActive<Result<MemberId>>([&](GroupMember& member) {
    Result<MemberId> begun = member.TransferActive(witness.id());
    // Until the leader has heard that it has the state.
    return begun.code() == StatusCode::kFailedPrecondition
               ? Result<MemberId>(Status(StatusCode::kBusy, "not yet"))
               : begun;
  });
  ASSERT_TRUE(target.ok()) << target.status().ToString();
  ASSERT_TRUE(WaitUntil([&] { return witness.active(); }));
  ExpectHas(witness, records);
}

TEST_F(GroupAdminTest, ANewAddressIsNoticed) {
  FormAndStart({kMeta, kMeta, kMeta});
  Commit("x");
  TestNode& moved = Standby();
  Kill(moved);
  ThriftServerOptions server_options;
  server_options.listen = HostPort{"127.0.0.1", 0};
  auto server = ThriftServer::Start(
      server_options, {{"group", std::make_shared<wire::GroupServiceProcessor>(moved.gate)}});
  ASSERT_TRUE(server.ok());
  moved.server = std::move(server).value();
  moved.address = moved.options.address = "127.0.0.1:" + std::to_string(moved.server->port());
  moved.Start();
  EXPECT_TRUE(WaitUntil([&] {
    const Membership membership = AwaitActive().member->status().membership;
    return membership.Find(moved.id())->address == moved.address;
  }));
  EXPECT_TRUE(AwaitApplied(moved, Commit("y").index));
}

TEST_F(GroupAdminTest, TheRoleIsHandedOverUnderLoadWithoutALoss) {
  FormAndStart({kMeta, kMeta, kMeta});
  Commit("x");
  std::atomic<bool> end{false};
  std::mutex proposer;
  std::mutex mutex;
  std::vector<Acknowledged> records;  // guarded by mutex
  std::atomic<size_t> count{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; !end; ++i) {
        const std::string payload = std::to_string(t) + "/" + std::to_string(i);
        for (auto& node : nodes_) {
          const ConsensusState state = node->member->state();
          if (!state.active) continue;
          Result<JournalIndex> index = [&] {
            std::lock_guard lock(proposer);
            return node->member->Append(state.epoch, payload);
          }();
          if (!index.ok()) {
            EXPECT_EQ(index.code(), StatusCode::kNotActive) << index.status().ToString();
            continue;
          }
          const Status waited = node->member->WaitApplied(state.epoch, *index);
          if (!waited.ok()) {
            EXPECT_EQ(waited.code(), StatusCode::kNotActive) << waited.ToString();
            continue;
          }
          std::lock_guard lock(mutex);
          records.push_back({*index, payload});
          ++count;
        }
      }
    });
  }
  for (int round = 0; round < 5; ++round) {
    const size_t before = count;
    EXPECT_TRUE(WaitUntil([&] { return count > before + 50; }));
    TestNode& old = AwaitActive();
    EXPECT_TRUE(WaitUntil([&] {
      const Result<MemberId> begun = old.member->TransferActive(MemberId(0));
      return begun.ok() || begun.code() == StatusCode::kNotActive;
    }));
    AwaitActive(&old);
  }
  end = true;
  for (std::thread& thread : threads) thread.join();
  const JournalIndex last = Commit("last").index;
  for (auto& node : nodes_) {
    ASSERT_TRUE(AwaitApplied(*node, last));
    ExpectHas(*node, records);
  }
}

TEST_F(GroupAdminTest, StoppingTheActiveHandsOver) {
  FormAndStart({kMeta, kMeta, kMeta});
  const auto records = CommitMany(10, "r");
  TestNode& old = AwaitActive();
  old.Stop();
  EXPECT_FALSE(old.role.told_active());
  ExpectHas(AwaitActive(&old), records);
}

TEST_F(GroupAdminTest, ReleasedRecordsAreOfferedAsAStateToWhoNeedsThem) {
  KeepLittle();
  FormAndStart({kMeta, kMeta, kMeta});
  Commit("x");
  TestNode& away = Standby();
  Kill(away);
  const JournalIndex had = away.applier.applied_index();
  CommitUntilReleased(had.Next());
  if (HasFatalFailure()) return;
  away.Start();
  ASSERT_TRUE(WaitUntil([&] { return away.member->pending_offer().has_value(); }));
  EXPECT_GT(away.member->pending_offer()->base_index, had);
  EXPECT_TRUE(away.member->failure().ok());
  away.Stop();
  FetchAndStart(away);
  if (HasFatalFailure()) return;
  EXPECT_FALSE(away.member->pending_offer().has_value());
  ASSERT_TRUE(AwaitApplied(away, Commit("y").index));
}

TEST_F(GroupAdminTest, WhatAMemberThatIsAwayNeedsIsKeptWithinTheBound) {
  KeepLittle();
  FormAndStart({kMeta, kMeta, kMeta});
  Commit("x");
  TestNode& away = Standby();
  Kill(away);
  const auto records = CommitMany(60, "kept ", 1000);  // half of what is kept
  away.Start();
  ASSERT_TRUE(AwaitApplied(away, records.back().index));
  EXPECT_FALSE(away.member->pending_offer().has_value());
  ExpectHas(away, records);
}

TEST_F(GroupAdminTest, AWitnessThatIsFarBehindBeginsItsJournalAnew) {
  KeepLittle();
  FormAndStart({kMeta, kMeta, kWitness});
  Commit("x");
  TestNode& witness = node(3);
  Kill(witness);
  CommitUntilReleased(witness.state.base_membership_index.Next().Next());
  if (HasFatalFailure()) return;
  const JournalIndex last = Commit("y").index;
  witness.Start(/*with_state=*/false);
  ASSERT_TRUE(WaitUntil([&] { return witness.member->status().durable_index >= last; }));
  EXPECT_GT(witness.member->status().first_index, JournalIndex(1));
  // It counts, also after a restart.
  Kill(witness, /*lose_unsynced=*/true);
  witness.Start(/*with_state=*/false);
  Kill(Standby());
  Commit("with the witness");
}

TEST_F(GroupAdminTest, AnActiveThatIsShortOfSpaceHandsOverAndCatchesUpLater) {
  tune_ = [](TestNode& node) { node.options.min_free_bytes = 1 << 20; };
  FormAndStart({kMeta, kMeta, kMeta});
  auto records = CommitMany(10, "r");
  TestNode& old = AwaitActive();
  old.disk.SetCapacity(1 << 20);  // still enough for small files
  TestNode& next = AwaitActive(&old);
  ASSERT_TRUE(WaitUntil([&] { return old.member->status().short_of_space; }));
  const auto more = CommitMany(10, "elsewhere ");
  ExpectHas(next, records);
  EXPECT_LT(old.applier.applied_index(), more.back().index);
  EXPECT_TRUE(old.member->failure().ok());
  old.disk.SetCapacity(UINT64_MAX);
  ASSERT_TRUE(AwaitApplied(old, more.back().index));
  ExpectHas(old, more);
}

TEST_F(GroupAdminTest, WhenAllAreShortOfSpaceTheActiveStaysAndRefusesRecords) {
  tune_ = [](TestNode& node) { node.options.min_free_bytes = 1 << 20; };
  FormAndStart({kMeta, kMeta, kMeta});
  Commit("x");
  for (auto& node : nodes_) node->disk.SetCapacity(1 << 20);
  ASSERT_TRUE(WaitUntil([&] {
    for (auto& node : nodes_) {
      if (!node->member->status().short_of_space) return false;
    }
    return true;
  }));
  EXPECT_TRUE(WaitUntil([&] {
    TestNode* active = FindActive();
    if (active == nullptr) return false;
    const Epoch epoch = active->member->state().epoch;
    return active->member->Append(epoch, "y").code() == StatusCode::kNoSpace &&
           active->member->HoldsLease(epoch);
  }));
  for (auto& node : nodes_) node->disk.SetCapacity(UINT64_MAX);
  Commit("there is room again");
}

TEST_F(GroupAdminTest, AMemberWithAnOldCopyOfItsFolderEndsItself) {
  FormAndStart({kMeta, kMeta, kMeta});
  CommitMany(10, "r");
  TestNode& victim = Standby();
  // Acknowledged, then gone: as if an old backup of the folder had been put back.
  ASSERT_TRUE(AwaitApplied(victim, AwaitActive().applier.applied_index()));
  victim.Stop();
  {
    JournalOptions journal_options;
    journal_options.folder = kJournalFolder;
    journal_options.segment_bytes = victim.segment_bytes;
    journal_options.max_payload_bytes = victim.segment_bytes / 2;
    auto journal = Journal::Open(victim.disk, victim.random, journal_options);
    ASSERT_TRUE(journal.ok()) << journal.status().ToString();
    ASSERT_TRUE((*journal)->TruncateAfter(JournalIndex(3)).ok());
  }
  victim.applier.Truncate(3);
  victim.Start();
  EXPECT_TRUE(WaitUntil([&] { return !victim.member->failure().ok(); }));
  EXPECT_NE(victim.member->failure().message().find("tercet meta remove"), std::string::npos)
      << victim.member->failure().ToString();
  Commit("the others go on");
}

TEST_F(GroupAdminTest, StrangersAreRefusedWithTheReason) {
  FormAndStart({kMeta});
  Commit("x");
  const auto hello = [&](const std::function<void(wire::HelloRequest&)>& change) {
    wire::HelloRequest request;
    request.cluster_id = kClusterId;
    request.group_id = static_cast<int64_t>(kGroupId);
    request.from_member = 2;
    request.to_member = 1;
    request.from_address = "127.0.0.1:1";
    change(request);
    wire::HelloResponse response;
    node(1).member->Handler()->Hello(response, request);
    return FromWire(response.status).code();
  };
  EXPECT_EQ(hello([](auto&) {}), StatusCode::kOk);
  EXPECT_EQ(hello([](auto& r) { r.cluster_id = "ANOTHER-CLUSTER-"; }), StatusCode::kWrongCluster);
  EXPECT_EQ(hello([](auto& r) { ++r.group_id; }), StatusCode::kWrongCluster);
  EXPECT_EQ(hello([](auto& r) { r.to_member = 3; }), StatusCode::kFailedPrecondition);
  EXPECT_EQ(hello([](auto& r) { r.from_member = 1; }), StatusCode::kFailedPrecondition);
  EXPECT_EQ(hello([](auto& r) { r.from_member = 0; }), StatusCode::kInvalidArgument);
  const uint64_t dropped = node(1).member->counters().messages_dropped;
  wire::GroupMessage message;
  message.group_id = static_cast<int64_t>(kGroupId) + 1;
  message.from_member = 2;
  message.to_member = 1;
  message.epoch = 99;
  message.__set_timeout_now({});
  node(1).member->Handler()->Deliver(message);
  EXPECT_EQ(node(1).member->counters().messages_dropped, dropped + 1);
  EXPECT_EQ(node(1).member->state().epoch, Epoch(1));
  auto handler = node(1).member->Handler();
  node(1).Stop();
  handler->Deliver(message);  // a late one does no harm
}

}  // namespace
}  // namespace tercet
