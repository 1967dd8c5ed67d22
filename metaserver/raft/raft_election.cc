// Elections: asking for votes, giving them, and what a member promised.
#include <algorithm>

#include "metaserver/raft/raft_impl.h"

namespace tercet {
namespace {

// So often does who waits for an answer to a pre-vote ask again, in parts of the election timeout:
// asking costs nothing but messages, and a voter's promise to a dead leader ends soon.
constexpr int64_t kPreVoteRetryPart = 8;

}  // namespace

void RaftCore::Impl::Campaign() {
  if (!SelfIsVoter() || removed()) {
    if (role != RaftRole::kFollower) BecomeFollower();
    RestartElectionTimer();
    return;
  }
  if (log.membership().quorum() == 1) {
    StartElection(/*transfer=*/false);
    return;
  }
  if (role != RaftRole::kPreCandidate) BecomeFollower();
  role = RaftRole::kPreCandidate;
  grants[self] = now_ns;
  std::erase_if(grants, [this](const auto& grant) {
    return now_ns - grant.second > options.election_timeout_ns;
  });
  RequestVotes(/*pre_vote=*/true, /*transfer=*/false);
  ElectionTimerIn(options.election_timeout_ns / kPreVoteRetryPart);
}

void RaftCore::Impl::StartElection(bool transfer) {
  BecomeFollower();
  role = RaftRole::kCandidate;
  hard = {hard.epoch.Next(), self};
  effects.hard_state = hard;
  grants[self] = now_ns;
  ElectionTimerIn(options.election_timeout_ns / 2);
  if (GrantsAreQuorum()) {
    BecomeLeader();
  } else {
    RequestVotes(/*pre_vote=*/false, transfer);
  }
}

void RaftCore::Impl::RequestVotes(bool pre_vote, bool transfer) {
  const VoteRequest request{log.last(), log.last_epoch(), pre_vote, transfer};
  for (const Member& member : log.membership().members) {
    if (!member.voter || member.id == self) continue;
    Send(member.id, pre_vote ? hard.epoch.Next() : hard.epoch, request);
  }
}

bool RaftCore::Impl::GrantsAreQuorum() const {
  size_t count = 0;
  for (const auto& [id, granted_ns] : grants) {
    if (log.membership().IsVoter(id)) ++count;
  }
  return count >= log.membership().quorum();
}

bool RaftCore::Impl::WasRemoved(MemberId member) const {
  const Membership& committed = *log.MembershipAt(commit).second;
  return member < committed.next_id && committed.Find(member) == nullptr;
}

int64_t RaftCore::Impl::PromiseEnd() const {
  return std::max(start_ns, heard_ns.value_or(start_ns)) + options.election_timeout_ns;
}

void RaftCore::Impl::Refuse(MemberId candidate, bool pre_vote, bool log_is_newer) {
  Send(candidate, hard.epoch,
       VoteResponse{.granted = false, .pre_vote = pre_vote, .log_is_newer = log_is_newer});
}

void RaftCore::Impl::CampaignSoon() {
  // The candidate cannot win without this member, which would wait for others to lead: nobody
  // would.
  if (role == RaftRole::kLeader || !reluctant()) return;
  const auto spread = static_cast<uint64_t>(options.election_timeout_ns / kPreVoteRetryPart);
  const int64_t soon_ns = now_ns + static_cast<int64_t>(random.Below(spread + 1));
  election_deadline_ns = std::min(election_deadline_ns, std::max(soon_ns, PromiseEnd()));
}

void RaftCore::Impl::OnVoteRequest(MemberId from, Epoch epoch, const VoteRequest& request) {
  if (WasRemoved(from)) {
    Send(from, hard.epoch, VoteResponse{.pre_vote = request.pre_vote, .unknown_member = true});
    return;
  }
  if (epoch < hard.epoch || (request.pre_vote && epoch == hard.epoch)) {
    Refuse(from, request.pre_vote, false);
    return;
  }
  if (from == leader && epoch > hard.epoch) {
    // Only who does not lead any more asks for a later epoch: nothing is left to be promised to it.
    leader = MemberId();
    heard_ns.reset();
  }
  // A leader that hands over has given up its lease, and nobody had one in an earlier epoch since
  // it was elected.
  if (!request.transfer && (role == RaftRole::kLeader || now_ns < PromiseEnd())) {
    Refuse(from, request.pre_vote, false);
    return;
  }
  if (!request.pre_vote && epoch > hard.epoch) Adopt(epoch);
  const bool as_new_as_ours =
      request.last_epoch > log.last_epoch() ||
      (request.last_epoch == log.last_epoch() && request.last_index >= log.last());
  if (!as_new_as_ours) {
    Refuse(from, request.pre_vote, true);
    CampaignSoon();
    return;
  }
  if (request.pre_vote) {
    Send(from, epoch, VoteResponse{.granted = true, .pre_vote = true});
    return;
  }
  if (hard.voted_for != MemberId() && hard.voted_for != from) {
    Refuse(from, false, false);
    return;
  }
  if (hard.voted_for != from) {
    hard.voted_for = from;
    effects.hard_state = hard;
  }
  BecomeFollower();
  RestartElectionTimer();
  Send(from, epoch, VoteResponse{.granted = true});
}

void RaftCore::Impl::OnVoteResponse(MemberId from, Epoch epoch, const VoteResponse& response) {
  if (!log.membership().IsVoter(from)) return;
  if (response.unknown_member) {
    told_removed = true;
    if (role == RaftRole::kPreCandidate || role == RaftRole::kCandidate) {
      BecomeFollower();
      RestartElectionTimer();
    }
    return;
  }
  if (response.pre_vote && response.granted) {
    if (role != RaftRole::kPreCandidate || epoch != hard.epoch.Next()) return;
    grants[from] = now_ns;
    if (GrantsAreQuorum()) StartElection(/*transfer=*/false);
    return;
  }
  if (epoch > hard.epoch) {
    Adopt(epoch);
    return;
  }
  if (role != RaftRole::kCandidate || epoch != hard.epoch || !response.granted) return;
  grants[from] = now_ns;
  if (GrantsAreQuorum()) BecomeLeader();
}

void RaftCore::Impl::OnTimeoutNow(MemberId from, Epoch epoch) {
  if (epoch != hard.epoch || from != leader || role != RaftRole::kFollower) return;
  if (!SelfIsVoter() || removed() || cannot_serve()) return;
  StartElection(/*transfer=*/true);
}

}  // namespace tercet
