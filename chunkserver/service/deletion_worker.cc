#include "chunkserver/service/deletion_worker.h"

#include <algorithm>

#include "common/log/log.h"

namespace tercet {
namespace {

constexpr size_t kMaxKnown = 20'000;
/// Tasks whose moves share one round of folder syncs.
constexpr size_t kBatch = 512;

}  // namespace

DeletionWorker::DeletionWorker(BlockStore& store) : store_(store), thread_([this] { Run(); }) {}

DeletionWorker::~DeletionWorker() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void DeletionWorker::Submit(Epoch epoch, const std::vector<DeletionTask>& tasks) {
  std::lock_guard lock(mutex_);
  for (const DeletionTask& task : tasks) {
    if (known_.size() >= kMaxKnown) break;
    if (!known_.emplace(task.block, task.generation).second) continue;
    queue_.push_back({task, epoch});
  }
  wake_.notify_one();
}

std::vector<DeletionTask> DeletionWorker::Done(size_t max) const {
  std::lock_guard lock(mutex_);
  return {done_.begin(), done_.begin() + static_cast<ptrdiff_t>(std::min(max, done_.size()))};
}

void DeletionWorker::Forget(size_t count) {
  std::lock_guard lock(mutex_);
  for (count = std::min(count, done_.size()); count > 0; --count) {
    known_.erase(done_.front().block);
    done_.pop_front();
  }
}

bool DeletionWorker::Delete(const Queued& queued) {
  if (queued.epoch < store_.highest_epoch()) {
    LOG_WARN_LIMITED("refused a deletion of a deposed active block={} epoch={} highest={}",
                     queued.task.block, queued.epoch, store_.highest_epoch());
    return false;
  }
  Status status = store_.MoveToTrash(queued.task.block, queued.task.generation);
  if (status.ok()) return true;
  // The replica here is newer than what is to go: nothing is left to do.
  if (status.code() == StatusCode::kConflict) return true;
  // That a disk fails is told when it is ejected. What is on it is asked for until the disk is
  // back.
  if (status.code() != StatusCode::kIo) {
    LOG_WARN_LIMITED("a replica could not be deleted block={}: {}", queued.task.block, status);
  }
  return false;
}

void DeletionWorker::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    std::vector<Queued> batch;
    while (!queue_.empty() && batch.size() < kBatch) {
      batch.push_back(queue_.front());
      queue_.pop_front();
    }
    lock.unlock();
    std::vector<DeletionTask> done;
    std::vector<DeletionTask> failed;
    for (const Queued& queued : batch) (Delete(queued) ? done : failed).push_back(queued.task);
    if (Status synced = store_.SyncDeletions(); !synced.ok()) {
      LOG_WARN_LIMITED("deletions are not durable yet: {}", synced);
      failed.insert(failed.end(), done.begin(), done.end());
      done.clear();
    }
    lock.lock();
    for (const DeletionTask& task : failed) known_.erase(task.block);
    done_.insert(done_.end(), done.begin(), done.end());
  }
}

}  // namespace tercet
