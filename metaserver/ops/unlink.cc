#include "metaserver/ops/inodes.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/names.h"
#include "metaserver/ops/summary.h"

namespace tercet {

Result<wire::UnlinkResponse> EvaluateUnlink(OperationContext& context,
                                            const wire::UnlinkRequest& request) {
  RETURN_IF_ERROR(CheckName(request.name, NameUse::kUnlink));
  MutableTables tables(context.transaction);
  const InodeId parent_id = InodeFromWire(request.parent);
  ASSIGN_OR_RETURN(InodeRecord parent, GetDirectory(tables, parent_id));
  ASSIGN_OR_RETURN(std::optional<DentryRecord> entry, tables.FindDentry(parent_id, request.name));
  if (!entry) return Status(StatusCode::kNotFound, "no such entry");
  if (entry->type == InodeType::kDirectory) {
    return Status(StatusCode::kIsDirectory, "the entry is a directory");
  }
  ASSIGN_OR_RETURN(InodeRecord record, tables.GetInode(entry->inode));
  tables.DeleteDentry(parent_id, request.name);
  RETURN_IF_ERROR(DropName(context, entry->inode, record, parent_id, request.name));
  TouchDirectory(parent, context.now_ns);
  PutChangedInode(tables, parent_id, parent);
  Summary(context, "unlink")
      .Add("parent", parent_id.value())
      .AddName("name", request.name)
      .Add("inode", entry->inode.value());
  return wire::UnlinkResponse();
}

}  // namespace tercet
