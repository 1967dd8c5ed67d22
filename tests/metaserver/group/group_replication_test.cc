// Groups of three: records on all members, whatever happens to some of them.
#include <atomic>
#include <thread>

#include "tests/metaserver/group/group_test_util.h"

namespace tercet {
namespace {

constexpr MemberKind kMeta = MemberKind::kMetaserver;
constexpr MemberKind kWitness = MemberKind::kWitness;

class GroupReplicationTest : public GroupTest {};

TEST_F(GroupReplicationTest, ThreeMembersHaveOneActiveAndTheSameRecords) {
  FormAndStart({kMeta, kMeta, kMeta});
  const auto records = CommitMany(50, "r");
  TestNode& active = AwaitActive();
  for (auto& node : nodes_) {
    ASSERT_TRUE(AwaitApplied(*node, records.back().index));
    ExpectHas(*node, records);
    EXPECT_EQ(node->member->state().active_hint, active.address);
    EXPECT_EQ(node->role.told_active(), node.get() == &active);
  }
  EXPECT_TRUE(active.member->HoldsLease(active.member->state().epoch));
  EXPECT_FALSE(active.member->HoldsLease(Epoch(0)));
  TestNode& standby = Standby();
  EXPECT_FALSE(standby.member->HoldsLease(active.member->state().epoch));
  const Result<JournalIndex> refused =
      standby.member->Append(active.member->state().epoch, "not here");
  EXPECT_EQ(refused.code(), StatusCode::kNotActive);
  EXPECT_NE(refused.status().message().find(active.address), std::string::npos);
}

TEST_F(GroupReplicationTest, EveryAcknowledgedRecordIsOnEachNewActive) {
  FormAndStart({kMeta, kMeta, kMeta});
  std::vector<Acknowledged> records;
  for (int round = 0; round < 6 && !HasFailure(); ++round) {
    const auto more = CommitMany(20, "round " + std::to_string(round) + " ");
    records.insert(records.end(), more.begin(), more.end());
    TestNode& active = AwaitActive();
    Kill(active, /*lose_unsynced=*/round % 2 == 1);
    TestNode& next = AwaitActive(&active);
    ExpectHas(next, records);
    active.Start();
  }
  for (auto& node : nodes_) {
    ASSERT_TRUE(AwaitApplied(*node, records.back().index));
    ExpectHas(*node, records);
  }
}

TEST_F(GroupReplicationTest, AMemberThatWasAwayCatchesUpFromTheJournal) {
  tune_ = [](TestNode& node) { node.options.max_queued_bytes = 4 << 10; };  // a short tail
  FormAndStart({kMeta, kMeta, kMeta});
  TestNode& away = Standby();
  Kill(away);
  const auto records = CommitMany(400, "r", 300);
  away.Start();
  ASSERT_TRUE(AwaitApplied(away, records.back().index));
  ExpectHas(away, records);
}

TEST_F(GroupReplicationTest, TheWholeGroupMayLosePowerAtOnce) {
  FormAndStart({kMeta, kMeta, kMeta});
  std::vector<Acknowledged> records;
  for (int round = 0; round < 3 && !HasFailure(); ++round) {
    const auto more = CommitMany(20, "round " + std::to_string(round) + " ");
    records.insert(records.end(), more.begin(), more.end());
    for (auto& node : nodes_) node->Stop();
    for (auto& node : nodes_) {
      node->disk.Crash(node->random);
      node->applier.Crash(node->random);
    }
    StartAll();
    ExpectHas(AwaitActive(), records);
  }
}

TEST_F(GroupReplicationTest, TwoMetaserversAndAWitnessSurviveTheLossOfAny) {
  FormAndStart({kMeta, kMeta, kWitness});
  std::vector<Acknowledged> records = CommitMany(20, "all ");
  TestNode& first = AwaitActive();
  ASSERT_NE(first.id(), MemberId(3));
  Kill(first);
  const auto without_first = CommitMany(20, "without the first ");
  records.insert(records.end(), without_first.begin(), without_first.end());
  TestNode& second = AwaitActive();
  ASSERT_NE(second.id(), MemberId(3));
  ExpectHas(second, records);
  first.Start();
  ASSERT_TRUE(AwaitApplied(first, records.back().index));
  Kill(node(3));
  const auto without_witness = CommitMany(20, "without the witness ");
  records.insert(records.end(), without_witness.begin(), without_witness.end());
  node(3).Start(/*with_state=*/false);
  ASSERT_TRUE(
      WaitUntil([&] { return node(3).member->status().durable_index >= records.back().index; }));
  Kill(second);
  ExpectHas(AwaitActive(&second), records);
  EXPECT_EQ(node(3).applier.applied_index(), JournalIndex(0)) << "a witness has no state";
}

TEST_F(GroupReplicationTest, AWitnessWithTheNewestRecordsHandsThemOn) {
  FormAndStart({kMeta, kMeta, kWitness});
  CommitMany(5, "all ");
  TestNode& active = AwaitActive();
  TestNode& other = active.id() == MemberId(1) ? node(2) : node(1);
  Kill(other);
  // Only the witness has these beside the active.
  const auto records = CommitMany(20, "without the other ");
  Kill(active);
  other.Start();
  ExpectHas(AwaitActive(&active), records);
  EXPECT_FALSE(node(3).member->status().active);
}

TEST_F(GroupReplicationTest, ALeaseEndsBeforeAnotherMemberIsActive) {
  FormAndStart({kMeta, kMeta, kMeta});
  for (int round = 0; round < 3 && !HasFailure(); ++round) {
    Commit("x");
    TestNode& old = AwaitActive();
    const Epoch old_epoch = old.member->state().epoch;
    ASSERT_TRUE(WaitUntil([&] { return old.member->HoldsLease(old_epoch); }));
    Isolate(old);
    TestNode* next = nullptr;
    ASSERT_TRUE(WaitUntil([&] {
      for (auto& node : nodes_) {
        if (node.get() == &old) continue;
        if (node->member->HoldsLease(node->member->state().epoch)) next = node.get();
      }
      return next != nullptr;
    }));
    EXPECT_FALSE(old.member->HoldsLease(old_epoch)) << "two leases at a time";
    ASSERT_TRUE(WaitUntil([&] { return !old.member->status().active; }));
    ASSERT_TRUE(WaitUntil([&] { return !old.role.told_active(); }));
    EXPECT_EQ(old.member->Append(old_epoch, "stale").code(), StatusCode::kNotActive);
    Isolate(old, false);
    ASSERT_TRUE(AwaitApplied(old, Commit("y").index));
  }
}

TEST_F(GroupReplicationTest, WhoWaitsOnADeposedActiveIsNotToldThatItsRecordIsThere) {
  FormAndStart({kMeta, kMeta, kMeta});
  Commit("before");
  TestNode& old = AwaitActive();
  const Epoch epoch = old.member->state().epoch;
  Isolate(old);
  std::vector<JournalIndex> indexes;
  for (int i = 0; i < 5; ++i) {
    Result<JournalIndex> index = old.member->Append(epoch, "lost " + std::to_string(i));
    if (!index.ok()) break;  // deposed already: the machine is slow
    indexes.push_back(*index);
  }
  std::vector<std::thread> threads;
  for (JournalIndex index : indexes) {
    threads.emplace_back([&, index] {
      EXPECT_EQ(old.member->WaitApplied(epoch, index).code(), StatusCode::kNotActive);
    });
  }
  for (std::thread& thread : threads) thread.join();
  AwaitActive(&old);
  const auto records = CommitMany(10, "of the next active ");
  Isolate(old, false);
  ASSERT_TRUE(AwaitApplied(old, records.back().index));
  ExpectHas(old, records);
  // Other records have taken their indexes: who comes late must not be told OK either, even when
  // this member is the active again.
  for (JournalIndex index : indexes) {
    EXPECT_EQ(old.member->WaitApplied(epoch, index).code(), StatusCode::kNotActive);
    EXPECT_EQ(old.member->WaitApplied(index).code(), StatusCode::kNotActive);
  }
}

TEST_F(GroupReplicationTest, AFailedSyncOfTheActiveLeavesTheGroupToTheOthers) {
  FormAndStart({kMeta, kMeta, kMeta});
  auto records = CommitMany(10, "r");
  TestNode& old = AwaitActive();
  old.disk.FailPathsUnder("/");
  const Epoch epoch = old.member->state().epoch;
  const Result<JournalIndex> index = old.member->Append(epoch, "not on this disk");
  if (index.ok()) {
    EXPECT_EQ(old.member->WaitApplied(epoch, *index).code(), StatusCode::kNotActive);
  }
  TestNode& next = AwaitActive(&old);
  EXPECT_FALSE(old.member->failure().ok());
  ExpectHas(next, records);
  Commit("goes on");
  EXPECT_EQ(old.member->state().active_hint, "");
}

TEST_F(GroupReplicationTest, ADiskOfTheActiveThatHangsLetsAnotherLead) {
  FormAndStart({kMeta, kMeta, kMeta});
  Commit("before");
  TestNode& old = AwaitActive();
  const Epoch epoch = old.member->state().epoch;
  std::atomic<bool> hang{true};
  old.disk.SetSyncHook([&](const std::string&) {
    while (hang) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  std::thread waiting([&] {
    Result<JournalIndex> index = old.member->Append(epoch, "hangs");
    if (index.ok()) (void)old.member->WaitApplied(epoch, *index);
  });
  TestNode& next = AwaitActive(&old);
  EXPECT_NE(next.id(), old.id());
  hang = false;
  waiting.join();
  old.disk.SetSyncHook(nullptr);
  ASSERT_TRUE(AwaitApplied(old, Commit("after").index));
}

TEST_F(GroupReplicationTest, ActivationThatFailsLeavesTheRoleToAnother) {
  Form({kMeta, kMeta, kMeta});
  node(1).role.FailActivations(Status(StatusCode::kIo, "cannot"));
  node(2).role.FailActivations(Status(StatusCode::kIo, "cannot"));
  StartAll();
  Commit("x");
  EXPECT_EQ(AwaitActive().id(), MemberId(3));
  node(1).role.FailActivations(Status::Ok());
  node(2).role.FailActivations(Status::Ok());
}

// Each record must find its way by itself: at the end of a round nothing comes behind it.
TEST_F(GroupReplicationTest, TheLastRecordsOfManyThreadsAreNotLeftLying) {
  FormAndStart({kMeta, kMeta, kMeta});
  Commit("x");
  for (int round = 0; round < 30 && !HasFailure(); ++round) {
    TestNode& active = AwaitActive();
    const Epoch epoch = active.member->state().epoch;
    std::mutex proposer;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 10; ++i) {
          Result<JournalIndex> index = [&] {
            std::lock_guard lock(proposer);
            return active.member->Append(epoch, "y");
          }();
          // A slow machine may have another active by now.
          if (!index.ok() || !active.member->WaitApplied(epoch, *index).ok()) return;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

TEST_F(GroupReplicationTest, ManyThreadsCommitWhileActivesComeAndGo) {
  FormAndStart({kMeta, kMeta, kMeta});
  AwaitActive();
  std::atomic<bool> end{false};
  std::mutex proposer;
  std::mutex mutex;
  std::vector<Acknowledged> records;  // guarded by mutex
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
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
            EXPECT_EQ(index.code(), StatusCode::kNotActive);
            continue;
          }
          if (!node->member->WaitApplied(state.epoch, *index).ok()) continue;
          std::lock_guard lock(mutex);
          records.push_back({*index, payload});
        }
      }
    });
  }
  const auto more = [&] {
    size_t before = 0;
    {
      std::lock_guard lock(mutex);
      before = records.size();
    }
    return WaitUntil([&] {
      std::lock_guard lock(mutex);
      return records.size() > before + 50;
    });
  };
  for (int round = 0; round < 4; ++round) {
    EXPECT_TRUE(more());
    TestNode& old = AwaitActive();
    Isolate(old);
    AwaitActive(&old);
    EXPECT_TRUE(more());
    Isolate(old, false);
  }
  end = true;
  for (std::thread& thread : threads) thread.join();
  const JournalIndex last = Commit("last").index;
  for (auto& node : nodes_) {
    ASSERT_TRUE(AwaitApplied(*node, last));
    ExpectHas(*node, records);
  }
}

}  // namespace
}  // namespace tercet
