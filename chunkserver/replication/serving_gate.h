// Whether replicas are served now. While this server registers again it cannot know which of its
// replicas left their chains: requests for data wait until it has been told.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace tercet {

/// Thread-safe. Open at first.
class ServingGate {
 public:
  void Open() { Set(State::kOpen); }
  void Close() { Set(State::kClosed); }
  /// Whoever waits is refused; for good.
  void Abandon() { Set(State::kAbandoned); }

  bool is_open() const { return state_.load(std::memory_order_acquire) == State::kOpen; }
  /// Waits until it is open. False when that takes longer than `patience`, and after Abandon.
  bool Pass(std::chrono::milliseconds patience) {
    if (is_open()) return true;
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [this] { return state_ != State::kClosed; });
    return state_ == State::kOpen;
  }

 private:
  enum class State { kOpen, kClosed, kAbandoned };
  void Set(State state) {
    std::lock_guard lock(mutex_);
    if (state_ != State::kAbandoned) state_ = state;
    changed_.notify_all();
  }

  std::atomic<State> state_{State::kOpen};  // changed under mutex_
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace tercet
