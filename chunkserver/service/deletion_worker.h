// Carries out deletion tasks.
//
// Life of a task, and what a crash in between leaves:
//  1. It comes with a heartbeat's answer, whose epoch is checked, and is queued here.
//  2. The replica is moved to the trash; the move is made durable.
//  3. The next heartbeat confirms it; when that is answered the task is forgotten here.
// A crash before the answer to 3 loses what is here; the task comes again and is done again,
// harmlessly.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "chunkserver/store/block_store.h"
#include "common/base/ids.h"

namespace tercet {

struct DeletionTask {
  BlockId block;
  Generation generation;  // replicas of this one and below
  friend bool operator==(const DeletionTask&, const DeletionTask&) = default;
};

/// Thread-safe. The work is done in a thread of its own.
class DeletionWorker {
 public:
  /// `store` must outlive the worker.
  explicit DeletionWorker(BlockStore& store);
  ~DeletionWorker();

  /// Queues tasks of an active's `epoch`. What is known already is left out, and so is what the
  /// queue has no room for: it comes again.
  void Submit(Epoch epoch, const std::vector<DeletionTask>& tasks);
  /// Up to `max` tasks that are done and durable, the oldest first. They stay until Forget.
  std::vector<DeletionTask> Done(size_t max) const;
  /// The first `count` of Done were confirmed.
  void Forget(size_t count);

 private:
  struct Queued {
    DeletionTask task;
    Epoch epoch;
  };
  void Run();
  /// False when the task has to come again.
  bool Delete(const Queued& queued);

  BlockStore& store_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  std::deque<Queued> queue_;
  std::deque<DeletionTask> done_;
  std::unordered_map<BlockId, Generation> known_;  // queued, under way or done
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace tercet
