// What several operations do with the blocks of a file.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/operation.h"
#include "tercet_thrift/common_types.h"

namespace tercet {

/// The number of blocks that a file of this size may have: no index at or above it holds data.
uint64_t BlockIndexEnd(uint64_t size_bytes, uint32_t block_size_bytes);

/// The file's pending truncation, if there is one. One look-up only when the inode says so.
Result<std::optional<TruncationRecord>> FindPendingTruncation(const Tables& tables, InodeId inode,
                                                              const InodeRecord& record);

/// Takes a block out of the state: its rows go, delete tasks come in for every server that may hold
/// a replica: those of its chain, stale ones, and targets of a reconfiguration under way, up to the
/// highest generation that may be sealed anywhere. Lowers `record`.block_count but does not write
/// the inode, and counts committed blocks in *committed_removed: the caller takes them from
/// Counter::kBlockCount once for all blocks.
Status RemoveBlock(MutableTables& tables, InodeId inode, InodeRecord& record, uint64_t index,
                   const FileBlockRecord& block, int64_t* committed_removed);

/// A new block at an index that has none, reserved for the context's session, on servers that the
/// chooser gives. Its errors.
Result<FileBlockRecord> ReserveBlock(OperationContext& context, InodeId inode,
                                     const InodeRecord& record, uint64_t index,
                                     std::span<const ServerId> exclude);

struct BlockList {
  std::vector<wire::BlockInfo> blocks;
  /// The list ends before the last block of the range.
  bool more = false;
};
/// Committed, living blocks with first <= index < end and below the file's size, at most
/// max_blocks. Bounded work: at most kMaxBlocksPerReply rows are looked at.
Result<BlockList> ListBlocks(const Tables& tables, InodeId inode, const InodeRecord& record,
                             uint64_t first, uint64_t end, int max_blocks);

}  // namespace tercet
