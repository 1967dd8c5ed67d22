// All links of a server to those behind it in chains.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "chunkserver/replication/data_plane_server.h"
#include "chunkserver/replication/downstream_link.h"

namespace tercet {

/// Thread-safe. One block's frames to one server always use the same link as long as it works, so
/// that they arrive in the order in which they were submitted.
class Downstream {
 public:
  /// `counters` must outlive it.
  Downstream(const DataPlaneOptions& options, DataPlaneCounters& counters);
  /// Stop().
  ~Downstream();

  void SetIdentity(const std::string& cluster_id, ServerId self);

  /// The link for this block to `hop`; a new one in the place of one that failed. Null after Stop.
  /// A link that works is used whatever address `hop` has: its peer has shown to be that server.
  std::shared_ptr<DownstreamLink> LinkFor(const wire::ChainHop& hop, BlockId block);

  /// Fails all links and waits for their threads.
  void Stop();

 private:
  using Links = std::vector<std::shared_ptr<DownstreamLink>>;

  std::shared_ptr<DownstreamLink> MakeLinkLocked(const wire::ChainHop& hop, size_t slot);
  void Watch();
  void WatchOnce();
  Links TakeFinishedLocked();

  // Constant after construction.
  const DataPlaneOptions options_;
  DataPlaneCounters& counters_;

  std::mutex mutex_;
  std::condition_variable stop_changed_;
  // Guarded by mutex_.
  std::string cluster_id_;
  ServerId self_;
  std::map<int32_t, Links> peers_;  // by server id; links_per_peer slots each, null when not in use
  Links retired_;                   // failed, until their threads have ended
  int64_t last_link_number_ = 0;
  bool stopping_ = false;

  std::thread watcher_;  // last: uses all the others
};

}  // namespace tercet
