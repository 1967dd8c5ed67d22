// A fixed number of threads with a bounded queue.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace tercet {

/// Thread-safe. Tasks may submit tasks, but must not wait for queued ones (RunAll does so safely).
class WorkerPool {
 public:
  /// `name` (at most 15 characters) is what the threads are called.
  WorkerPool(const std::string& name, int threads, size_t max_queued);
  /// Runs what is queued, then ends.
  ~WorkerPool();

  /// False when the queue is full or the pool has stopped: the task was not taken.
  bool TrySubmit(std::function<void()> task);
  /// Runs `work(0) … work(count - 1)`, in this thread and in idle ones of the pool, and returns
  /// when all are done. Never waits for a task that no thread has begun.
  void RunAll(size_t count, const std::function<void(size_t)>& work);
  /// Runs what is queued and joins the threads; later submissions are refused.
  void Stop();

 private:
  void Loop();

  const size_t max_queued_;
  std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  // Constant after construction, until Stop joins them.
  std::vector<std::thread> threads_;
};

}  // namespace tercet
