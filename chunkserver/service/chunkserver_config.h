// The settings of tercet-chunkserver.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/config/config.h"
#include "common/rpc/host_port.h"

namespace tercet {

/// Defaults, bounds and descriptions of the fields are in Describe.
struct ChunkserverConfig {
  std::string listen_host = "0.0.0.0";
  uint16_t listen_port = 9500;
  std::string advertise_host;
  uint16_t advertise_port = 0;
  std::vector<std::string> meta;
  std::vector<std::string> disks;
  std::map<std::string, std::string> labels;

  uint64_t store_reserve_bytes = 256ull << 20;
  uint32_t store_reserve_max_percent = 5;
  uint64_t store_max_open_replicas = 1024;
  std::chrono::milliseconds trash_grace{600'000};
  std::chrono::milliseconds trash_interval{5'000};
  std::chrono::milliseconds quarantine_retention{30ll * 24 * 3'600'000};

  std::chrono::milliseconds registry_timeout{2'000};
  std::chrono::milliseconds digest_interval{300'000};
  std::chrono::milliseconds identity_patience{8'000};

  int data_max_connections = 4096;
  uint64_t data_buffer_bytes = 256ull << 20;
  std::chrono::milliseconds data_progress_deadline{2'000};
  std::chrono::milliseconds data_disk_deadline{10'000};

  uint64_t limit_repair_bytes = 0;
  uint64_t limit_move_bytes = 0;
  std::chrono::milliseconds scrub_period{14ll * 24 * 3'600'000};

  std::string metrics_host = "0.0.0.0";
  uint16_t metrics_port = 9501;
  std::string log_file;
  std::string log_level = "info";

  void Describe(ConfigSchema& schema);
  /// The addresses in `meta`.
  Result<std::vector<HostPort>> Metaservers() const;
  /// Where others reach this server, given the port it listens on: `advertise`, else `listen` when
  /// that is one address, else the machine's name.
  Result<HostPort> AdvertisedAddress(uint16_t listening_port) const;
};

}  // namespace tercet
