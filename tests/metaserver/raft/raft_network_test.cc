// Random schedules over three to five cores: messages are lost, doubled, delayed and overtake each
// other, links are cut, members crash and forget what they did not sync. After every step what Raft
// promises is checked against all that ever happened. A failure names its seed.
#include <gtest/gtest.h>

#include "tests/metaserver/raft/raft_test_util.h"

namespace tercet {
namespace {

/// What was ever true, and what may not be contradicted.
class History {
 public:
  explicit History(TestGroup& group) : group_(group) {}

  void Check() {
    for (auto& [id, member] : group_.members) {
      if (!member.core) continue;
      ASSERT_TRUE(member.fatal.empty()) << member.fatal;
      CheckLeader(member);
      CheckCommitted(member);
    }
    CheckLeases();
  }

  void CheckLogsMatch() {
    for (auto& [a_id, a] : group_.members) {
      for (auto& [b_id, b] : group_.members) {
        bool same = false;  // from the end down: once they agree they agree in all before
        for (uint64_t i = std::min(a.last(), b.last()).value(); i >= 1; --i) {
          if (i < a.first.value() || i < b.first.value()) break;
          const bool equal = a.At(i).epoch == b.At(i).epoch;
          ASSERT_TRUE(equal || !same) << "members " << a_id << ", " << b_id << " record " << i;
          same = same || equal;
          ASSERT_TRUE(!equal || a.At(i).payload == b.At(i).payload) << "record " << i;
        }
      }
    }
  }

  uint64_t committed() const { return committed_.size(); }

 private:
  void CheckLeader(const TestMember& member) {
    if (!member.core->is_leader()) return;
    const auto [leader, is_new] = leaders_.emplace(member.core->epoch(), member.id);
    ASSERT_EQ(leader->second, member.id) << "two leaders of epoch " << member.core->epoch();
    if (!is_new) return;
    // Leader completeness.
    for (const auto& [index, record] : committed_) {
      if (index < member.first) continue;
      ASSERT_GE(member.last(), index) << "the leader lacks a committed record";
      ASSERT_EQ(member.At(index.value()).payload, record.payload) << "record " << index;
    }
  }

  void CheckCommitted(const TestMember& member) {
    const JournalIndex commit = member.core->commit_index();
    ASSERT_LE(commit, member.last());
    JournalIndex& checked = checked_[member.id];
    for (JournalIndex i = std::max(checked.Next(), member.first); i <= commit; i = i.Next()) {
      const CommittedRecord& record = member.At(i.value());
      const auto [known, is_new] = committed_.emplace(i, record);
      ASSERT_EQ(known->second.payload, record.payload) << "record " << i << " changed";
      ASSERT_EQ(known->second.epoch, record.epoch) << "record " << i << " changed";
    }
    checked = commit;  // goes back with a restart: then all is looked at again
  }

  void CheckLeases() {
    for (auto& [a_id, a] : group_.members) {
      if (!a.core || a.core->lease_until_ns() <= group_.now) continue;
      for (auto& [b_id, b] : group_.members) {
        if (!b.core || !b.core->is_leader()) continue;
        ASSERT_LE(b.core->epoch(), a.core->epoch())
            << "member " << b_id << " leads while the lease of member " << a_id << " lasts";
      }
    }
  }

  TestGroup& group_;
  std::map<Epoch, MemberId> leaders_;
  std::map<JournalIndex, CommittedRecord> committed_;
  std::map<MemberId, JournalIndex> checked_;
};

class Schedule {
 public:
  Schedule(uint64_t seed, const Membership& membership)
      : group_(membership, seed), chance_(seed * 7919), history_(group_) {
    for (auto& [id, member] : group_.members) member.sync_at_once = false;
    group_.max_records = 3;
  }

  void Run(int steps) {
    loss_ = chance_.Below(20);
    for (int i = 0; i < steps && !testing::Test::HasFatalFailure(); ++i) {
      Step();
      history_.Check();
      if (i % 100 == 0) history_.CheckLogsMatch();
    }
    Calm();
  }

  uint64_t committed() const { return history_.committed(); }

 private:
  uint32_t Anyone() {
    auto it = group_.members.begin();
    std::advance(it, static_cast<int64_t>(chance_.Below(group_.members.size())));
    return it->first.value();
  }

  void Step() {
    const uint64_t dice = chance_.Below(1000);
    if (dice < 500) {
      for (uint64_t n = chance_.Below(12); n > 0; --n) DeliverOne();
    } else if (dice < 700) {
      group_.now += static_cast<int64_t>(chance_.Below(20)) * kMs;
      for (auto& [id, member] : group_.members) {
        if (chance_.Below(4) > 0) group_.Tick(id.value());
      }
    } else if (dice < 840) {
      group_.Sync(Anyone());
    } else if (dice < 960) {
      ProposeSomething();
    } else if (dice < 966) {
      Crash(Anyone());
    } else if (dice < 976) {
      const uint32_t id = Anyone();
      if (!group_[id].core) group_.Start(id);
    } else if (dice < 980) {
      group_.Cut(Anyone(), Anyone());
    } else if (dice < 986) {
      group_.Heal();
    } else if (dice < 987) {
      group_.Isolate(Anyone());
    } else if (dice < 992) {
      HandOver();
    } else if (dice < 995) {
      // A long pause: of all clocks, so leases and timeouts run out.
      group_.now += static_cast<int64_t>(chance_.Below(600)) * kMs;
    } else {
      Reconnect(Anyone(), Anyone());
    }
  }

  /// Any message, not only the oldest; sometimes it is lost or comes again later.
  void DeliverOne() {
    if (group_.network.empty()) return;
    const uint64_t at = chance_.Below(std::min<uint64_t>(group_.network.size(), 8));
    RaftMessage message = group_.network[at];
    const bool comes_again = chance_.Below(20) == 0;
    if (!comes_again) group_.network.erase(group_.network.begin() + static_cast<int64_t>(at));
    if (chance_.Below(100) < loss_) return;
    group_.Deliver(std::move(message));
    while (group_.network.size() > 200) group_.network.pop_front();
  }

  /// Of those who think that they lead any one, or 0.
  uint32_t AnyLeader() {
    std::vector<uint32_t> leaders;
    for (auto& [id, member] : group_.members) {
      if (member.core && member.core->is_leader()) leaders.push_back(id.value());
    }
    return leaders.empty() ? 0 : leaders[chance_.Below(leaders.size())];
  }

  void ProposeSomething() {
    const uint32_t id = AnyLeader();
    if (id == 0) return;
    TestMember& member = group_[id];
    if (chance_.Below(10) > 0) {
      const std::string payload = std::to_string(++proposals_);
      (void)group_.Propose(id, payload).ok();  // refused while it hands over
      return;
    }
    // One voter comes or goes, or a member.
    Membership next = member.core->membership();
    const uint32_t other = Anyone();
    const Member* found = next.Find(MemberId(other));
    if (found == nullptr) {
      if (next.members.size() >= 5) return;
      const uint32_t added = next.next_id.value();
      next = With(next, added, false);
      if (!group_.ProposeMembership(id, next).ok()) return;
      if (!group_.members.contains(MemberId(added))) {
        group_.Add(MemberId(added));
        group_[added].sync_at_once = false;
      }
    } else if (found->voter && next.voter_count() > 2) {
      (void)group_.ProposeMembership(id, Without(next, other)).ok();  // when it is no time for one
    } else {
      (void)group_.ProposeMembership(id, With(next, other, true)).ok();
    }
  }

  void Crash(uint32_t id) {
    if (group_[id].core) group_.Crash(id);
  }

  void HandOver() {
    const uint32_t id = AnyLeader();
    if (id == 0) return;
    TestMember& member = group_[id];
    if (chance_.Below(3) == 0) {
      member.core->Resign(group_.now);
    } else {
      (void)member.core->Transfer(MemberId(0), group_.now).ok();  // when nobody can take over
    }
    group_.Drive(member);
  }

  void Reconnect(uint32_t id, uint32_t to) {
    if (!group_[id].core) return;
    group_[id].core->LinkReset(MemberId(to));
    group_.SendAppends(group_[id]);
  }

  /// When all is well again the group must get to work.
  void Calm() {
    if (testing::Test::HasFatalFailure()) return;
    group_.Heal();
    group_.network.clear();
    for (auto& [id, member] : group_.members) {
      member.sync_at_once = true;
      if (!member.core) group_.Start(id.value());
    }
    group_.after_step = [&] {
      const uint32_t leader = group_.Leader();
      if (leader != 0 && group_.core(leader).commit_index() < group_.core(leader).last_index() &&
          group_.core(leader).last_epoch() != group_.core(leader).epoch() &&
          group_.core(leader).CanPropose(RecordKind::kData, nullptr).ok()) {
        group_.OpenEpoch(leader);
      }
    };
    const uint64_t before = history_.committed();
    group_.Run(3000);
    const uint32_t leader = group_.Leader();
    ASSERT_NE(leader, 0u) << "nobody leads";
    ASSERT_TRUE(group_.Propose(leader, "the end").ok());
    group_.Run(200);
    ASSERT_EQ(group_.core(leader).commit_index(), group_.core(leader).last_index());
    for (const Member& member : group_.core(leader).membership().members) {
      ASSERT_EQ(group_[member.id.value()].last(), group_[leader].last()) << "member " << member.id;
    }
    history_.Check();
    history_.CheckLogsMatch();
    ASSERT_GT(history_.committed(), before);
  }

  TestGroup group_;
  SeededRandom chance_;
  History history_;
  uint64_t loss_ = 0;  // of a hundred messages
  uint64_t proposals_ = 0;
};

void RunSchedules(const Membership& membership, uint64_t first_seed, uint64_t count) {
  uint64_t committed = 0;
  for (uint64_t seed = first_seed; seed < first_seed + count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Schedule schedule(seed, membership);
    schedule.Run(3000);
    if (testing::Test::HasFatalFailure()) return;
    committed += schedule.committed();
  }
  EXPECT_GT(committed, count * 20) << "the schedules do not let anything happen";
}

TEST(RaftNetworkTest, ThreeMembersKeepRaftsPromises) { RunSchedules(VotersOnly(3), 1, 40); }

TEST(RaftNetworkTest, TwoMembersAndAWitnessKeepRaftsPromises) {
  RunSchedules(WithKind(VotersOnly(3), 3, MemberKind::kWitness), 1001, 40);
}

TEST(RaftNetworkTest, FiveMembersKeepRaftsPromises) { RunSchedules(VotersOnly(5), 2001, 25); }

TEST(RaftNetworkTest, TheSameSeedGivesTheSameHistory) {
  Schedule once(5, VotersOnly(3));
  Schedule again(5, VotersOnly(3));
  once.Run(3000);
  again.Run(3000);
  EXPECT_EQ(once.committed(), again.committed());
}

}  // namespace
}  // namespace tercet
