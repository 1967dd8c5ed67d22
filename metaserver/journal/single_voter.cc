#include "metaserver/journal/single_voter.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace tercet {
namespace {

constexpr uint64_t kReplayBatchBytes = 4 << 20;
constexpr std::chrono::seconds kMaintenanceInterval{1};

uint64_t NanosSince(std::chrono::steady_clock::time_point start) {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start)
          .count());
}

}  // namespace

Result<std::unique_ptr<SingleVoter>> SingleVoter::Start(SingleVoterOptions options,
                                                        std::unique_ptr<Journal> journal,
                                                        Applier& applier, Disk& disk) {
  std::unique_ptr<SingleVoter> voter(
      new SingleVoter(std::move(options), std::move(journal), applier, disk));
  RETURN_IF_ERROR(voter->Replay());
  RETURN_IF_ERROR(voter->OpenEpoch());
  voter->maintenance_ = std::thread([raw = voter.get()] { raw->RunMaintenance(); });
  return voter;
}

SingleVoter::SingleVoter(SingleVoterOptions options, std::unique_ptr<Journal> journal,
                         Applier& applier, Disk& disk)
    : options_(std::move(options)), applier_(applier), disk_(disk), journal_(std::move(journal)) {}

SingleVoter::~SingleVoter() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    maintenance_wakeup_.notify_all();
  }
  if (maintenance_.joinable()) maintenance_.join();
}

Status SingleVoter::Replay() {
  const JournalRange range = journal_->range();
  JournalIndex applied = applier_.applied_index();
  if (applied > range.durable || applied.Next() < range.first) {
    return Status(StatusCode::kCorruption,
                  "the state holds the records up to " + std::to_string(applied.value()) +
                      ", but the journal those from " + std::to_string(range.first.value()) +
                      " to " + std::to_string(range.durable.value()) +
                      ": records in between are lost, or the folders do not belong together. "
                      "Nothing was changed; restore both folders from the same backup or from "
                      "another metaserver of the group");
  }
  while (applied < range.durable) {
    ASSIGN_OR_RETURN(const std::vector<CommittedRecord> records,
                     journal_->ReadRecords(applied.Next(), kReplayBatchBytes));
    RETURN_IF_ERROR(applier_.Apply(records));
    applied = records.back().index;
    counters_.replayed_records += records.size();
  }
  return Status::Ok();
}

Status SingleVoter::OpenEpoch() {
  epoch_ = journal_->range().last_epoch.Next();
  Result<JournalIndex> index = journal_->Append(epoch_, options_.epoch_payload);
  if (index.code() == StatusCode::kNoSpace) {
    RETURN_IF_ERROR(journal_->PrepareSpare());
    index = journal_->Append(epoch_, options_.epoch_payload);
  }
  RETURN_IF_ERROR(index.status());
  RETURN_IF_ERROR(journal_->Sync());
  const CommittedRecord record{*index, epoch_, options_.epoch_payload};
  RETURN_IF_ERROR(applier_.Apply({&record, 1}));
  std::lock_guard lock(mutex_);
  last_ = durable_ = applied_ = *index;
  return Status::Ok();
}

Status SingleVoter::NotActive() const {
  return Status(StatusCode::kNotActive,
                "this metaserver is no longer active: " + failure_.message());
}

Status SingleVoter::CheckActive(Epoch epoch) const {
  if (!failure_.ok()) return NotActive();
  if (epoch != epoch_) {
    return Status(StatusCode::kNotActive, "epoch " + std::to_string(epoch.value()) +
                                              " is not the current one, " +
                                              std::to_string(epoch_.value()));
  }
  return Status::Ok();
}

void SingleVoter::Fail(const Status& status) {
  if (failure_.ok()) failure_ = status;
  WakeWaiters();
  spare_tried_.notify_all();
  maintenance_wakeup_.notify_all();
}

void SingleVoter::StepDown(const std::string& reason) {
  std::lock_guard lock(mutex_);
  Fail(Status(StatusCode::kNotActive, reason));
}

Status SingleVoter::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

SingleVoterCounters SingleVoter::counters() const {
  std::lock_guard lock(mutex_);
  return counters_;
}

bool SingleVoter::HoldsLease(Epoch epoch) const {
  std::lock_guard lock(mutex_);
  return CheckActive(epoch).ok();
}

ConsensusState SingleVoter::state() const {
  std::lock_guard lock(mutex_);
  ConsensusState state;
  state.active = failure_.ok();
  state.epoch = epoch_;
  state.last_index = last_;
  state.commit_index = durable_;
  state.applied_index = applied_;
  state.active_hint = state.active ? options_.address : std::string();
  return state;
}

Result<JournalIndex> SingleVoter::Append(Epoch epoch, std::string payload) {
  Lock lock(mutex_);
  // A queue that is full empties because someone works on it, if need be this thread. A record that
  // is larger than the queue goes alone.
  while (failure_.ok() && queued_bytes_ > 0 &&
         queued_bytes_ + payload.size() > options_.max_queued_bytes) {
    if (!Work(lock)) Sleep(lock, applied_.Next());
  }
  RETURN_IF_ERROR(CheckActive(epoch));
  if (!space_status_.ok()) {
    ++counters_.no_space_refusals;
    return space_status_;
  }
  Result<JournalIndex> index = journal_->Append(epoch, payload);
  if (index.code() == StatusCode::kNoSpace) {
    if (Status status = AwaitSpare(lock); !status.ok()) {
      if (status.code() == StatusCode::kNoSpace) ++counters_.no_space_refusals;
      return status;
    }
    index = journal_->Append(epoch, payload);
  }
  RETURN_IF_ERROR(index.status());
  last_ = *index;
  queued_bytes_ += payload.size();
  bytes_since_checkpoint_ += payload.size();
  ++counters_.records;
  counters_.payload_bytes += payload.size();
  queue_.push_back({*index, epoch, std::move(payload)});
  if (bytes_since_checkpoint_ >= options_.checkpoint_bytes) maintenance_wakeup_.notify_all();
  return index;
}

// The current segment is full and its successor not ready: asks for an attempt that begins from now
// on.
Status SingleVoter::AwaitSpare(Lock& lock) {
  const uint64_t attempt = ++spares_wanted_;
  maintenance_wakeup_.notify_all();
  spare_tried_.wait(lock, [&] { return spares_tried_ >= attempt || !failure_.ok(); });
  if (!failure_.ok()) return NotActive();
  return spare_status_;
}

Status SingleVoter::WaitApplied(JournalIndex index) {
  Lock lock(mutex_);
  if (index > last_) {
    return Status(StatusCode::kInvalidArgument,
                  "record " + std::to_string(index.value()) + " was not appended");
  }
  while (applied_ < index) {
    if (!failure_.ok()) return NotActive();
    if (!Work(lock)) Sleep(lock, index);
  }
  return Status::Ok();
}

bool SingleVoter::Work(Lock& lock) {
  if (!applying_ && !ready_.empty()) {
    ApplyStep(lock);
    return true;
  }
  if (!syncing_ && !queue_.empty()) {
    SyncStep(lock);
    return true;
  }
  return false;
}

void SingleVoter::SyncStep(Lock& lock) {
  syncing_ = true;
  lock.unlock();
  const auto start = std::chrono::steady_clock::now();
  Status status = journal_->Sync();
  const JournalIndex durable = journal_->range().durable;
  const uint64_t nanos = NanosSince(start);
  lock.lock();
  syncing_ = false;
  if (!status.ok()) {
    Fail(status);
    return;
  }
  uint64_t records = 0;
  for (; !queue_.empty() && queue_.front().index <= durable; ++records) {
    ready_.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  durable_ = durable;
  ++counters_.syncs;
  counters_.sync_nanos += nanos;
  counters_.max_batch_records = std::max(counters_.max_batch_records, records);
  // Whoever has appended meanwhile need not wait until this thread has applied.
  WakeWaiters();
}

void SingleVoter::ApplyStep(Lock& lock) {
  applying_ = true;
  std::vector<CommittedRecord> records;
  records.swap(ready_);
  lock.unlock();
  const auto start = std::chrono::steady_clock::now();
  Status status = applier_.Apply(records);
  const uint64_t nanos = NanosSince(start);
  lock.lock();
  applying_ = false;
  if (!status.ok()) {
    Fail(status);
    return;
  }
  for (const CommittedRecord& record : records) queued_bytes_ -= record.payload.size();
  applied_ = records.back().index;
  ++counters_.applies;
  counters_.apply_nanos += nanos;
  WakeWaiters();
}

void SingleVoter::WakeWaiters() {
  Waiter* first = nullptr;  // with the lowest and the highest index of those who sleep on
  Waiter* last = nullptr;
  auto signal = [](Waiter* waiter) {
    waiter->signalled = true;
    waiter->wakeup.notify_one();
  };
  for (Waiter* waiter : waiters_) {
    if (waiter->signalled) continue;
    if (waiter->index <= applied_ || !failure_.ok()) {
      signal(waiter);
      continue;
    }
    if (first == nullptr || waiter->index < first->index) first = waiter;
    if (last == nullptr || waiter->index > last->index) last = waiter;
  }
  // A step without a sleeper to do it is done by the threads that come to wait for its records.
  if (!applying_ && !ready_.empty() && first != nullptr) signal(first);
  if (!syncing_ && !queue_.empty() && last != nullptr && !last->signalled) signal(last);
}

void SingleVoter::Sleep(Lock& lock, JournalIndex index) {
  Waiter waiter(index);
  auto place = waiters_.insert(waiters_.end(), &waiter);
  waiter.wakeup.wait(lock, [&] { return waiter.signalled; });
  waiters_.erase(place);
}

void SingleVoter::RunMaintenance() {
  Lock lock(mutex_);
  while (!stop_ && failure_.ok()) {
    WatchSpace(lock);
    MaintainSpare(lock);
    if (bytes_since_checkpoint_ >= options_.checkpoint_bytes) Checkpoint(lock);
    maintenance_wakeup_.wait_for(lock, kMaintenanceInterval, [&] {
      return stop_ || !failure_.ok() || spares_wanted_ > spares_tried_ ||
             bytes_since_checkpoint_ >= options_.checkpoint_bytes;
    });
  }
}

void SingleVoter::Checkpoint(Lock& lock) {
  bytes_since_checkpoint_ = 0;
  lock.unlock();
  Result<JournalIndex> synced = applier_.SyncApplied();
  Status status = synced.status();
  if (status.ok()) status = journal_->ReleaseBefore(synced->Next());
  lock.lock();
  if (!status.ok()) {
    Fail(status);
    return;
  }
  ++counters_.checkpoints;
}

void SingleVoter::MaintainSpare(Lock& lock) {
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
  spare_tried_.notify_all();
}

void SingleVoter::WatchSpace(Lock& lock) {
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
  space_status_ = status;
}

}  // namespace tercet
