#include "metaserver/ops/truncate.h"

#include <limits>
#include <utility>
#include <vector>

#include "metaserver/ops/blocks.h"
#include "metaserver/ops/mutations.h"

namespace tercet {
namespace {

// Leaves the rows of many blocks to the reclaimer: every block that exists now from `first_index`
// on is dead.
Status AddCut(MutableTables& tables, InodeId inode, InodeRecord& record, uint64_t first_index) {
  ASSIGN_OR_RETURN(std::optional<TruncationRecord> pending,
                   FindPendingTruncation(tables, inode, record));
  ASSIGN_OR_RETURN(uint64_t next_block, tables.GetCounter(Counter::kNextBlock));
  TruncationRecord truncation;
  if (pending) {
    truncation = std::move(*pending);
  } else {
    truncation.next_index = first_index;
  }
  truncation.Add({first_index, BlockId(next_block)});
  if (truncation.cuts.size() > kMaxTruncationCuts) {
    return Status(StatusCode::kUnavailable,
                  "blocks of earlier truncations of this file are still being removed: retry");
  }
  tables.PutTruncation(inode, truncation);
  record.truncation_pending = true;
  return Status::Ok();
}

Status CutBlocks(MutableTables& tables, InodeId inode, InodeRecord& record, uint64_t first_index) {
  std::vector<std::pair<uint64_t, FileBlockRecord>> blocks;
  bool too_many = false;
  RETURN_IF_ERROR(tables.ScanFileBlocks(inode, first_index, std::numeric_limits<uint64_t>::max(),
                                        [&](uint64_t index, const FileBlockRecord& block) {
                                          too_many = blocks.size() ==
                                                     static_cast<size_t>(kMaxBlocksCutAtOnce);
                                          if (!too_many) blocks.emplace_back(index, block);
                                          return !too_many;
                                        }));
  if (too_many) return AddCut(tables, inode, record, first_index);
  int64_t committed_removed = 0;
  for (const auto& [index, block] : blocks) {
    RETURN_IF_ERROR(RemoveBlock(tables, inode, record, index, block, &committed_removed));
  }
  return tables.AddToCounter(Counter::kBlockCount, -committed_removed);
}

// What a block holds behind the file's new end must not come back when the file grows again.
Status LimitLastBlock(MutableTables& tables, InodeId inode, const InodeRecord& record,
                      uint64_t size_bytes) {
  const auto offset = static_cast<uint32_t>(size_bytes % record.block_size_bytes);
  if (offset == 0) return Status::Ok();
  const uint64_t index = size_bytes / record.block_size_bytes;
  ASSIGN_OR_RETURN(std::optional<FileBlockRecord> block, tables.FindFileBlock(inode, index));
  if (!block || (block->valid_bytes && *block->valid_bytes <= offset)) return Status::Ok();
  ASSIGN_OR_RETURN(std::optional<TruncationRecord> truncation,
                   FindPendingTruncation(tables, inode, record));
  if (truncation && truncation->IsDead(index, block->block)) return Status::Ok();
  block->valid_bytes = offset;
  tables.PutFileBlock(inode, index, *block);
  return Status::Ok();
}

}  // namespace

Status ResizeFile(OperationContext& context, InodeId inode, InodeRecord& record,
                  uint64_t size_bytes) {
  MutableTables tables(context.transaction);
  if (size_bytes < record.size_bytes) {
    RETURN_IF_ERROR(
        CutBlocks(tables, inode, record, BlockIndexEnd(size_bytes, record.block_size_bytes)));
    RETURN_IF_ERROR(LimitLastBlock(tables, inode, record, size_bytes));
  }
  record.size_bytes = size_bytes;
  return Status::Ok();
}

}  // namespace tercet
