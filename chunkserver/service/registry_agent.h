// Keeps this server registered with the metadata group and known to all its members.
//
// Each metaserver is talked to by a RegistryPeer, in a thread of its own:
//  1. While this server is not registered, each is asked to register it; only the active does. A
//     refusal that waiting cannot change (identity in use, server removed, another cluster, …) is
//     fatal: the process has to end, because another server may own these disks.
//  2. The active that registered it is asked for all of this server's delete tasks. Only then does
//  the
//     server count as registered, and serves data (active_orders.h). When that fails, again from 1.
//  3. Then each gets heartbeats with reports: standbys too, so that the one that becomes active
//  knows
//     at once who is alive and with what room. The active's answers bring deletions, limits,
//     commands to disks and requests for digests. Deletions that are done and bad replicas that
//     were found are told to the active alone, again and again until it has answered.
//  4. "register again" from the active: no data is served any more, and back to 1 with the same
//     incarnation.
//
// While an active is known, the heartbeats go at the interval it asked for. When it closes its
// connection, does not answer within RegistryPeer::kSlowAfter, or says that it is not active (any
// more), all others are asked at once and then every kHurryInterval, less often as time goes by.
// While no metaserver answers, the data plane goes on serving.
//
// Whose answers count: those of a metaserver that serves, under an epoch that is not below the
// highest this server ever saw (the store keeps it over restarts). A lower one is that of an active
// that was deposed, or of a state that was restored from a backup without its epoch being raised:
// nothing it says is done.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "chunkserver/service/active_orders.h"
#include "chunkserver/service/deletion_worker.h"
#include "chunkserver/service/registry_link.h"
#include "chunkserver/service/registry_peer.h"
#include "chunkserver/service/status_report.h"
#include "chunkserver/store/block_store.h"
#include "common/base/ids.h"
#include "common/rpc/host_port.h"

namespace tercet {

struct RegistryAgentOptions {
  HostPort advertised;
  /// Random at each start of the process.
  int64_t incarnation = 0;
  /// An earlier run of this server at another address counts as alive until it was silent for a
  /// while: so long is "identity in use" not taken for the last word.
  std::chrono::milliseconds identity_patience{8000};
  /// Where and what this server is, for placement.
  std::map<std::string, std::string> labels;
  /// The server must not go on; called at most once, from one of the agent's threads.
  std::function<void(const Status& why)> on_fatal;
};

/// Thread-safe.
class RegistryAgent {
 public:
  static constexpr std::chrono::milliseconds kHurryInterval{50};

  /// The references must outlive the agent.
  RegistryAgent(RegistryAgentOptions options, BlockStore& store, RegistryLink& link,
                DeletionWorker& deletions, const StatusReport& report, ActiveOrders& orders);
  ~RegistryAgent();

  bool registered() const { return registered_.load(std::memory_order_relaxed); }
  /// By metaservers that served.
  uint64_t heartbeats_answered() const { return heartbeats_.load(std::memory_order_relaxed); }

 private:
  using Clock = std::chrono::steady_clock;
  using Milliseconds = std::chrono::milliseconds;

  Milliseconds TakeTurn(size_t metaserver, RegistryPeer& peer);
  Status Register(size_t metaserver, RegistryPeer& peer);
  Status Heartbeat(size_t metaserver, RegistryPeer& peer);
  /// OK when the answer counts: see above. Follows the active, or leaves it.
  Status Judge(size_t metaserver, const Status& exchanged, const wire::ReplyInfo& info);
  void NoteNotActive(size_t metaserver, const wire::ReplyInfo& info);
  /// Steps 2 and 3 of active_orders.h.
  Status FetchTasks(size_t metaserver, RegistryPeer& peer,
                    const wire::RegisterServerResponse& registration);
  /// A heartbeat during a long fetch, so that the server is not taken for dead.
  Status StayAlive(size_t metaserver, RegistryPeer& peer, int32_t server_id);
  Status AcceptRegistration(size_t metaserver, RegistryPeer& peer,
                            const wire::RegisterServerResponse& response);
  /// What only the active is told: up to the limits of one heartbeat.
  struct Confirmations {
    std::vector<DeletionTask> deleted;
    std::vector<BadReplicaFound> bad_replicas;
  };
  Confirmations Confirm(wire::HeartbeatRequest* request) const;
  /// Whether the refusal of a registration ends the server.
  bool IsLastWordLocked(const Status& refusal);
  Milliseconds NextWait(const Status& status);

  /// No active is known, or it may have failed: everybody is asked now.
  void Hurry();
  void WakeAll();
  void AddPeerLocked(size_t metaserver, const HostPort& address);

  const RegistryAgentOptions options_;
  BlockStore& store_;
  RegistryLink& link_;
  DeletionWorker& deletions_;
  const StatusReport& report_;
  ActiveOrders& orders_;
  std::atomic<bool> registered_{false};
  std::atomic<uint64_t> heartbeats_{0};

  std::mutex mutex_;
  // Guarded by mutex_.
  int32_t server_id_ = 0;
  Milliseconds heartbeat_interval_{1000};
  std::optional<Clock::time_point> identity_refused_since_;
  std::optional<Clock::time_point> hurrying_since_;
  Milliseconds refusal_backoff_{0};
  bool outage_logged_ = false;
  /// Grows with each heartbeat that has Confirmations: only the newest one's answer counts.
  uint64_t confirmation_ = 0;
  bool ended_ = false;                                // stopping, or after on_fatal
  std::vector<std::unique_ptr<RegistryPeer>> peers_;  // by the metaserver's number; only grows
};

}  // namespace tercet
