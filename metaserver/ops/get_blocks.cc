#include <algorithm>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/attributes.h"
#include "metaserver/ops/blocks.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/reads.h"

namespace tercet {

Result<wire::GetBlocksResponse> GetBlocks(const View& view, const wire::GetBlocksRequest& request) {
  if (request.first_index < 0 || request.count < 0) {
    return Status(StatusCode::kInvalidArgument, "the range of blocks is negative");
  }
  Tables tables(view);
  const InodeId inode = InodeFromWire(request.inode);
  ASSIGN_OR_RETURN(InodeRecord record, GetRegularFile(tables, inode));
  const auto first = static_cast<uint64_t>(request.first_index);
  const int count = std::min(request.count, kMaxBlocksPerReply);
  ASSIGN_OR_RETURN(BlockList list, ListBlocks(tables, inode, record, first,
                                              first + static_cast<uint64_t>(count), count));
  wire::GetBlocksResponse response;
  response.blocks = std::move(list.blocks);
  response.size_bytes = static_cast<int64_t>(record.size_bytes);
  RETURN_IF_ERROR(AppendServers(tables, response.blocks, &response.servers));
  return response;
}

}  // namespace tercet
