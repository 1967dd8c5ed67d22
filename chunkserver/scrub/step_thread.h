// A thread that does work in the background, one step after the other.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace tercet {

/// Thread-safe.
class StepThread {
 public:
  /// Does one step and returns how long to wait before the next.
  using Step = std::function<std::chrono::nanoseconds()>;

  enum class Priority {
    kNormal,
    /// Its disk accesses come when nobody else has any, and it computes when nobody else does, as
    /// far as the kernel and its I/O scheduler can.
    kIdle,
  };

  /// `name` is shown by the system's tools, cut after 15 bytes.
  StepThread(const std::string& name, Priority priority, Step step);
  /// Waits for the step under way.
  ~StepThread();
  StepThread(const StepThread&) = delete;
  StepThread& operator=(const StepThread&) = delete;

  /// The next step is now, or right after the one under way.
  void Wake();

 private:
  void Run(const std::string& name, Priority priority, const Step& step);

  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;     // guarded by mutex_
  bool stopping_ = false;  // guarded by mutex_

  std::thread thread_;
};

}  // namespace tercet
