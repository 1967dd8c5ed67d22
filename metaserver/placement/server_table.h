// The live state of the chunk servers, and the choice of servers for new replicas. Pure: no I/O, no
// clock of its own; time and randomness come in from outside.
//
// Invariants:
//  - A server is alive when it was heard of here, as active or as standby, within the death
//    timeout, in the incarnation that the journal knows, and was not removed. The journal knows
//    more servers than this table says are alive, never fewer.
//  - Choose never returns a server twice, a dead, suspected, excluded or kept one, one that is not
//    in service, or one without a healthy disk in service that can take the block and keep its
//    reserve.
//  - The places of a rule's domain are filled evenly: a place gets a second replica only when no
//    usable server is in a place with none.
//  - For a while after a metaserver started, servers that the journal knows may be alive without
//    having been heard of. While that could give a block more replicas, Choose asks to be called
//    again. One that listened as standby before it became active has nobody to wait for.
//  - Without a domain every order of the chosen servers is equally likely, so that heads and tails
//    spread evenly.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/env/random.h"
#include "common/rpc/host_port.h"
#include "metaserver/ops/operation.h"
#include "metaserver/placement/placement_rules.h"

namespace tercet {

/// Bytes of a cluster: of the servers that are alive, disks that are healthy, reserves taken off.
struct ClusterSpace {
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;
};

/// The pure choice among `servers`, all of which are taken for alive. See ReplicaChooser::Choose.
Result<std::vector<ServerId>> ChooseReplicas(std::span<const ServerState* const> servers,
                                             const PlacementRequest& request,
                                             const PlacementOptions& options, Random& random);

/// Thread-safe.
class ServerTable final : public ReplicaChooser {
 public:
  /// `clock` and `random` must outlive the table. Heartbeats are taken to come from now on.
  ServerTable(PlacementOptions options, const Clock& clock, Random& random)
      : options_(options),
        clock_(clock),
        random_(random),
        listening_since_ms_(clock.MonotonicMillis()) {}

  /// A server as the journal knows it. What was heard of it stays, and so do the commands for its
  /// disks.
  void AddKnown(ServerState server);
  /// The journaled commands for a server's disks; those that are not named are in service.
  void SetDiskCommands(ServerId id, std::map<std::string, DiskCommandState> commands);
  /// The known servers have until now + `duration_ms` to be heard of before blocks do without them.
  void ExpectKnown(int64_t duration_ms);
  /// The metaserver becomes active: as ExpectKnown for a death timeout, unless servers had that
  /// much time already and some were heard of.
  void BecomeActive();
  /// Puts in the server as just registered: it is alive and not suspected from now on. Of what is
  /// journaled, its service state and the commands for its disks stay.
  void Register(ServerState server);
  /// A heartbeat at the active. False when the server is unknown, has another incarnation, was
  /// taken for dead, or was removed: it must register again (and is told then that it was removed).
  bool Heartbeat(ServerId id, int64_t incarnation, std::vector<DiskState> disks,
                 const ServerLoad& load = {});
  /// A heartbeat at a standby; false when the server is unknown.
  bool Hear(ServerId id, int64_t incarnation, std::vector<DiskState> disks,
            const ServerLoad& load = {});
  /// Somebody could not reach the server: no new replicas there until it is heard of again.
  void Suspect(ServerId id);

  std::optional<ServerState> Find(ServerId id) const;
  std::optional<ServerState> FindByUuid(std::string_view uuid) const;
  /// All servers, in order of their ids.
  std::vector<ServerState> All() const;
  bool IsAlive(ServerId id) const;
  bool IsAlive(const ServerState& server) const;
  std::vector<ServerId> Alive() const;
  /// This metaserver has become active a moment ago, and servers in service may be alive without
  /// having been heard of: what they could take, or lack, is not known.
  bool WaitsForKnown() const;
  ClusterSpace Space() const;
  const PlacementOptions& options() const { return options_; }

  Result<std::vector<ServerId>> Choose(const PlacementRequest& request) override;
  /// See IsMisplaced of placement_rules.h: with all live servers that take replicas and have room
  /// for `bytes`. False when a member is unknown.
  bool IsMisplaced(std::span<const ServerId> chain, const PlacementRule& rule,
                   uint64_t bytes) const;
  /// See CheckPolicy of placement_rules.h: with all servers.
  Status CheckPolicy(const PolicyWish& wish, bool force) const;

 private:
  // All need mutex_.
  void EndMaintenances() const;
  std::vector<const ServerState*> AliveServers() const;
  /// What is heard of a server.
  void Note(ServerState& server, int64_t incarnation, std::vector<DiskState> disks,
            const ServerLoad& load);

  const PlacementOptions options_;
  const Clock& clock_;
  Random& random_;
  const int64_t listening_since_ms_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  mutable std::map<ServerId, ServerState> servers_;  // mutable: maintenance ends by itself
  int64_t expected_until_ms_ = 0;
};

}  // namespace tercet
