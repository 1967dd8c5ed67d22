// Bit rot for real: random bytes are changed on the disks of a development cluster's chunk servers.
// None may ever be returned to a reader; all must be found, by reads or by scrubbing, and healed.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "tools/dev_cluster.h"
#include "tools/drill/replica_check.h"

namespace tercet {

struct FlipsOptions {
  std::vector<HostPort> metaservers;
  size_t count = 1'000;
  /// What is written first, to be damaged.
  size_t files = 40;
  uint64_t file_bytes = 4 << 20;
  /// For the time of the drill.
  std::chrono::seconds scrub_period{20};
  std::chrono::milliseconds timeout{300'000};
};

struct FlipsReport {
  size_t flipped = 0;  // bytes
  size_t pages = 0;    // damaged by that
  size_t damaged_replicas = 0;
  uint64_t read_bytes = 0;   // while there was damage
  uint64_t wrong_bytes = 0;  // of these
  uint64_t read_errors = 0;
  std::chrono::nanoseconds healed_after{0};
  ReplicaCheckResult replicas;  // at the end
  std::vector<std::string> findings;
  std::vector<std::string> reasons;  // why it failed; empty: it passed
};

/// `dev` must outlive the call.
Result<FlipsReport> RunFlips(const FlipsOptions& options, const DevCluster& dev,
                             const std::function<void(const std::string&)>& progress);

/// Flips one byte of a page of a replica's data; kInvalidArgument when it has no such page.
Status FlipByteInPage(const std::string& replica_path, uint32_t page, uint64_t random);

nlohmann::json FlipsJson(const FlipsReport& report);
std::string FlipsText(const FlipsReport& report);

}  // namespace tercet
