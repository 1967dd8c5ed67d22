// Accepts data-plane connections and runs a handler for each in a thread of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "common/base/status.h"
#include "common/rpc/frame_connection.h"
#include "common/rpc/host_port.h"
#include "common/rpc/socket_listener.h"

namespace tercet {

struct FrameListenerOptions {
  HostPort listen;             // port 0: any free port
  int max_connections = 4096;  // more are closed at once, with a log line
};

/// Thread-safe.
class FrameListener {
 public:
  /// Serves one connection and returns when it has ended: when Receive or Send failed. The
  /// connection is shut down when the handler returns; other threads may hold it for longer.
  using Handler = std::function<void(const std::shared_ptr<FrameConnection>& connection)>;

  /// Binds and accepts in a background thread. kBusy with the address when the port is in use.
  static Result<std::unique_ptr<FrameListener>> Start(FrameListenerOptions options,
                                                      Handler handler);
  /// Calls Stop.
  ~FrameListener();

  /// Stops accepting, shuts all connections down and waits for their handlers. May be repeated;
  /// must not be called from a handler.
  void Stop() { listener_->Stop(); }
  uint16_t port() const { return listener_->port(); }
  /// Connections being served now.
  size_t connection_count() const { return listener_->connection_count(); }

 private:
  explicit FrameListener(std::unique_ptr<SocketListener> listener);
  const std::unique_ptr<SocketListener> listener_;
};

}  // namespace tercet
