// Threads that wait for disks, so that those which read sockets need not.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tercet {

/// Thread-safe. Threads start when there is more work than idle threads, up to a limit.
class SyncPool {
 public:
  /// With `max_queued` tasks waiting, Submit runs further ones itself.
  SyncPool(int max_threads, size_t max_queued);
  /// Stop().
  ~SyncPool();
  SyncPool(const SyncPool&) = delete;
  SyncPool& operator=(const SyncPool&) = delete;

  /// Runs the task on a thread of the pool; in the caller's when the pool is full or stopped.
  void Submit(std::function<void()> task);
  /// Runs what is queued and ends the threads.
  void Stop();

 private:
  void Run();

  const size_t max_threads_;
  const size_t max_queued_;

  std::mutex mutex_;
  std::condition_variable work_;
  // Guarded by mutex_.
  std::deque<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
  size_t idle_ = 0;
  bool stopping_ = false;
};

}  // namespace tercet
