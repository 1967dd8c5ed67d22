// Following: what a leader's requests do to the log, and the answers.
#include <algorithm>
#include <utility>

#include "metaserver/raft/raft_impl.h"

namespace tercet {

bool RaftCore::Impl::FollowSender(MemberId from, Epoch epoch) {
  if (epoch < hard.epoch) {
    // The newer epoch makes it step down.
    AppendResponse stale = NewAppendResponse(false);
    stale.echoed_sent_ns = 0;
    Send(from, hard.epoch, stale);
    return false;
  }
  if (epoch == hard.epoch &&
      (role == RaftRole::kLeader || (leader != MemberId() && leader != from))) {
    ++rejected_messages;  // an epoch has one leader
    return false;
  }
  if (epoch > hard.epoch) Adopt(epoch);
  if (leader != from) {
    BecomeFollower();
    leader = from;
  }
  heard_ns = now_ns;
  RestartElectionTimer();
  return true;
}

std::optional<std::map<JournalIndex, Membership>> RaftCore::Impl::CheckRecords(
    Epoch epoch, const AppendRequest& request) const {
  if (request.previous_epoch > epoch) return std::nullopt;
  std::map<JournalIndex, Membership> memberships;
  JournalIndex index = request.previous_index;
  Epoch newest = request.previous_epoch;
  for (const CommittedRecord& record : request.records) {
    index = index.Next();
    if (record.index != index || record.epoch < newest || record.epoch > epoch ||
        record.epoch == Epoch()) {
      return std::nullopt;
    }
    newest = record.epoch;
    if (record.kind == RecordKind::kMembership) {
      Result<Membership> membership = Membership::Decode(record.payload);
      if (!membership.ok()) return std::nullopt;
      memberships.emplace(index, std::move(membership).value());
    } else if (record.kind != RecordKind::kData) {
      return std::nullopt;
    }
  }
  return memberships;
}

void RaftCore::Impl::OnAppendRequest(MemberId from, Epoch epoch, AppendRequest request) {
  std::optional<std::map<JournalIndex, Membership>> memberships = CheckRecords(epoch, request);
  if (!memberships) {
    ++rejected_messages;
    return;
  }
  if (!FollowSender(from, epoch)) return;
  newest_sent_ns = std::max(newest_sent_ns, request.sent_ns);
  if (!AgreesAtPrevious(request)) return;
  const JournalIndex leader_commit = request.commit_index;
  const Taken taken = TakeRecords(std::move(request), *std::move(memberships));
  if (failed) return;
  verified = std::max(verified, taken.agreed);
  commit = std::max(commit, std::min(leader_commit, verified));
  // New records are acknowledged when they are durable.
  if (!taken.fresh) AcknowledgeToLeader();
}

bool RaftCore::Impl::AgreesAtPrevious(const AppendRequest& request) {
  const JournalIndex previous = request.previous_index;
  // What is committed is in the log of every leader.
  if (previous.Next() < log.first()) return true;
  const std::optional<Epoch> epoch = log.EpochAt(previous);
  if (epoch == request.previous_epoch) return true;
  AppendResponse refusal = NewAppendResponse(false);
  refusal.echoed_sent_ns = request.sent_ns;
  refusal.hint_index = log.last();
  if (epoch) {
    if (previous <= commit) {
      Fail("the leader's record " + std::to_string(previous.value()) + " has epoch " +
           std::to_string(request.previous_epoch.value()) + ", the committed one here " +
           std::to_string(epoch->value()));
      return false;
    }
    // Before `previous` the leader has no later epoch than there.
    refusal.hint_index = log.NewestUpTo(Before(previous), request.previous_epoch).value_or(commit);
  }
  refusal.hint_epoch = log.EpochAt(refusal.hint_index).value_or(Epoch());
  Send(leader, hard.epoch, refusal);
  return false;
}

RaftCore::Impl::Taken RaftCore::Impl::TakeRecords(AppendRequest request,
                                                  std::map<JournalIndex, Membership> memberships) {
  Taken taken{.agreed = request.previous_index};
  for (CommittedRecord& record : request.records) {
    const JournalIndex index = record.index;
    if (index < log.first() || log.EpochAt(index) == record.epoch) {
      taken.agreed = index;
      continue;
    }
    if (index <= commit) {
      Fail("the leader has another record " + std::to_string(index.value()) +
           " than the committed one here");
      return taken;
    }
    if (short_of_space) return taken;
    if (index <= log.last()) TruncateAfter(Before(index));
    if (record.epoch < log.last_epoch()) {  // possible only where previous could not be checked
      ++rejected_messages;
      return taken;
    }
    log.Append(record.epoch);
    if (const auto membership = memberships.find(index); membership != memberships.end()) {
      log.SetMembershipOfLast(std::move(membership->second));
    }
    effects.append.push_back(std::move(record));
    taken.agreed = index;
    taken.fresh = true;
  }
  return taken;
}

void RaftCore::Impl::TruncateAfter(JournalIndex index) {
  log.TruncateAfter(index);
  durable = std::min(durable, index);
  verified = std::min(verified, index);
  // What the driver has not taken yet is not in its log.
  std::vector<CommittedRecord>& pending = effects.append;
  if (pending.empty() || pending.front().index > index.Next()) {
    pending.clear();
    effects.truncate_after = index;
    return;
  }
  pending.resize(index.value() + 1 - pending.front().index.value());
}

AppendResponse RaftCore::Impl::NewAppendResponse(bool accepted) const {
  AppendResponse response;
  response.accepted = accepted;
  if (accepted) response.match_index = std::min(durable, verified);
  response.durable_index = durable;
  response.echoed_sent_ns = newest_sent_ns;
  response.wall_ns = wall_offset_ns ? now_ns + *wall_offset_ns : 0;
  response.applied_index = applied;
  response.lacks_state = lacks_state;
  response.short_of_space = short_of_space;
  return response;
}

void RaftCore::Impl::AcknowledgeToLeader() {
  if (leader == MemberId() || leader == self) return;
  Send(leader, hard.epoch, NewAppendResponse(true));
}

void RaftCore::Impl::OnStateOffer(MemberId from, Epoch epoch, StateOffer offer) {
  if (!offer.membership.Validate().ok() || offer.base_epoch > epoch) {
    ++rejected_messages;
    return;
  }
  if (!FollowSender(from, epoch)) return;
  // It may be late: the log may have got there in another way.
  if (offer.base_index <= commit || log.EpochAt(offer.base_index) == offer.base_epoch) return;
  effects.state_offer = std::move(offer);
}

void RaftCore::Impl::OnAmnesiaNotice(MemberId from, Epoch epoch, const AmnesiaNotice& notice) {
  // Only within the epoch: in a later one it may have been right to take records back.
  if (epoch != hard.epoch || from != leader || durable >= notice.acknowledged) return;
  Fail("this member (" + std::to_string(self.value()) + ") acknowledged records up to " +
       std::to_string(notice.acknowledged.value()) + " but has them only up to " +
       std::to_string(durable.value()) +
       ": its data folder is an old copy, or its disk lost synced writes. It must be rebuilt: stop "
       "it, move its data folder away, `tercet meta remove " +
       std::to_string(self.value()) +
       "`, start it with group.join=true and an empty data folder, then `tercet meta add` it");
}

}  // namespace tercet
