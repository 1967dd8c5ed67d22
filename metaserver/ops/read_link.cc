#include "metaserver/namespace/tables.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/reads.h"

namespace tercet {

Result<wire::ReadLinkResponse> ReadLink(const View& view, const wire::ReadLinkRequest& request) {
  ASSIGN_OR_RETURN(InodeRecord record, Tables(view).GetInode(InodeFromWire(request.inode)));
  if (record.type != InodeType::kSymlink) {
    return Status(StatusCode::kInvalidArgument, "not a symbolic link");
  }
  wire::ReadLinkResponse response;
  response.target = std::move(record.symlink_target);
  return response;
}

}  // namespace tercet
