// What the active knows of a chunk server: what is journaled about it, and what was heard of it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/rpc/host_port.h"
#include "metaserver/namespace/records.h"

namespace tercet {

/// One disk as its server reported it last.
struct DiskState {
  std::string uuid;
  std::string path;
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;
  uint64_t replica_count = 0;
  bool healthy = true;
  bool no_room = false;  // draining, and the server's other disks have none for what is left
  DiskCommandState state = DiskCommandState::kInService;  // what it does, as reported
  uint64_t trash_bytes = 0;
  uint64_t quarantine_bytes = 0;
  uint64_t replica_bytes = 0;     // tables and headers included
  int64_t scrubbed_since_ns = 0;  // when the last completed round began; 0: none was
};

/// How a server is doing, over its last heartbeat interval or so.
struct ServerLoad {
  // Of requests of clients, in microseconds; 0: there were none.
  uint64_t read_p99_us = 0;
  uint64_t write_p99_us = 0;
  uint64_t client_bytes_per_second = 0;
  uint64_t client_requests_per_second = 0;
  // Totals since its process started.
  uint64_t pulled_bytes = 0;
  uint64_t scrubbed_bytes = 0;
  uint32_t pulls_running = 0;
};

/// One chunk server.
struct ServerState {
  ServerId id;
  // As journaled.
  std::string uuid;  // 16 bytes
  HostPort address;  // where its data plane listens
  std::string version;
  int64_t incarnation = 0;
  ServiceState service = ServiceState::kInService;
  int64_t service_since_ns = 0;
  int64_t service_until_ns = 0;  // of maintenance; 0: without end
  uint64_t drain_replicas_at_start = 0;
  std::map<std::string, std::string> labels;
  std::map<std::string, DiskCommandState> disk_commands;  // by uuid; in service: none
  // As heard of it.
  std::vector<DiskState> disks;
  ServerLoad load;
  int64_t heard_incarnation = 0;
  int64_t last_heartbeat_ms = -1;  // monotonic; -1: never since this metaserver started
  int64_t suspected_ms = -1;       // monotonic; when somebody could not reach it; -1: not so

  /// Maintenance that is over counts as in service (ServerTable sees to that in what it returns).
  void EndMaintenance(int64_t now_ns);
  /// Heard of in the incarnation that is journaled.
  bool heard() const { return last_heartbeat_ms >= 0 && heard_incarnation == incarnation; }
  /// Somebody could not reach it, and it was not heard of for certain since.
  bool suspected() const { return suspected_ms >= 0; }
  /// New replicas may be put there as long as it is alive.
  bool takes_replicas() const { return service == ServiceState::kInService && !suspected(); }
  /// What the disk does by command of the journal or by its own report.
  DiskCommandState ServiceOf(const DiskState& disk) const;
  /// Of replicas on disks that are not ejected.
  uint64_t replica_bytes() const;
  uint64_t replica_count() const;
  /// Of disks that are healthy and not ejected.
  uint64_t total_bytes() const;
};

struct PlacementOptions {
  int64_t death_timeout_ms = 5000;
  /// Kept free on each disk: at most so much, and at most a twentieth of the disk.
  uint64_t disk_reserve_bytes = 256ull << 20;
  /// A heartbeat clears a suspicion that is at least so old: a younger one may have been sent
  /// before the server stopped answering.
  int64_t suspicion_ms = 1000;
};

/// What new blocks may take of a disk: its available bytes without the reserve; 0 for an unhealthy
/// one and one that is not in service by its own report.
uint64_t UsableBytes(const DiskState& disk, const PlacementOptions& options);
/// The same of all disks of a server, journaled commands respected.
uint64_t UsableBytes(const ServerState& server, const PlacementOptions& options);

}  // namespace tercet
