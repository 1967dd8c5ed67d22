#include "chunkserver/replication/sync_pool.h"

#include <algorithm>
#include <utility>

namespace tercet {

SyncPool::SyncPool(int max_threads, size_t max_queued)
    : max_threads_(static_cast<size_t>(std::max(max_threads, 1))), max_queued_(max_queued) {}

SyncPool::~SyncPool() { Stop(); }

void SyncPool::Submit(std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    if (!stopping_ && queue_.size() < max_queued_) {
      queue_.push_back(std::move(task));
      if (queue_.size() > idle_ && threads_.size() < max_threads_) {
        threads_.emplace_back([this] { Run(); });
      } else {
        work_.notify_one();
      }
      return;
    }
  }
  task();
}

void SyncPool::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    work_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    --idle_;
    if (queue_.empty()) return;
    std::function<void()> task = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    task();
    task = nullptr;  // what it holds must not be destroyed under the lock
    lock.lock();
  }
}

void SyncPool::Stop() {
  std::vector<std::thread> threads;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    threads.swap(threads_);
  }
  work_.notify_all();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace tercet
