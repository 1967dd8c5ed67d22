#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "metaserver/ops/blocks.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

// The inode, its attributes and the marks on it; its blocks are gone.
Status RemoveInode(MutableTables& tables, InodeId inode, const InodeRecord& record) {
  std::vector<std::string> names;
  if (record.xattr_count > 0) {
    RETURN_IF_ERROR(tables.ScanXattrs(inode, [&](std::string_view name, const XattrRecord&) {
      names.emplace_back(name);
      return true;
    }));
  }
  for (const std::string& name : names) tables.DeleteXattr(inode, name);
  if (record.truncation_pending) tables.DeleteTruncation(inode);
  tables.DeleteOrphan(inode);
  tables.DeleteInode(inode);
  RETURN_IF_ERROR(tables.AddToCounter(Counter::kOrphanCount, -1));
  return tables.AddToCounter(Counter::kInodeCount, -1);
}

}  // namespace

Result<BatchResult> EvaluateReclaimOrphan(OperationContext& context, InodeId inode,
                                          int max_blocks) {
  if (max_blocks <= 0) return Status(StatusCode::kInvalidArgument, "max_blocks must be positive");
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(std::optional<OrphanRecord> orphan, tables.FindOrphan(inode));
  if (!orphan) return BatchResult{.done = true, .removed = 0};
  ASSIGN_OR_RETURN(std::optional<InodeRecord> record, tables.FindInode(inode));
  if (!record || record->nlink != 0) {
    return Status(StatusCode::kCorruption, "the orphan row of inode " +
                                               std::to_string(inode.value()) + " names " +
                                               (record ? "an inode with a name" : "no inode"));
  }
  BatchResult result{.done = true, .removed = 0};
  std::vector<std::pair<uint64_t, FileBlockRecord>> blocks;
  RETURN_IF_ERROR(tables.ScanFileBlocks(inode, 0, std::numeric_limits<uint64_t>::max(),
                                        [&](uint64_t index, const FileBlockRecord& block) {
                                          result.done =
                                              blocks.size() < static_cast<size_t>(max_blocks);
                                          if (result.done) blocks.emplace_back(index, block);
                                          return result.done;
                                        }));
  int64_t committed_removed = 0;
  for (const auto& [index, block] : blocks) {
    RETURN_IF_ERROR(RemoveBlock(tables, inode, *record, index, block, &committed_removed));
  }
  RETURN_IF_ERROR(tables.AddToCounter(Counter::kBlockCount, -committed_removed));
  result.removed = static_cast<int>(blocks.size());
  if (result.done) {
    RETURN_IF_ERROR(RemoveInode(tables, inode, *record));
  } else {
    PutChangedInode(tables, inode, *record);
  }
  Summary(context, "reclaim")
      .Add("inode", inode.value())
      .Add("blocks", blocks.size())
      .Add("done", result.done ? 1 : 0);
  return result;
}

}  // namespace tercet
