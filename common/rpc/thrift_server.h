// A Thrift server: one thread per connection, framed binary protocol, several services on one port
// by multiplexed name, bounded message sizes. The threads are our own (socket_listener.h) rather
// than TThreadedServer's, which ends when the process runs out of descriptors or threads for a
// moment, makes clients over the limit wait in the dark, and pays a poll per read so that it can be
// stopped.
#pragma once

#include <thrift/TProcessor.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "common/rpc/socket.h"

namespace tercet {

struct ThriftServerOptions {
  HostPort listen;                            // port 0: any free port
  int max_connections = 4096;                 // more are closed at once, with a log line
  std::chrono::milliseconds idle_timeout{0};  // 0: connections may be idle for ever
  const ReservedPort* reserved = nullptr;     // instead of `listen`; must outlive the server
};

/// Thread-safe after Start.
class ThriftServer {
 public:
  using Services = std::map<std::string, std::shared_ptr<apache::thrift::TProcessor>>;

  /// Binds and serves in background threads. kBusy with the address when the port is in use.
  static Result<std::unique_ptr<ThriftServer>> Start(ThriftServerOptions options,
                                                     Services services);
  /// Stops accepting, closes all connections and waits for the threads.
  ~ThriftServer();

  uint16_t port() const;

 private:
  ThriftServer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tercet
