// Accepts TCP connections and serves each in a thread of its own; what ThriftServer and
// FrameListener have in common.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "common/rpc/socket.h"

namespace tercet {

/// One accepted connection. The destructor closes its socket.
class ServedConnection {
 public:
  virtual ~ServedConnection() = default;
  /// Runs in the connection's thread and returns when the connection has ended.
  virtual void Serve() = 0;
  /// Makes Serve return soon; it may still answer what it is working on. From any thread, also before
  /// Serve and after it.
  virtual void Shutdown() = 0;
  /// The same without waiting for the peer to take an answer.
  virtual void Abort() { Shutdown(); }
};

struct SocketListenerOptions {
  HostPort listen;             // port 0: any free port
  int max_connections = 4096;  // more are closed at once, with a log line
  const ReservedPort* reserved = nullptr;  // instead of `listen`; must outlive the listener
};

/// Thread-safe.
class SocketListener {
 public:
  /// Makes the object that serves an accepted socket, which it takes over. `peer` is for logs.
  using Factory =
      std::function<std::shared_ptr<ServedConnection>(int socket, const std::string& peer)>;

  /// Binds, and accepts in a background thread. Errors as ListenOn.
  static Result<std::unique_ptr<SocketListener>> Start(SocketListenerOptions options,
                                                       Factory factory);
  ~SocketListener();

  /// Stops accepting, shuts all connections down and waits for their threads. May be repeated; must
  /// not be called from a connection's thread.
  void Stop();
  uint16_t port() const;
  /// Connections being served now.
  size_t connection_count() const;

 private:
  SocketListener();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tercet
