// Servers for placement tests.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "metaserver/placement/server_state.h"

namespace tercet {

inline constexpr uint64_t kGiB = 1ull << 30;
inline constexpr uint64_t kBlock = 64ull << 20;

inline DiskState DiskOf(uint64_t total, uint64_t available, bool healthy = true) {
  DiskState disk;
  disk.total_bytes = total;
  disk.available_bytes = available;
  disk.healthy = healthy;
  return disk;
}

inline ServerState ServerOf(uint32_t id, std::vector<DiskState> disks,
                            std::map<std::string, std::string> labels = {}) {
  ServerState server;
  server.id = ServerId(id);
  server.uuid = "uuid-" + std::to_string(id);
  server.address = HostPort{"127.0.0.1", static_cast<uint16_t>(9000 + id)};
  server.incarnation = id * 10;
  server.disks = std::move(disks);
  server.labels = std::move(labels);
  return server;
}

}  // namespace tercet
