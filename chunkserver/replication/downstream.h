// All links of a server to those behind it in chains.
//
// A peer is *up* or *down*. It goes down when a link to it fails that was being connected or owed
// answers. From then on nothing is queued for it: requests are refused at once, until a new link
// (the probe) has been greeted, which makes it up. Probes are made in the background: the first one
// at once, then at an interval as long as somebody asks for the peer, more rarely for a while after
// that, and then it is forgotten: the next request finds out by itself.
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

/// Thread-safe. The frames of one block and generation (that is, of one chain) to one server always
/// use the same link as long as it works, so that they arrive in the order in which they were
/// submitted. Frames for which the peer is the tail, the last server but one, and so on use links
/// of their own each: one that waits there for room behind it does not keep back one that need not
/// (chain.md, "No standstill").
class Downstream {
 public:
  /// `counters` must outlive it.
  Downstream(const DataPlaneOptions& options, DataPlaneCounters& counters);
  /// Stop().
  ~Downstream();

  void SetIdentity(const std::string& cluster_id, ServerId self);

  /// The link for this block to `hop`, which has `hops_behind` servers of the chain behind it; a
  /// new one in the place of one that failed. A link that works is used whatever address `hop` has:
  /// its peer has shown to be that server. kUnavailable, at once: the peer is down; kCancelled
  /// after Stop.
  Result<std::shared_ptr<DownstreamLink>> LinkFor(const wire::ChainHop& hop, BlockId block,
                                                  size_t hops_behind);

  /// Fails all links and waits for their threads.
  void Stop();

 private:
  using SteadyTime = std::chrono::steady_clock::time_point;
  using Links = std::vector<std::shared_ptr<DownstreamLink>>;
  struct Peer {
    wire::ChainHop hop;  // as last asked for
    Links links;         // links_per_peer slots per number of hops behind, null when not in use
    bool down = false;
    Status why;                 // it went down
    SteadyTime wanted{};        // last time that somebody asked for it
    size_t probe_slot = 0;      // which slot's link says whether it is back
    SteadyTime next_attempt{};  // of a probe
  };

  /// What LinkFor does when the slot has no link that can be used. Whatever is to be destroyed, or
  /// failed, without the lock is handed back.
  Result<std::shared_ptr<DownstreamLink>> NewLinkLocked(const wire::ChainHop& hop, Peer& peer,
                                                        size_t slot, Links* finished,
                                                        std::shared_ptr<DownstreamLink>* abandoned);
  std::shared_ptr<DownstreamLink> MakeLinkLocked(const wire::ChainHop& hop, size_t slot);
  /// Takes failed links out of their slots, and finds out whether the peer is down.
  void ReviewLocked(Peer& peer, SteadyTime now);
  /// Makes the probe's next attempt when it is time.
  void ProbeLocked(Peer& peer, SteadyTime now);
  void Watch();
  void WatchOnce(bool was_asleep);
  Links TakeFinishedLocked();

  // Constant after construction.
  const DataPlaneOptions options_;
  DataPlaneCounters& counters_;

  std::mutex mutex_;
  std::condition_variable watch_changed_;
  // Guarded by mutex_.
  std::string cluster_id_;
  ServerId self_;
  std::map<int32_t, Peer> peers_;  // by server id
  Links retired_;                  // failed, until their threads have ended
  int64_t last_link_number_ = 0;
  bool link_changed_ = false;  // the watcher is to look at once
  bool stopping_ = false;

  std::thread watcher_;  // last: uses all the others
};

}  // namespace tercet
