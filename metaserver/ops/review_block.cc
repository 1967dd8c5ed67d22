#include "metaserver/ops/repairs.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {

Status EvaluateReviewBlock(OperationContext& context, BlockId block, bool misplaced) {
  MutableTables tables(context.transaction);
  Summary(context, "review").Add("block", block.value());
  ASSIGN_OR_RETURN(std::optional<RepairRecord> repair, tables.FindRepair(block));
  if (repair && repair->sealing.value() != 0) return Status::Ok();
  ASSIGN_OR_RETURN(std::optional<OwnedBlock> owned, FindOwnedBlock(tables, block));
  if (!owned) {
    // Cut off: nothing is to be done about it any more, and the reclaimer takes it away.
    if (repair) tables.DeleteRepair(block);
    return Status::Ok();
  }
  return ReviewBlock(tables, *owned, misplaced, context.now_ns).status();
}

}  // namespace tercet
