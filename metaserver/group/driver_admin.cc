// Who belongs to the group and who leads it: what people ask for, and what the leader does by
// itself.
#include <algorithm>
#include <utility>

#include "common/base/version.h"
#include "common/log/log.h"
#include "common/rpc/thrift_client.h"
#include "common/rpc/wire_status.h"
#include "metaserver/group/member_driver.h"

namespace tercet {
namespace {

/// Who lacks no more than this is caught up: it gets the rest within a message or two.
constexpr uint64_t kCaughtUpRecords = 1000;
/// A sync that takes so long is a disk that hangs; another member should lead.
constexpr int64_t kHungSyncNs = 2'000'000'000;
constexpr std::chrono::milliseconds kJoinTimeout{2000};
constexpr std::chrono::seconds kChangeTimeout{10};

std::string Name(const Member& member) {
  return std::string(MemberKindName(member.kind)) + " " + std::to_string(member.id.value()) + " (" +
         member.address + ")";
}

Member& Edit(Membership* membership, MemberId id) {
  return *std::find_if(membership->members.begin(), membership->members.end(),
                       [&](const Member& member) { return member.id == id; });
}

}  // namespace

// ---- by itself ----

void MemberDriver::TendGroup(int64_t now_ns) {
  if (lead_epoch_ == Epoch() || Ended()) return;
  if (lead_first_ == JournalIndex() && journal_->has_spare()) AppendEpochRecord();
  if (Ended()) return;
  const bool sync_hangs = syncing_ && now_ns - sync_started_ns_ > kHungSyncNs;
  if (sync_hangs && !core_->transferring() && core_->membership().voter_count() > 1) {
    LOG_WARN("giving up the lead: a sync of the journal takes longer than two seconds");
    core_->Resign(now_ns);
    Settle();
  }
  TendMembership(now_ns);
}

void MemberDriver::TendMembership(int64_t now_ns) {
  if (!CheckAdmin().ok()) return;
  const std::optional<Membership> next = NextMembership(now_ns);
  if (!next) return;
  Result<JournalIndex> index = AppendHere(RecordKind::kMembership, next->Encode(), &*next);
  if (!index.ok()) {
    if (index.code() != StatusCode::kBusy && index.code() != StatusCode::kNoSpace) {
      LOG_WARN_LIMITED("the membership cannot be brought up to date: {}", index.status());
    }
    return;
  }
  log_wanted_ = true;
  log_wakeup_.notify_all();
  Settle();
}

/// The membership with one thing put right; nothing when all is.
std::optional<Membership> MemberDriver::NextMembership(int64_t now_ns) const {
  const Membership& membership = core_->membership();
  Membership next = membership;
  for (const Member& member : membership.members) {
    const std::string address = AddressOf(member.id);
    if (address.empty() || address == member.address || membership.FindByAddress(address)) continue;
    LOG_INFO("{} is at {} now", Name(member), address);
    Edit(&next, member.id).address = address;
    return next;
  }
  for (const PeerProgress& peer : core_->progress()) {
    const Member* member = membership.Find(peer.id);
    if (member == nullptr || member->voter || !Heard(peer, now_ns) || peer.amnesia) continue;
    if (peer.lacks_state && member->kind == MemberKind::kMetaserver) continue;
    if (peer.match_index.value() + kCaughtUpRecords < core_->last_index().value()) continue;
    // Few records may be behind, and yet not be there any more: it has to fetch the namespace.
    if (peer.match_index.Next() < core_->first_index()) continue;
    LOG_INFO("{} has caught up and votes from now on", Name(*member));
    Edit(&next, member->id).voter = true;
    return next;
  }
  return std::nullopt;
}

bool MemberDriver::Heard(const PeerProgress& peer, int64_t now_ns) const {
  return peer.last_contact_ns != 0 &&
         now_ns - peer.last_contact_ns < options_.raft.election_timeout_ns;
}

/// Who would be the best active; 0: nobody could be.
MemberId MemberDriver::BestStandby(int64_t now_ns) const {
  MemberId best;
  JournalIndex best_match;
  for (const PeerProgress& peer : core_->progress()) {
    const Member* member = core_->membership().Find(peer.id);
    if (member == nullptr || !member->voter || member->kind != MemberKind::kMetaserver) continue;
    if (peer.lacks_state || peer.short_of_space || peer.amnesia || !Heard(peer, now_ns)) continue;
    if (best != MemberId() && peer.match_index <= best_match) continue;
    best = peer.id;
    best_match = peer.match_index;
  }
  return best;
}

// ---- on request ----

/// A leader changes the membership only when a record of its own epoch is committed: otherwise two
/// leaders could each commit a change that the other knows nothing of.
Status MemberDriver::CheckAdmin() const {
  if (lead_epoch_ == Epoch() || Ended() || core_->transferring()) return NotActive();
  if (lead_first_ == JournalIndex() || core_->commit_index() < lead_first_) {
    return Status(StatusCode::kNotActive, "this metaserver has just become the leader: retry");
  }
  return Status::Ok();
}

Status MemberDriver::ChangeMembership(Lock& lock, const Membership& membership) {
  const Epoch epoch = lead_epoch_;
  Result<JournalIndex> index =
      AppendHere(RecordKind::kMembership, membership.Encode(), &membership);
  if (index.code() == StatusCode::kNoSpace && AwaitSpare(lock).ok() && lead_epoch_ == epoch) {
    index = AppendHere(RecordKind::kMembership, membership.Encode(), &membership);
  }
  RETURN_IF_ERROR(index.status());
  log_wanted_ = true;
  log_wakeup_.notify_all();
  Settle();
  RunDeferred(lock);
  const bool in_time = changed_.wait_for(lock, kChangeTimeout, [&] {
    return core_->commit_index() >= *index || lead_epoch_ != epoch || Ended();
  });
  if (lead_epoch_ == epoch && core_->commit_index() >= *index) return Status::Ok();
  if (in_time) return NotActive();
  return Status(StatusCode::kDeadlineExceeded,
                "the change of the group is journaled here, but no majority confirmed it yet; look "
                "at the group's status");
}

Result<MemberId> MemberDriver::AddMember(const std::string& address, MemberKind kind) {
  ASSIGN_OR_RETURN(const HostPort target, ParseHostPort(address));
  Lock lock(mutex_);
  RETURN_IF_ERROR(CheckAdmin());
  if (const Member* found = core_->membership().FindByAddress(address)) {
    if (found->kind == kind) return found->id;
    return Status(StatusCode::kFailedPrecondition, address + " is already " + Name(*found));
  }
  Membership next = core_->membership();
  if (next.members.size() >= Membership::kMaxMembers) {
    return Status(StatusCode::kFailedPrecondition, "the group has as many members as it can have");
  }
  const MemberId id = next.next_id;
  next.next_id = id.Next();
  next.members.push_back({id, kind, /*voter=*/false, address});
  RETURN_IF_ERROR(core_->CanPropose(RecordKind::kMembership, &next));
  wire::JoinRequest request;
  request.cluster_id = journal_->identity().cluster_id;
  request.group_id = static_cast<int64_t>(group_id_);
  request.member_id = static_cast<int32_t>(id.value());
  request.witness = kind == MemberKind::kWitness;
  request.leader_address = options_.address;
  const JournalIndex membership_index = core_->membership_index();
  lock.unlock();
  RETURN_IF_ERROR(CallJoin(target, request));
  lock.lock();
  RETURN_IF_ERROR(CheckAdmin());
  if (core_->membership_index() != membership_index) {
    return Status(StatusCode::kBusy, "the group changed meanwhile; retry");
  }
  RETURN_IF_ERROR(ChangeMembership(lock, next));
  LOG_INFO("added member {} at {}", id, address);
  return id;
}

Status MemberDriver::CallJoin(const HostPort& target, const wire::JoinRequest& request) const {
  const std::string context = "asking " + target.ToString() + " to join";
  Result<std::unique_ptr<RpcConnection>> connection =
      RpcConnection::Connect(target, "group", kJoinTimeout, options_.bind_host);
  if (!connection.ok()) return connection.status().WithContext(context);
  (*connection)->SetTimeout(kJoinTimeout);
  wire::JoinResponse response;
  try {
    wire::GroupServiceClient client((*connection)->protocol());
    client.Join(response, request);
  } catch (...) {
    return StatusFromRpcException(target, "group").WithContext(context);
  }
  return FromWire(response.status).WithContext(context);
}

Status MemberDriver::CheckRemoval(const Member& member, bool force) const {
  if (!member.voter) return Status::Ok();
  const Membership& membership = core_->membership();
  const size_t remaining = membership.voter_count() - 1;
  size_t metaservers = 0;
  size_t heard = membership.IsVoter(self_) ? 1 : 0;
  for (const Member& other : membership.members) {
    if (other.id == member.id || !other.voter) continue;
    if (other.kind == MemberKind::kMetaserver) ++metaservers;
  }
  for (const PeerProgress& peer : core_->progress()) {
    if (peer.id == member.id || !membership.IsVoter(peer.id)) continue;
    if (Heard(peer, Now()) && !peer.amnesia) ++heard;
  }
  if (metaservers == 0) {
    return Status(StatusCode::kFailedPrecondition,
                  Name(member) + " is the last metaserver of the group");
  }
  if (heard < remaining / 2 + 1 && !force) {
    return Status(StatusCode::kFailedPrecondition,
                  "without " + Name(member) + " only " + std::to_string(heard) + " of " +
                      std::to_string(remaining) +
                      " voting members would answer, which is no majority: the group would stop. "
                      "Bring the others back first");
  }
  return Status::Ok();
}

Status MemberDriver::RemoveMember(MemberId id, bool force) {
  Lock lock(mutex_);
  RETURN_IF_ERROR(CheckAdmin());
  const Member* member = core_->membership().Find(id);
  if (member == nullptr) {
    return Status(StatusCode::kNotFound, "the group has no member " + std::to_string(id.value()));
  }
  RETURN_IF_ERROR(CheckRemoval(*member, force));
  if (id == self_) {
    const std::string name = Name(*member);
    lock.unlock();
    ASSIGN_OR_RETURN(const MemberId target, TransferActive(MemberId()));
    return Status(StatusCode::kBusy, name + " is the active and hands over to member " +
                                         std::to_string(target.value()) + " first; retry there");
  }
  Membership next = core_->membership();
  std::erase_if(next.members, [&](const Member& other) { return other.id == id; });
  RETURN_IF_ERROR(ChangeMembership(lock, next));
  LOG_INFO("removed member {}", id);
  return Status::Ok();
}

Status MemberDriver::PromoteWitness(MemberId id) {
  Lock lock(mutex_);
  RETURN_IF_ERROR(CheckAdmin());
  const Member* member = core_->membership().Find(id);
  if (member == nullptr) {
    return Status(StatusCode::kNotFound, "the group has no member " + std::to_string(id.value()));
  }
  if (member->kind == MemberKind::kMetaserver) return Status::Ok();
  Membership next = core_->membership();
  Edit(&next, id).kind = MemberKind::kMetaserver;
  RETURN_IF_ERROR(ChangeMembership(lock, next));
  LOG_INFO("member {} is a metaserver from now on", id);
  return Status::Ok();
}

Result<MemberId> MemberDriver::TransferActive(MemberId target) {
  Lock lock(mutex_);
  RETURN_IF_ERROR(CheckAdmin());
  const int64_t now_ns = Now();
  if (target == MemberId()) target = BestStandby(now_ns);
  if (target == MemberId()) {
    return Status(StatusCode::kFailedPrecondition,
                  "no other metaserver could be the active: each is away, lacks the namespace or "
                  "is short of space");
  }
  RETURN_IF_ERROR(core_->Transfer(target, now_ns));
  LOG_INFO("handing over to member {}", target);
  Settle();
  MarkLinks();
  RunDeferred(lock);
  return target;
}

}  // namespace tercet
