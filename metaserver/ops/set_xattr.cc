#include "metaserver/ops/inodes.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/summary.h"
#include "metaserver/ops/xattr_names.h"

namespace tercet {
namespace {

Status NoSpace(const std::string& what) {
  return Status(StatusCode::kNoSpace, "the inode's extended attributes would have " + what);
}

// The bounds on all attributes of an inode together, with this one in place.
Status CheckTotals(const Tables& tables, InodeId inode, const InodeRecord& record,
                   const wire::SetXattrRequest& request, bool is_new) {
  if (is_new && record.xattr_count >= kMaxXattrs) {
    return NoSpace("more than " + std::to_string(kMaxXattrs) + " names");
  }
  size_t names_bytes = request.name.size() + 1;
  size_t total_bytes = names_bytes + request.value.size();
  if (record.xattr_count > 0) {
    RETURN_IF_ERROR(tables.ScanXattrs(inode, [&](std::string_view name, const XattrRecord& other) {
      if (name == request.name) return true;
      names_bytes += name.size() + 1;
      total_bytes += name.size() + 1 + other.value.size();
      return true;
    }));
  }
  if (names_bytes > kMaxXattrNamesBytes) {
    return NoSpace("names of more than " + std::to_string(kMaxXattrNamesBytes) + " bytes");
  }
  if (total_bytes > kMaxXattrTotalBytes) {
    return NoSpace("more than " + std::to_string(kMaxXattrTotalBytes) + " bytes");
  }
  return Status::Ok();
}

}  // namespace

Result<wire::SetXattrResponse> EvaluateSetXattr(OperationContext& context,
                                                const wire::SetXattrRequest& request) {
  if (request.create_only && request.replace_only) {
    return Status(StatusCode::kInvalidArgument, "create_only and replace_only exclude each other");
  }
  RETURN_IF_ERROR(CheckXattrNameLength(request.name));
  MutableTables tables(context.transaction);
  const InodeId inode = InodeFromWire(request.inode);
  ASSIGN_OR_RETURN(InodeRecord record, tables.GetInode(inode));
  RETURN_IF_ERROR(CheckXattrNamespace(request.name, record.type));
  if (request.value.size() > kMaxXattrValueBytes) {
    return Status(StatusCode::kArgumentTooBig, "an attribute's value has at most 65536 bytes");
  }
  ASSIGN_OR_RETURN(std::optional<XattrRecord> existing, tables.FindXattr(inode, request.name));
  if (existing && request.create_only) {
    return Status(StatusCode::kExists, "there is such an attribute");
  }
  if (!existing && request.replace_only) {
    return Status(StatusCode::kNoAttribute, "there is no such attribute");
  }
  RETURN_IF_ERROR(CheckTotals(tables, inode, record, request, !existing));
  tables.PutXattr(inode, request.name, {request.value});
  if (!existing) ++record.xattr_count;
  record.ctime_ns = context.now_ns;
  PutChangedInode(tables, inode, record);
  Summary(context, "setxattr").Add("inode", inode.value()).AddName("name", request.name);
  return wire::SetXattrResponse();
}

}  // namespace tercet
