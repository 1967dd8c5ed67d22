#include "metaserver/namespace/tables.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/reads.h"
#include "metaserver/ops/xattr_names.h"

namespace tercet {

Result<wire::GetXattrResponse> GetXattr(const View& view, const wire::GetXattrRequest& request) {
  RETURN_IF_ERROR(CheckXattrNameLength(request.name));
  Tables tables(view);
  const InodeId inode = InodeFromWire(request.inode);
  ASSIGN_OR_RETURN(InodeRecord record, tables.GetInode(inode));
  std::optional<XattrRecord> xattr;
  if (record.xattr_count > 0) {
    ASSIGN_OR_RETURN(xattr, tables.FindXattr(inode, request.name));
  }
  if (!xattr) return Status(StatusCode::kNoAttribute, "no such attribute");
  wire::GetXattrResponse response;
  response.value = std::move(xattr->value);
  return response;
}

}  // namespace tercet
