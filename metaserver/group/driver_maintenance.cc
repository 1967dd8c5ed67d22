// What goes on beside the records: checkpoints, segment files made ahead, free space, a log that
// begins anew; and the tick.
#include <algorithm>
#include <utility>

#include "common/log/log.h"
#include "metaserver/group/member_driver.h"

namespace tercet {
namespace {

constexpr std::chrono::seconds kMaintenanceInterval{1};
/// Every member of a group keeps this part of retain_bytes, whoever leads: the next leader should
/// be able to help a member that is a little behind.
constexpr uint64_t kRetainedWhenNotLeading = 4;

}  // namespace

void MemberDriver::RunTick() {
  const std::chrono::nanoseconds interval(options_.raft.heartbeat_interval_ns / 2);
  Lock lock(mutex_);
  while (!stop_threads_) {
    tick_wakeup_.wait_for(lock, interval, [&] { return stop_threads_; });
    if (stop_threads_ || Ended()) continue;
    const int64_t now_ns = Now();
    core_->SetWallOffset(clock_.WallNanos() - now_ns);
    core_->Tick(now_ns);
    Settle();
    if (!Ended()) TendGroup(now_ns);
    // Records that nobody came to wait for.
    if (HasSyncWork()) {
      log_wanted_ = true;
      log_wakeup_.notify_one();
    }
    if (HasApplyWork()) {
      apply_wanted_ = true;
      apply_wakeup_.notify_one();
    }
    if (lead_epoch_ != Epoch()) MarkLinks();
    RunDeferred(lock);
    if (!LinksAreCurrent()) {
      lock.unlock();
      UpdateLinks();
      lock.lock();
    }
  }
}

void MemberDriver::RunMaintenance() {
  Lock lock(mutex_);
  while (!stop_threads_) {
    if (failure_.ok()) {
      WatchSpace(lock);
      MaintainSpare(lock);
      if (reset_wanted_) BeginLogAnew(lock);
      if (bytes_since_checkpoint_ >= options_.checkpoint_bytes) Checkpoint(lock);
    } else {
      spares_tried_ = spares_wanted_;
      spare_tried_.notify_all();
    }
    RunDeferred(lock);
    maintenance_wakeup_.wait_for(lock, kMaintenanceInterval, [&] {
      return stop_threads_ || spares_wanted_ > spares_tried_ ||
             (failure_.ok() &&
              (reset_wanted_ || bytes_since_checkpoint_ >= options_.checkpoint_bytes));
    });
  }
}

/// Records before it may go. `applied`: what the state holds safely.
JournalIndex MemberDriver::ReleasePoint(JournalIndex applied) const {
  JournalIndex point = std::min(applied.Next(), durable_.Next());
  if (core_->membership().members.size() < 2) return point;
  point = std::min(point, journal_->FirstWithin(options_.retain_bytes / kRetainedWhenNotLeading));
  if (core_->is_leader() && core_->needed_from() < point) {
    point = std::min(point,
                     std::max(core_->needed_from(), journal_->FirstWithin(options_.retain_bytes)));
  }
  return point;
}

void MemberDriver::Checkpoint(Lock& lock) {
  bytes_since_checkpoint_ = 0;
  Status status;
  JournalIndex applied = core_->commit_index();
  if (applier_ != nullptr) {
    lock.unlock();
    Result<JournalIndex> synced = applier_->SyncApplied();
    lock.lock();
    status = synced.status();
    if (status.ok()) applied = *synced;
  }
  JournalIndex point;
  if (status.ok()) {
    point = ReleasePoint(applied);
    status = SaveBaseMembership(point);
  }
  if (status.ok()) {
    lock.unlock();
    status = journal_->ReleaseBefore(point);
    lock.lock();
  }
  if (status.code() == StatusCode::kNoSpace) return;  // nothing is released for now
  if (!status.ok()) {
    Fail(status);
    return;
  }
  ++counters_.checkpoints;
  core_->LogReleased(journal_->range().first);
}

Status MemberDriver::SaveBaseMembership(JournalIndex first) {
  if (first.value() <= core_->first_index().value()) return Status::Ok();
  const auto [index, membership] = core_->MembershipAt(JournalIndex(first.value() - 1));
  if (index <= member_state_.base_membership_index) return Status::Ok();
  MemberState state = member_state_;
  state.base_membership = membership;
  state.base_membership_index = index;
  RETURN_IF_ERROR(SaveMemberState(disk_, options_.member_state_path, state));
  member_state_ = std::move(state);
  return Status::Ok();
}

void MemberDriver::MaintainSpare(Lock& lock) {
  const uint64_t wanted = spares_wanted_;
  if (journal_->has_spare()) {
    spares_tried_ = wanted;
    spare_status_ = Status::Ok();
    spare_tried_.notify_all();
    return;
  }
  // A checkpoint may set a segment free, which is cheaper than to fill a new one.
  Checkpoint(lock);
  if (!failure_.ok()) return;
  lock.unlock();
  Status status = journal_->PrepareSpare();
  lock.lock();
  if (status.ok()) ++counters_.spares_prepared;
  if (!status.ok() && status.code() != StatusCode::kNoSpace) Fail(status);
  spares_tried_ = wanted;
  spare_status_ = status;
  NoteSpace();
  spare_tried_.notify_all();
}

void MemberDriver::WatchSpace(Lock& lock) {
  if (options_.min_free_bytes == 0) return;
  lock.unlock();
  Status status;
  for (const std::string& folder : options_.watched_folders) {
    Result<DiskSpace> space = disk_.Space(folder);
    if (!space.ok()) {
      status = space.status();
    } else if (space->available_bytes < options_.min_free_bytes) {
      status = Status(StatusCode::kNoSpace,
                      folder + " has " + std::to_string(space->available_bytes) +
                          " bytes left; the metaserver needs " +
                          std::to_string(options_.min_free_bytes) + ". Make room on its disk");
    }
    if (!status.ok()) break;
  }
  lock.lock();
  if (status.ok() != space_status_.ok()) {
    if (status.ok()) {
      LOG_INFO("there is room on the disk again");
    } else {
      LOG_WARN("short of space: {}", status);
    }
  }
  space_status_ = status;
  NoteSpace();
}

bool MemberDriver::ShortOfSpace() const {
  return !space_status_.ok() || (!spare_status_.ok() && !journal_->has_spare());
}

void MemberDriver::NoteSpace() {
  if (Ended()) return;
  core_->SetShortOfSpace(ShortOfSpace());
  Settle();
}

// As the maintaining thread, so that it is in no call of the journal's itself.
void MemberDriver::BeginLogAnew(Lock& lock) {
  const StateOffer offer = *std::exchange(reset_wanted_, std::nullopt);
  const Result<Epoch> held = core_->EpochAt(offer.base_index);
  if (held.ok() && *held == offer.base_epoch) return;  // it has come so far meanwhile
  // The membership first: a crash in between leaves it with the old log, which is offered the same
  // base again.
  MemberState state = member_state_;
  state.base_membership = offer.membership;
  state.base_membership_index = offer.base_index;
  Status status = SaveMemberState(disk_, options_.member_state_path, state);
  if (status.ok()) {
    member_state_ = std::move(state);
    std::lock_guard sync_lock(sync_mutex_);
    status = journal_->ResetTo(offer.base_index, offer.base_epoch);
  }
  if (status.code() == StatusCode::kNoSpace) {
    LOG_WARN("the journal cannot begin anew behind record {}: {}", offer.base_index, status);
    return;  // it is offered again
  }
  if (!status.ok()) {
    Fail(status);
    return;
  }
  LOG_INFO("the journal begins anew behind record {} of epoch {}", offer.base_index,
           offer.base_epoch);
  durable_ = offer.base_index;
  start_last_ = offer.base_index;
  tail_.Reset(offer.base_index.Next());
  core_->LogReset(offer.base_index, offer.base_epoch, offer.membership, Now());
  Settle();
  RunDeferred(lock);
}

}  // namespace tercet
