#include "fuse_client/core/worker_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <memory>

namespace tercet {

WorkerPool::WorkerPool(const std::string& name, int threads, size_t max_queued)
    : max_queued_(max_queued) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { Loop(); });
    pthread_setname_np(threads_.back().native_handle(), name.substr(0, 15).c_str());
  }
}

WorkerPool::~WorkerPool() { Stop(); }

bool WorkerPool::TrySubmit(std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_ || queue_.size() >= max_queued_) return false;
    queue_.push_back(std::move(task));
  }
  wake_.notify_one();
  return true;
}

void WorkerPool::RunAll(size_t count, const std::function<void(size_t)>& work) {
  if (count <= 1) {
    if (count == 1) work(0);
    return;
  }
  // Helpers that come late find no work left; they may outlive this call, so they own the state and
  // touch `work` only after having taken an item, which keeps this call waiting.
  struct Shared {
    std::mutex mutex;
    std::condition_variable done;
    size_t next = 0;
    size_t finished = 0;
  };
  auto shared = std::make_shared<Shared>();
  auto run = [shared, count, &work] {
    for (;;) {
      size_t item;
      {
        std::lock_guard lock(shared->mutex);
        if (shared->next >= count) return;
        item = shared->next++;
      }
      work(item);
      std::lock_guard lock(shared->mutex);
      if (++shared->finished == count) shared->done.notify_all();
    }
  };
  const size_t helpers = std::min(count - 1, threads_.size());
  for (size_t i = 0; i < helpers; ++i) {
    if (!TrySubmit(run)) break;
  }
  run();
  std::unique_lock lock(shared->mutex);
  shared->done.wait(lock, [&] { return shared->finished == count; });
}

void WorkerPool::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void WorkerPool::Loop() {
  for (;;) {
    std::function<void()> task;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

}  // namespace tercet
