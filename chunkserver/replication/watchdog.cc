#include "chunkserver/replication/watchdog.h"

#include <utility>
#include <vector>

#include "common/env/clock.h"

namespace tercet {

Watchdog::Watchdog(std::chrono::milliseconds interval, std::function<void(int64_t)> on_tick)
    : interval_(interval), on_tick_(std::move(on_tick)) {
  thread_ = std::thread([this] { Run(); });
}

Watchdog::~Watchdog() { Stop(); }

void Watchdog::Add(const std::shared_ptr<WatchedConnection>& connection) {
  std::lock_guard lock(mutex_);
  connections_[connection.get()] = connection;
}

void Watchdog::Remove(const WatchedConnection* connection) {
  std::lock_guard lock(mutex_);
  connections_.erase(connection);
}

void Watchdog::Run() {
  std::vector<std::shared_ptr<WatchedConnection>> connections;
  std::unique_lock lock(mutex_);
  while (!stop_changed_.wait_for(lock, interval_, [&] { return stopping_; })) {
    for (const auto& [key, connection] : connections_) {
      if (auto alive = connection.lock()) connections.push_back(std::move(alive));
    }
    lock.unlock();
    const int64_t now_nanos = RealClock().MonotonicNanos();
    on_tick_(now_nanos);
    for (const auto& connection : connections) connection->Watch(now_nanos);
    connections.clear();  // may be the last to hold one
    lock.lock();
  }
}

void Watchdog::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

}  // namespace tercet
