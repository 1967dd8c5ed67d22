// A Thrift server: one thread per connection (TThreadedServer), framed binary protocol, several
// services on one port by multiplexed name, bounded message sizes.
#pragma once

#include <thrift/TProcessor.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/rpc/host_port.h"

namespace tercet {

struct ThriftServerOptions {
  HostPort listen;                             // port 0: any free port
  int max_connections = 4096;                  // more are closed at once, with a log line
  std::chrono::milliseconds idle_timeout{0};   // 0: connections may be idle for ever
};

/// Thread-safe after Start.
class ThriftServer {
 public:
  using Services = std::map<std::string, std::shared_ptr<apache::thrift::TProcessor>>;

  /// Binds and serves in background threads. kBusy with the address when the port is in use.
  static Result<std::unique_ptr<ThriftServer>> Start(ThriftServerOptions options, Services services);
  /// Stops accepting, closes all connections and waits for the threads.
  ~ThriftServer();

  uint16_t port() const;

 private:
  ThriftServer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tercet
