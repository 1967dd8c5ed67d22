// The data plane of a chunk server: accepts frame connections, serves reads, and passes writes down
// the chain. chain.md tells the life of a write, what a crash leaves and why replicas stay alike.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "chunkserver/replication/counters.h"
#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/rpc/host_port.h"

namespace tercet {

class BlockStore;

/// The version of the frames' meaning; a HELLO with another one is refused.
inline constexpr int32_t kDataPlaneProtocolVersion = 1;

struct DataPlaneOptions {
  HostPort listen;             // port 0: any free one
  int max_connections = 4096;  // more are closed at once
  /// Connections to each server behind this one in a chain; a block always uses the same one.
  int links_per_peer = 4;
  /// A downstream server that answers nothing for so long while it owes an answer has failed.
  std::chrono::milliseconds progress_deadline{5000};
  /// Added to the deadline for every server behind the downstream one, so that the server next to a
  /// failed one reports first.
  std::chrono::milliseconds hop_allowance{1000};
  /// When a downstream server's queue is full and it has stood still for so long, writes for it are
  /// refused at once, so that they do not hold up other writes of the connection they came by.
  std::chrono::milliseconds stall_refusal{1000};
  /// Payloads in memory, all connections together. Readers of sockets wait when it is used up.
  size_t buffer_bytes = 256 << 20;
  size_t max_queued_bytes_per_link = 32 << 20;
  /// Operations of one upstream connection that were accepted and are not answered yet.
  size_t max_pending_per_connection = 4096;
  int sync_threads = 8;
};

/// Thread-safe.
class DataPlaneServer {
 public:
  /// Binds and serves in background threads. kBusy with the address when the port is in use. Until
  /// SetIdentity every HELLO is refused as kUnavailable. `store` must outlive the server.
  static Result<std::unique_ptr<DataPlaneServer>> Start(DataPlaneOptions options,
                                                        BlockStore& store);
  /// Stop().
  ~DataPlaneServer();

  /// The cluster (16 bytes) and the server's number in it, once registered. May be called again
  /// with the same values.
  void SetIdentity(const std::string& cluster_id, ServerId server_id);

  uint16_t port() const;
  const DataPlaneCounters& counters() const;

  /// Closes all connections and waits for all threads. Operations in flight stay unanswered; what
  /// was acknowledged is in the store. Idempotent.
  void Stop();

 private:
  class Impl;
  explicit DataPlaneServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tercet
