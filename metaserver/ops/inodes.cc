#include "metaserver/ops/inodes.h"

#include "metaserver/ops/attributes.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/policies.h"

namespace tercet {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

std::string InodeText(InodeId inode) { return "inode " + std::to_string(inode.value()); }

// A change of policy may be on its way to a file that is deleted now: whether it goes to the trash
// is for that to say, and in the trash it is out of the change's reach.
Status TakePendingRetention(OperationContext& context, InodeId inode, InodeRecord& record,
                            InodeId parent) {
  const Tables tables(context.transaction);
  ASSIGN_OR_RETURN(const PolicyChange change, PendingPolicyChange(tables, parent));
  if (change.trash_retention_s.value_or(record.trash_retention_s) > 0) {
    return CarryPolicyWalk(context, parent, inode, record);
  }
  record.trash_retention_s = 0;
  return Status::Ok();
}

}  // namespace

Result<InodeRecord> GetDirectory(const Tables& tables, InodeId inode) {
  ASSIGN_OR_RETURN(InodeRecord record, tables.GetInode(inode));
  if (!record.is_directory()) {
    return Status(StatusCode::kNotDirectory, InodeText(inode) + " is not a directory");
  }
  return record;
}

Result<InodeRecord> GetLinkedDirectory(const Tables& tables, InodeId inode) {
  ASSIGN_OR_RETURN(InodeRecord record, GetDirectory(tables, inode));
  if (record.nlink == 0) {
    return Status(StatusCode::kNotFound, "directory " + InodeText(inode) + " was removed");
  }
  return record;
}

Result<InodeRecord> GetRegularFile(const Tables& tables, InodeId inode) {
  ASSIGN_OR_RETURN(InodeRecord record, tables.GetInode(inode));
  if (record.is_directory()) {
    return Status(StatusCode::kIsDirectory, InodeText(inode) + " is a directory");
  }
  if (!record.is_regular()) {
    return Status(StatusCode::kInvalidArgument, InodeText(inode) + " is not a regular file");
  }
  return record;
}

void PutChangedInode(MutableTables& tables, InodeId inode, InodeRecord& record) {
  ++record.change_version;
  tables.PutInode(inode, record);
}

void TouchDirectory(InodeRecord& directory, int64_t now_ns) {
  directory.mtime_ns = now_ns;
  directory.ctime_ns = now_ns;
}

InodeRecord MakeInode(const InodeRecord& parent, InodeType type, int32_t mode,
                      const wire::Owner& owner, int64_t now_ns) {
  InodeRecord record;
  record.type = type;
  record.mode = static_cast<uint32_t>(mode) & kModeMask;
  record.uid = static_cast<uint32_t>(owner.uid);
  record.gid = static_cast<uint32_t>(owner.gid);
  if ((parent.mode & kSetGidBit) != 0) {
    record.gid = parent.gid;
    if (type == InodeType::kDirectory) record.mode |= kSetGidBit;
  }
  record.nlink = type == InodeType::kDirectory ? 2 : 1;
  record.size_bytes = type == InodeType::kDirectory ? kDirectorySizeBytes : 0;
  record.atime_ns = record.mtime_ns = record.ctime_ns = now_ns;
  record.block_size_bytes = parent.block_size_bytes;
  record.replicas = parent.replicas;
  record.min_replicas = parent.min_replicas;
  record.rule_id = parent.rule_id;
  record.trash_retention_s = parent.trash_retention_s;
  return record;
}

Result<InodeId> InsertInode(OperationContext& context, InodeId parent_id, InodeRecord& parent,
                            std::string_view name, InodeRecord& record) {
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(uint64_t number, tables.TakeNextId(Counter::kNextInode));
  const InodeId inode(number);
  RETURN_IF_ERROR(tables.AddToCounter(Counter::kInodeCount, 1));
  record.parent = parent_id;
  record.name_hint = name;
  if (record.is_directory()) ++parent.nlink;
  tables.PutInode(inode, record);
  tables.PutDentry(parent_id, name, {inode, record.type});
  TouchDirectory(parent, context.now_ns);
  PutChangedInode(tables, parent_id, parent);
  return inode;
}

Status DropName(OperationContext& context, InodeId inode, InodeRecord& record, InodeId parent,
                std::string_view name) {
  MutableTables tables(context.transaction);
  if (record.nlink == 0) {
    return Status(StatusCode::kCorruption, InodeText(inode) + " has a name but no link count");
  }
  record.nlink = record.is_directory() ? 0 : record.nlink - 1;
  record.ctime_ns = context.now_ns;
  if (record.nlink == 0 || (record.parent == parent && record.name_hint == name)) {
    record.name_hint.clear();
    if (!record.is_directory()) record.parent = InodeId();
  }
  if (record.nlink == 0 && record.is_regular()) {
    RETURN_IF_ERROR(TakePendingRetention(context, inode, record, parent));
  }
  if (record.nlink == 0 && record.is_regular() && record.trash_retention_s > 0) {
    record.trash_expires_ns = context.now_ns + record.trash_retention_s * kNanosPerSecond;
    tables.PutTrash(
        record.trash_expires_ns, inode,
        {.directory = parent, .name = std::string(name), .deleted_at_ns = context.now_ns});
    RETURN_IF_ERROR(tables.AddToCounter(Counter::kTrashCount, 1));
  } else if (record.nlink == 0) {
    RETURN_IF_ERROR(MakeOrphan(context, inode));
  }
  PutChangedInode(tables, inode, record);
  return Status::Ok();
}

Status MakeOrphan(OperationContext& context, InodeId inode) {
  MutableTables tables(context.transaction);
  tables.PutOrphan(inode, {context.now_ns});
  return tables.AddToCounter(Counter::kOrphanCount, 1);
}

Result<bool> IsWithin(const Tables& tables, InodeId directory, InodeId ancestor) {
  for (int depth = 0; depth < kMaxDirectoryDepth; ++depth) {
    if (directory == ancestor) return true;
    if (directory == kRootInode) return false;
    ASSIGN_OR_RETURN(std::optional<InodeRecord> record, tables.FindInode(directory));
    if (!record || !record->is_directory()) {
      return Status(StatusCode::kCorruption, "the parents of a directory do not lead to the root");
    }
    directory = record->parent;
  }
  return Status(StatusCode::kNotSupported,
                "the directory is too deep in the tree to be renamed into");
}

Result<bool> IsEmptyDirectory(const Tables& tables, InodeId directory) {
  bool empty = true;
  RETURN_IF_ERROR(tables.ScanDentries(directory, "", [&](std::string_view, const DentryRecord&) {
    empty = false;
    return false;
  }));
  return empty;
}

}  // namespace tercet
