#include "metaserver/namespace/tables.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/reads.h"

namespace tercet {

Result<wire::ListXattrResponse> ListXattr(const View& view, const wire::ListXattrRequest& request) {
  Tables tables(view);
  const InodeId inode = InodeFromWire(request.inode);
  ASSIGN_OR_RETURN(InodeRecord record, tables.GetInode(inode));
  wire::ListXattrResponse response;
  if (record.xattr_count == 0) return response;
  // Bounded by what EvaluateSetXattr lets in.
  RETURN_IF_ERROR(tables.ScanXattrs(inode, [&](std::string_view name, const XattrRecord&) {
    response.names.emplace_back(name);
    return true;
  }));
  return response;
}

}  // namespace tercet
