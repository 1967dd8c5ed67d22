#include <algorithm>
#include <limits>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/attributes.h"
#include "metaserver/ops/blocks.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/reads.h"

namespace tercet {

Result<wire::GetFileInfoResponse> FileInfo(const View& view,
                                           const wire::GetFileInfoRequest& request) {
  if (request.path.empty() == (request.inode == 0) || request.first_block_index < 0) {
    return Status(StatusCode::kInvalidArgument,
                  "give a path or an inode, and no negative block index");
  }
  InodeId inode = InodeFromWire(request.inode);
  if (!request.path.empty()) {
    ASSIGN_OR_RETURN(inode, ResolvePath(view, request.path));
  }
  Tables tables(view);
  ASSIGN_OR_RETURN(std::optional<InodeRecord> record, tables.FindInode(inode));
  if (!record) return Status(StatusCode::kNotFound, "there is no such inode");

  wire::GetFileInfoResponse response;
  response.attributes = MakeAttributes(inode, *record);
  if (!record->is_regular()) return response;
  ASSIGN_OR_RETURN(BlockList list, ListBlocks(tables, inode, *record,
                                              static_cast<uint64_t>(request.first_block_index),
                                              std::numeric_limits<uint64_t>::max(),
                                              std::min(request.max_blocks, kMaxBlocksPerReply)));
  response.blocks = std::move(list.blocks);
  response.more = list.more;
  RETURN_IF_ERROR(AppendServers(tables, response.blocks, &response.servers));
  return response;
}

}  // namespace tercet
