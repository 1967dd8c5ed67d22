#include "metaserver/ops/inodes.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/summary.h"
#include "metaserver/ops/xattr_names.h"

namespace tercet {

Result<wire::RemoveXattrResponse> EvaluateRemoveXattr(OperationContext& context,
                                                      const wire::RemoveXattrRequest& request) {
  RETURN_IF_ERROR(CheckXattrNameLength(request.name));
  MutableTables tables(context.transaction);
  const InodeId inode = InodeFromWire(request.inode);
  ASSIGN_OR_RETURN(InodeRecord record, tables.GetInode(inode));
  ASSIGN_OR_RETURN(std::optional<XattrRecord> existing, tables.FindXattr(inode, request.name));
  if (!existing) return Status(StatusCode::kNoAttribute, "there is no such attribute");
  tables.DeleteXattr(inode, request.name);
  --record.xattr_count;
  record.ctime_ns = context.now_ns;
  PutChangedInode(tables, inode, record);
  Summary(context, "removexattr").Add("inode", inode.value()).AddName("name", request.name);
  return wire::RemoveXattrResponse();
}

}  // namespace tercet
