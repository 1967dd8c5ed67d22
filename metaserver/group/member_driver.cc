#include "metaserver/group/member_driver.h"

#include <algorithm>
#include <utility>

#include "common/log/log.h"
#include "metaserver/journal/rebuild_advice.h"

namespace tercet {
namespace {

/// Of leaderships that are over; who waits that long for a record of one is told nothing.
constexpr size_t kMaxEnded = 16;
constexpr std::chrono::milliseconds kFailedActivationPause{100};

}  // namespace

MemberDriver::MemberDriver(GroupMemberOptions options, std::unique_ptr<Journal> journal,
                           MemberState state, Applier* applier, ActiveRole* active_role, Disk& disk,
                           const Clock& clock, Random& random)
    : options_(std::move(options)),
      applier_(applier),
      active_role_(active_role),
      disk_(disk),
      clock_(clock),
      random_(random),
      group_id_(state.group_id),
      self_(state.self),
      journal_(std::move(journal)),
      member_state_(std::move(state)),
      tail_(options_.max_queued_bytes) {}

MemberDriver::~MemberDriver() { Stop(std::chrono::milliseconds(0)); }

Status MemberDriver::Start() {
  const JournalRange range = journal_->range();
  if (applier_ != nullptr) applied_ = applier_->applied_index();
  if (applier_ != nullptr && (applied_ > range.durable || applied_.Next() < range.first)) {
    return Status(StatusCode::kCorruption,
                  "the state holds the records up to " + std::to_string(applied_.value()) +
                      ", but the journal those from " + std::to_string(range.first.value()) +
                      " to " + std::to_string(range.durable.value()) +
                      ": records in between are lost, or the folders do not belong together. " +
                      std::string(kRebuildAdvice));
  }
  ASSIGN_OR_RETURN(LogSummary summary, journal_->Summary(member_state_.base_membership,
                                                         member_state_.base_membership_index));
  start_last_ = durable_ = range.durable;
  tail_.Reset(range.last.Next());
  Lock lock(mutex_);
  core_ = std::make_unique<RaftCore>(options_.raft, self_,
                                     HardState{member_state_.epoch, member_state_.voted_for},
                                     std::move(summary), applied_, random_, Now());
  core_->SetLacksState(applier_ == nullptr);
  core_->Tick(Now());
  Settle();
  RETURN_IF_ERROR(failure_);
  lock.unlock();
  UpdateLinks();
  threads_.emplace_back([this] { RunLog(); });
  threads_.emplace_back([this] { RunTick(); });
  threads_.emplace_back([this] { RunMaintenance(); });
  if (applier_ != nullptr) threads_.emplace_back([this] { RunApply(); });
  if (active_role_ != nullptr) role_thread_ = std::thread([this] { RunRole(); });
  return Status::Ok();
}

void MemberDriver::Stop(std::chrono::milliseconds patience) {
  {
    Lock lock(mutex_);
    if (stop_threads_ || core_ == nullptr) return;
    if (failure_.ok() && core_->is_leader() && patience.count() > 0) {
      const MemberId target = BestStandby(Now());
      if (target != MemberId() && core_->Transfer(target, Now()).ok()) {
        Settle();
        RunDeferred(lock);
        changed_.wait_for(lock, patience, [&] { return Ended() || !core_->is_leader(); });
      }
    }
    stopping_ = true;
    if (failure_.ok()) core_->Resign(Now());
    Settle();
    RunDeferred(lock);
    changed_.notify_all();
    role_wakeup_.notify_all();
  }
  if (role_thread_.joinable()) role_thread_.join();
  // Links are waited for without the lock, which their threads may need.
  std::map<MemberId, Peer> peers;
  std::vector<LinkPtr> dirty_links;
  {
    Lock lock(mutex_);
    stop_threads_ = true;
    log_wakeup_.notify_all();
    apply_wakeup_.notify_all();
    tick_wakeup_.notify_all();
    maintenance_wakeup_.notify_all();
    spare_tried_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  {
    std::lock_guard links_lock(links_mutex_);
    Lock lock(mutex_);
    peers.swap(peers_);
    dirty_links.swap(dirty_links_);
    for (auto& [id, peer] : peers) peer.link->Stop();
  }
}

// ---- the core's effects ----

void MemberDriver::Settle() {
  RunEffects();
  const bool leads = !Ended() && core_->is_leader();
  if (lead_epoch_ != Epoch() && (!leads || core_->epoch() != lead_epoch_)) EndLeadership();
  if (leads && lead_epoch_ == Epoch()) BeginLeadership();
  PublishRole();
  WakeWaiters();
  changed_.notify_all();
}

void MemberDriver::RunEffects() {
  while (failure_.ok()) {
    RaftEffects effects = core_->TakeEffects();
    if (effects.empty()) return;
    if (Status status = Perform(effects); !status.ok()) {
      Fail(status);
      return;
    }
  }
}

Status MemberDriver::Perform(RaftEffects& effects) {
  if (!effects.fatal.empty()) return Status(StatusCode::kFailedPrecondition, effects.fatal);
  if (effects.hard_state) RETURN_IF_ERROR(SaveHardState(*effects.hard_state));
  if (effects.truncate_after) RETURN_IF_ERROR(Truncate(*effects.truncate_after));
  for (CommittedRecord& record : effects.append) {
    const Result<JournalIndex> index = journal_->Append(record.epoch, record.payload, record.kind);
    if (index.code() == StatusCode::kNoSpace) {
      core_->AppendRefused(journal_->range().last);
      ++spares_wanted_;
      maintenance_wakeup_.notify_all();
      break;
    }
    RETURN_IF_ERROR(index.status());
    if (*index != record.index) {
      return Status(StatusCode::kInternal, "record " + std::to_string(record.index.value()) +
                                               " got the index " + std::to_string(index->value()));
    }
    ++counters_.records;
    counters_.payload_bytes += record.payload.size();
    bytes_since_checkpoint_ += record.payload.size();
    tail_.Push(std::move(record));
  }
  if (bytes_since_checkpoint_ >= options_.checkpoint_bytes) maintenance_wakeup_.notify_all();
  for (RaftMessage& message : effects.messages) {
    auto peer = peers_.find(message.to);
    if (peer == peers_.end()) {
      CountDropped();
      continue;
    }
    peer->second.link->Enqueue(std::move(message));
    MarkLink(peer->second.link);
  }
  if (effects.state_offer) {
    LOG_WARN("record {} and those behind are wanted, but the group has only those behind {}",
             core_->last_index().Next(), effects.state_offer->base_index);
    if (applier_ == nullptr) {
      reset_wanted_ = std::move(effects.state_offer);
      maintenance_wakeup_.notify_all();
    } else {
      pending_offer_ = std::move(effects.state_offer);
    }
  }
  return Status::Ok();
}

Status MemberDriver::SaveHardState(const HardState& hard_state) {
  if (hard_state.voted_for == self_ && hard_state.epoch != member_state_.epoch) {
    ++counters_.elections;
  }
  MemberState state = member_state_;
  state.epoch = hard_state.epoch;
  state.voted_for = hard_state.voted_for;
  RETURN_IF_ERROR(SaveMemberState(disk_, options_.member_state_path, state));
  member_state_ = std::move(state);
  return Status::Ok();
}

Status MemberDriver::Truncate(JournalIndex after) {
  LOG_WARN("taking back the records {} to {}: the group went on without them", after.Next(),
           journal_->range().last);
  std::lock_guard sync_lock(sync_mutex_);
  RETURN_IF_ERROR(journal_->Sync());
  RETURN_IF_ERROR(journal_->TruncateAfter(after));
  durable_ = after;
  tail_.TruncateAfter(after);
  return Status::Ok();
}

void MemberDriver::Fail(const Status& status) {
  if (!failure_.ok()) return;
  failure_ = status;
  LOG_ERROR("this member cannot go on: {}", status);
  EndLeadership();
  PublishRole();
  WakeWaiters();
  PostWakes(std::exchange(wakes_, {}));  // not every caller goes on to RunDeferred
  changed_.notify_all();
  spare_tried_.notify_all();
  maintenance_wakeup_.notify_all();
}

// ---- leadership ----

void MemberDriver::BeginLeadership() {
  lead_epoch_ = core_->epoch();
  lead_first_ = JournalIndex();
  lead_last_ = JournalIndex();
  queued_bytes_ = 0;
  send_limit_ = core_->last_index();
  AppendEpochRecord();
}

void MemberDriver::AppendEpochRecord() {
  Result<JournalIndex> index =
      AppendHere(RecordKind::kData, std::string(options_.epoch_payload), nullptr);
  if (index.ok()) {
    lead_first_ = *index;
    log_wanted_ = true;
    log_wakeup_.notify_all();
  } else if (index.code() == StatusCode::kNoSpace) {
    // Tried again by the tick thread when there is a spare.
    ++spares_wanted_;
    maintenance_wakeup_.notify_all();
  } else if (index.code() != StatusCode::kNotActive) {
    Fail(index.status());
  }
}

void MemberDriver::EndLeadership() {
  if (lead_epoch_ == Epoch()) return;
  ended_.push_back({lead_epoch_, applied_});
  if (ended_.size() > kMaxEnded) ended_.pop_front();
  lead_epoch_ = Epoch();
  spare_tried_.notify_all();
}

void MemberDriver::PublishRole() {
  const bool may_serve = lead_epoch_ != Epoch() && !Ended() && core_->may_serve();
  if (serve_epoch_ != Epoch() && !may_serve) {
    lease_epoch_.store(0);
    lease_until_ns_.store(0);
    serve_epoch_ = Epoch();
    serving_ = false;
    role_lost_ = true;
    spare_tried_.notify_all();
    role_wakeup_.notify_all();
  }
  if (serve_epoch_ != Epoch()) {
    lease_until_ns_.store(core_->lease_until_ns());
  } else if (WantedRole() != Epoch()) {
    role_wakeup_.notify_all();
  }
}

/// The epoch to become active in; 0: none, or it is active already.
Epoch MemberDriver::WantedRole() const {
  const bool may_serve = lead_epoch_ != Epoch() && !Ended() && core_->may_serve();
  const bool begun = lead_first_ != JournalIndex() && applied_ >= lead_first_;
  return may_serve && begun && serve_epoch_ == Epoch() ? lead_epoch_ : Epoch();
}

void MemberDriver::RunRole() {
  Lock lock(mutex_);
  while (true) {
    role_wakeup_.wait(lock, [&] { return role_lost_ || stopping_ || WantedRole() != Epoch(); });
    if (role_epoch_ != Epoch() && (role_lost_ || stopping_)) {
      LOG_INFO("no longer the active of epoch {}", role_epoch_);
      lock.unlock();
      active_role_->BecomeStandby();
      lock.lock();
      role_epoch_ = Epoch();
    }
    role_lost_ = false;
    changed_.notify_all();
    if (stopping_) return;
    const Epoch epoch = WantedRole();
    if (epoch == Epoch()) continue;
    role_epoch_ = serve_epoch_ = epoch;
    lease_until_ns_.store(core_->lease_until_ns());
    lease_epoch_.store(epoch.value());
    lock.unlock();
    const Status status = active_role_->BecomeActive(epoch);
    lock.lock();
    if (serve_epoch_ != epoch) continue;  // lost meanwhile: role_lost_ is set
    if (status.ok()) {
      serving_ = true;
      LOG_INFO("active under epoch {} from record {} on", epoch, lead_first_);
      changed_.notify_all();
      continue;
    }
    LOG_ERROR("could not become active under epoch {}: {}", epoch, status);
    core_->Resign(Now());
    Settle();
    RunDeferred(lock);
    role_wakeup_.wait_for(lock, kFailedActivationPause, [&] { return stopping_; });
  }
}

bool MemberDriver::HoldsLease(Epoch epoch) const {
  if (epoch == Epoch() || lease_epoch_.load() != epoch.value()) return false;
  const int64_t until_ns = lease_until_ns_.load();
  // Not that of an earlier or a later epoch: each begins and ends with a store of the epoch.
  return lease_epoch_.load() == epoch.value() && clock_.MonotonicNanos() < until_ns;
}

// ---- answers ----

std::string MemberDriver::AddressOf(MemberId member) const {
  if (member == self_) return options_.address;
  if (auto heard = heard_.find(member); heard != heard_.end()) return heard->second.address;
  const Member* found = core_->membership().Find(member);
  return found != nullptr ? found->address : std::string();
}

std::string MemberDriver::ActiveHint() const {
  if (Ended()) return {};
  const MemberId leader = core_->leader();
  const Member* member = core_->membership().Find(leader);
  if (member == nullptr || member->kind != MemberKind::kMetaserver) return {};
  if (leader == self_ && serve_epoch_ == Epoch()) return {};
  return AddressOf(leader);
}

Status MemberDriver::NotActive() const {
  if (!failure_.ok()) {
    return Status(StatusCode::kNotActive,
                  "this metaserver is no longer active: " + failure_.message());
  }
  if (stopping_) return Status(StatusCode::kNotActive, "this metaserver is stopping");
  const std::string hint = ActiveHint();
  return Status(StatusCode::kNotActive, hint.empty() ? "this metaserver is not the active"
                                                     : "the active metaserver is " + hint);
}

ConsensusState MemberDriver::state() const {
  Lock lock(mutex_);
  ConsensusState state;
  state.active = serve_epoch_ != Epoch();
  state.epoch = core_->epoch();
  state.last_index = core_->last_index();
  state.commit_index = core_->commit_index();
  state.applied_index = applied_;
  state.active_hint = ActiveHint();
  return state;
}

void MemberDriver::AwaitActive(std::chrono::milliseconds timeout) {
  Lock lock(mutex_);
  changed_.wait_for(lock, timeout, [&] {
    const MemberId leader = core_->leader();
    return serving_ || Ended() || (leader != MemberId() && leader != self_);
  });
}

GroupStatus MemberDriver::status() const {
  Lock lock(mutex_);
  GroupStatus status;
  status.now_ns = Now();
  status.self = self_;
  status.group_id = group_id_;
  status.membership = core_->membership();
  const Member* member = status.membership.Find(self_);
  status.kind = member != nullptr ? member->kind : member_state_.kind;
  status.role = core_->role();
  status.active = serving_;
  status.transferring = core_->transferring();
  status.epoch = core_->epoch();
  status.leader = core_->leader();
  status.first_index = core_->first_index();
  status.last_index = core_->last_index();
  status.durable_index = durable_;
  status.commit_index = core_->commit_index();
  status.applied_index = applied_;
  const int64_t until_ns = core_->is_leader() && !Ended() ? core_->lease_until_ns() : 0;
  if (until_ns == INT64_MAX) {
    status.lease_ms = INT64_MAX;
  } else if (until_ns > status.now_ns) {
    status.lease_ms = (until_ns - status.now_ns) / 1'000'000;
  }
  status.lacks_state = applier_ == nullptr && status.kind == MemberKind::kMetaserver;
  status.short_of_space = ShortOfSpace();
  status.removed = core_->removed();
  status.peers = core_->progress();
  return status;
}

GroupMemberCounters MemberDriver::counters() const {
  Lock lock(mutex_);
  GroupMemberCounters counters = counters_;
  counters.messages_sent = messages_sent_.load();
  counters.messages_dropped = messages_dropped_.load();
  return counters;
}

Status MemberDriver::failure() const {
  Lock lock(mutex_);
  return failure_;
}

std::optional<StateOffer> MemberDriver::pending_offer() const {
  Lock lock(mutex_);
  return pending_offer_;
}

MemberKind MemberDriver::kind() const {
  Lock lock(mutex_);
  const Member* member = core_->membership().Find(self_);
  return member != nullptr ? member->kind : member_state_.kind;
}

std::pair<JournalIndex, Membership> MemberDriver::MembershipAt(JournalIndex index) const {
  Lock lock(mutex_);
  return core_->MembershipAt(index);
}

}  // namespace tercet
