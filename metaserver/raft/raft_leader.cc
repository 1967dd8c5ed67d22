// Leading: answers of members, commit, lease, membership changes, handing over.
#include <algorithm>
#include <array>
#include <limits>
#include <string>

#include "metaserver/raft/raft_impl.h"

namespace tercet {

// Proposals and membership.

Status RaftCore::Impl::CanPropose(RecordKind kind, const Membership* membership) const {
  if (failed || role != RaftRole::kLeader) return Status(StatusCode::kNotActive, "not the leader");
  if (transfer_target) return Status(StatusCode::kNotActive, "leadership is being handed over");
  if (kind == RecordKind::kData) return Status::Ok();
  if (kind != RecordKind::kMembership || membership == nullptr) {
    return Status(StatusCode::kInvalidArgument, "neither data nor a membership");
  }
  return CanChangeMembership(*membership);
}

Status RaftCore::Impl::CanChangeMembership(const Membership& next) const {
  RETURN_IF_ERROR(next.Validate());
  const Membership& now = log.membership();
  const auto invalid = [](std::string what) {
    return Status(StatusCode::kInvalidArgument, "change of the members: " + std::move(what));
  };
  if (next.voter_count() == 0) return invalid("nobody would vote");
  if (next.next_id < now.next_id) return invalid("the next id goes back");
  size_t changed_voters = 0;
  for (const Member& member : next.members) {
    if (now.Find(member.id) == nullptr && member.id < now.next_id) {
      return invalid("id " + std::to_string(member.id.value()) + " was in use before");
    }
    if (member.voter && !now.IsVoter(member.id)) ++changed_voters;
  }
  for (const Member& member : now.members) {
    if (member.voter && !next.IsVoter(member.id)) ++changed_voters;
  }
  if (changed_voters > 1) return invalid("more than one voter at a time");
  // Until a record of its own epoch is committed a leader does not know whether an earlier
  // leader's change may come back to life.
  if (commit < epoch_first) {
    return Status(StatusCode::kBusy, "the leader is not yet confirmed");
  }
  if (log.membership_index() > commit) {
    return Status(StatusCode::kBusy, "another change of the members is under way");
  }
  return Status::Ok();
}

void RaftCore::Impl::Propose(const Membership* membership) {
  log.Append(hard.epoch);
  if (membership == nullptr) return;
  log.SetMembershipOfLast(*membership);
  SyncPeers();
}

void RaftCore::Impl::SyncPeers() {
  const Membership& membership = log.membership();
  std::erase_if(peers, [&](const auto& peer) { return membership.Find(peer.first) == nullptr; });
  for (const Member& member : membership.members) {
    if (member.id != self) peers.try_emplace(member.id, member.id, log.last(), now_ns);
  }
}

RaftPeer* RaftCore::Impl::FindPeer(MemberId id) {
  const auto found = peers.find(id);
  return found == peers.end() ? nullptr : &found->second;
}

// Answers, commit and lease.

void RaftCore::Impl::OnAppendResponse(MemberId from, Epoch epoch, const AppendResponse& response) {
  RaftPeer* peer = FindPeer(from);
  if (peer == nullptr) return;
  if (epoch > hard.epoch) {
    Adopt(epoch);
    return;
  }
  if (epoch < hard.epoch) return;
  if (response.match_index > log.last() || response.echoed_sent_ns > now_ns) {
    ++rejected_messages;
    return;
  }
  peer->Answered(response, log, now_ns, wall_offset_ns ? now_ns + *wall_offset_ns : 0);
  if (peer->amnesia()) {
    Send(from, hard.epoch, AmnesiaNotice{peer->match()});
    return;
  }
  if (peer->TakeOfferTurn(log, options.election_timeout_ns, now_ns)) {
    const JournalIndex base = Before(log.first());
    Send(from, hard.epoch, StateOffer{base, log.base_epoch(), *log.MembershipAt(base).second});
  }
  AdvanceCommit();
  if (role != RaftRole::kLeader) return;
  if (transfer_target) {
    ContinueTransfer();
  } else {
    HandOverIfReluctant();
  }
}

template <typename T, typename OfPeer>
std::optional<T> RaftCore::Impl::QuorumOf(T of_self, OfPeer of_peer) const {
  const Membership& membership = log.membership();
  std::array<T, Membership::kMaxMembers> values{};
  size_t count = 0;
  for (const Member& member : membership.members) {
    if (!member.voter) continue;
    if (member.id == self) {
      values[count++] = of_self;
      continue;
    }
    const auto peer = peers.find(member.id);
    const bool counts = peer != peers.end() && !peer->second.amnesia();
    values[count++] = counts ? of_peer(peer->second) : std::numeric_limits<T>::min();
  }
  const size_t quorum = membership.quorum();
  if (count < quorum) return std::nullopt;
  std::sort(values.begin(), values.begin() + count, std::greater<T>());
  return values[quorum - 1];
}

void RaftCore::Impl::AdvanceCommit() {
  const std::optional<uint64_t> held = QuorumOf<uint64_t>(
      durable.value(), [](const RaftPeer& peer) { return peer.match().value(); });
  if (!held) return;
  const JournalIndex index(*held);
  // Records of earlier epochs are committed by one of this epoch behind them.
  if (index <= commit || index < epoch_first) return;
  commit = index;
  // Who is removed leads up to its removal.
  if (!log.MembershipAt(commit).second->IsVoter(self)) Resign();
}

bool RaftCore::Impl::HeardOfQuorum() const {
  const std::optional<int64_t> heard =
      QuorumOf<int64_t>(now_ns, [](const RaftPeer& peer) { return peer.quorum_contact_ns(); });
  return heard && *heard >= now_ns - options.election_timeout_ns;
}

int64_t RaftCore::Impl::LeaseUntil() const {
  if (role != RaftRole::kLeader || lease_void) return 0;
  if (SelfIsVoter() && log.membership().voter_count() == 1) {
    return std::numeric_limits<int64_t>::max();
  }
  const std::optional<int64_t> echoed =
      QuorumOf<int64_t>(now_ns, [](const RaftPeer& peer) { return peer.echoed_ns(); });
  return echoed && *echoed > 0 ? *echoed + options.lease_ns : 0;
}

bool RaftCore::Impl::may_serve() const {
  return role == RaftRole::kLeader && commit >= epoch_first && !transfer_target && !cannot_serve();
}

void RaftCore::Impl::TickLeader() {
  if (now_ns >= grace_until_ns && !HeardOfQuorum()) {
    Resign();
  } else if (!transfer_target) {
    HandOverIfReluctant();
  } else if (now_ns - transfer_since_ns >= options.transfer_timeout_ns) {
    // The target may have won without this leader's knowledge: its lease is gone for good.
    Resign();
  } else {
    ContinueTransfer();
  }
}

// Handing over.

Status RaftCore::Impl::CanTakeOver(const RaftPeer& peer, bool with_little_room) const {
  const auto unfit = [&](std::string why) {
    return Status(StatusCode::kFailedPrecondition,
                  "member " + std::to_string(peer.id().value()) + " cannot take over: " + why);
  };
  const Member* member = log.membership().Find(peer.id());
  if (member == nullptr || !member->voter) return unfit("it does not vote");
  if (member->kind != MemberKind::kMetaserver) return unfit("it is a witness");
  if (peer.amnesia()) return unfit("it lost records that it had acknowledged");
  if (peer.last_contact_ns() == 0 ||
      now_ns - peer.last_contact_ns() > options.election_timeout_ns) {
    return unfit("it does not answer");
  }
  if (peer.lacks_state()) return unfit("it does not have the namespace yet");
  if (peer.short_of_space() && !with_little_room) return unfit("its disk is short of room");
  if (!peer.needs() || log.last().value() - peer.match().value() > options.max_transfer_lag) {
    return unfit("it lacks too many records");
  }
  return Status::Ok();
}

const RaftPeer* RaftCore::Impl::BestSuccessor(bool complete, bool with_little_room) const {
  const RaftPeer* best = nullptr;
  for (const auto& [id, peer] : peers) {
    if (!CanTakeOver(peer, with_little_room).ok()) continue;
    if (complete && peer.match() != log.last()) continue;
    if (best == nullptr || peer.match() > best->match()) best = &peer;
  }
  return best;
}

Status RaftCore::Impl::Transfer(MemberId target) {
  if (failed || role != RaftRole::kLeader) return Status(StatusCode::kNotActive, "not the leader");
  if (transfer_target) return Status(StatusCode::kBusy, "leadership is being handed over already");
  const RaftPeer* peer = nullptr;
  if (target == MemberId()) {
    peer = BestSuccessor(/*complete=*/false, /*with_little_room=*/false);
    if (peer == nullptr) {
      return Status(StatusCode::kFailedPrecondition, "no other member can take over");
    }
  } else {
    peer = FindPeer(target);
    if (peer == nullptr) {
      return Status(StatusCode::kFailedPrecondition,
                    "member " + std::to_string(target.value()) +
                        (target == self ? " is the leader" : " is not in the group"));
    }
    RETURN_IF_ERROR(CanTakeOver(*peer, /*with_little_room=*/cannot_serve()));
  }
  transfer_target = peer->id();
  transfer_since_ns = now_ns;
  next_timeout_now_ns = now_ns;
  ContinueTransfer();
  return Status::Ok();
}

void RaftCore::Impl::ContinueTransfer() {
  const RaftPeer* peer = FindPeer(*transfer_target);
  if (peer == nullptr || peer->match() != log.last() || now_ns < next_timeout_now_ns) return;
  // From here on the target may win at any time.
  lease_void = true;
  next_timeout_now_ns = now_ns + options.heartbeat_interval_ns;
  Send(peer->id(), hard.epoch, TimeoutNow{});
}

void RaftCore::Impl::HandOverIfReluctant() {
  if (!reluctant() || transfer_target) return;
  const bool useless = cannot_serve();
  const RaftPeer* successor = BestSuccessor(/*complete=*/useless, /*with_little_room=*/false);
  if (successor == nullptr && useless) {
    // With little room it still answers reads.
    successor = BestSuccessor(/*complete=*/true, /*with_little_room=*/true);
  }
  if (successor == nullptr) return;
  // It was just found to be fit.
  const Status begun = Transfer(successor->id());
  if (!begun.ok()) Fail("handing over: " + begun.message());
}

// For people, and for the journal's upkeep.

JournalIndex RaftCore::Impl::needed_from() const {
  JournalIndex oldest = log.last().Next();
  for (const auto& [id, peer] : peers) {
    if (peer.amnesia()) continue;
    oldest = std::min(oldest, peer.needs().value_or(log.first()));
  }
  return std::max(oldest, log.first());
}

std::vector<PeerProgress> RaftCore::Impl::progress() const {
  std::vector<PeerProgress> all;
  for (const auto& [id, peer] : peers) {
    all.push_back(peer.Progress());
    const Member* member = log.membership().Find(id);
    if (member != nullptr && member->kind == MemberKind::kWitness) all.back().lacks_state = false;
  }
  return all;
}

}  // namespace tercet
