// A thread that sees to it that connections which owe answers show signs of life.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>

namespace tercet {

class WatchedConnection {
 public:
  virtual ~WatchedConnection() = default;
  /// Called at each interval, by the watchdog's thread; must not wait. `now_nanos`: monotonic.
  virtual void Watch(int64_t now_nanos) = 0;
};

/// Thread-safe.
class Watchdog {
 public:
  /// `on_tick` is called at each interval before the connections'.
  Watchdog(std::chrono::milliseconds interval, std::function<void(int64_t now_nanos)> on_tick);
  /// Stop().
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void Add(const std::shared_ptr<WatchedConnection>& connection);
  void Remove(const WatchedConnection* connection);
  void Stop();

 private:
  void Run();

  const std::chrono::milliseconds interval_;
  const std::function<void(int64_t)> on_tick_;

  std::mutex mutex_;
  std::condition_variable stop_changed_;
  // Guarded by mutex_.
  std::unordered_map<const WatchedConnection*, std::weak_ptr<WatchedConnection>> connections_;
  bool stopping_ = false;

  std::thread thread_;  // last: uses all the others
};

}  // namespace tercet
