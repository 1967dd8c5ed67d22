// Rename. The order of the checks is that of Linux's vfs_rename and of the permission-free part of
// ext4's.
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/names.h"
#include "metaserver/ops/policies.h"
#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

// One end of a rename: a directory, a name in it, and what that names.
struct RenameEnd {
  InodeId directory;
  std::string_view name;
  std::optional<DentryRecord> entry;

  bool is_directory() const { return entry && entry->type == InodeType::kDirectory; }
};

Status CheckSubtrees(const Tables& tables, const RenameEnd& from, const RenameEnd& to,
                     bool exchange) {
  // Within one directory nothing can get below itself.
  if (from.directory == to.directory) return Status::Ok();
  if (from.is_directory()) {
    ASSIGN_OR_RETURN(bool within, IsWithin(tables, to.directory, from.entry->inode));
    if (within) {
      return Status(StatusCode::kInvalidArgument, "a directory cannot be moved into itself");
    }
  }
  if (exchange && to.is_directory()) {
    ASSIGN_OR_RETURN(bool within, IsWithin(tables, from.directory, to.entry->inode));
    if (within) {
      return Status(StatusCode::kInvalidArgument, "a directory cannot be moved into itself");
    }
  }
  return Status::Ok();
}

// What is at the target must be of the source's kind, and empty if it is a directory.
Status CheckReplaceable(const Tables& tables, const RenameEnd& from, const RenameEnd& to) {
  if (!to.entry) return Status::Ok();
  if (from.is_directory() && !to.is_directory()) {
    return Status(StatusCode::kNotDirectory, "a directory cannot replace what is not one");
  }
  if (!from.is_directory() && to.is_directory()) {
    return Status(StatusCode::kIsDirectory, "only a directory can replace a directory");
  }
  if (!to.is_directory()) return Status::Ok();
  ASSIGN_OR_RETURN(bool empty, IsEmptyDirectory(tables, to.entry->inode));
  if (!empty) return Status(StatusCode::kNotEmpty, "the directory to be replaced has entries");
  return Status::Ok();
}

// The two directories of a rename, which may be one.
class Parents {
 public:
  Parents(InodeId from_id, InodeRecord from, InodeId to_id, std::optional<InodeRecord> to)
      : from_id_(from_id), from_(std::move(from)), to_id_(to_id), to_(std::move(to)) {}

  InodeRecord& from() { return from_; }
  InodeRecord& to() { return to_ ? *to_ : from_; }

  void Put(MutableTables& tables, int64_t now_ns) {
    TouchDirectory(from_, now_ns);
    PutChangedInode(tables, from_id_, from_);
    if (!to_) return;
    TouchDirectory(*to_, now_ns);
    PutChangedInode(tables, to_id_, *to_);
  }

 private:
  const InodeId from_id_;
  InodeRecord from_;
  const InodeId to_id_;
  std::optional<InodeRecord> to_;  // nothing: the same directory
};

// Enters what `source` names as `target`, with the new parent and ctime. The link counts of the
// directories are kept right for it.
Status MoveEntry(OperationContext& context, const DentryRecord& entry, const RenameEnd& source,
                 const RenameEnd& target, InodeRecord& old_parent, InodeRecord& new_parent) {
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(InodeRecord record, tables.GetInode(entry.inode));
  record.ctime_ns = context.now_ns;
  record.parent = target.directory;
  record.name_hint = target.name;
  RETURN_IF_ERROR(CarryPolicyWalk(context, source.directory, entry.inode, record));
  if (record.is_directory()) {
    --old_parent.nlink;
    ++new_parent.nlink;
  }
  PutChangedInode(tables, entry.inode, record);
  tables.PutDentry(target.directory, target.name, entry);
  return Status::Ok();
}

Status Exchange(OperationContext& context, const RenameEnd& from, const RenameEnd& to,
                Parents& parents) {
  RETURN_IF_ERROR(MoveEntry(context, *from.entry, from, to, parents.from(), parents.to()));
  return MoveEntry(context, *to.entry, to, from, parents.to(), parents.from());
}

Status Replace(OperationContext& context, const RenameEnd& from, const RenameEnd& to,
               Parents& parents) {
  MutableTables tables(context.transaction);
  if (to.entry) {
    ASSIGN_OR_RETURN(InodeRecord replaced, tables.GetInode(to.entry->inode));
    RETURN_IF_ERROR(DropName(context, to.entry->inode, replaced, to.directory, to.name));
    if (to.is_directory()) --parents.to().nlink;
  }
  tables.DeleteDentry(from.directory, from.name);
  return MoveEntry(context, *from.entry, from, to, parents.from(), parents.to());
}

Result<Parents> GetParents(const Tables& tables, InodeId from, InodeId to) {
  ASSIGN_OR_RETURN(InodeRecord from_record, GetLinkedDirectory(tables, from));
  std::optional<InodeRecord> to_record;
  if (from != to) {
    ASSIGN_OR_RETURN(to_record, GetLinkedDirectory(tables, to));
  }
  return Parents(from, std::move(from_record), to, std::move(to_record));
}

}  // namespace

Result<wire::RenameResponse> EvaluateRename(OperationContext& context,
                                            const wire::RenameRequest& request) {
  if (request.no_replace && request.exchange) {
    return Status(StatusCode::kInvalidArgument, "no_replace and exchange exclude each other");
  }
  RETURN_IF_ERROR(CheckName(request.name, NameUse::kRename));
  RETURN_IF_ERROR(CheckName(request.new_name, NameUse::kRename));
  MutableTables tables(context.transaction);
  RenameEnd from{InodeFromWire(request.parent), request.name, {}};
  RenameEnd to{InodeFromWire(request.new_parent), request.new_name, {}};
  ASSIGN_OR_RETURN(Parents parents, GetParents(tables, from.directory, to.directory));
  ASSIGN_OR_RETURN(from.entry, tables.FindDentry(from.directory, from.name));
  if (!from.entry) return Status(StatusCode::kNotFound, "there is nothing to rename");
  ASSIGN_OR_RETURN(to.entry, tables.FindDentry(to.directory, to.name));
  if (to.entry && request.no_replace) {
    return Status(StatusCode::kExists, "there is an entry of the new name");
  }
  if (!to.entry && request.exchange) {
    return Status(StatusCode::kNotFound, "there is nothing to exchange with");
  }
  Summary(context, request.exchange ? "exchange" : "rename")
      .Add("parent", from.directory.value())
      .AddName("name", from.name)
      .Add("new_parent", to.directory.value())
      .AddName("new_name", to.name);
  // POSIX: two names of one file stay as they are.
  if (to.entry && to.entry->inode == from.entry->inode) return wire::RenameResponse();

  RETURN_IF_ERROR(CheckSubtrees(tables, from, to, request.exchange));
  if (request.exchange) {
    RETURN_IF_ERROR(Exchange(context, from, to, parents));
  } else {
    RETURN_IF_ERROR(CheckReplaceable(tables, from, to));
    RETURN_IF_ERROR(Replace(context, from, to, parents));
  }
  parents.Put(tables, context.now_ns);
  return wire::RenameResponse();
}

}  // namespace tercet
