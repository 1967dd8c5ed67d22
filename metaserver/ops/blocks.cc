#include "metaserver/ops/blocks.h"

#include <algorithm>

#include "metaserver/ops/attributes.h"
#include "metaserver/ops/reads.h"
#include "metaserver/ops/repairs.h"

namespace tercet {

uint64_t BlockIndexEnd(uint64_t size_bytes, uint32_t block_size_bytes) {
  return size_bytes / block_size_bytes + (size_bytes % block_size_bytes != 0 ? 1 : 0);
}

Result<std::optional<TruncationRecord>> FindPendingTruncation(const Tables& tables, InodeId inode,
                                                              const InodeRecord& record) {
  if (!record.truncation_pending) return std::optional<TruncationRecord>();
  return tables.FindTruncation(inode);
}

Status RemoveBlock(MutableTables& tables, InodeId inode, InodeRecord& record, uint64_t index,
                   const FileBlockRecord& block, int64_t* committed_removed) {
  ASSIGN_OR_RETURN(std::optional<RepairRecord> repair, tables.FindRepair(block.block));
  tables.DeleteFileBlock(inode, index);
  tables.DeleteBlockOwner(block.block);
  // Never above what this state's own attempts may have sealed: after a restore from an older
  // backup servers may hold higher ones, and what those are is not known here.
  const DeleteTaskRecord task{.generation = HighestGeneration(block, repair), .hold = false};
  for (ServerId server : block.chain) {
    if (!block.reserved) tables.DeleteReplica(server, block.block);
    tables.PutDeleteTask(server, block.block, task);
  }
  for (ServerId server : block.stale) tables.PutDeleteTask(server, block.block, task);
  if (repair) {
    for (ServerId server : repair->targets) tables.PutDeleteTask(server, block.block, task);
    tables.DeleteRepair(block.block);
  }
  if (block.reserved) return Status::Ok();
  if (record.block_count > 0) --record.block_count;
  ++*committed_removed;
  return Status::Ok();
}

Result<FileBlockRecord> ReserveBlock(OperationContext& context, InodeId inode,
                                     const InodeRecord& record, uint64_t index,
                                     std::span<const ServerId> exclude) {
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(const PlacementRule rule, tables.GetPlacementRule(record.rule_id));
  PlacementRequest placement;
  placement.wanted = record.replicas;
  placement.minimum = record.min_replicas;
  placement.bytes = record.block_size_bytes;
  placement.least_bytes = kLeastRoomForNewBlock;
  placement.exclude = exclude;
  placement.rule = &rule;
  FileBlockRecord block;
  ASSIGN_OR_RETURN(block.chain, context.replica_chooser.Choose(placement));
  if (block.chain.empty() || block.chain.size() > kMaxChainLength) {
    return Status(StatusCode::kInternal,
                  "the replica chooser gave a chain of " + std::to_string(block.chain.size()));
  }
  ASSIGN_OR_RETURN(uint64_t number, tables.TakeNextId(Counter::kNextBlock));
  block.block = BlockId(number);
  block.generation = Generation(1);
  block.reserved = true;
  block.reservers = {context.session};
  tables.PutFileBlock(inode, index, block);
  tables.PutBlockOwner(block.block, {inode, index});
  return block;
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
        list.blocks.push_back(MakeBlockInfo(index, block, record));
        return true;
      }));
  return list;
}

}  // namespace tercet
