#include "metaserver/namespace/tables.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {

Result<BatchResult> EvaluateFinishDeleteTasks(OperationContext& context, ServerId server,
                                              std::span<const wire::DeleteReplicaTask> tasks) {
  MutableTables tables(context.transaction);
  BatchResult result{.done = true, .removed = 0};
  for (const wire::DeleteReplicaTask& task : tasks) {
    const BlockId block(static_cast<uint64_t>(task.block_id));
    ASSIGN_OR_RETURN(std::optional<DeleteTaskRecord> record, tables.FindDeleteTask(server, block));
    // Held ones are not carried out: a confirmation is of an older task.
    if (!record || record->hold ||
        record->generation > Generation(static_cast<uint64_t>(task.generation))) {
      continue;
    }
    tables.DeleteDeleteTask(server, block);
    ++result.removed;
  }
  Summary(context, "deletions done")
      .Add("server", server.value())
      .Add("tasks", static_cast<uint64_t>(result.removed));
  return result;
}

}  // namespace tercet
