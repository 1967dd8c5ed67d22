#include <algorithm>

#include "metaserver/ops/repairs.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {

Status EvaluateClearDoubts(OperationContext& context, BlockId block, Generation generation) {
  MutableTables tables(context.transaction);
  Summary(context, "clear doubts").Add("block", block.value());
  ASSIGN_OR_RETURN(const std::optional<RepairRecord> before, tables.FindRepair(block));
  if (!before || before->sealing.value() != 0) return Status::Ok();
  ASSIGN_OR_RETURN(const std::optional<OwnedBlock> owned, FindOwnedBlock(tables, block));
  if (!owned || owned->block.generation != generation) return Status::Ok();
  RepairRecord after = *before;
  std::erase_if(after.bad,
                [](const RepairRecord::Bad& bad) { return bad.reason == BadReplica::kDoubtful; });
  SettleRepair(tables, owned->file, owned->block, before, std::move(after), context.now_ns);
  return Status::Ok();
}

}  // namespace tercet
