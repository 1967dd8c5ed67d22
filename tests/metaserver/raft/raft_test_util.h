// A group of cores in one thread: what their drivers would do, with a network and a clock that the
// test moves.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "metaserver/raft/raft_core.h"

namespace tercet {

inline constexpr int64_t kMs = 1'000'000;

/// Members 1..voters of `kind` metaserver, all voters.
inline Membership VotersOnly(uint32_t voters) {
  Membership membership;
  for (uint32_t id = 1; id <= voters; ++id) {
    membership.members.push_back(
        {MemberId(id), MemberKind::kMetaserver, true, "m:" + std::to_string(id)});
  }
  membership.next_id = MemberId(voters + 1);
  return membership;
}

inline Membership WithKind(Membership membership, uint32_t id, MemberKind kind) {
  for (Member& member : membership.members) {
    if (member.id == MemberId(id)) member.kind = kind;
  }
  return membership;
}

inline Membership Without(Membership membership, uint32_t id) {
  std::erase_if(membership.members, [&](const Member& m) { return m.id == MemberId(id); });
  return membership;
}

inline Membership With(Membership membership, uint32_t id, bool voter) {
  std::erase_if(membership.members, [&](const Member& m) { return m.id == MemberId(id); });
  membership.members.push_back(
      {MemberId(id), MemberKind::kMetaserver, voter, "m:" + std::to_string(id)});
  std::sort(membership.members.begin(), membership.members.end(),
            [](const Member& a, const Member& b) { return a.id < b.id; });
  membership.next_id = std::max(membership.next_id, MemberId(id + 1));
  return membership;
}

/// A member with its disk. A crash keeps what was synced.
struct TestMember {
  MemberId id;
  std::unique_ptr<RaftCore> core;  // null: it is down
  HardState hard;
  JournalIndex first{1};
  Epoch base_epoch;
  Membership base_membership;
  JournalIndex base_membership_index;
  std::deque<CommittedRecord> records;  // from `first`
  JournalIndex durable;
  JournalIndex applied;
  bool sync_at_once = true;
  std::optional<StateOffer> offer;
  std::string fatal;

  JournalIndex last() const { return JournalIndex(first.value() + records.size() - 1); }
  const CommittedRecord& At(uint64_t index) const { return records.at(index - first.value()); }
};

class TestGroup {
 public:
  /// All begin with an empty log before which `membership` was in force.
  explicit TestGroup(Membership membership, uint64_t seed = 1)
      : random(seed), initial(std::move(membership)) {
    for (const Member& member : initial.members) Add(member.id, initial);
  }

  void Add(MemberId id, Membership base = {}) {
    TestMember& member = members[id];
    member.id = id;
    member.base_membership = std::move(base);
    Start(id.value());
  }

  TestMember& operator[](uint32_t id) { return members.at(MemberId(id)); }
  RaftCore& core(uint32_t id) { return *members.at(MemberId(id)).core; }

  void Start(uint32_t id) {
    TestMember& member = (*this)[id];
    LogSummary log;
    log.first = member.first;
    log.last = member.last();
    log.base_epoch = member.base_epoch;
    log.base_membership = member.base_membership;
    log.base_membership_index = member.base_membership_index;
    for (const CommittedRecord& record : member.records) {
      if (log.runs.empty() || log.runs.back().epoch != record.epoch) {
        log.runs.push_back({record.index, record.epoch});
      }
      if (record.kind == RecordKind::kMembership) {
        log.memberships.emplace_back(record.index, *Membership::Decode(record.payload));
      }
    }
    member.core = std::make_unique<RaftCore>(options, member.id, member.hard, std::move(log),
                                             member.applied, random, now);
  }

  /// Records that were not synced are gone; messages from and to it as well.
  void Crash(uint32_t id) {
    TestMember& member = (*this)[id];
    member.core.reset();
    while (member.last() > member.durable) member.records.pop_back();
    std::erase_if(network,
                  [&](const RaftMessage& m) { return m.from == member.id || m.to == member.id; });
    member.offer.reset();
  }

  void Cut(uint32_t from, uint32_t to) { cut.insert({MemberId(from), MemberId(to)}); }
  void CutBoth(uint32_t a, uint32_t b) {
    Cut(a, b);
    Cut(b, a);
  }
  void Isolate(uint32_t id) {
    for (const auto& [other, member] : members) {
      if (other != MemberId(id)) CutBoth(id, other.value());
    }
  }
  void Heal() { cut.clear(); }

  /// What the driver does after each call.
  void Drive(TestMember& member) {
    if (!member.core) return;
    RaftEffects effects = member.core->TakeEffects();
    if (effects.hard_state) member.hard = *effects.hard_state;
    if (effects.truncate_after) {
      while (member.last() > *effects.truncate_after) member.records.pop_back();
      member.durable = std::min(member.durable, member.last());
    }
    for (CommittedRecord& record : effects.append) {
      EXPECT_EQ(record.index, member.last().Next());
      member.records.push_back(std::move(record));
    }
    for (RaftMessage& message : effects.messages) Post(std::move(message));
    if (effects.state_offer) member.offer = effects.state_offer;
    if (!effects.fatal.empty()) member.fatal = effects.fatal;
    EXPECT_EQ(member.core->last_index(), member.last());
    if (member.sync_at_once && member.durable < member.last()) {
      Sync(member.id.value());
      return;
    }
    SendAppends(member);
  }

  void Sync(uint32_t id) {
    TestMember& member = (*this)[id];
    if (!member.core || member.durable >= member.last()) return;
    member.durable = member.last();
    member.core->LogDurable(member.durable, *member.core->EpochAt(member.durable), now);
    Drive(member);
  }

  void SendAppends(TestMember& member) {
    const Membership membership = member.core->membership();
    for (const Member& to : membership.members) {
      for (int i = 0; i < 100; ++i) {
        std::optional<AppendPlan> plan = member.core->NextAppend(to.id, now);
        if (!plan) break;
        AppendRequest request;
        request.previous_index = plan->previous_index;
        request.previous_epoch = plan->previous_epoch;
        request.commit_index = member.core->commit_index();
        request.sent_ns = now;
        JournalIndex last = plan->previous_index;
        while (last < plan->last && request.records.size() < max_records) {
          last = last.Next();
          request.records.push_back(member.At(last.value()));
        }
        Post({member.id, to.id, plan->epoch, std::move(request)});
        member.core->AppendSent(to.id, *plan, last, now);
        EXPECT_LT(i, 99) << "sends without an end";
      }
    }
  }

  void Post(RaftMessage message) {
    if (cut.contains({message.from, message.to})) return;
    if (filter && !filter(message)) return;
    network.push_back(std::move(message));
  }

  void Deliver(RaftMessage message) {
    const auto to = members.find(message.to);
    if (to == members.end() || !to->second.core) return;
    to->second.core->Receive(std::move(message), now);
    Drive(to->second);
  }

  /// Until the network is quiet.
  void DeliverAll() {
    for (int i = 0; !network.empty(); ++i) {
      ASSERT_LT(i, 100'000) << "the members do not stop talking";
      RaftMessage message = std::move(network.front());
      network.pop_front();
      Deliver(std::move(message));
    }
  }

  void Tick(uint32_t id) {
    TestMember& member = (*this)[id];
    if (!member.core) return;
    member.core->Tick(now);
    Drive(member);
  }

  /// Time passes for one member alone.
  void Wait(uint32_t id, int64_t nanos) {
    for (const int64_t end = now + nanos; now < end;) {
      now = std::min(end, now + 20 * kMs);
      Tick(id);
    }
  }

  /// Time passes, in steps of 5 ms.
  void Run(int64_t milliseconds) {
    for (int64_t end = now + milliseconds * kMs; now < end;) {
      now += 5 * kMs;
      for (auto& [id, member] : members) Tick(id.value());
      DeliverAll();
      if (after_step) after_step();
    }
  }

  /// Runs until `done`; whether it was within `milliseconds`.
  bool RunUntil(const std::function<bool()>& done, int64_t milliseconds = 5000) {
    for (int64_t end = now + milliseconds * kMs; now < end;) {
      if (done()) return true;
      Run(5);
    }
    return done();
  }

  /// 0: none. The one of the newest epoch if there are several.
  uint32_t Leader() {
    uint32_t leader = 0;
    Epoch epoch;
    for (auto& [id, member] : members) {
      if (member.core && member.core->is_leader() && member.core->epoch() >= epoch) {
        leader = id.value();
        epoch = member.core->epoch();
      }
    }
    return leader;
  }

  /// As drivers do on election: the record that opens the epoch.
  void OpenEpoch(uint32_t id) { EXPECT_TRUE(Propose(id, "epoch").ok()); }

  Result<JournalIndex> Propose(uint32_t id, std::string payload) {
    return Propose(id, RecordKind::kData, nullptr, std::move(payload));
  }
  Result<JournalIndex> ProposeMembership(uint32_t id, const Membership& membership) {
    return Propose(id, RecordKind::kMembership, &membership, membership.Encode());
  }
  Result<JournalIndex> Propose(uint32_t id, RecordKind kind, const Membership* membership,
                               std::string payload) {
    TestMember& member = (*this)[id];
    RETURN_IF_ERROR(member.core->CanPropose(kind, membership));
    member.records.push_back(
        {member.last().Next(), member.core->epoch(), std::move(payload), kind});
    Result<JournalIndex> index = member.core->Propose(kind, membership, now);
    EXPECT_TRUE(index.ok());
    Drive(member);
    return index;
  }

  /// Elects `id` while the others' timers stand still, and commits its first record.
  void MakeLeader(uint32_t id) {
    for (int i = 0; i < 1000 && !core(id).is_leader(); ++i) {
      now += 5 * kMs;
      Tick(id);
      DeliverAll();
    }
    ASSERT_TRUE(core(id).is_leader());
    OpenEpoch(id);
    DeliverAll();
    Settle();
    ASSERT_TRUE(core(id).may_serve() ||
                core(id).membership().Find(MemberId(id))->kind == MemberKind::kWitness);
  }

  /// One round of heartbeats, so that all know the commit index and the lease is fresh.
  void Settle() {
    now += options.heartbeat_interval_ns;
    for (auto& [id, member] : members) {
      if (member.core && member.core->is_leader()) Tick(id.value());
    }
    DeliverAll();
  }

  /// A message as another member would send it.
  RaftMessage Message(uint32_t from, uint32_t to, uint64_t epoch,
                      decltype(RaftMessage::body) body) {
    return {MemberId(from), MemberId(to), Epoch(epoch), std::move(body)};
  }

  RaftOptions options;
  SeededRandom random;
  const Membership initial;
  int64_t now = 1'000 * kMs;
  size_t max_records = 64;
  std::map<MemberId, TestMember> members;
  std::deque<RaftMessage> network;
  std::set<std::pair<MemberId, MemberId>> cut;
  std::function<bool(const RaftMessage&)> filter;  // false: the message is lost
  std::function<void()> after_step;
};

/// The messages of one kind that wait in the network for `to`.
template <typename Body>
std::vector<Body> Waiting(const TestGroup& group, uint32_t to) {
  std::vector<Body> found;
  for (const RaftMessage& message : group.network) {
    if (message.to != MemberId(to)) continue;
    if (const Body* body = std::get_if<Body>(&message.body)) found.push_back(*body);
  }
  return found;
}

inline CommittedRecord Record(uint64_t index, uint64_t epoch, std::string payload = "x") {
  return {JournalIndex(index), Epoch(epoch), std::move(payload), RecordKind::kData};
}

}  // namespace tercet
