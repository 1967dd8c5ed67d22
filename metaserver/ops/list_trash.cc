#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "common/base/coding.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/paths.h"
#include "metaserver/ops/reads.h"
#include "metaserver/ops/trash_operations.h"

namespace tercet {
namespace {

// Rows that one call looks at.
constexpr int kMaxTrashRowsLookedAt = 20'000;

struct TrashKeyParts {
  int64_t expires_ns = 0;
  InodeId inode;
};

std::string EncodeCursor(TrashKeyParts last) {
  std::string cursor;
  PutBigEndian64(&cursor, static_cast<uint64_t>(last.expires_ns));
  PutBigEndian64(&cursor, last.inode.value());
  return cursor;
}

// The first key behind the cursor.
Result<TrashKeyParts> DecodeCursor(std::string_view cursor) {
  if (cursor.empty()) return TrashKeyParts();
  Decoder decoder(cursor);
  TrashKeyParts first;
  first.expires_ns = static_cast<int64_t>(decoder.BigEndian64());
  first.inode = InodeId(decoder.BigEndian64()).Next();
  if (!decoder.Finish("cursor").ok() || first.expires_ns < 0 || first.inode.value() == 0) {
    return Status(StatusCode::kInvalidArgument, "malformed cursor");
  }
  return first;
}

struct Row {
  TrashKeyParts key;
  TrashRecord trash;
};
struct Rows {
  std::vector<Row> rows;
  std::string cursor;  // empty: no rows behind those looked at
};

// Rows behind `cursor` that `wanted` takes, at most `max`.
template <typename Wanted>
Result<Rows> ScanRows(const Tables& tables, std::string_view cursor, int max,
                      const Wanted& wanted) {
  ASSIGN_OR_RETURN(const TrashKeyParts first, DecodeCursor(cursor));
  max = std::clamp(max, 1, kMaxTrashEntriesPerReply);
  Rows found;
  TrashKeyParts last;
  int looked_at = 0;
  RETURN_IF_ERROR(tables.ScanTrash(
      first.expires_ns, first.inode,
      [&](int64_t expires_ns, InodeId inode, const TrashRecord& trash) {
        if (looked_at++ == kMaxTrashRowsLookedAt || found.rows.size() == static_cast<size_t>(max)) {
          found.cursor = EncodeCursor(last);
          return false;
        }
        last = {expires_ns, inode};
        if (wanted(trash)) found.rows.push_back({last, trash});
        return true;
      }));
  return found;
}

// What directories have in common in a listing: most files are from few of them.
class Directories {
 public:
  Directories(const Tables& tables, InodeId below) : tables_(tables), below_(below) {}

  struct Directory {
    bool wanted = true;
    std::string path;  // empty: gone
  };
  Result<const Directory*> Get(InodeId inode) {
    auto known = known_.find(inode);
    if (known != known_.end()) return &known->second;
    Directory directory;
    ASSIGN_OR_RETURN(std::optional<InodeRecord> record, tables_.FindInode(inode));
    if (record && record->nlink > 0) {
      ASSIGN_OR_RETURN(directory.path, PathOf(tables_.view(), inode));
    }
    if (below_ != kRootInode) {
      Result<bool> within = IsWithin(tables_, inode, below_);
      // Of a directory that is gone, row and all, it is not known any more where it was.
      directory.wanted = within.ok() && *within;
    }
    return &known_.emplace(inode, std::move(directory)).first->second;
  }

 private:
  const Tables& tables_;
  const InodeId below_;
  std::map<InodeId, Directory> known_;
};

}  // namespace

Result<wire::ListTrashResponse> ListTrash(const View& view, const wire::ListTrashRequest& request) {
  const Tables tables(view);
  InodeId below = kRootInode;
  if (!request.path.empty()) {
    ASSIGN_OR_RETURN(below, ResolvePath(view, request.path));
    RETURN_IF_ERROR(GetDirectory(tables, below).status());
  }
  ASSIGN_OR_RETURN(Rows found, ScanRows(tables, request.cursor, request.max_entries,
                                        [](const TrashRecord&) { return true; }));
  wire::ListTrashResponse response;
  response.cursor = std::move(found.cursor);
  Directories directories(tables, below);
  for (const Row& row : found.rows) {
    ASSIGN_OR_RETURN(const Directories::Directory* directory, directories.Get(row.trash.directory));
    if (!directory->wanted) continue;
    ASSIGN_OR_RETURN(std::optional<InodeRecord> record, tables.FindInode(row.key.inode));
    if (!record) continue;  // it left the trash meanwhile
    wire::TrashEntry entry;
    entry.inode = static_cast<int64_t>(row.key.inode.value());
    entry.name = row.trash.name;
    entry.directory = directory->path;
    entry.directory_inode = static_cast<int64_t>(row.trash.directory.value());
    entry.size_bytes = static_cast<int64_t>(record->size_bytes);
    entry.deleted_at_ns = row.trash.deleted_at_ns;
    entry.expires_at_ns = row.key.expires_ns;
    entry.uid = static_cast<int32_t>(record->uid);
    response.entries.push_back(std::move(entry));
  }
  return response;
}

Result<TrashPage> FindTrashBefore(const View& view, int64_t deleted_before_ns,
                                  std::string_view cursor, int max_files) {
  ASSIGN_OR_RETURN(Rows found,
                   ScanRows(Tables(view), cursor, max_files, [&](const TrashRecord& trash) {
                     return trash.deleted_at_ns < deleted_before_ns;
                   }));
  TrashPage page;
  page.cursor = std::move(found.cursor);
  for (const Row& row : found.rows) page.inodes.push_back(row.key.inode);
  return page;
}

}  // namespace tercet
