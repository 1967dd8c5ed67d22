// The settings of tercet-metaserver.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "common/config/config.h"

namespace tercet {

struct MetaserverConfig {
  std::string data_dir;
  std::string listen_host = "127.0.0.1";
  uint16_t listen_port = 9400;
  std::string advertise;  // "HOST:PORT"; empty: what is listened on
  std::string metrics_host = "127.0.0.1";
  uint16_t metrics_port = 0;  // 0: no endpoint
  std::string log_file;
  std::string log_level = "info";

  std::string cluster_id;  // 32 hexadecimal digits; empty: the data folder's
  uint64_t block_size_bytes = 64 << 20;
  uint8_t replicas = 3;
  uint8_t min_replicas = 2;

  std::chrono::milliseconds session_ttl{60'000};
  uint64_t max_sessions = 10'000;

  std::chrono::milliseconds heartbeat_interval{1'000};
  std::chrono::milliseconds death_timeout{5'000};
  uint64_t disk_reserve_bytes = 256 << 20;
  std::chrono::milliseconds digest_interval{3'600'000};

  uint64_t journal_segment_bytes = 64 << 20;
  uint64_t journal_checkpoint_bytes = 16 << 20;
  uint64_t journal_queue_bytes = 16 << 20;
  uint64_t min_free_bytes = 64 << 20;

  bool group_join = false;
  std::chrono::milliseconds group_heartbeat_interval{50};
  std::chrono::milliseconds group_election_timeout{400};
  uint64_t group_retain_bytes = 512 << 20;
  std::string group_bind;  // source address of links to other members; empty: any

  uint64_t block_cache_bytes = 64 << 20;
  uint64_t write_buffer_bytes = 16 << 20;
  int max_open_files = 512;

  /// The schema's targets are this object's members.
  void Describe(ConfigSchema* schema);
};

}  // namespace tercet
