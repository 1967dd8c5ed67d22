#include "metaserver/raft/raft_core.h"

#include <algorithm>
#include <utility>

#include "metaserver/raft/raft_impl.h"

namespace tercet {
namespace {

// Epochs count elections: nobody ever gets there. Damage on the wire must not use them up.
constexpr Epoch kMaxEpoch{uint64_t{1} << 60};

/// A lease that outlives the voters' promises would be a stale read.
RaftOptions Safe(RaftOptions options) {
  options.lease_ns = std::min(options.lease_ns, options.election_timeout_ns / 4 * 3);
  return options;
}

}  // namespace

std::string_view RaftRoleName(RaftRole role) {
  switch (role) {
    case RaftRole::kFollower:
      return "follower";
    case RaftRole::kPreCandidate:
      return "pre-candidate";
    case RaftRole::kCandidate:
      return "candidate";
    case RaftRole::kLeader:
      return "leader";
  }
  return "unknown";
}

RaftCore::Impl::Impl(RaftOptions options, MemberId self, HardState hard_state, LogSummary log,
                     JournalIndex applied, Random& random, int64_t now_ns)
    : options(Safe(options)),
      self(self),
      random(random),
      start_ns(now_ns),
      hard(hard_state),
      log(std::move(log)),
      now_ns(now_ns),
      last_tick_ns(now_ns) {
  durable = this->log.last();
  this->applied = std::min(applied, durable);
  // What was released or applied had been committed.
  commit = std::max(this->applied, Before(this->log.first()));
  verified = commit;
  // The epochs of the log were taken part in, whatever the hard state says; nobody knows with what
  // vote.
  if (hard.epoch < this->log.last_epoch()) hard = {this->log.last_epoch(), self};
  RestartElectionTimer();
  if (SelfIsVoter() && this->log.membership().quorum() == 1) election_deadline_ns = now_ns;
}

void RaftCore::Impl::Advance(int64_t now) { now_ns = std::max(now_ns, now); }

void RaftCore::Impl::Tick() {
  if (failed) return;
  NoteStall();
  if (role == RaftRole::kLeader) {
    TickLeader();
    return;
  }
  if (leader != MemberId() && heard_ns && now_ns - *heard_ns > options.election_timeout_ns) {
    leader = MemberId();
  }
  if (now_ns < election_deadline_ns) return;
  if (now_ns < grace_until_ns && log.membership().quorum() > 1) return;
  Campaign();
}

void RaftCore::Impl::NoteStall() {
  const int64_t grace_ns = 2 * options.heartbeat_interval_ns;
  // Not again and again: on a machine that is always late somebody must be elected all the same.
  const bool again = now_ns - grace_until_ns < options.election_timeout_ns;
  if (now_ns - last_tick_ns > grace_ns && !again) grace_until_ns = now_ns + grace_ns;
  last_tick_ns = now_ns;
}

void RaftCore::Impl::Receive(RaftMessage message) {
  if (failed) return;
  const MemberId from = message.from;
  const Epoch epoch = message.epoch;
  if (message.to != self || from == self || from == MemberId() || epoch > kMaxEpoch) {
    ++rejected_messages;
    return;
  }
  if (auto* vote = std::get_if<VoteRequest>(&message.body)) {
    OnVoteRequest(from, epoch, *vote);
  } else if (auto* vote = std::get_if<VoteResponse>(&message.body)) {
    OnVoteResponse(from, epoch, *vote);
  } else if (auto* request = std::get_if<AppendRequest>(&message.body)) {
    OnAppendRequest(from, epoch, std::move(*request));
  } else if (auto* response = std::get_if<AppendResponse>(&message.body)) {
    OnAppendResponse(from, epoch, *response);
  } else if (auto* offer = std::get_if<StateOffer>(&message.body)) {
    OnStateOffer(from, epoch, std::move(*offer));
  } else if (std::holds_alternative<TimeoutNow>(message.body)) {
    OnTimeoutNow(from, epoch);
  } else if (auto* notice = std::get_if<AmnesiaNotice>(&message.body)) {
    OnAmnesiaNotice(from, epoch, *notice);
  }
}

void RaftCore::Impl::Send(MemberId to, Epoch epoch, decltype(RaftMessage::body) body) {
  effects.messages.push_back({self, to, epoch, std::move(body)});
}

void RaftCore::Impl::Fail(std::string reason) {
  BecomeFollower();
  failed = true;
  effects.fatal = std::move(reason);
}

void RaftCore::Impl::Adopt(Epoch epoch) {
  const bool led = role == RaftRole::kLeader;
  BecomeFollower();
  hard = {epoch, MemberId()};
  effects.hard_state = hard;
  if (led) RestartElectionTimer();
}

void RaftCore::Impl::BecomeFollower() {
  role = RaftRole::kFollower;
  leader = MemberId();
  verified = commit;
  newest_sent_ns = 0;
  grants.clear();
  peers.clear();
  transfer_target.reset();
}

void RaftCore::Impl::BecomeLeader() {
  role = RaftRole::kLeader;
  leader = self;
  grants.clear();
  epoch_first = log.last().Next();
  lease_void = false;
  transfer_target.reset();
  peers.clear();
  SyncPeers();
}

void RaftCore::Impl::Resign() {
  BecomeFollower();
  RestartElectionTimer();
}

void RaftCore::Impl::RestartElectionTimer() {
  ElectionTimerIn(options.election_timeout_ns * (reluctant() ? 2 : 1));
}

void RaftCore::Impl::ElectionTimerIn(int64_t wait_ns) {
  // Members that wait equally long would split the votes.
  const int64_t spread_ns = std::min(wait_ns, options.election_timeout_ns) / 4;
  election_deadline_ns =
      now_ns + wait_ns + static_cast<int64_t>(random.Below(static_cast<uint64_t>(spread_ns) + 1));
}

bool RaftCore::Impl::cannot_serve() const {
  const Member* me = log.membership().Find(self);
  return lacks_state || (me != nullptr && me->kind == MemberKind::kWitness);
}

bool RaftCore::Impl::reluctant() const { return short_of_space || cannot_serve(); }

bool RaftCore::Impl::removed() const { return told_removed || WasRemoved(self); }

// What the driver calls.

RaftCore::RaftCore(RaftOptions options, MemberId self, HardState hard_state, LogSummary log,
                   JournalIndex applied, Random& random, int64_t now_ns)
    : impl_(std::make_unique<Impl>(options, self, hard_state, std::move(log), applied, random,
                                   now_ns)) {}

RaftCore::~RaftCore() = default;

void RaftCore::Tick(int64_t now_ns) {
  impl_->Advance(now_ns);
  impl_->Tick();
}

void RaftCore::Receive(RaftMessage message, int64_t now_ns) {
  impl_->Advance(now_ns);
  impl_->Receive(std::move(message));
}

Status RaftCore::CanPropose(RecordKind kind, const Membership* membership) const {
  return impl_->CanPropose(kind, membership);
}

Result<JournalIndex> RaftCore::Propose(RecordKind kind, const Membership* membership,
                                       int64_t now_ns) {
  impl_->Advance(now_ns);
  RETURN_IF_ERROR(impl_->CanPropose(kind, membership));
  impl_->Propose(membership);
  return impl_->log.last();
}

void RaftCore::LogDurable(JournalIndex index, Epoch epoch, int64_t now_ns) {
  Impl& core = *impl_;
  core.Advance(now_ns);
  if (core.failed || core.log.EpochAt(index) != epoch) return;
  core.durable = std::max(core.durable, index);
  if (core.role == RaftRole::kLeader) {
    core.AdvanceCommit();
  } else {
    core.AcknowledgeToLeader();
  }
}

void RaftCore::AppendRefused(JournalIndex last) {
  Impl& core = *impl_;
  core.short_of_space = true;
  if (last >= core.log.last() || last < core.durable) return;
  if (core.role != RaftRole::kFollower) core.Resign();
  core.log.TruncateAfter(last);
  core.verified = std::min(core.verified, last);
  core.commit = std::min(core.commit, last);  // of what is in this log
}

void RaftCore::Applied(JournalIndex index) {
  impl_->applied = std::max(impl_->applied, std::min(index, impl_->commit));
}

void RaftCore::LogReleased(JournalIndex first) {
  impl_->log.ReleaseBefore(std::min(first, impl_->commit.Next()));
}

void RaftCore::LogReset(JournalIndex base, Epoch base_epoch, const Membership& membership,
                        int64_t now_ns) {
  Impl& core = *impl_;
  core.Advance(now_ns);
  core.log.Reset(base, base_epoch, membership);
  core.durable = core.commit = core.verified = base;
  core.effects.truncate_after.reset();
  core.effects.append.clear();
  if (core.role != RaftRole::kFollower) core.Resign();
  if (core.hard.epoch < base_epoch) core.Adopt(base_epoch);
}

void RaftCore::SetLacksState(bool lacks_state) { impl_->lacks_state = lacks_state; }

void RaftCore::SetShortOfSpace(bool short_of_space) { impl_->short_of_space = short_of_space; }

void RaftCore::SetWallOffset(int64_t wall_minus_monotonic_ns) {
  impl_->wall_offset_ns = wall_minus_monotonic_ns;
}

void RaftCore::LinkReset(MemberId member) {
  if (RaftPeer* peer = impl_->FindPeer(member)) peer->LinkReset(impl_->now_ns);
}

Status RaftCore::Transfer(MemberId target, int64_t now_ns) {
  impl_->Advance(now_ns);
  return impl_->Transfer(target);
}

void RaftCore::Resign(int64_t now_ns) {
  Impl& core = *impl_;
  core.Advance(now_ns);
  if (core.role != RaftRole::kLeader) return;
  const RaftPeer* successor = core.BestSuccessor(/*complete=*/false, /*with_little_room=*/false);
  if (successor != nullptr) core.Send(successor->id(), core.hard.epoch, TimeoutNow{});
  core.BecomeFollower();
  core.ElectionTimerIn(2 * core.options.election_timeout_ns);  // the others go first
}

RaftEffects RaftCore::TakeEffects() { return std::exchange(impl_->effects, RaftEffects()); }

std::optional<AppendPlan> RaftCore::NextAppend(MemberId to, int64_t now_ns) {
  Impl& core = *impl_;
  core.Advance(now_ns);
  const RaftPeer* peer = core.FindPeer(to);
  if (peer == nullptr) return std::nullopt;
  return peer->NextAppend(core.log, core.hard.epoch, core.options, core.now_ns);
}

void RaftCore::AppendSent(MemberId to, const AppendPlan& plan, JournalIndex last, int64_t now_ns) {
  Impl& core = *impl_;
  core.Advance(now_ns);
  RaftPeer* peer = core.FindPeer(to);
  if (peer == nullptr || plan.epoch != core.hard.epoch) return;
  peer->Sent(plan, std::min(last, core.log.last()), core.options.heartbeat_interval_ns,
             core.now_ns);
}

RaftRole RaftCore::role() const { return impl_->role; }
Epoch RaftCore::epoch() const { return impl_->hard.epoch; }
MemberId RaftCore::leader() const { return impl_->leader; }
MemberId RaftCore::self() const { return impl_->self; }
JournalIndex RaftCore::last_index() const { return impl_->log.last(); }
Epoch RaftCore::last_epoch() const { return impl_->log.last_epoch(); }
JournalIndex RaftCore::first_index() const { return impl_->log.first(); }
JournalIndex RaftCore::commit_index() const { return impl_->commit; }

Result<Epoch> RaftCore::EpochAt(JournalIndex index) const {
  if (std::optional<Epoch> epoch = impl_->log.EpochAt(index)) return *epoch;
  return Status(StatusCode::kNotFound,
                "record " + std::to_string(index.value()) + " is not in the journal");
}

bool RaftCore::may_serve() const { return impl_->may_serve(); }
int64_t RaftCore::lease_until_ns() const { return impl_->LeaseUntil(); }
bool RaftCore::transferring() const { return impl_->transfer_target.has_value(); }
const Membership& RaftCore::membership() const { return impl_->log.membership(); }
JournalIndex RaftCore::membership_index() const { return impl_->log.membership_index(); }

std::pair<JournalIndex, Membership> RaftCore::MembershipAt(JournalIndex index) const {
  const auto [at, membership] = impl_->log.MembershipAt(index);
  return {at, *membership};
}

JournalIndex RaftCore::needed_from() const { return impl_->needed_from(); }
std::vector<PeerProgress> RaftCore::progress() const { return impl_->progress(); }
bool RaftCore::removed() const { return impl_->removed(); }
uint64_t RaftCore::rejected_messages() const { return impl_->rejected_messages; }

}  // namespace tercet
