#include <algorithm>
#include <limits>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/attributes.h"
#include "metaserver/ops/blocks.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/reads.h"

namespace tercet {

Result<wire::OpenFileResponse> OpenFile(const View& view, const wire::OpenFileRequest& request) {
  Tables tables(view);
  const InodeId inode = InodeFromWire(request.inode);
  ASSIGN_OR_RETURN(InodeRecord record, tables.GetInode(inode));
  if (record.is_directory()) return Status(StatusCode::kIsDirectory, "is a directory");
  if (record.type == InodeType::kSymlink) {
    return Status(StatusCode::kInvalidArgument, "is a symbolic link");
  }
  wire::OpenFileResponse response;
  response.attributes = MakeAttributes(inode, record);
  if (!record.is_regular()) return response;
  ASSIGN_OR_RETURN(BlockList list,
                   ListBlocks(tables, inode, record, 0, std::numeric_limits<uint64_t>::max(),
                              std::min(request.max_blocks, kMaxBlocksPerReply)));
  response.blocks = std::move(list.blocks);
  RETURN_IF_ERROR(AppendServers(tables, response.blocks, &response.servers));
  return response;
}

}  // namespace tercet
