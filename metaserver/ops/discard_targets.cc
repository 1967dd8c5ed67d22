#include <algorithm>

#include "metaserver/ops/repairs.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {

Status EvaluateDiscardTargets(OperationContext& context, BlockId block, Generation sealing,
                              std::span<const ServerId> targets) {
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(std::optional<BlockOwnerRecord> owner, tables.FindBlockOwner(block));
  std::optional<FileBlockRecord> row;
  if (owner) {
    ASSIGN_OR_RETURN(row, tables.FindFileBlock(owner->inode, owner->index));
  }
  ASSIGN_OR_RETURN(std::optional<RepairRecord> repair, tables.FindRepair(block));
  // The attempts of a block that is there all have generations up to this one.
  if (row) sealing = std::min(sealing, HighestGeneration(*row, repair));
  uint64_t discarded = 0;
  for (ServerId server : targets) {
    if (row && ContainsServer(row->chain, server)) continue;
    // A later attempt that is under way uses it too, and sees to it.
    const bool in_use =
        repair && repair->sealing > sealing && ContainsServer(repair->targets, server);
    if (in_use) continue;
    ASSIGN_OR_RETURN(std::optional<DeleteTaskRecord> task, tables.FindDeleteTask(server, block));
    DeleteTaskRecord wanted = task.value_or(DeleteTaskRecord());
    wanted.generation = std::max(wanted.generation, sealing);
    if (!task || task->generation != wanted.generation) {
      tables.PutDeleteTask(server, block, wanted);
    }
    ++discarded;
  }
  if (repair && repair->sealing == sealing && !repair->targets.empty()) {
    const size_t before = repair->targets.size();
    std::erase_if(repair->targets,
                  [&](ServerId server) { return ContainsServer(targets, server); });
    if (repair->targets.size() != before) tables.PutRepair(block, *repair);
  }
  Summary(context, "discard targets")
      .Add("block", block.value())
      .Add("sealing", sealing.value())
      .Add("targets", discarded);
  return Status::Ok();
}

}  // namespace tercet
