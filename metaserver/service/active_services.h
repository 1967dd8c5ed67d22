// Everything that the active metaserver runs on top of consensus and database: proposer, sessions,
// registry, background work and the Thrift services.
//
// Background threads: one ticks (expiry of sessions, liveness, gauges), one counts blocks, one
// reclaims. They live from StartBackground to the destructor; each step of theirs is bounded or can
// be stopped.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/env/random.h"
#include "common/rpc/thrift_server.h"
#include "metaserver/namespace/database.h"
#include "metaserver/placement/server_table.h"
#include "metaserver/raft/consensus.h"
#include "metaserver/service/census.h"
#include "metaserver/service/proposer.h"
#include "metaserver/service/reclaimer.h"
#include "metaserver/service/registry.h"
#include "metaserver/service/service_metrics.h"
#include "metaserver/service/sessions.h"

namespace tercet {

struct ServiceOptions {
  uint32_t slot_count = 64;
  PlacementOptions placement;
  SessionOptions sessions;
  RegistryOptions registry;
  ReclaimerOptions reclaimer;
  /// At least so long between two counts of the blocks.
  std::chrono::milliseconds census_pause{10'000};
  std::string version;
};

/// Thread-safe unless a method says otherwise.
class ActiveServices {
 public:
  /// All references must outlive the object.
  ActiveServices(ServiceOptions options, Consensus& consensus, Database& database,
                 const Clock& clock, Random& random);
  /// Stops the background. The services must not be called any more.
  ~ActiveServices();

  /// Makes the file system of a new cluster. kFailedPrecondition when there is one.
  Status Format(std::string_view cluster_id, uint32_t block_size_bytes, uint8_t replicas,
                uint8_t min_replicas);
  /// Takes in the journaled sessions and servers and serves under `epoch` from now on.
  /// kVersionTooNew or kFailedPrecondition when the state cannot be served.
  Status Activate(Epoch epoch);
  /// To be called once, after Activate.
  void StartBackground();

  /// "metadata", "registry" and "admin", for a ThriftServer. `address` is shown by status.
  ThriftServer::Services Services(const std::string& address);

  /// One round of the ticking thread. Tests without background call it themselves.
  void Tick();

  Proposer& proposer() { return proposer_; }
  Sessions& sessions() { return sessions_; }
  Registry& registry() { return registry_; }
  ServerTable& servers() { return servers_; }
  Reclaimer& reclaimer() { return reclaimer_; }
  Census& census() { return census_; }

 private:
  void UpdateGauges();
  void ReclaimLoop();
  /// False when the object is going away.
  bool Pause(std::chrono::nanoseconds duration);
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }

  const ServiceOptions options_;
  Consensus& consensus_;
  Database& database_;
  const Clock& clock_;
  ServerTable servers_;
  Proposer proposer_;
  Sessions sessions_;
  Registry registry_;
  Reclaimer reclaimer_;
  Census census_;
  ServiceGauges gauges_;

  std::atomic<bool> stopping_{false};
  std::mutex pause_mutex_;
  std::condition_variable pause_changed_;
  std::vector<std::thread> threads_;  // changed by StartBackground and the destructor only
};

}  // namespace tercet
