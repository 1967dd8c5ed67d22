// Calls to a Thrift service of one peer: framed binary protocol, multiplexed by service name,
// pooled connections, a deadline on every call, bounded message sizes. Calls that a peer leaves
// without an answer can be ended from another thread.
#pragma once

#include <thrift/TConfiguration.h>
#include <thrift/protocol/TProtocol.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "common/rpc/socket.h"

namespace tercet {

/// Largest message either side accepts. A peer that sends more is disconnected.
inline constexpr int kMaxRpcMessageBytes = 16 << 20;

/// Limits for what is read from a peer (message and frame size, recursion depth).
std::shared_ptr<apache::thrift::TConfiguration> RpcConfiguration();

/// One connection's transport and protocol.
class RpcConnection {
 public:
  /// Connects, from `source_host` unless that is empty; kUnavailable or kDeadlineExceeded with the
  /// address in the message. Through the `aborter`, if there is one, others can end this and all
  /// use of the connection; it must outlive the connection.
  static Result<std::unique_ptr<RpcConnection>> Connect(const HostPort& peer,
                                                        const std::string& service,
                                                        std::chrono::milliseconds timeout,
                                                        const std::string& source_host = {},
                                                        SocketAborter* aborter = nullptr);
  ~RpcConnection();
  /// Applies to each send and receive from now on.
  void SetTimeout(std::chrono::milliseconds timeout);
  /// True when the peer closed or broke the connection while no call used it.
  bool LooksClosed() const;
  std::shared_ptr<apache::thrift::protocol::TProtocol> protocol() const;
  /// For poll(2) and who sends framed messages by himself; open as long as the connection.
  int socket() const;

 private:
  RpcConnection();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Maps the Thrift exception in flight to a Status; call it from a catch block only.
Status StatusFromRpcException(const HostPort& peer, const std::string& service);

/// A pool of clients of one service of one peer. Thread-safe. `Client` is the generated client
/// class.
template <typename Client>
class RpcClientPool {
 public:
  using Clock = std::chrono::steady_clock;

  /// Keeps at most `max_idle` connections open while no call uses them.
  RpcClientPool(HostPort peer, std::string service, size_t max_idle = 64)
      : peer_(std::move(peer)), service_(std::move(service)), max_idle_(max_idle) {}

  const HostPort& peer() const { return peer_; }

  /// Runs `call(client)` on a connection of its own. On kUnavailable and kDeadlineExceeded the
  /// outcome at the peer is unknown; the connection is closed, and with it all idle ones. `timeout`
  /// bounds connecting and each exchange of bytes.
  template <typename Function>
  Status Call(std::chrono::milliseconds timeout, Function&& call) {
    Use use(this);
    if (Status ready = use.Prepare(timeout); !ready.ok()) return ready;
    try {
      call(*use.entry().client);
    } catch (...) {
      DropIdle();
      return StatusFromRpcException(peer_, service_);
    }
    use.Keep();
    return Status::Ok();
  }

  /// Closes what is idle: the peer is known to have gone.
  void DropIdle() {
    std::vector<std::unique_ptr<Entry>> closed;
    std::lock_guard lock(mutex_);
    closed.swap(idle_);
  }

  /// Ends the calls that began at least `age` ago, also those that are still connecting: they fail
  /// at once with kUnavailable. Returns how many.
  size_t AbortCalls(Clock::duration age = Clock::duration::zero()) {
    const Clock::time_point since = Clock::now() - age;
    std::lock_guard lock(mutex_);
    size_t count = 0;
    for (Entry* entry : in_use_) {
      if (entry->since > since || entry->aborter.aborted()) continue;
      entry->aborter.Abort();
      ++count;
    }
    return count;
  }

  /// When the oldest call in progress began; nullopt when there is none.
  std::optional<Clock::time_point> OldestCall() const {
    std::lock_guard lock(mutex_);
    std::optional<Clock::time_point> oldest;
    for (const Entry* entry : in_use_) {
      if (!oldest || entry->since < *oldest) oldest = entry->since;
    }
    return oldest;
  }

 private:
  struct Entry {
    SocketAborter aborter;  // outlives the connection
    std::unique_ptr<RpcConnection> connection;
    std::optional<Client> client;
    // Guarded by the pool's mutex, while in use.
    Clock::time_point since;
    size_t position = 0;  // in in_use_
  };

  /// One call's hold on a connection, which others can see and abort meanwhile.
  class Use {
   public:
    explicit Use(RpcClientPool* pool) : pool_(pool), entry_(pool->Take()) {}
    ~Use() {
      if (entry_ != nullptr) pool_->GiveBack(std::move(entry_), /*keep=*/false);
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

    Entry& entry() { return *entry_; }
    Status Prepare(std::chrono::milliseconds timeout) {
      while (entry_->connection != nullptr) {
        if (!entry_->connection->LooksClosed()) {
          entry_->connection->SetTimeout(timeout);
          return Status::Ok();
        }
        pool_->GiveBack(std::move(entry_), /*keep=*/false);
        entry_ = pool_->Take();
      }
      auto connected =
          RpcConnection::Connect(pool_->peer_, pool_->service_, timeout, {}, &entry_->aborter);
      if (!connected.ok()) return connected.status();
      entry_->connection = std::move(connected).value();
      entry_->client.emplace(entry_->connection->protocol());
      return Status::Ok();
    }
    void Keep() { pool_->GiveBack(std::move(entry_), /*keep=*/true); }

   private:
    RpcClientPool* const pool_;
    std::unique_ptr<Entry> entry_;
  };

  /// An idle connection, which the peer may have closed, or an entry without one; in use from now
  /// on.
  std::unique_ptr<Entry> Take() {
    const Clock::time_point now = Clock::now();
    std::unique_ptr<Entry> entry;
    std::lock_guard lock(mutex_);
    if (idle_.empty()) {
      entry = std::make_unique<Entry>();
    } else {
      entry = std::move(idle_.back());
      idle_.pop_back();
    }
    entry->since = now;
    entry->position = in_use_.size();
    in_use_.push_back(entry.get());
    return entry;
  }
  void GiveBack(std::unique_ptr<Entry> entry, bool keep) {
    // What is not kept is closed after the lock is released: `entry` is destroyed last.
    std::lock_guard lock(mutex_);
    in_use_.back()->position = entry->position;
    in_use_[entry->position] = in_use_.back();
    in_use_.pop_back();
    if (keep && idle_.size() < max_idle_) idle_.push_back(std::move(entry));
  }

  const HostPort peer_;
  const std::string service_;
  const size_t max_idle_;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<std::unique_ptr<Entry>> idle_;
  std::vector<Entry*> in_use_;  // each owned by its Use
};

}  // namespace tercet
