// Compares what chunk servers say they hold with what the journal says they must hold.
//
// Replica locations are journaled, so nothing here decides what is served. A difference has
// innocent causes as long as data moves: a block committed or deleted while a report was under way.
// So whatever is found has to be found in two reports in a row of the same range before it counts:
//  - missing: the journal places a replica there, the server has none or an older generation. One
//    with a higher generation is left alone: a reconfiguration is under way, or the state was
//    restored from a backup;
//  - stray: the block is there, but this server is not in its chain, holds nothing for it, and no
//    deletion waits: an attempt that was given up made it;
//  - unknown: an id that was given out, but no file has the block (neither committed nor reserved)
//    and no deletion waits for it. The server is told to move the replica out of the way.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/view.h"
#include "metaserver/ops/replica_operations.h"
#include "tercet_thrift/registry_types.h"

namespace tercet {

/// Thread-safe.
class ReplicaReports {
 public:
  /// Ids that are remembered per server between two reports. Missing replicas beyond count at once,
  /// unknown ones beyond wait for a later report.
  static constexpr size_t kMaxCandidates = 20'000;

  /// The ranges whose digest differs from that of `view`.
  Result<std::vector<int64_t>> CompareDigests(const View& view, ServerId server,
                                              const std::vector<wire::RangeDigest>& reported);

  struct Findings {
    std::vector<BlockId> quarantine;
    size_t missing = 0;                                  // of this range, found twice
    std::vector<BadReplicaNote> missing_replicas;        // those
    std::vector<std::pair<BlockId, Generation>> strays;  // with the generation that they have
    bool look_again = false;                             // something was found for the first time
  };
  /// `view` must be one moment of the state, not older than the report. kInvalidArgument for a
  /// block id outside of the range.
  Result<Findings> CompareRange(const View& view, ServerId server, int64_t range,
                                const std::vector<wire::ReplicaReport>& reported);

  /// Missing replicas of a server, as of its last reports.
  size_t Missing(ServerId server) const;
  size_t TotalMissing() const;
  void Clear();

 private:
  struct RangeState {
    std::map<BlockId, Generation> missing_once;  // the generation that was missing
    std::set<BlockId> unknown_once;              // or stray
    size_t missing = 0;
  };
  struct ServerReports {
    std::map<int64_t, RangeState> ranges;
    size_t candidates = 0;  // ids in the sets of all ranges
    size_t missing = 0;     // sum over the ranges
  };
  static void Drop(ServerReports* server, std::map<int64_t, RangeState>::iterator range);

  mutable std::mutex mutex_;
  std::map<ServerId, ServerReports> servers_;  // guarded by mutex_
};

}  // namespace tercet
