#include <limits>
#include <utility>
#include <vector>

#include "metaserver/ops/blocks.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {

Result<BatchResult> EvaluateReclaimTruncation(OperationContext& context, InodeId inode,
                                              int max_blocks) {
  if (max_blocks <= 0) return Status(StatusCode::kInvalidArgument, "max_blocks must be positive");
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(std::optional<TruncationRecord> truncation, tables.FindTruncation(inode));
  if (!truncation) return BatchResult{.done = true, .removed = 0};
  ASSIGN_OR_RETURN(InodeRecord record, tables.GetInode(inode));

  BatchResult result{.done = true, .removed = 0};
  std::vector<std::pair<uint64_t, FileBlockRecord>> dead;
  int visited = 0;
  RETURN_IF_ERROR(tables.ScanFileBlocks(inode, truncation->next_index,
                                        std::numeric_limits<uint64_t>::max(),
                                        [&](uint64_t index, const FileBlockRecord& block) {
                                          if (visited++ == max_blocks) {
                                            result.done = false;
                                            truncation->next_index = index;
                                            return false;
                                          }
                                          if (truncation->IsDead(index, block.block))
                                            dead.emplace_back(index, block);
                                          return true;
                                        }));
  int64_t committed_removed = 0;
  for (const auto& [index, block] : dead) {
    RETURN_IF_ERROR(RemoveBlock(tables, inode, record, index, block, &committed_removed));
  }
  RETURN_IF_ERROR(tables.AddToCounter(Counter::kBlockCount, -committed_removed));
  result.removed = static_cast<int>(dead.size());
  if (result.done) {
    tables.DeleteTruncation(inode);
    record.truncation_pending = false;
  } else {
    tables.PutTruncation(inode, *truncation);
  }
  PutChangedInode(tables, inode, record);
  Summary(context, "reclaim truncated")
      .Add("inode", inode.value())
      .Add("blocks", dead.size())
      .Add("done", result.done ? 1 : 0);
  return result;
}

}  // namespace tercet
