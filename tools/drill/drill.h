// A failover drill: real faults under a real load, round by round, with everything that was
// acknowledged checked afterwards.
//
// A round:
//  1. the group is whole: an active, every member votes, is in touch and has caught up
//  2. calm for a while; the longest operation in it tells how noisy the machine is
//  3. the fault; the window begins
//  4. another metaserver serves, and each thread of the load has done an operation that began after
//     the fault; a fault that lasts (stop, partition) is held for its time
//  5. the fault is undone, the group whole again; the window ends
// The client-visible pause of the round is the longest operation of any thread that was under way
// at any moment of the window, from its beginning to its end.
//
// However a drill ends (done, failed, ^C), faults are undone first.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "tools/dev_cluster.h"
#include "tools/drill/load.h"
#include "tools/drill/register_check.h"
#include "tools/group_survey.h"

namespace tercet {

class Guardian;

enum class FaultKind { kKill, kStop, kSwitchover, kPartition, kPower };
/// "kill", "stop", "switchover", "partition", "power".
std::string_view FaultKindName(FaultKind kind);
Result<FaultKind> ParseFaultKind(const std::string& name);

/// Whom a kill or stop hits.
enum class FaultTarget { kActive, kStandby, kWitness, kAny };
std::string_view FaultTargetName(FaultTarget target);
Result<FaultTarget> ParseFaultTarget(const std::string& name);

struct DrillLimits {
  std::optional<std::chrono::milliseconds> median;  // of the rounds' pauses
  std::optional<std::chrono::milliseconds> longest;
};
/// What the kind of fault may cost; nothing for a power cut, which takes as long as a start.
DrillLimits DefaultLimits(FaultKind kind);

struct DrillOptions {
  FaultKind kind = FaultKind::kKill;
  FaultTarget target = FaultTarget::kActive;
  int rounds = 5;
  size_t threads = 4;
  std::chrono::milliseconds interval{2'000};  // calm before each fault
  std::chrono::milliseconds hold{3'000};      // how long stop and partition last
  bool with_data = true;
  DrillLimits limits;
};

struct DrillRound {
  int number = 0;
  std::string fault;  // what was done, to whom
  std::string from;   // who was active before, and after
  std::string to;
  std::chrono::nanoseconds pause{0};
  std::chrono::nanoseconds median_of_threads{0};
  std::string slowest_operation;
  std::chrono::nanoseconds calm{0};
  std::chrono::nanoseconds whole_after{0};  // the fault's beginning
  uint64_t operations = 0;
  uint64_t errors = 0;
  uint64_t stale_reads = 0;
};

struct DrillReport {
  DrillOptions options;
  std::string cluster_id;
  int64_t started_at_ns = 0;
  std::vector<DrillRound> rounds;
  bool interrupted = false;
  std::string note;  // what the environment did not allow
  RegisterCounts registers;
  LoadCounts load;
  bool verified = false;
  LoadVerdict verdict;
  std::string directory;  // of the load, when it was kept to be looked at
  std::vector<std::string> findings;
  /// Why the drill failed; empty: it passed.
  std::vector<std::string> reasons;

  std::chrono::nanoseconds MedianPause() const { return Percentile(0.5); }
  /// Of the rounds' pauses, by the nearest rank; 0 without rounds.
  std::chrono::nanoseconds Percentile(double share) const;
};

/// Where it happens.
struct DrillPlace {
  std::vector<HostPort> metaservers;
  DevCluster* dev = nullptr;  // null: not a development cluster, only switchover is possible
  Guardian* guardian = nullptr;
};

/// Whether the group can take the fault without losing service for longer than a failover.
/// kFailedPrecondition says why not and what to do.
Status CheckAffordable(const DrillOptions& options, const GroupSurvey& survey);

/// The drill. Fails before the first fault only; what goes wrong later is in the report.
Result<DrillReport> RunDrill(const DrillOptions& options, const DrillPlace& place,
                             const std::function<void(const std::string&)>& progress);

/// Adds the reasons why the drill failed, from all else in the report.
void JudgeDrill(DrillReport* report);

}  // namespace tercet
