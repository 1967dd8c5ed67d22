// Calls to a Thrift service of one peer: framed binary protocol, multiplexed by service name,
// pooled connections, a deadline on every call, bounded message sizes.
#pragma once

#include <thrift/TConfiguration.h>
#include <thrift/protocol/TProtocol.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"

namespace tercet {

/// Largest message either side accepts. A peer that sends more is disconnected.
inline constexpr int kMaxRpcMessageBytes = 16 << 20;

/// Limits for what is read from a peer (message and frame size, recursion depth).
std::shared_ptr<apache::thrift::TConfiguration> RpcConfiguration();

/// One connection's transport and protocol.
class RpcConnection {
 public:
  /// Connects, from `source_host` unless that is empty; kUnavailable or kDeadlineExceeded with the
  /// address in the message.
  static Result<std::unique_ptr<RpcConnection>> Connect(const HostPort& peer,
                                                        const std::string& service,
                                                        std::chrono::milliseconds timeout,
                                                        const std::string& source_host = {});
  ~RpcConnection();
  /// Applies to each send and receive from now on.
  void SetTimeout(std::chrono::milliseconds timeout);
  /// True when the peer closed or broke the connection while no call used it.
  bool LooksClosed() const;
  std::shared_ptr<apache::thrift::protocol::TProtocol> protocol() const;
  /// For who sends framed messages by himself; open as long as the connection.
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
  /// Keeps at most `max_idle` connections open while no call uses them.
  RpcClientPool(HostPort peer, std::string service, size_t max_idle = 64)
      : peer_(std::move(peer)), service_(std::move(service)), max_idle_(max_idle) {}

  const HostPort& peer() const { return peer_; }

  /// Runs `call(client)` on a connection of its own. On kUnavailable and kDeadlineExceeded the
  /// outcome at the peer is unknown; the connection is closed, and with it all idle ones. `timeout`
  /// bounds connecting and each exchange of bytes.
  template <typename Function>
  Status Call(std::chrono::milliseconds timeout, Function&& call) {
    std::unique_ptr<Entry> entry = TakeIdle();
    if (entry == nullptr) {
      auto connection = RpcConnection::Connect(peer_, service_, timeout);
      if (!connection.ok()) return connection.status();
      entry = std::make_unique<Entry>(std::move(connection).value());
    }
    entry->connection->SetTimeout(timeout);
    try {
      call(entry->client);
    } catch (...) {
      DropIdle();
      return StatusFromRpcException(peer_, service_);
    }
    PutIdle(std::move(entry));
    return Status::Ok();
  }

  /// Closes what is idle: the peer is known to have gone.
  void DropIdle() {
    std::vector<std::unique_ptr<Entry>> closed;
    std::lock_guard lock(mutex_);
    closed.swap(idle_);
  }

 private:
  struct Entry {
    explicit Entry(std::unique_ptr<RpcConnection> c)
        : connection(std::move(c)), client(connection->protocol()) {}
    std::unique_ptr<RpcConnection> connection;
    Client client;
  };

  /// An idle connection that the peer has not closed meanwhile, or none.
  std::unique_ptr<Entry> TakeIdle() {
    while (true) {
      std::unique_ptr<Entry> entry;
      {
        std::lock_guard lock(mutex_);
        if (idle_.empty()) return nullptr;
        entry = std::move(idle_.back());
        idle_.pop_back();
      }
      if (!entry->connection->LooksClosed()) return entry;
    }
  }
  void PutIdle(std::unique_ptr<Entry> entry) {
    std::lock_guard lock(mutex_);
    if (idle_.size() < max_idle_) idle_.push_back(std::move(entry));
  }

  const HostPort peer_;
  const std::string service_;
  const size_t max_idle_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Entry>> idle_;  // guarded by mutex_
};

}  // namespace tercet
