#include "metaserver/placement/server_state.h"

#include <algorithm>

namespace tercet {

DiskCommandState ServerState::ServiceOf(const DiskState& disk) const {
  if (disk_commands.empty()) return disk.state;
  auto command = disk_commands.find(disk.uuid);
  const DiskCommandState commanded =
      command == disk_commands.end() ? DiskCommandState::kInService : command->second;
  // An ejected disk stays ejected until its server starts again, whatever is commanded meanwhile.
  return std::max(commanded, disk.state);
}

void ServerState::EndMaintenance(int64_t now_ns) {
  if (service != ServiceState::kMaintenance) return;
  if (service_until_ns != 0 && now_ns >= service_until_ns) service = ServiceState::kInService;
}

uint64_t ServerState::replica_bytes() const {
  uint64_t sum = 0;
  for (const DiskState& disk : disks) {
    if (ServiceOf(disk) != DiskCommandState::kEjected) sum += disk.replica_bytes;
  }
  return sum;
}

uint64_t ServerState::replica_count() const {
  uint64_t sum = 0;
  for (const DiskState& disk : disks) {
    if (ServiceOf(disk) != DiskCommandState::kEjected) sum += disk.replica_count;
  }
  return sum;
}

uint64_t ServerState::total_bytes() const {
  uint64_t sum = 0;
  for (const DiskState& disk : disks) {
    if (disk.healthy && ServiceOf(disk) != DiskCommandState::kEjected) sum += disk.total_bytes;
  }
  return sum;
}

uint64_t UsableBytes(const DiskState& disk, const PlacementOptions& options) {
  if (!disk.healthy || disk.state != DiskCommandState::kInService) return 0;
  const uint64_t reserve = std::min(options.disk_reserve_bytes, disk.total_bytes / 20);
  return disk.available_bytes > reserve ? disk.available_bytes - reserve : 0;
}

uint64_t UsableBytes(const ServerState& server, const PlacementOptions& options) {
  uint64_t sum = 0;
  for (const DiskState& disk : server.disks) {
    if (server.ServiceOf(disk) == DiskCommandState::kInService) sum += UsableBytes(disk, options);
  }
  return sum;
}

}  // namespace tercet
