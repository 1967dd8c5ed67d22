#include "metaserver/ops/attributes.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/summary.h"
#include "metaserver/ops/truncate.h"

namespace tercet {
namespace {

bool ChangesNothing(const wire::SetAttributesRequest& request) {
  const auto& set = request.__isset;
  return !set.mode && !set.uid && !set.gid && !set.size_bytes && !set.atime_ns && !set.mtime_ns &&
         !request.atime_now && !request.mtime_now;
}

Status CheckSize(const InodeRecord& record, int64_t size_bytes) {
  if (record.is_directory()) {
    return Status(StatusCode::kIsDirectory, "a directory cannot be truncated");
  }
  if (!record.is_regular() || size_bytes < 0) {
    return Status(StatusCode::kInvalidArgument,
                  "only a regular file has a size to set, and none below 0");
  }
  if (static_cast<uint64_t>(size_bytes) > kMaxFileSizeBytes) {
    return Status(StatusCode::kFileTooLarge, "a file has at most 2^50 bytes");
  }
  return Status::Ok();
}

void SetOwnerAndMode(const wire::SetAttributesRequest& request, InodeRecord& record) {
  const auto& set = request.__isset;
  if (set.uid) record.uid = static_cast<uint32_t>(request.uid);
  if (set.gid) record.gid = static_cast<uint32_t>(request.gid);
  if (set.mode) {
    record.mode = static_cast<uint32_t>(request.mode) & kModeMask;
  } else if ((set.uid || set.gid) && !record.is_directory()) {
    // As chown(2): a program must not run with the rights of its new owner. A set-gid bit without
    // group execution is not about running the file and stays.
    record.mode &= ~kSetUidBit;
    if ((record.mode & kGroupExecuteBit) != 0) record.mode &= ~kSetGidBit;
  }
}

void SetTimes(const wire::SetAttributesRequest& request, int64_t now_ns, InodeRecord& record) {
  const auto& set = request.__isset;
  if (request.atime_now) {
    record.atime_ns = now_ns;
  } else if (set.atime_ns) {
    record.atime_ns = request.atime_ns;
  }
  if (set.mtime_ns && !request.mtime_now) {
    record.mtime_ns = request.mtime_ns;
  } else if (request.mtime_now || set.size_bytes) {
    record.mtime_ns = now_ns;
  }
  record.ctime_ns = now_ns;
}

}  // namespace

Result<wire::SetAttributesResponse> EvaluateSetAttributes(
    OperationContext& context, const wire::SetAttributesRequest& request) {
  MutableTables tables(context.transaction);
  const InodeId inode = InodeFromWire(request.inode);
  ASSIGN_OR_RETURN(InodeRecord record, tables.GetInode(inode));
  Summary summary(context, "setattr");
  summary.Add("inode", inode.value());
  if (request.__isset.size_bytes) {
    RETURN_IF_ERROR(CheckSize(record, request.size_bytes));
    RETURN_IF_ERROR(ResizeFile(context, inode, record, static_cast<uint64_t>(request.size_bytes)));
    summary.Add("size", record.size_bytes);
  }
  if (!ChangesNothing(request)) {
    SetOwnerAndMode(request, record);
    SetTimes(request, context.now_ns, record);
    PutChangedInode(tables, inode, record);
  }
  wire::SetAttributesResponse response;
  response.attributes = MakeAttributes(inode, record);
  return response;
}

}  // namespace tercet
