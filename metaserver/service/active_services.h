// Everything that a metaserver runs on top of consensus and database: proposer, sessions, registry,
// background work and the Thrift services; on a standby they are there and wait.
//
// Life:
//  1. Standby: requests are answered kNotActive, heartbeats are noted, blocks are counted.
//  2. BecomeActive: sessions and servers are taken in from the applied state, then the proposer
//     accepts. Milliseconds: it reads the rows of sessions and servers and nothing else.
//  3. BecomeStandby: what was remembered under the epoch is dropped. Then 2 again, any number of
//     times; what is found out under one epoch is acted upon under no other.
//
// Background threads: one ticks (expiry of sessions, liveness, gauges), one counts blocks, one
// reclaims, one keeps house; those of the repair manager change chains. They live from
// StartBackground to the destructor; each step of theirs is bounded or can be stopped.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/env/random.h"
#include "metaserver/namespace/database.h"
#include "metaserver/placement/server_table.h"
#include "metaserver/raft/consensus.h"
#include "metaserver/repair/block_recovery.h"
#include "metaserver/repair/chunk_commander.h"
#include "metaserver/repair/reconfigurer.h"
#include "metaserver/repair/repair_manager.h"
#include "metaserver/service/census.h"
#include "metaserver/service/handlers.h"
#include "metaserver/service/housekeeper.h"
#include "metaserver/service/proposer.h"
#include "metaserver/service/proposer_journal.h"
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
  ReconfigurerOptions reconfigurer;
  BlockRecoveryOptions recovery;
  RepairManagerOptions repair;
  /// At least so long between two counts of the blocks.
  std::chrono::milliseconds census_pause{10'000};
};

/// Thread-safe unless a method says otherwise.
class ActiveServices final : public ActiveRole {
 public:
  /// All references must outlive the object.
  ActiveServices(ServiceOptions options, Consensus& consensus, Database& database,
                 const Clock& clock, Random& random);
  /// Stops the background. The services must not be called any more.
  ~ActiveServices() override;

  /// Makes the file system of a new cluster; to be called on the active. kFailedPrecondition when
  /// there is one.
  Status Format(std::string_view cluster_id, uint32_t block_size_bytes, uint8_t replicas,
                uint8_t min_replicas);
  /// kVersionTooNew when the state cannot be served. One that is not formatted yet can.
  Status BecomeActive(Epoch epoch) override;
  void BecomeStandby() override;
  /// To be called once.
  void StartBackground();

  /// One round of the ticking thread. Tests without background call it themselves.
  void Tick();

  Proposer& proposer() { return proposer_; }
  Sessions& sessions() { return sessions_; }
  Registry& registry() { return registry_; }
  ServerTable& servers() { return servers_; }
  Reclaimer& reclaimer() { return reclaimer_; }
  Census& census() { return census_; }
  RepairManager& repair() { return repair_; }
  Housekeeper& housekeeper() { return housekeeper_; }
  /// For the handlers; refers to this object.
  HandlerParts Parts();

 private:
  void UpdateGauges();
  void TickSessions();
  void ReclaimLoop();
  void HousekeepingLoop();
  void UpdateBlockGauges();
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
  ProposerJournal journal_;
  ChunkCommander commander_;
  Reconfigurer reconfigurer_;
  RepairManager repair_;
  BlockRecovery recovery_;
  Housekeeper housekeeper_;
  ServiceGauges gauges_;

  // Of the ticking thread.
  int64_t last_tick_ms_ = -1;
  JournalIndex refreshed_index_;  // of the state that the standby's registry was refreshed from
  int64_t refreshed_ms_ = -1;
  std::set<int> shown_replicas_;

  std::atomic<bool> stopping_{false};
  std::mutex pause_mutex_;
  std::condition_variable pause_changed_;
  std::vector<std::thread> threads_;  // changed by StartBackground and the destructor only
};

}  // namespace tercet
