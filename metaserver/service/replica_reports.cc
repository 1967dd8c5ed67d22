#include "metaserver/service/replica_reports.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "common/base/replica_digest.h"
#include "metaserver/namespace/tables.h"

namespace tercet {
namespace {

enum class Extra { kExpected, kUnknown, kStray };

struct Difference {
  std::map<BlockId, Generation> missing;
  std::vector<BlockId> unknown;
  std::vector<std::pair<BlockId, Generation>> strays;
};

bool Names(const std::vector<ServerId>& servers, ServerId server) {
  return std::find(servers.begin(), servers.end(), server) != servers.end();
}

/// What a replica is that the journal does not place on the server. Blocks that were given out
/// after the backup from which the state was restored hold what nobody else may have: they stay.
Result<Extra> Classify(const Tables& tables, ServerId server, BlockId block, Generation generation,
                       BlockId next_block, const std::optional<RestoresRecord>& restores) {
  if (block >= next_block || (restores && restores->Contains(block))) return Extra::kExpected;
  ASSIGN_OR_RETURN(const auto task, tables.FindDeleteTask(server, block));
  if (task) return Extra::kExpected;
  ASSIGN_OR_RETURN(const auto owner, tables.FindBlockOwner(block));
  if (!owner) return Extra::kUnknown;
  ASSIGN_OR_RETURN(const auto row, tables.FindFileBlock(owner->inode, owner->index));
  ASSIGN_OR_RETURN(const auto repair, tables.FindRepair(block));
  const bool placed = !row || row->block != block || Names(row->chain, server) ||
                      Names(row->stale, server) || generation > row->generation;
  const bool target = repair && Names(repair->targets, server);
  return placed || target ? Extra::kExpected : Extra::kStray;
}

Result<Difference> Compare(const View& view, ServerId server, int64_t range,
                           const std::vector<wire::ReplicaReport>& reported) {
  const uint64_t first = static_cast<uint64_t>(range) << kReplicaRangeBits;
  const uint64_t end = first + (uint64_t{1} << kReplicaRangeBits);
  std::map<BlockId, Generation> held;
  for (const wire::ReplicaReport& replica : reported) {
    const auto id = static_cast<uint64_t>(replica.block_id);
    if (id < first || id >= end) {
      return Status(StatusCode::kInvalidArgument,
                    "block " + std::to_string(id) + " is not of range " + std::to_string(range));
    }
    held[BlockId(id)] = Generation(static_cast<uint64_t>(replica.generation));
  }
  const Tables tables(view);
  Difference difference;
  RETURN_IF_ERROR(tables.ScanReplicas(server, BlockId(first), BlockId(end),
                                      [&](BlockId block, const ReplicaRecord& record) {
                                        auto it = held.find(block);
                                        if (it == held.end() || it->second < record.generation) {
                                          difference.missing.emplace(block, record.generation);
                                        }
                                        if (it != held.end()) held.erase(it);
                                        return true;
                                      }));
  ASSIGN_OR_RETURN(const uint64_t next_block, tables.GetCounter(Counter::kNextBlock));
  ASSIGN_OR_RETURN(const auto restores, tables.FindRestores());
  for (const auto& [block, generation] : held) {
    ASSIGN_OR_RETURN(const Extra extra,
                     Classify(tables, server, block, generation, BlockId(next_block), restores));
    if (extra == Extra::kUnknown) difference.unknown.push_back(block);
    if (extra == Extra::kStray) difference.strays.emplace_back(block, generation);
  }
  return difference;
}

}  // namespace

Result<std::vector<int64_t>> ReplicaReports::CompareDigests(
    const View& view, ServerId server, const std::vector<wire::RangeDigest>& reported) {
  struct Digest {
    int64_t count = 0;
    uint64_t digest = 0;
    bool operator==(const Digest&) const = default;
  };
  std::map<int64_t, Digest> differences;  // of each range: ours, then removed when theirs is equal
  RETURN_IF_ERROR(Tables(view).ScanReplicas(
      server, BlockId(0), BlockId(std::numeric_limits<uint64_t>::max()),
      [&](BlockId block, const ReplicaRecord& record) {
        Digest& digest = differences[static_cast<int64_t>(block.value() >> kReplicaRangeBits)];
        ++digest.count;
        digest.digest ^= ReplicaDigest(block, record.generation);
        return true;
      }));
  std::set<int64_t> extra;
  for (const wire::RangeDigest& range : reported) {
    auto it = differences.find(range.range);
    if (it == differences.end()) {
      if (range.replica_count > 0) extra.insert(range.range);
    } else if (it->second == Digest{range.replica_count, static_cast<uint64_t>(range.digest)}) {
      differences.erase(it);
    }
  }
  for (const auto& [range, digest] : differences) extra.insert(range);

  std::lock_guard lock(mutex_);
  ServerReports& state = servers_[server];
  for (auto it = state.ranges.begin(); it != state.ranges.end();) {
    auto next = std::next(it);
    if (!extra.contains(it->first)) Drop(&state, it);
    it = next;
  }
  return std::vector<int64_t>(extra.begin(), extra.end());
}

Result<ReplicaReports::Findings> ReplicaReports::CompareRange(
    const View& view, ServerId server, int64_t range,
    const std::vector<wire::ReplicaReport>& reported) {
  if (range < 0 || range > (std::numeric_limits<int64_t>::max() >> kReplicaRangeBits)) {
    return Status(StatusCode::kInvalidArgument, "no such range: " + std::to_string(range));
  }
  ASSIGN_OR_RETURN(const Difference difference, Compare(view, server, range, reported));

  std::lock_guard lock(mutex_);
  ServerReports& state = servers_[server];
  RangeState before;
  if (auto it = state.ranges.find(range); it != state.ranges.end()) {
    before = it->second;
    Drop(&state, it);
  }
  Findings findings;
  RangeState now;
  for (const auto& [block, generation] : difference.missing) {
    const bool remember = state.candidates < kMaxCandidates;
    const auto known = before.missing_once.find(block);
    // With another generation than last time it is another replica: one that was made meanwhile.
    if ((known != before.missing_once.end() && known->second == generation) || !remember) {
      ++now.missing;
      findings.missing_replicas.push_back(
          {block, generation, server, static_cast<uint8_t>(wire::BadReplicaReason::MISSING)});
    } else {
      findings.look_again = true;
    }
    if (remember) {
      now.missing_once.emplace(block, generation);
      ++state.candidates;
    }
  }
  for (const auto& [block, generation] : difference.strays) {
    if (before.unknown_once.contains(block)) {
      findings.strays.emplace_back(block, generation);
    } else if (state.candidates < kMaxCandidates) {
      now.unknown_once.insert(block);
      ++state.candidates;
      findings.look_again = true;
    }
  }
  for (BlockId block : difference.unknown) {
    if (before.unknown_once.contains(block)) {
      findings.quarantine.push_back(block);
    } else if (state.candidates < kMaxCandidates) {
      now.unknown_once.insert(block);
      ++state.candidates;
      findings.look_again = true;
    }
  }
  findings.missing = now.missing;
  state.missing += now.missing;
  if (!now.missing_once.empty() || !now.unknown_once.empty() || now.missing > 0) {
    state.ranges.emplace(range, std::move(now));
  }
  return findings;
}

void ReplicaReports::Drop(ServerReports* server, std::map<int64_t, RangeState>::iterator range) {
  server->candidates -= range->second.missing_once.size() + range->second.unknown_once.size();
  server->missing -= range->second.missing;
  server->ranges.erase(range);
}

size_t ReplicaReports::Missing(ServerId server) const {
  std::lock_guard lock(mutex_);
  auto it = servers_.find(server);
  return it == servers_.end() ? 0 : it->second.missing;
}

size_t ReplicaReports::TotalMissing() const {
  std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const auto& [id, server] : servers_) total += server.missing;
  return total;
}

void ReplicaReports::Clear() {
  std::lock_guard lock(mutex_);
  servers_.clear();
}

}  // namespace tercet
