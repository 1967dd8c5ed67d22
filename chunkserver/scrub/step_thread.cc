#include "chunkserver/scrub/step_thread.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "common/log/log.h"

namespace tercet {
namespace {

constexpr int kLowestNice = 19;
// As in linux/ioprio.h, which is no C++.
constexpr int kIoPriorityOfProcess = 1;
constexpr int kIoPriorityIdle = 3 << 13;

/// Of the calling thread.
void BecomeIdle() {
  constexpr int kThisThread = 0;
  const long set = ::syscall(SYS_ioprio_set, kIoPriorityOfProcess, kThisThread, kIoPriorityIdle);
  if (set != 0) LOG_WARN_LIMITED("background reads have the usual I/O priority errno={}", errno);
  // On Linux this is of the thread alone.
  if (::setpriority(PRIO_PROCESS, kThisThread, kLowestNice) != 0) {
    LOG_WARN_LIMITED("background work has the usual priority errno={}", errno);
  }
}

}  // namespace

StepThread::StepThread(const std::string& name, Priority priority, Step step)
    : thread_([this, name, priority, step = std::move(step)] { Run(name, priority, step); }) {}

StepThread::~StepThread() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void StepThread::Wake() {
  std::lock_guard lock(mutex_);
  woken_ = true;
  changed_.notify_all();
}

void StepThread::Run(const std::string& name, Priority priority, const Step& step) {
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
  if (priority == Priority::kIdle) BecomeIdle();
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    woken_ = false;
    lock.unlock();
    const std::chrono::nanoseconds wait = step();
    lock.lock();
    if (wait.count() > 0) changed_.wait_for(lock, wait, [this] { return stopping_ || woken_; });
  }
}

}  // namespace tercet
