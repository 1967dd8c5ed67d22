// The data-plane connections of one client: pooled per chunk server, introduced by HELLO.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/rpc/frame_connection.h"
#include "fuse_client/core/block_io/block_target.h"

namespace tercet {

struct DataConnectionOptions {
  std::string cluster_id;
  std::string caller;  // for the servers' logs: "mount host:/mnt session 12"
  /// For connecting and the answer to HELLO, each.
  std::chrono::milliseconds connect_timeout{1'000};
  /// Idle connections kept per server.
  size_t max_idle_per_server = 16;
  /// How long a server counts as recently failed after its first failure; doubles with each further
  /// one up to the maximum, and starts anew after a success.
  std::chrono::milliseconds retry_after{2'000};
  std::chrono::milliseconds max_retry_after{16'000};
};

/// Thread-safe.
class DataConnections {
 public:
  /// `clock` measures the time since failures and must outlive this object.
  explicit DataConnections(DataConnectionOptions options, Clock* clock = &RealClock());

  struct Taken {
    std::unique_ptr<FrameConnection> connection;
    bool reused = false;  // it was idle in the pool: the server may have closed it just now
  };
  /// A connection for the caller alone: an idle one that does not look closed, or a new one. Its
  /// timeouts are those of its last user: set them. Tries also a server that failed recently.
  /// kUnavailable and kDeadlineExceeded when the server cannot be reached (it then counts as
  /// failed), or what it answered to HELLO (kWrongCluster, …).
  Result<Taken> Take(const ReplicaAddress& replica);
  /// A new connection, whatever is idle.
  Result<Taken> TakeNew(const ReplicaAddress& replica);
  /// Gives back a healthy connection with no frame under way on it, on which the server answered:
  /// it counts no longer as failed.
  void Put(const ReplicaAddress& replica, std::unique_ptr<FrameConnection> connection);

  /// The server failed in use (no progress, a broken connection): its idle connections are closed,
  /// and it counts as recently failed.
  void NoteFailure(ServerId server);
  /// True for a while after a failure: better ask another replica first.
  bool RecentlyFailed(ServerId server) const;
  /// Grows with each failure that counts. While it stays the same no further server has failed.
  uint64_t failures() const { return failures_.load(std::memory_order_acquire); }
  /// True when RecentlyFailed may be true for some server; takes no lock.
  bool AnyRecentlyFailed() const;

  /// Idle connections to `server`; for tests and status pages.
  size_t idle_count(ServerId server) const;

 private:
  struct Server {
    HostPort address;  // of the idle connections
    std::vector<std::unique_ptr<FrameConnection>> idle;
    int64_t failed_until_ns = 0;               // monotonic
    std::chrono::milliseconds retry_after{0};  // of the last failure; 0: none
  };

  Result<std::unique_ptr<FrameConnection>> Open(const ReplicaAddress& replica);
  Status Greet(FrameConnection& connection, const ReplicaAddress& replica);

  const DataConnectionOptions options_;
  Clock* const clock_;
  std::atomic<uint64_t> failures_{0};
  /// The latest failed_until_ns that ever was: behind it no server counts as failed.
  std::atomic<int64_t> any_failed_until_ns_{0};

  mutable std::mutex mutex_;
  std::unordered_map<ServerId, Server>
      servers_;  // guarded by mutex_; one per server of the cluster
};

}  // namespace tercet
