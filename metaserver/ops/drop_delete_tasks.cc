#include <vector>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {

Result<BatchResult> EvaluateDropDeleteTasks(OperationContext& context, ServerId server,
                                            int max_tasks) {
  if (max_tasks <= 0) return Status(StatusCode::kInvalidArgument, "max_tasks must be positive");
  MutableTables tables(context.transaction);
  BatchResult result{.done = true, .removed = 0};
  ASSIGN_OR_RETURN(std::optional<ServerRecord> record, tables.FindServer(server));
  if (!record || record->state != ServiceState::kRemoved) return result;
  std::vector<BlockId> blocks;
  RETURN_IF_ERROR(
      tables.ScanDeleteTasks(server, BlockId(), [&](BlockId block, const DeleteTaskRecord& task) {
        if (task.hold) return true;
        result.done = blocks.size() < static_cast<size_t>(max_tasks);
        if (result.done) blocks.push_back(block);
        return result.done;
      }));
  for (BlockId block : blocks) tables.DeleteDeleteTask(server, block);
  result.removed = static_cast<int>(blocks.size());
  Summary(context, "deletions dropped").Add("server", server.value()).Add("tasks", blocks.size());
  return result;
}

}  // namespace tercet
