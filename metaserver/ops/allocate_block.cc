#include <algorithm>
#include <vector>

#include "metaserver/ops/attributes.h"
#include "metaserver/ops/blocks.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

// More than there can be servers in trouble at once for one block.
constexpr size_t kMaxExcludedServers = 1024;

Status CheckRequest(const wire::AllocateBlockRequest& request, const InodeRecord& record) {
  if (request.block_index < 0 || request.exclude_servers.size() > kMaxExcludedServers) {
    return Status(StatusCode::kInvalidArgument,
                  "the block index is negative or too many servers are excluded");
  }
  if (static_cast<uint64_t>(request.block_index) >= kMaxFileSizeBytes / record.block_size_bytes) {
    return Status(StatusCode::kFileTooLarge, "a file has at most 2^50 bytes");
  }
  return Status::Ok();
}

// Whether some session that was given the block may still commit it.
Result<bool> HasOpenReserver(const Tables& tables, const FileBlockRecord& block) {
  for (SessionId session : block.reservers) {
    ASSIGN_OR_RETURN(bool open, tables.IsSessionOpen(session));
    if (open) return true;
  }
  return false;
}

// Whether the caller gets `block` as it is rather than a new one in its place.
Result<bool> StaysInPlace(const Tables& tables, const wire::AllocateBlockRequest& request,
                          const FileBlockRecord& block) {
  if (!block.reserved) return true;
  if (block.block.value() == static_cast<uint64_t>(request.replace_block_id)) return false;
  return HasOpenReserver(tables, block);
}

// Remembers that the caller also writes this reserved block. With kMaxReservers sessions on it
// already it is not remembered: should all of those end before any commit, its own commit gets
// kConflict.
void AddReserver(OperationContext& context, MutableTables& tables, InodeId inode, uint64_t index,
                 FileBlockRecord& block) {
  if (!block.reserved || block.reservers.size() >= kMaxReservers) return;
  if (std::ranges::find(block.reservers, context.session) != block.reservers.end()) return;
  block.reservers.push_back(context.session);
  tables.PutFileBlock(inode, index, block);
}

std::vector<ServerId> Excluded(const wire::AllocateBlockRequest& request) {
  std::vector<ServerId> exclude;
  exclude.reserve(request.exclude_servers.size());
  for (int32_t server : request.exclude_servers) {
    exclude.push_back(ServerId(static_cast<uint32_t>(server)));
  }
  return exclude;
}

Result<wire::AllocateBlockResponse> Respond(const Tables& tables, const InodeRecord& file,
                                            uint64_t index, const FileBlockRecord& block) {
  wire::AllocateBlockResponse response;
  response.block = MakeBlockInfo(index, block, file);
  RETURN_IF_ERROR(AppendServers(tables, {response.block}, &response.servers));
  return response;
}

}  // namespace

Result<wire::AllocateBlockResponse> EvaluateAllocateBlock(
    OperationContext& context, const wire::AllocateBlockRequest& request) {
  MutableTables tables(context.transaction);
  const InodeId inode = InodeFromWire(request.inode);
  ASSIGN_OR_RETURN(InodeRecord record, GetRegularFile(tables, inode));
  RETURN_IF_ERROR(CheckRequest(request, record));
  const auto index = static_cast<uint64_t>(request.block_index);
  Summary summary(context, "allocate");
  summary.Add("inode", inode.value()).Add("index", index);

  ASSIGN_OR_RETURN(std::optional<FileBlockRecord> existing, tables.FindFileBlock(inode, index));
  if (existing) {
    ASSIGN_OR_RETURN(std::optional<TruncationRecord> truncation,
                     FindPendingTruncation(tables, inode, record));
    const bool dead = truncation && truncation->IsDead(index, existing->block);
    ASSIGN_OR_RETURN(bool stays, StaysInPlace(tables, request, *existing));
    if (stays && !dead) {
      AddReserver(context, tables, inode, index, *existing);
      summary.Add("existing", existing->block.value());
      return Respond(tables, record, index, *existing);
    }
    int64_t committed_removed = 0;
    RETURN_IF_ERROR(RemoveBlock(tables, inode, record, index, *existing, &committed_removed));
    RETURN_IF_ERROR(tables.AddToCounter(Counter::kBlockCount, -committed_removed));
    // Only a dead block can have been committed, and then block_count changed.
    if (committed_removed > 0) PutChangedInode(tables, inode, record);
    summary.Add("replaces", existing->block.value());
  }
  ASSIGN_OR_RETURN(FileBlockRecord block,
                   ReserveBlock(context, inode, record, index, Excluded(request)));
  summary.Add("block", block.block.value());
  return Respond(tables, record, index, block);
}

}  // namespace tercet
