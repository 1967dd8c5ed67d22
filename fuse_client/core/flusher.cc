#include "fuse_client/core/flusher.h"

#include <pthread.h>

#include <algorithm>
#include <vector>

#include "fuse_client/core/client_context.h"
#include "fuse_client/core/file_writer.h"

namespace tercet {
namespace {

constexpr std::chrono::milliseconds kShortestRound{10};
constexpr std::chrono::milliseconds kLongestRound{250};
/// FlushAll: data may be written while it runs.
constexpr int kMaxRounds = 8;

}  // namespace

Flusher::Flusher(ClientContext* context) : context_(context) {
  thread_ = std::thread([this] { Loop(); });
  pthread_setname_np(thread_.native_handle(), "flusher");
}

Flusher::~Flusher() { Stop(); }

void Flusher::NoteDirty(const InodeStatePtr& inode) {
  context_->inodes.UseAgain(inode);
  bool added = false;
  bool first = false;
  {
    std::lock_guard lock(mutex_);
    first = dirty_.empty();
    added = dirty_.emplace(inode->id, Entry{inode}).second;
  }
  if (!added) Unuse(inode);
  if (first) wake_.notify_all();
}

void Flusher::FlushSoon() {
  std::lock_guard lock(mutex_);
  flush_soon_ = true;
  wake_.notify_all();
}

void Flusher::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Flusher::Loop() {
  const auto round = std::clamp(context_->options.dirty_age / 4, kShortestRound, kLongestRound);
  for (;;) {
    bool all = false;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || !dirty_.empty(); });
      wake_.wait_for(lock, round, [&] { return stopping_ || flush_soon_; });
      if (stopping_) return;
      all = std::exchange(flush_soon_, false);
    }
    DropClean();
    SubmitDue(all);
  }
}

void Flusher::SubmitDue(bool all) {
  std::vector<InodeStatePtr> candidates;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : dirty_) {
      if (!entry.busy) candidates.push_back(entry.inode);
    }
  }
  const auto due_since = InodeState::Clock::now() - context_->options.dirty_age;
  for (const InodeStatePtr& inode : candidates) {
    {
      std::lock_guard lock(inode->mutex);
      if (!inode->IsDirtyLocked()) continue;
      if (!all && inode->dirty_since && *inode->dirty_since > due_since) continue;
    }
    {
      std::lock_guard lock(mutex_);
      auto it = dirty_.find(inode->id);
      if (it == dirty_.end()) continue;
      it->second.busy = true;
    }
    if (context_->flush_pool.TrySubmit([this, inode] { FlushOne(inode); })) continue;
    std::lock_guard lock(mutex_);
    if (auto it = dirty_.find(inode->id); it != dirty_.end()) it->second.busy = false;
  }
}

void Flusher::FlushOne(const InodeStatePtr& inode) {
  // An error is noted in the inode, and logged.
  [[maybe_unused]] const Status status = FileWriter(context_).Flush(inode, FlushGoal::kCommitted);
  std::lock_guard lock(mutex_);
  if (auto it = dirty_.find(inode->id); it != dirty_.end()) it->second.busy = false;
}

void Flusher::DropClean() {
  std::vector<InodeStatePtr> candidates;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : dirty_) {
      if (!entry.busy) candidates.push_back(entry.inode);
    }
  }
  for (const InodeStatePtr& inode : candidates) {
    if (inode->IsDirty()) continue;
    {
      std::lock_guard lock(mutex_);
      dirty_.erase(inode->id);
    }
    // A writer that still saw the flag has written before this line, so the next one finds its
    // data.
    inode->flush_registered.store(false);
    if (inode->IsDirty() && !inode->flush_registered.exchange(true)) NoteDirty(inode);
    Unuse(inode);
  }
}

void Flusher::Unuse(const InodeStatePtr& inode) {
  if (context_->inodes.Unuse(inode)) context_->metadata->RenewSoon();
}

Status Flusher::FlushAll() {
  Status result;
  for (int i = 0; i < kMaxRounds; ++i) {
    std::vector<InodeStatePtr> dirty;
    {
      std::lock_guard lock(mutex_);
      for (const auto& [id, entry] : dirty_) dirty.push_back(entry.inode);
    }
    std::erase_if(dirty, [](const InodeStatePtr& inode) { return !inode->IsDirty(); });
    if (dirty.empty()) break;
    std::vector<Status> flushed(dirty.size());
    context_->flush_pool.RunAll(dirty.size(), [&](size_t n) {
      flushed[n] = FileWriter(context_).Flush(dirty[n], FlushGoal::kCommitted);
    });
    for (const Status& status : flushed) {
      if (result.ok()) result = status;
    }
    if (!result.ok()) break;
  }
  return result;
}

}  // namespace tercet
