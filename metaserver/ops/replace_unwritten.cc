#include "metaserver/ops/blocks.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

// Whether nobody but the caller may have written to the reserved block.
Result<bool> IsOnlyReserver(const Tables& tables, SessionId session, const FileBlockRecord& block) {
  bool reserver = false;
  for (SessionId other : block.reservers) {
    if (other == session) {
      reserver = true;
      continue;
    }
    ASSIGN_OR_RETURN(bool open, tables.IsSessionOpen(other));
    if (open) return false;
  }
  // With all places taken there may be others that are not remembered.
  return reserver && block.reservers.size() < kMaxReservers;
}

}  // namespace

Result<FileBlockRecord> EvaluateReplaceUnwritten(OperationContext& context, InodeId inode,
                                                 uint64_t index, BlockId block,
                                                 std::span<const ServerId> exclude) {
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(InodeRecord record, GetRegularFile(tables, inode));
  ASSIGN_OR_RETURN(std::optional<FileBlockRecord> old, tables.FindFileBlock(inode, index));
  ASSIGN_OR_RETURN(std::optional<TruncationRecord> truncation,
                   FindPendingTruncation(tables, inode, record));
  if (!old || old->block != block || (truncation && truncation->IsDead(index, block))) {
    return Status(StatusCode::kConflict,
                  "block " + std::to_string(block.value()) + " is not part of the file any more");
  }
  ASSIGN_OR_RETURN(const bool only, IsOnlyReserver(tables, context.session, *old));
  if (!old->reserved || !only) {
    return Status(StatusCode::kFailedPrecondition,
                  "block " + std::to_string(block.value()) + " may hold what others wrote");
  }
  int64_t committed_removed = 0;
  RETURN_IF_ERROR(RemoveBlock(tables, inode, record, index, *old, &committed_removed));
  ASSIGN_OR_RETURN(FileBlockRecord fresh, ReserveBlock(context, inode, record, index, exclude));
  Summary(context, "replace unwritten")
      .Add("inode", inode.value())
      .Add("index", index)
      .Add("replaces", block.value())
      .Add("block", fresh.block.value());
  return fresh;
}

}  // namespace tercet
