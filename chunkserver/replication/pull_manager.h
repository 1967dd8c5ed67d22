// The pulls of a chunk server: how many at once, which threads, one per block.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "chunkserver/replication/counters.h"
#include "chunkserver/replication/data_plane_server.h"
#include "chunkserver/replication/pull_session.h"
#include "chunkserver/replication/pull_throttle.h"
#include "chunkserver/replication/sync_pool.h"

namespace tercet {

/// Thread-safe.
///
/// There is one pull per block at a time. A later attempt's pull (its `finish` is higher; 0 is the
/// lowest) cancels the one that runs and begins when that has ended; others are refused as kBusy.
class PullManager {
 public:
  /// `store` and `counters` must outlive it.
  PullManager(const DataPlaneOptions& options, BlockStore& store, DataPlaneCounters& counters);
  /// Stop().
  ~PullManager();

  using Done = std::function<void(const PullOutcome&)>;
  /// Begins the pull as the given server of the cluster. When it is OK `done` is called once, by
  /// another thread, when the pull has ended. kBusy: see above, or there are too many; kCancelled
  /// after Stop.
  Result<std::shared_ptr<PullSession>> Begin(const std::string& cluster_id, ServerId self,
                                             PullJob job, Done done);
  /// Bytes per second of each limited class; 0: no limit.
  void SetRates(uint64_t repair, uint64_t move);
  /// Cancels all pulls and waits for them.
  void Stop();

 private:
  PullThrottle* ThrottleFor(const PullJob& job);
  void Run(const std::shared_ptr<PullSession>& session,
           const std::shared_ptr<PullSession>& predecessor, const Done& done);

  // Constant after construction.
  const DataPlaneOptions options_;
  BlockStore& store_;
  DataPlaneCounters& counters_;

  // Self-synchronised.
  PullThrottle repair_;
  PullThrottle move_;
  SyncPool prepares_;
  SyncPool finishes_;

  std::mutex begin_mutex_;  // pulls are submitted in the order in which they were begun
  std::mutex mutex_;        // taken with begin_mutex_ held, or alone
  std::condition_variable ended_;
  // Guarded by mutex_.
  std::unordered_map<BlockId, std::shared_ptr<PullSession>>
      current_;  // the newest one of each block
  std::unordered_map<const PullSession*, std::shared_ptr<PullSession>>
      running_;  // begun, not ended
  size_t preparing_ = 0;
  size_t finishing_ = 0;
  bool stopping_ = false;
};

}  // namespace tercet
