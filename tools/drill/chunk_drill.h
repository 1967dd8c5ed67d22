// A drill of chunk servers: one after the other fails for real, in a fixed rhythm, under a load
// that knows what each byte must be; afterwards all blocks must be back at full redundancy, and all
// replicas the same bit by bit.
//
// A round, `interval` long: the fault, `down` later its end (a restart, or SIGCONT), then calm
// until the next one. Nothing is waited for in between: a server that is hit while the cluster
// still repairs what the one before cost is part of what is practised. The pause of a round is the
// longest operation of any thread that was under way at any moment of it.
//
// However a drill ends (done, failed, ^C), the fault is undone first.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "tools/dev_cluster.h"
#include "tools/drill/chunk_load.h"
#include "tools/drill/guardian.h"
#include "tools/drill/replica_check.h"

namespace tercet {

enum class ChunkFaultKind { kKill, kStop, kPower };
/// "kill", "stop", "power".
std::string_view ChunkFaultName(ChunkFaultKind kind);
Result<ChunkFaultKind> ParseChunkFault(const std::string& name);

struct ChunkDrillLimits {
  std::optional<std::chrono::milliseconds> longest;  // pause
  std::chrono::milliseconds whole_within{60'000};    // of the end
};
/// What the kind may cost; no pause for a power cut.
ChunkDrillLimits DefaultChunkLimits(ChunkFaultKind kind);

struct ChunkDrillOptions {
  ChunkFaultKind kind = ChunkFaultKind::kKill;
  int rounds = 5;
  std::chrono::milliseconds interval{20'000};
  std::chrono::milliseconds down{10'000};
  ChunkLoadOptions load;
  ChunkDrillLimits limits;
};

struct ChunkDrillRound {
  int number = 0;
  std::string node;
  std::string fault;
  std::chrono::nanoseconds pause{0};
  std::string slowest_operation;
  std::chrono::nanoseconds median_of_threads{0};
  std::chrono::nanoseconds back_after{0};  // the fault: the server works again
  uint64_t operations = 0;
  uint64_t errors = 0;
  uint64_t wrong_bytes = 0;
};

struct ChunkDrillReport {
  ChunkDrillOptions options;
  std::string cluster_id;
  int64_t started_at_ns = 0;
  std::vector<ChunkDrillRound> rounds;
  bool interrupted = false;
  std::string note;
  ChunkLoadCounts load;
  ChunkLoadLatencies latencies;
  bool verified = false;
  ChunkLoadVerdict verdict;
  bool whole = false;
  std::chrono::nanoseconds whole_after{0};  // the end of the load
  bool compared = false;
  ReplicaCheckResult replicas;
  std::string directory;  // of the load, when it was kept
  std::vector<std::string> findings;
  /// Why the drill failed; empty: it passed.
  std::vector<std::string> reasons;

  /// Of the rounds' pauses, by the nearest rank; 0 without rounds.
  std::chrono::nanoseconds Percentile(double share) const;
};

/// `dev` and `guardian` must outlive the call. Fails before the first fault only.
Result<ChunkDrillReport> RunChunkDrill(const ChunkDrillOptions& options, DevCluster* dev,
                                       Guardian* guardian,
                                       const std::function<void(const std::string&)>& progress);

/// Adds the reasons why the drill failed, from all else in the report.
void JudgeChunkDrill(ChunkDrillReport* report);

/// OK when no block has another number of replicas than wanted or a bad one, by what the active
/// knows, and nothing is being repaired; kUnavailable says what is left.
Status CheckWhole(const AdminClient& admin);
/// Waits for that; the time it took, or kDeadlineExceeded.
Result<std::chrono::nanoseconds> AwaitWhole(const AdminClient& admin,
                                            std::chrono::milliseconds timeout);

nlohmann::json ChunkDrillJson(const ChunkDrillReport& report);
/// What the history keeps (report.h).
nlohmann::json ChunkDrillSummary(const ChunkDrillReport& report);
std::string ChunkDrillText(const ChunkDrillReport& report);
nlohmann::json ReplicaCheckJson(const ReplicaCheckResult& result);
std::string ReplicaCheckText(const ReplicaCheckResult& result);

}  // namespace tercet
