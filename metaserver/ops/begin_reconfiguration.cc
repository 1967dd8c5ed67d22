#include <algorithm>

#include "metaserver/ops/repairs.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

// Targets of an earlier attempt that take no part in this one may hold what it made there.
void ForgetOldTargets(MutableTables& tables, const FileBlockRecord& block,
                      const RepairRecord& repair, std::span<const ServerId> targets) {
  for (ServerId server : repair.targets) {
    if (ContainsServer(targets, server)) continue;
    const bool hold = ContainsServer(block.stale, server);
    tables.PutDeleteTask(server, block.block, {.generation = repair.sealing, .hold = hold});
  }
}

}  // namespace

Result<BegunReconfiguration> EvaluateBeginReconfiguration(OperationContext& context, BlockId block,
                                                          Generation from,
                                                          std::span<const ServerId> targets,
                                                          Generation above) {
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(std::optional<OwnedBlock> owned, FindOwnedBlock(tables, block));
  if (!owned || owned->block.generation != from) {
    return Status(StatusCode::kConflict, "block " + std::to_string(block.value()) +
                                             (owned ? " has another generation meanwhile"
                                                    : " is not part of a file any more"));
  }
  ASSIGN_OR_RETURN(std::optional<RepairRecord> before, tables.FindRepair(block));
  RepairRecord repair = before.value_or(RepairRecord());
  ForgetOldTargets(tables, owned->block, repair, targets);
  repair.targets.clear();
  for (ServerId server : targets) {
    if (ContainsServer(owned->block.chain, server) || ContainsServer(repair.targets, server)) {
      continue;
    }
    if (repair.targets.size() == kMaxChainLength) {
      return Status(StatusCode::kInvalidArgument, "too many targets for one attempt");
    }
    repair.targets.push_back(server);
  }
  repair.sealing = std::max(HighestGeneration(owned->block, before), above).Next();
  SettleRepair(tables, owned->file, owned->block, before, repair, context.now_ns);
  Summary(context, "begin reconfiguration")
      .Add("block", block.value())
      .Add("from", from.value())
      .Add("sealing", repair.sealing.value());
  return BegunReconfiguration{
      .sealing = repair.sealing, .chain = owned->block.chain, .reserved = owned->block.reserved};
}

}  // namespace tercet
