// The live state of the chunk servers, and the choice of servers for new replicas. Pure: no I/O, no
// clock of its own; time and randomness come in from outside.
//
// Invariants:
//  - A server is alive when it was heard of here, as active or as standby, within the death
//  timeout,
//    in the incarnation that the journal knows. The journal knows more servers than this table says
//    are alive, never fewer.
//  - Choose never returns a server twice, a dead one, an excluded one, or one without a healthy
//  disk
//    that can take the block and keep its reserve.
//  - For a while after a metaserver started, servers that the journal knows may be alive without
//    having been heard of. While that could give a block more replicas, Choose asks to be called
//    again. One that listened as standby before it became active has nobody to wait for.
//  - Every order of the chosen servers is equally likely, so that heads and tails spread evenly.
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

namespace tercet {

/// One disk as its server reported it last.
struct DiskState {
  std::string uuid;
  std::string path;
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;
  uint64_t replica_count = 0;
  bool healthy = true;
};

/// One chunk server.
struct ServerState {
  ServerId id;
  std::string uuid;  // 16 bytes
  HostPort address;  // where its data plane listens
  std::string version;
  int64_t incarnation = 0;  // as journaled
  // As heard of it.
  std::vector<DiskState> disks;
  int64_t heard_incarnation = 0;
  int64_t last_heartbeat_ms = -1;  // monotonic; -1: never since this metaserver started

  /// Heard of in the incarnation that is journaled.
  bool heard() const { return last_heartbeat_ms >= 0 && heard_incarnation == incarnation; }
};

struct PlacementOptions {
  int64_t death_timeout_ms = 5000;
  /// Kept free on each disk: at most so much, and at most a twentieth of the disk.
  uint64_t disk_reserve_bytes = 256ull << 20;
};

/// Bytes of a cluster: of the servers that are alive, disks that are healthy, reserves taken off.
struct ClusterSpace {
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;
};

/// What new blocks may take of a disk: its available bytes without the reserve; 0 for an unhealthy
/// one.
uint64_t UsableBytes(const DiskState& disk, const PlacementOptions& options);

/// The pure choice among `servers`, all of which are taken for alive. See ReplicaChooser::Choose.
Result<std::vector<ServerId>> ChooseReplicas(std::span<const ServerState* const> servers,
                                             int wanted, int minimum, uint64_t bytes,
                                             std::span<const ServerId> exclude,
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

  /// A server as the journal knows it: its identity, address and incarnation. What was heard of it
  /// stays.
  void AddKnown(ServerState server);
  /// The known servers have until now + `duration_ms` to be heard of before blocks do without them.
  void ExpectKnown(int64_t duration_ms);
  /// The metaserver becomes active: as ExpectKnown for a death timeout, unless servers had that
  /// much time already and some were heard of.
  void BecomeActive();
  /// Puts in the server as just registered: it is alive from now on.
  void Register(ServerState server);
  /// A heartbeat at the active. False when the server is unknown, has another incarnation, or was
  /// taken for dead: it must register again.
  bool Heartbeat(ServerId id, int64_t incarnation, std::vector<DiskState> disks);
  /// A heartbeat at a standby; false when the server is unknown.
  bool Hear(ServerId id, int64_t incarnation, std::vector<DiskState> disks);

  std::optional<ServerState> Find(ServerId id) const;
  std::optional<ServerState> FindByUuid(std::string_view uuid) const;
  /// All servers, in order of their ids.
  std::vector<ServerState> All() const;
  bool IsAlive(ServerId id) const;
  bool IsAlive(const ServerState& server) const;
  std::vector<ServerId> Alive() const;
  ClusterSpace Space() const;
  const PlacementOptions& options() const { return options_; }

  Result<std::vector<ServerId>> Choose(int wanted, int minimum, uint64_t bytes,
                                       std::span<const ServerId> exclude) override;

 private:
  const PlacementOptions options_;
  const Clock& clock_;
  Random& random_;
  const int64_t listening_since_ms_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::map<ServerId, ServerState> servers_;
  int64_t expected_until_ms_ = 0;
};

}  // namespace tercet
