// The chunk servers: who they are, whether they are alive, what they are to delete, what they hold.
//
// Life of a server here, and what a crash of the metaserver leaves:
//  1. Registered: its identity (uuid → server id), address and incarnation are journaled. After a
//     crash they are known, and its next heartbeat shows that it is alive.
//  2. Alive: heartbeats come in time. Not journaled, but they come to every metaserver: a standby
//     notes them, gives no commands, and knows who is alive when it becomes active.
//  3. Silent for the death timeout: dead. It gets no new blocks and has to register again; its
//     replicas stay where the journal says.
//
// Deletions: a row per (server, block) in the journal is the order; it goes out with every
// few heartbeats until the server confirms it, and the confirmation is journaled. Doing one twice
// is harmless.
//
// So that a server never serves a replica that left its chain while it was away, it fetches all its
// deletions, held ones included, after each registration and before it serves anything. Those that
// are made later go out with the next heartbeat (Announce), and again in turn with all others.
//
// Invariant: no two live servers have the same uuid. One that comes while the other is alive, with
// another incarnation and from another address, is refused.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "metaserver/namespace/database.h"
#include "metaserver/namespace/records.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/placement/server_table.h"
#include "metaserver/repair/control.h"
#include "metaserver/service/proposer.h"
#include "metaserver/service/replica_reports.h"
#include "tercet_thrift/registry_types.h"

namespace tercet {

struct RegistryOptions {
  std::chrono::milliseconds heartbeat_interval{1000};
  /// Deletions in one heartbeat reply.
  size_t max_tasks_per_heartbeat = 1000;
  /// How often a server's replicas are compared with the journal; sooner after a difference.
  std::chrono::milliseconds digest_interval{3'600'000};
  std::chrono::milliseconds recheck_interval{5'000};
  size_t max_servers = 10'000;
};

/// What the registry needs of the engine that changes chains. None of the calls blocks.
struct RegistryHooks {
  /// For heartbeats. Empty: the defaults of LimitsRecord.
  std::function<LimitsRecord()> limits = {};
  /// Bad replicas of these blocks were noted.
  std::function<void(const std::vector<BlockId>&)> notice_blocks = {};
};

/// Thread-safe.
class Registry final : public InventoryControl {
 public:
  /// All references must outlive the registry.
  Registry(RegistryOptions options, Proposer& proposer, Database& database, ServerTable& servers,
           const Clock& clock);

  /// Before the first call of anything else.
  void SetHooks(RegistryHooks hooks) { hooks_ = std::move(hooks); }

  /// The metaserver becomes active: takes in what is journaled, forgets what an earlier activation
  /// knew about deliveries and reports.
  Status BecomeActive();
  void BecomeStandby();
  /// On a standby, from time to time: what the applied state knows of the servers, for status.
  Status RefreshKnown();

  // The RPCs.
  void Register(const wire::RegisterServerRequest& request, wire::RegisterServerResponse* response);
  void Heartbeat(const wire::HeartbeatRequest& request, wire::HeartbeatResponse* response);
  void ReportDigests(const wire::ReportDigestsRequest& request,
                     wire::ReportDigestsResponse* response);
  void ReportReplicas(const wire::ReportReplicasRequest& request,
                      wire::ReportReplicasResponse* response);

  void FetchDeleteTasks(const wire::FetchDeleteTasksRequest& request,
                        wire::FetchDeleteTasksResponse* response);

  /// A chain was journaled without this server: it is told with its next heartbeat.
  void Announce(ServerId server, BlockId block, Generation generation, bool hold);

  Result<int64_t> StartInventory() override;
  Result<InventoryReport> GetInventory(int64_t inventory_id) const override;
  /// Those of the last hour: they are in quarantine, so there is nothing more to be done.
  std::vector<UnknownReplica> UnknownReplicas(size_t max) const override;

  const ServerTable& servers() const { return servers_; }
  const ReplicaReports& reports() const { return reports_; }
  /// Logs servers that died or came back since the last call.
  void LogLiveness();

 private:
  static constexpr int kNoInventory = -1;
  /// Differences count when they are found twice; the details of the second round come before the
  /// third.
  static constexpr int kInventoryRounds = 3;

  /// What is remembered about a server beside the table.
  struct Delivery {
    BlockId next_task;                               // where the round over all tasks goes on
    int64_t full_scan_ms = 0;                        // not before: the next round
    std::vector<wire::DeleteReplicaTask> announced;  // for the next heartbeat
    int64_t next_digest_ms = 0;                      // when to ask for digests
    bool was_alive = false;                          // as logged
    int inventory_rounds = kNoInventory;  // digest reports since the inventory was started
  };

  Status RegisterChecked(Epoch epoch, const wire::RegisterServerRequest& request,
                         wire::RegisterServerResponse* response);
  Status CheckIdentity(const wire::RegisterServerRequest& request) const;
  Status HeartbeatChecked(Epoch epoch, const wire::HeartbeatRequest& request,
                          wire::HeartbeatResponse* response);
  /// Notes a heartbeat that came to a standby.
  Status HeartbeatAtStandby(const wire::HeartbeatRequest& request);
  Status ConfirmDeletions(Epoch epoch, ServerId server,
                          const std::vector<wire::DeleteReplicaTask>& deleted);
  Status NoteBadReplicas(Epoch epoch, ServerId server, const std::vector<wire::BadReplica>& bad);
  Status NoteAll(Epoch epoch, std::span<const BadReplicaNote> notes);
  void FillCommands(ServerId server, wire::HeartbeatResponse* response) const;
  Status FetchDeleteTasksChecked(const wire::FetchDeleteTasksRequest& request,
                                 wire::FetchDeleteTasksResponse* response);
  Status TakeFindings(Epoch epoch, ServerId server, const ReplicaReports::Findings& findings);
  void CountInventoryRound(ServerId server, bool clean);
  Status CollectTasks(ServerId server, std::vector<wire::DeleteReplicaTask>* tasks);
  Status ReportDigestsChecked(const wire::ReportDigestsRequest& request,
                              wire::ReportDigestsResponse* response);
  Status ReportReplicasChecked(Epoch epoch, const wire::ReportReplicasRequest& request,
                               wire::ReportReplicasResponse* response);
  /// kFailedPrecondition unless the server is alive in this incarnation.
  Status CheckSender(ServerId server, int64_t incarnation) const;
  void AskForDigestsBy(ServerId server, int64_t latest_ms);

  void AddKnown(ServerId id, const ServerRecord& record);

  const RegistryOptions options_;
  Proposer& proposer_;
  Database& database_;
  ServerTable& servers_;
  const Clock& clock_;
  ReplicaReports reports_;
  RegistryHooks hooks_;

  std::mutex register_mutex_;  // held over the identity check and the registration that follows
  std::atomic<int64_t> became_active_ms_{0};

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::map<ServerId, Delivery> deliveries_;
  int64_t inventory_id_ = 0;  // of the newest; 0: none under this activation
  /// When each was found, monotonic. At most kMaxQuarantined.
  std::map<std::pair<ServerId, BlockId>, int64_t> quarantined_;
};

}  // namespace tercet
