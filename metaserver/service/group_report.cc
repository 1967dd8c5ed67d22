#include "metaserver/service/group_report.h"

#include <algorithm>

namespace tercet {
namespace {

constexpr int64_t kNanosPerMilli = 1'000'000;

std::string OwnRole(const GroupStatus& status) {
  switch (status.role) {
    case RaftRole::kLeader:
      return status.active ? "active" : "leader";
    case RaftRole::kCandidate:
    case RaftRole::kPreCandidate:
      return "candidate";
    case RaftRole::kFollower:
      break;
  }
  return status.kind == MemberKind::kWitness ? "witness" : "standby";
}

std::string RoleByKind(MemberKind kind) {
  return kind == MemberKind::kWitness ? "witness" : "standby";
}

void DescribeSelf(const GroupStatus& status, const std::string& state_note,
                  wire::GroupMember* member) {
  member->role = OwnRole(status);
  member->epoch = static_cast<int64_t>(status.epoch.value());
  member->journal_index = static_cast<int64_t>(status.durable_index.value());
  member->applied_index = static_cast<int64_t>(status.applied_index.value());
  member->last_contact_ms = status.role == RaftRole::kLeader ? 0 : -1;
  member->state_note = state_note;
  if (state_note.empty() && status.lacks_state && status.kind == MemberKind::kMetaserver) {
    member->state_note = "fetching";
  }
  member->short_of_space = status.short_of_space;
}

void DescribePeer(const GroupStatus& status, const PeerProgress& peer,
                  std::chrono::milliseconds election_timeout, MemberKind kind,
                  wire::GroupMember* member) {
  member->journal_index = static_cast<int64_t>(peer.match_index.value());
  member->applied_index = static_cast<int64_t>(peer.applied_index.value());
  member->clock_skew_ms = peer.clock_skew_ns / kNanosPerMilli;
  if (peer.last_contact_ns != 0) {
    member->last_contact_ms =
        std::max<int64_t>((status.now_ns - peer.last_contact_ns) / kNanosPerMilli, 0);
    member->epoch = static_cast<int64_t>(status.epoch.value());
  }
  const bool heard =
      member->last_contact_ms >= 0 && member->last_contact_ms <= 2 * election_timeout.count();
  member->role = heard ? RoleByKind(kind) : "unknown";
  if (peer.lacks_state && kind == MemberKind::kMetaserver) member->state_note = "fetching";
  member->short_of_space = peer.short_of_space;
  member->amnesia = peer.amnesia;
}

}  // namespace

void DescribeGroup(const GroupStatus& status, std::chrono::milliseconds election_timeout,
                   const std::string& state_note, wire::GetGroupStatusResponse* response) {
  response->group_id = static_cast<int64_t>(status.group_id);
  response->member_id = static_cast<int32_t>(status.self.value());
  response->leader_id = static_cast<int32_t>(status.leader.value());
  response->commit_index = static_cast<int64_t>(status.commit_index.value());
  response->first_index = static_cast<int64_t>(status.first_index.value());
  response->last_index = static_cast<int64_t>(status.last_index.value());
  response->lease_ms = status.lease_ms;
  response->election_timeout_ms = static_cast<int32_t>(election_timeout.count());
  response->transferring = status.transferring;
  for (const Member& known : status.membership.members) {
    wire::GroupMember member;
    member.member_id = static_cast<int32_t>(known.id.value());
    member.address = known.address;
    member.witness = known.kind == MemberKind::kWitness;
    member.voter = known.voter;
    member.role = "unknown";
    if (known.id == status.self) {
      DescribeSelf(status, state_note, &member);
    } else if (known.id == status.leader) {
      // That it leads is known from its messages; a witness never serves.
      member.role = known.kind == MemberKind::kWitness ? "leader" : "active";
      member.epoch = static_cast<int64_t>(status.epoch.value());
    }
    const auto peer = std::find_if(status.peers.begin(), status.peers.end(),
                                   [&](const PeerProgress& p) { return p.id == known.id; });
    if (known.id != status.self && peer != status.peers.end()) {
      DescribePeer(status, *peer, election_timeout, known.kind, &member);
    }
    response->members.push_back(std::move(member));
  }
}

std::vector<wire::MetaserverStatus> DescribeMetaservers(const wire::GetGroupStatusResponse& group) {
  std::vector<wire::MetaserverStatus> metaservers;
  for (const wire::GroupMember& member : group.members) {
    wire::MetaserverStatus status;
    status.address = member.address;
    status.role = member.role;
    status.epoch = member.epoch;
    status.journal_index = member.journal_index;
    status.applied_index = member.applied_index;
    metaservers.push_back(std::move(status));
  }
  return metaservers;
}

}  // namespace tercet
