#include <limits>
#include <utility>

#include "common/base/coding.h"
#include "common/log/log.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/names.h"
#include "metaserver/ops/paths.h"
#include "metaserver/ops/reads.h"
#include "metaserver/ops/summary.h"
#include "metaserver/ops/trash_operations.h"

namespace tercet {
namespace {

struct TrashedFile {
  InodeRecord record;
  TrashRecord trash;
};

Result<std::optional<TrashedFile>> FindTrashedFile(const Tables& tables, InodeId inode) {
  ASSIGN_OR_RETURN(std::optional<InodeRecord> record, tables.FindInode(inode));
  if (!record || !record->in_trash()) return std::optional<TrashedFile>();
  ASSIGN_OR_RETURN(std::optional<TrashRecord> trash,
                   tables.FindTrash(record->trash_expires_ns, inode));
  if (!trash) {
    return Status(StatusCode::kCorruption, "inode " + std::to_string(inode.value()) +
                                               " is in the trash, but has no row there");
  }
  return std::optional<TrashedFile>(TrashedFile{std::move(*record), std::move(*trash)});
}

Status LeaveTrash(MutableTables& tables, InodeId inode, InodeRecord& record) {
  tables.DeleteTrash(record.trash_expires_ns, inode);
  record.trash_expires_ns = 0;
  return tables.AddToCounter(Counter::kTrashCount, -1);
}

// From the trash to the orphans.
Status Purge(OperationContext& context, InodeId inode, InodeRecord& record) {
  MutableTables tables(context.transaction);
  RETURN_IF_ERROR(LeaveTrash(tables, inode, record));
  RETURN_IF_ERROR(MakeOrphan(context, inode));
  PutChangedInode(tables, inode, record);
  return Status::Ok();
}

struct Place {
  InodeId directory;
  std::string name;
};

// Where a file is to be restored to.
Result<Place> FindPlace(const Tables& tables, std::string_view to_path, const TrashRecord& trash) {
  if (to_path.empty()) return Place{trash.directory, trash.name};
  if (!to_path.starts_with('/')) {
    return Status(StatusCode::kInvalidArgument, "the path does not begin with '/'");
  }
  const size_t slash = to_path.rfind('/');
  Place place;
  place.name = to_path.substr(slash + 1);
  if (place.name.empty()) {
    return Status(StatusCode::kInvalidArgument, "the path names a directory, not the file in it");
  }
  ASSIGN_OR_RETURN(place.directory, ResolvePath(tables.view(), to_path.substr(0, slash + 1)));
  return place;
}

Result<InodeRecord> GetPlaceDirectory(const Tables& tables, InodeId directory, bool named) {
  Result<InodeRecord> record = GetLinkedDirectory(tables, directory);
  const bool gone = !record.ok() && (record.code() == StatusCode::kStaleHandle ||
                                     record.code() == StatusCode::kNotFound);
  if (!gone || named) return record;
  return Status(StatusCode::kNotFound,
                "the directory that the file was in is gone: name another place (--to PATH)");
}

}  // namespace

Result<wire::RestoreTrashResponse> EvaluateRestoreTrash(OperationContext& context,
                                                        const wire::RestoreTrashRequest& request) {
  MutableTables tables(context.transaction);
  const InodeId inode = InodeFromWire(request.inode);
  ASSIGN_OR_RETURN(std::optional<TrashedFile> file, FindTrashedFile(tables, inode));
  if (!file) {
    return Status(StatusCode::kNotFound,
                  "inode " + std::to_string(inode.value()) + " is not in the trash");
  }
  ASSIGN_OR_RETURN(const Place place, FindPlace(tables, request.to_path, file->trash));
  RETURN_IF_ERROR(CheckName(place.name, NameUse::kCreate));
  ASSIGN_OR_RETURN(InodeRecord directory,
                   GetPlaceDirectory(tables, place.directory, !request.to_path.empty()));
  ASSIGN_OR_RETURN(std::optional<DentryRecord> entry,
                   tables.FindDentry(place.directory, place.name));
  if (entry) {
    return Status(StatusCode::kExists, "there is an entry '" + place.name +
                                           "' in that directory: name another place (--to PATH)");
  }
  RETURN_IF_ERROR(LeaveTrash(tables, inode, file->record));
  file->record.nlink = 1;
  file->record.ctime_ns = context.now_ns;
  file->record.parent = place.directory;
  file->record.name_hint = place.name;
  PutChangedInode(tables, inode, file->record);
  tables.PutDentry(place.directory, place.name, {inode, file->record.type});
  TouchDirectory(directory, context.now_ns);
  PutChangedInode(tables, place.directory, directory);
  Summary(context, "restore")
      .Add("inode", inode.value())
      .Add("parent", place.directory.value())
      .AddName("name", place.name);
  wire::RestoreTrashResponse response;
  ASSIGN_OR_RETURN(response.path, PathOf(tables.view(), inode));
  return response;
}

Result<int> EvaluatePurgeTrash(OperationContext& context, std::span<const InodeId> inodes) {
  const Tables tables(context.transaction);
  int purged = 0;
  for (InodeId inode : inodes) {
    ASSIGN_OR_RETURN(std::optional<TrashedFile> file, FindTrashedFile(tables, inode));
    if (!file) continue;
    RETURN_IF_ERROR(Purge(context, inode, file->record));
    ++purged;
  }
  Summary(context, "purge trash").Add("files", static_cast<uint64_t>(purged));
  return purged;
}

Result<BatchResult> EvaluateExpireTrash(OperationContext& context, int max_files) {
  if (max_files <= 0) return Status(StatusCode::kInvalidArgument, "max_files must be positive");
  const Tables tables(context.transaction);
  BatchResult result{.done = true, .removed = 0};
  std::vector<InodeId> inodes;
  RETURN_IF_ERROR(
      tables.ScanTrash(0, InodeId(), [&](int64_t expires_ns, InodeId inode, const TrashRecord&) {
        if (expires_ns > context.now_ns) return false;
        result.done = inodes.size() < static_cast<size_t>(max_files);
        if (result.done) inodes.push_back(inode);
        return result.done;
      }));
  for (InodeId inode : inodes) {
    Result<std::optional<TrashedFile>> file = FindTrashedFile(tables, inode);
    if (!file.ok() && IsBadRow(file.status())) {
      LOG_WARN_LIMITED("a file of the trash cannot be purged inode={}: {}", inode, file.status());
      continue;
    }
    RETURN_IF_ERROR(file.status());
    if (!*file) continue;
    RETURN_IF_ERROR(Purge(context, inode, (*file)->record));
    ++result.removed;
  }
  Summary(context, "expire trash").Add("files", static_cast<uint64_t>(result.removed));
  return result;
}

}  // namespace tercet
