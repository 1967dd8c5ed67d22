// The data plane of a chunk server: accepts frame connections, serves reads, passes writes down the
// chain, and carries out the active metaserver's commands (SEAL, PULL). chain.md tells the life of
// a write and of a pull, what a crash leaves and why replicas stay alike.
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
namespace wire {
class BackgroundLimits;
}

/// The version of the frames' meaning; a HELLO with another one is refused.
inline constexpr int32_t kDataPlaneProtocolVersion = 1;

/// What HelloHeader.caller begins with when chunk servers talk to one another: their requests do
/// not count as clients'.
inline constexpr const char* kChunkServerCaller = "chunk server ";

struct DataPlaneOptions {
  HostPort listen;             // port 0: any free one
  int max_connections = 4096;  // more are closed at once
  /// Connections to each server behind this one in a chain, for each number of servers that come
  /// behind that; a block's chain always uses the same one.
  int links_per_peer = 4;
  /// A peer that owes an answer and sends neither that nor WORKING for so long has failed.
  std::chrono::milliseconds progress_deadline{2000};
  /// How often WORKING is sent while answers are owed; at least four times per progress_deadline.
  std::chrono::milliseconds working_interval{500};
  /// Work on the own disks may take so long; then this server no longer says that it is working,
  /// and is found by `progress_deadline`.
  std::chrono::milliseconds disk_deadline{10'000};
  /// The time between attempts to reach a server whose link failed, as long as somebody wants to.
  std::chrono::milliseconds reconnect_interval{200};
  /// When a downstream server's queue is full and it has taken nothing for so long, although it
  /// says that it is working, writes for it are refused at once, so that they do not hold up other
  /// writes of the connection they came by.
  std::chrono::milliseconds stall_refusal{5000};
  /// Payloads in memory, all connections together; a part of it for those with a longer way to go
  /// (BufferPool::LimitOf). Readers of sockets wait when it is used up.
  size_t buffer_bytes = 256 << 20;
  size_t max_queued_bytes_per_link = 32 << 20;
  /// Operations of one upstream connection that were accepted and are not answered yet.
  size_t max_pending_per_connection = 4096;
  int sync_threads = 8;
  /// Pulls that prepare (PullHeader) at once; more are refused as kBusy.
  int max_prepares = 8;
  /// Pulls that finish at once; up to `max_queued_finishes` more wait for their turn.
  int max_finishes = 64;
  size_t max_queued_finishes = 4096;
};

/// What clients get from this server: figures of the last one to two seconds, and totals. Chunk
/// servers' and metaservers' requests do not count as clients'.
struct DataPlaneLoad {
  int64_t read_p99_us = 0;   // 0: there were none
  int64_t write_p99_us = 0;  // from a write's header to its answer
  int64_t client_bytes_per_second = 0;
  int64_t client_requests_per_second = 0;
  int64_t pulled_bytes = 0;  // since the start
  int32_t pulls_running = 0;
  /// Monotonic (Clock::MonotonicNanos) time of the last request of a client; 0: none yet.
  int64_t last_client_request_nanos = 0;
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

  /// The cluster (16 bytes) and the server's number in it, once registered: data is served. With a
  /// number other than before, older connections end at their next request.
  void SetIdentity(const std::string& cluster_id, ServerId server_id);
  /// This server does not know any more which of its replicas are current: until SetIdentity new
  /// connections are refused, and requests for data wait on those there are, or end them when it
  /// takes longer than half the progress deadline. Commands of the active are carried out.
  void Suspend();

  /// What pulls that prepare may use; takes effect at once, also for those that run. 0: no limit.
  void SetLimits(const wire::BackgroundLimits& limits);
  /// Cheap; takes no lock that requests take.
  DataPlaneLoad Load() const;

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
