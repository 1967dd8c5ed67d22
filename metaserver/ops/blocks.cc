#include "metaserver/ops/blocks.h"

#include <algorithm>

#include "metaserver/ops/attributes.h"
#include "metaserver/ops/reads.h"

namespace tercet {

uint64_t BlockIndexEnd(uint64_t size_bytes, uint32_t block_size_bytes) {
  return size_bytes / block_size_bytes + (size_bytes % block_size_bytes != 0 ? 1 : 0);
}

Result<std::optional<TruncationRecord>> FindPendingTruncation(const Tables& tables, InodeId inode,
                                                              const InodeRecord& record) {
  if (!record.truncation_pending) return std::optional<TruncationRecord>();
  return tables.FindTruncation(inode);
}

void RemoveBlock(MutableTables& tables, InodeId inode, InodeRecord& record, uint64_t index,
                 const FileBlockRecord& block, int64_t* committed_removed) {
  tables.DeleteFileBlock(inode, index);
  tables.DeleteBlockOwner(block.block);
  for (ServerId server : block.chain) {
    if (!block.reserved) tables.DeleteReplica(server, block.block);
    tables.PutDeleteTask(server, block.block, {block.generation});
  }
  if (block.reserved) return;
  if (record.block_count > 0) --record.block_count;
  ++*committed_removed;
}

Result<BlockList> ListBlocks(const Tables& tables, InodeId inode, const InodeRecord& record,
                             uint64_t first, uint64_t end, int max_blocks) {
  BlockList list;
  end = std::min(end, BlockIndexEnd(record.size_bytes, record.block_size_bytes));
  if (first >= end || max_blocks <= 0) {
    list.more = first < end && record.block_count > 0;
    return list;
  }
  ASSIGN_OR_RETURN(std::optional<TruncationRecord> truncation,
                   FindPendingTruncation(tables, inode, record));
  int visited = 0;
  RETURN_IF_ERROR(
      tables.ScanFileBlocks(inode, first, end, [&](uint64_t index, const FileBlockRecord& block) {
        if (visited++ == kMaxBlocksPerReply) {
          list.more = true;
          return false;
        }
        if (block.reserved || (truncation && truncation->IsDead(index, block.block))) return true;
        if (list.blocks.size() == static_cast<size_t>(max_blocks)) {
          list.more = true;
          return false;
        }
        list.blocks.push_back(MakeBlockInfo(index, block));
        return true;
      }));
  return list;
}

}  // namespace tercet
