#include "metaserver/ops/attributes.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/names.h"
#include "metaserver/ops/summary.h"

namespace tercet {

Result<wire::LinkResponse> EvaluateLink(OperationContext& context,
                                        const wire::LinkRequest& request) {
  RETURN_IF_ERROR(CheckName(request.new_name, NameUse::kCreate));
  MutableTables tables(context.transaction);
  const InodeId inode = InodeFromWire(request.inode);
  const InodeId parent_id = InodeFromWire(request.new_parent);
  ASSIGN_OR_RETURN(InodeRecord parent, GetLinkedDirectory(tables, parent_id));
  ASSIGN_OR_RETURN(std::optional<DentryRecord> entry,
                   tables.FindDentry(parent_id, request.new_name));
  if (entry) return Status(StatusCode::kExists, "there is an entry of this name");
  ASSIGN_OR_RETURN(InodeRecord record, tables.GetInode(inode));
  if (record.is_directory()) {
    return Status(StatusCode::kNotPermitted, "a directory has one name only");
  }
  if (record.nlink == 0) return Status(StatusCode::kNotFound, "the file has no name any more");
  if (record.nlink >= kMaxLinks) {
    return Status(StatusCode::kTooManyLinks,
                  "the file has " + std::to_string(record.nlink) + " names already");
  }
  ++record.nlink;
  if (record.name_hint.empty()) {
    record.parent = parent_id;
    record.name_hint = request.new_name;
  }
  record.ctime_ns = context.now_ns;
  PutChangedInode(tables, inode, record);
  tables.PutDentry(parent_id, request.new_name, {inode, record.type});
  TouchDirectory(parent, context.now_ns);
  PutChangedInode(tables, parent_id, parent);
  Summary(context, "link")
      .Add("inode", inode.value())
      .Add("parent", parent_id.value())
      .AddName("name", request.new_name);
  wire::LinkResponse response;
  response.attributes = MakeAttributes(inode, record);
  return response;
}

}  // namespace tercet
