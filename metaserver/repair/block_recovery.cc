#include "metaserver/repair/block_recovery.h"

#include <algorithm>
#include <optional>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/repair/block_situation.h"
#include "metaserver/repair/repair_metrics.h"

namespace tercet {
namespace {

/// The failure is the server's own: being reachable does not make it any better.
bool IsFailureOfDisk(StatusCode code) {
  return code == StatusCode::kNoSpace || code == StatusCode::kIo || code == StatusCode::kCorruption;
}

/// The writer did not fail with a server, but heard of the generation or fears a server it knows
/// failed.
bool IsDoubt(StatusCode code) {
  return code == StatusCode::kOk || code == StatusCode::kStaleGeneration;
}

Status LeftTheFile(BlockId block) {
  return Status(StatusCode::kConflict,
                "block " + std::to_string(block.value()) + " is not part of the file any more");
}

}  // namespace

Result<FileBlockRecord> BlockRecovery::Recover(Epoch epoch, const BlockRecoveryRequest& request) {
  const auto start = std::chrono::steady_clock::now();
  std::set<ServerId> avoid;
  Result<FileBlockRecord> result = Status(StatusCode::kUnavailable, "not tried");
  for (int attempt = 0; attempt < options_.max_attempts; ++attempt) {
    bool again = false;
    result = Try(epoch, request, &avoid, &again);
    if (result.ok() || !again) break;
  }
  RepairCounters& counters = RepairCounters::Get();
  if (result.ok()) {
    counters.recoveries.Increment();
    counters.recovery_seconds.Observe(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  } else {
    counters.recovery_failures.Increment();
  }
  return result;
}

Result<OwnedBlock> BlockRecovery::Find(const BlockRecoveryRequest& request) const {
  const Tables tables(journal_.committed());
  ASSIGN_OR_RETURN(auto owned, FindOwnedBlock(tables, request.block));
  if (owned && owned->inode == request.inode && owned->index == request.index) {
    return std::move(*owned);
  }
  // The answer to an earlier call may have been lost: then the session has the block that replaced
  // this one.
  ASSIGN_OR_RETURN(const auto now, tables.FindFileBlock(request.inode, request.index));
  if (!request.has_data && now && now->reserved && now->block > request.block &&
      std::find(now->reservers.begin(), now->reservers.end(), request.session) !=
          now->reservers.end()) {
    ASSIGN_OR_RETURN(owned, FindOwnedBlock(tables, now->block));
    if (owned) return std::move(*owned);
  }
  return LeftTheFile(request.block);
}

void BlockRecovery::SuspectSilent(Epoch epoch, const BlockRecoveryRequest& request) {
  if (IsFailureOfDisk(request.failure)) return;
  std::vector<ServerId> named;
  for (const ServerId server : request.failed) {
    const auto state = servers_.Find(server);
    if (state && !state->suspected() && servers_.IsAlive(*state)) named.push_back(server);
  }
  if (named.empty()) return;
  const std::set<ServerId> answered = reconfigurer_.Ping(named, options_.ping_wait, epoch);
  for (const ServerId server : named) {
    if (!answered.contains(server)) servers_.Suspect(server);
  }
}

BlockRecovery::Members BlockRecovery::Sort(Epoch epoch, const BlockRecoveryRequest& request,
                                           const FileBlockRecord& block,
                                           const std::set<ServerId>& avoid) const {
  const auto is_failed = [&](ServerId server) {
    return std::find(request.failed.begin(), request.failed.end(), server) !=
               request.failed.end() ||
           avoid.contains(server);
  };
  std::vector<ServerId> doubtful;
  for (const ServerId server : block.chain) {
    if (is_failed(server) || !servers_.IsAlive(server)) doubtful.push_back(server);
  }
  const std::set<ServerId> answered = doubtful.empty()
                                          ? std::set<ServerId>()
                                          : reconfigurer_.Ping(doubtful, options_.ping_wait, epoch);
  Members members;
  for (const ServerId server : block.chain) {
    const bool answers = std::find(doubtful.begin(), doubtful.end(), server) == doubtful.end() ||
                         answered.contains(server);
    const bool guilty = avoid.contains(server) || (is_failed(server) && !IsDoubt(request.failure));
    if (answers && !guilty) {
      members.keep.push_back(server);
      continue;
    }
    members.drop.push_back(server);
    if (!answers) {
      members.unreachable.push_back(server);
      servers_.Suspect(server);
    }
  }
  return members;
}

Result<std::vector<ServerId>> BlockRecovery::ChooseTargets(const OwnedBlock& owned,
                                                           const Members& members,
                                                           const BlockRecoveryRequest& request,
                                                           const std::set<ServerId>& avoid,
                                                           int wanted) {
  const Tables tables(journal_.committed());
  ASSIGN_OR_RETURN(const PlacementRule rule, tables.GetPlacementRule(owned.file.rule_id));
  std::vector<ServerId> exclude(request.failed);
  exclude.insert(exclude.end(), request.exclude.begin(), request.exclude.end());
  exclude.insert(exclude.end(), avoid.begin(), avoid.end());
  exclude.insert(exclude.end(), owned.block.chain.begin(), owned.block.chain.end());
  ASSIGN_OR_RETURN(const std::vector<ServerId> doomed,
                   ServersThatDelete(tables, owned.block.block, servers_.Alive()));
  exclude.insert(exclude.end(), doomed.begin(), doomed.end());
  PlacementRequest placement;
  placement.wanted = wanted;
  placement.minimum = wanted;
  placement.bytes = owned.file.block_size_bytes;
  if (owned.block.reserved) placement.least_bytes = kLeastRoomForNewBlock;
  placement.exclude = exclude;
  placement.keep = members.keep;
  placement.rule = &rule;
  return servers_.Choose(placement);
}

Result<FileBlockRecord> BlockRecovery::ReplaceUnwritten(Epoch epoch,
                                                        const BlockRecoveryRequest& request,
                                                        const std::vector<ServerId>& silent) {
  std::vector<ServerId> exclude(request.failed);
  exclude.insert(exclude.end(), request.exclude.begin(), request.exclude.end());
  exclude.insert(exclude.end(), silent.begin(), silent.end());
  FileBlockRecord block;
  RETURN_IF_ERROR(
      journal_.Propose(epoch, "replace unwritten block", [&](OperationContext& context) -> Status {
        context.session = request.session;
        ASSIGN_OR_RETURN(block, EvaluateReplaceUnwritten(context, request.inode, request.index,
                                                         request.block, exclude));
        return Status::Ok();
      }));
  return block;
}

Result<FileBlockRecord> BlockRecovery::Try(Epoch epoch, const BlockRecoveryRequest& request,
                                           std::set<ServerId>* avoid, bool* again) {
  const auto hold = reconfigurer_.locks().Acquire(request.block, options_.lock_wait);
  if (!hold) {
    return Status(StatusCode::kUnavailable,
                  "block " + std::to_string(request.block.value()) + " is being repaired for long");
  }
  if (!journal_.Serves(epoch)) {
    return Status(StatusCode::kNotActive, "not the active metaserver");
  }
  ASSIGN_OR_RETURN(const OwnedBlock owned, Find(request));
  const FileBlockRecord& block = owned.block;
  if (block.block != request.block) return block;
  const int minimum = std::min(owned.file.min_replicas, owned.file.replicas);
  ASSIGN_OR_RETURN(const auto repair, Tables(journal_.committed()).FindRepair(block.block));
  const bool sealed = repair && repair->sealing.value() != 0;
  const bool long_enough = static_cast<int>(block.chain.size()) >= minimum;
  if (block.generation != request.generation && long_enough && !sealed) return block;
  if (block.reserved && !request.has_data && !IsDoubt(request.failure)) {
    auto replaced = ReplaceUnwritten(epoch, request, {});
    if (replaced.ok()) SuspectSilent(epoch, request);
    if (replaced.ok() || replaced.code() != StatusCode::kFailedPrecondition) return replaced;
  }

  // Servers that failed under another generation may be good again.
  BlockRecoveryRequest doubts = request;
  if (block.generation != request.generation) doubts.failure = StatusCode::kOk;
  Members members = Sort(epoch, doubts, block, *avoid);
  if (block.reserved && !request.has_data && IsDoubt(request.failure) && !members.drop.empty()) {
    // Nothing is lost with it, and a shorter chain would have to be filled up later.
    auto replaced = ReplaceUnwritten(epoch, request, members.drop);
    if (replaced.ok()) return replaced;
  }
  const bool complete = members.drop.empty() && long_enough;
  if (complete && !sealed && request.failure == StatusCode::kOk) return block;
  const int missing = minimum - static_cast<int>(members.keep.size());
  const size_t sources = block.chain.size() - members.unreachable.size();
  if (sources == 0) {
    return Status(
        StatusCode::kUnavailable,
        "no server with block " + std::to_string(block.block.value()) + " can be reached");
  }
  ReconfigurationGoal goal;
  goal.block = block.block;
  goal.from = block.generation;
  goal.drop = members.drop;
  goal.unreachable = members.unreachable;
  goal.minimum = minimum;
  goal.has_data = request.has_data || !block.reserved;
  for (const RepairRecord::Bad& bad : repair ? repair->bad : std::vector<RepairRecord::Bad>()) {
    if (bad.reason == BadReplica::kSuspect) goal.suspects.push_back(bad.server);
  }
  if (missing > 0) {
    ASSIGN_OR_RETURN(goal.add, ChooseTargets(owned, members, request, *avoid, missing));
  }
  const ReconfigurationResult result =
      reconfigurer_.Run(epoch, goal, wire::PullClass::URGENT, "writer failed");
  if (result.status.ok()) {
    // What is missing of the wanted replicas is made now.
    notice_(block.block);
    ASSIGN_OR_RETURN(OwnedBlock now, Find(request));
    return std::move(now.block);
  }
  if (result.begun) notice_(block.block);
  const StatusCode code = result.status.code();
  *again = code == StatusCode::kConflict || (code == StatusCode::kUnavailable && result.begun) ||
           code == StatusCode::kNoSpace;
  for (const auto& [server, status] : result.failed) {
    if (IsFailureOfDisk(status.code()) || status.code() == StatusCode::kUnavailable ||
        status.code() == StatusCode::kDeadlineExceeded) {
      avoid->insert(server);
    }
  }
  if (code == StatusCode::kStaleEpoch) {
    return Status(StatusCode::kNotActive, "not the active metaserver");
  }
  return result.status;
}

}  // namespace tercet
