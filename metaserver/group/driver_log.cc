// A record's way through a member: appended, synced, committed, applied.
#include <algorithm>
#include <utility>

#include "metaserver/group/member_driver.h"

namespace tercet {
namespace {

constexpr uint64_t kApplyBatchBytes = 4 << 20;

}  // namespace

Status MemberDriver::CheckActive(Epoch epoch) const {
  if (serve_epoch_ == Epoch()) return NotActive();
  if (epoch != serve_epoch_) {
    return Status(StatusCode::kNotActive, "epoch " + std::to_string(epoch.value()) +
                                              " is not the current one, " +
                                              std::to_string(serve_epoch_.value()));
  }
  return Status::Ok();
}

Result<JournalIndex> MemberDriver::Append(Epoch epoch, std::string payload) {
  Lock lock(mutex_);
  // A queue that is full empties because someone works on it, if need be this thread. A record that
  // is larger than the queue goes alone.
  while (epoch == serve_epoch_ && queued_bytes_ > 0 &&
         queued_bytes_ + payload.size() > options_.max_queued_bytes) {
    if (!Work(lock) && Sleep(lock, epoch, applied_.Next())) lock.lock();
  }
  RETURN_IF_ERROR(CheckActive(epoch));
  if (!space_status_.ok()) {
    ++counters_.no_space_refusals;
    return space_status_;
  }
  // The records are moved into the journal only when they fit: what is refused can be tried again.
  Result<JournalIndex> index = AppendHere(RecordKind::kData, std::move(payload), nullptr);
  while (index.code() == StatusCode::kNoSpace) {
    if (Status status = AwaitSpare(lock); !status.ok()) {
      if (status.code() == StatusCode::kNoSpace) ++counters_.no_space_refusals;
      return status;
    }
    RETURN_IF_ERROR(CheckActive(epoch));
    index = AppendHere(RecordKind::kData, std::move(payload), nullptr);
  }
  return index;
}

// `payload` is taken only when the outcome is OK.
Result<JournalIndex> MemberDriver::AppendHere(RecordKind kind, std::string&& payload,
                                              const Membership* membership) {
  RETURN_IF_ERROR(core_->CanPropose(kind, membership));
  ASSIGN_OR_RETURN(const JournalIndex index, journal_->Append(lead_epoch_, payload, kind));
  Result<JournalIndex> proposed = core_->Propose(kind, membership, Now());
  if (!proposed.ok() || *proposed != index) {
    const Status status(StatusCode::kInternal, "the core did not take record " +
                                                   std::to_string(index.value()) + ": " +
                                                   proposed.status().ToString());
    Fail(status);
    return status;
  }
  lead_last_ = index;
  queued_bytes_ += payload.size();
  bytes_since_checkpoint_ += payload.size();
  ++counters_.records;
  counters_.payload_bytes += payload.size();
  tail_.Push({index, lead_epoch_, std::move(payload), kind});
  if (bytes_since_checkpoint_ >= options_.checkpoint_bytes) maintenance_wakeup_.notify_all();
  return index;
}

// The current segment is full and its successor not ready: asks for an attempt that begins from now
// on.
Status MemberDriver::AwaitSpare(Lock& lock) {
  const uint64_t attempt = ++spares_wanted_;
  const Epoch epoch = serve_epoch_;
  maintenance_wakeup_.notify_all();
  spare_tried_.wait(
      lock, [&] { return spares_tried_ >= attempt || serve_epoch_ != epoch || stop_threads_; });
  if (serve_epoch_ != epoch || stop_threads_) return NotActive();
  return spare_status_;
}

Status MemberDriver::WaitApplied(JournalIndex index) {
  Epoch epoch;
  {
    Lock lock(mutex_);
    epoch = lead_epoch_;
    if (epoch == Epoch() && !ended_.empty()) epoch = ended_.back().epoch;
  }
  return WaitApplied(epoch, index);
}

Status MemberDriver::WaitApplied(Epoch epoch, JournalIndex index) {
  Lock lock(mutex_);
  if (epoch == lead_epoch_ && epoch != Epoch() && index > core_->last_index()) {
    return Status(StatusCode::kInvalidArgument,
                  "record " + std::to_string(index.value()) + " was not appended");
  }
  while (epoch != Epoch() && epoch == lead_epoch_ && applied_ < index && !Ended()) {
    if (Work(lock)) continue;
    if (std::optional<Status> outcome = Sleep(lock, epoch, index)) return *std::move(outcome);
  }
  Status outcome = WaitOutcome(epoch, index);
  RunDeferred(lock);
  return outcome;
}

Status MemberDriver::WaitOutcome(Epoch epoch, JournalIndex index) const {
  if (epoch == lead_epoch_ && epoch != Epoch() && applied_ >= index) return Status::Ok();
  for (const Leadership& ended : ended_) {
    if (ended.epoch == epoch && ended.applied >= index) return Status::Ok();
  }
  if (applied_ >= index && epoch != Epoch()) {
    const Result<Epoch> held = core_->EpochAt(index);
    if (held.ok() && *held == epoch) return Status::Ok();
  }
  return NotActive();
}

bool MemberDriver::HasSyncWork() const {
  if (!failure_.ok() || syncing_ || durable_ >= core_->last_index()) return false;
  // The active syncs again when the others have what it synced before: meanwhile more records come,
  // and all of them share one sync at each member.
  return serve_epoch_ == Epoch() || durable_ <= core_->commit_index();
}

bool MemberDriver::HasApplyWork() const {
  return failure_.ok() && !applying_ && applier_ != nullptr &&
         applied_ < std::min(durable_, core_->commit_index());
}

bool MemberDriver::Work(Lock& lock) {
  if (HasApplyWork()) {
    ApplyStep(lock);
    return true;
  }
  if (HasSyncWork()) {
    SyncStep(lock);
    return true;
  }
  return false;
}

void MemberDriver::SyncStep(Lock& lock) {
  syncing_ = true;
  sync_started_ns_ = Now();
  const JournalIndex before = durable_;
  // What is synced here together is sent together: the others sync it at the same time.
  send_limit_ = core_->last_index();
  if (lead_epoch_ != Epoch()) MarkLinks();
  RunDeferred(lock);
  lock.unlock();
  Status status;
  {
    std::lock_guard sync_lock(sync_mutex_);
    status = journal_->Sync();
  }
  lock.lock();
  syncing_ = false;
  if (!status.ok()) {
    Fail(status);
    return;
  }
  const int64_t now_ns = Now();
  ++counters_.syncs;
  counters_.sync_nanos += static_cast<uint64_t>(now_ns - sync_started_ns_);
  // The log may have been cut meanwhile, and grown again: what the journal says now holds.
  durable_ = journal_->range().durable;
  if (durable_ > before) {
    counters_.max_batch_records =
        std::max(counters_.max_batch_records, durable_.value() - before.value());
  }
  // Records that came after the decision what to send may have been in time for the sync.
  if (durable_ > send_limit_) {
    send_limit_ = durable_;
    if (lead_epoch_ != Epoch()) MarkLinks();
  }
  const Result<Epoch> epoch = core_->EpochAt(durable_);
  if (epoch.ok()) core_->LogDurable(durable_, *epoch, now_ns);
  tail_.Trim(durable_);
  Settle();
  RunDeferred(lock);
}

Result<std::vector<CommittedRecord>> MemberDriver::TakeForApply(Lock& lock) {
  const JournalIndex from = applied_.Next();
  const JournalIndex to = std::min(durable_, core_->commit_index());
  if (tail_.Has(from)) return tail_.Copy(from, to, kApplyBatchBytes);
  lock.unlock();
  Result<std::vector<CommittedRecord>> records = journal_->ReadRecords(from, kApplyBatchBytes);
  lock.lock();
  if (!records.ok()) return records;
  while (!records->empty() && records->back().index > to) records->pop_back();
  if (records->empty()) {
    return Status(StatusCode::kInternal,
                  "record " + std::to_string(from.value()) + " is committed, but not there");
  }
  return records;
}

void MemberDriver::ApplyStep(Lock& lock) {
  applying_ = true;
  Result<std::vector<CommittedRecord>> records = TakeForApply(lock);
  Status status = records.status();
  const int64_t start_ns = Now();
  if (status.ok()) {
    lock.unlock();
    status = applier_->Apply(*records);
    lock.lock();
  }
  applying_ = false;
  if (!status.ok()) {
    Fail(status);
    return;
  }
  for (const CommittedRecord& record : *records) {
    if (record.index <= start_last_) ++counters_.replayed_records;
    if (lead_first_ != JournalIndex() && record.index >= lead_first_) {
      queued_bytes_ -= std::min<uint64_t>(queued_bytes_, record.payload.size());
    }
  }
  applied_ = records->back().index;
  ++counters_.applies;
  counters_.apply_nanos += static_cast<uint64_t>(Now() - start_ns);
  core_->Applied(applied_);
  // Alone, nobody will ask for them.
  if (peers_.empty()) tail_.DropThrough(applied_);
  Settle();
  RunDeferred(lock);
}

MemberDriver::Waiter::Waiter(Epoch waited_epoch, JournalIndex waited_index)
    : epoch(waited_epoch), index(waited_index) {
  sem_init(&wakeup, /*pshared=*/0, /*value=*/0);
}

MemberDriver::Waiter::~Waiter() { sem_destroy(&wakeup); }

void MemberDriver::WakeWaiters() {
  Waiter* first = nullptr;  // with the lowest and the highest index of those who sleep on
  Waiter* last = nullptr;
  auto signal = [this](Waiter* waiter) {
    waiter->signalled = true;
    wakes_.push_back(waiter);
  };
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    Waiter* waiter = *it;
    if (waiter->signalled) {
      ++it;
      continue;
    }
    if (waiter->index <= applied_ || waiter->epoch != lead_epoch_ || Ended()) {
      waiter->outcome = WaitOutcome(waiter->epoch, waiter->index);
      signal(waiter);
      it = waiters_.erase(it);
      continue;
    }
    if (first == nullptr || waiter->index < first->index) first = waiter;
    if (last == nullptr || waiter->index > last->index) last = waiter;
    ++it;
  }
  // On the active a step without a sleeper to do it is done by the threads that come to wait for
  // its records (or, when none comes, after the next tick); elsewhere nobody comes.
  const bool nobody_comes = serve_epoch_ == Epoch();
  if (HasApplyWork()) {
    if (first != nullptr) {
      signal(first);
    } else if (nobody_comes && !apply_wanted_) {
      apply_wanted_ = true;
      apply_wakeup_.notify_one();
    }
  }
  if (HasSyncWork()) {
    if (last != nullptr) {
      if (!last->signalled) signal(last);
    } else if (nobody_comes && !log_wanted_) {
      log_wanted_ = true;
      log_wakeup_.notify_one();
    }
  }
}

void MemberDriver::PostWakes(std::vector<Waiter*> wakes) const {
  // A waiter is gone as soon as it was posted; sem_post allows for that.
  for (Waiter* waiter : wakes) sem_post(&waiter->wakeup);
}

std::optional<Status> MemberDriver::Sleep(Lock& lock, Epoch epoch, JournalIndex index) {
  Waiter waiter(epoch, index);
  auto place = waiters_.insert(waiters_.end(), &waiter);
  lock.unlock();
  while (sem_wait(&waiter.wakeup) != 0) {  // a signal
  }
  // The post came after the outcome was set, if it was.
  if (waiter.outcome) return std::move(waiter.outcome);
  lock.lock();
  waiters_.erase(place);
  return std::nullopt;
}

void MemberDriver::RunLog() {
  Lock lock(mutex_);
  while (true) {
    log_wakeup_.wait(lock, [&] { return stop_threads_ || log_wanted_; });
    if (stop_threads_) return;
    log_wanted_ = false;
    if (HasSyncWork()) SyncStep(lock);
  }
}

void MemberDriver::RunApply() {
  Lock lock(mutex_);
  while (true) {
    apply_wakeup_.wait(lock, [&] { return stop_threads_ || apply_wanted_; });
    if (stop_threads_) return;
    apply_wanted_ = false;
    if (HasApplyWork()) ApplyStep(lock);
  }
}

}  // namespace tercet
