#include "metaserver/ops/paths.h"

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/mutations.h"

namespace tercet {
namespace {

// Entries of a directory that are looked at for a subdirectory without a hint (rows that an older
// version wrote).
constexpr int kMaxEntriesLookedAt = 10'000;

// The name under which `inode` is in its parent now; empty when it is not known.
Result<std::string> NameOf(const Tables& tables, InodeId inode, const InodeRecord& record) {
  if (!record.name_hint.empty()) {
    ASSIGN_OR_RETURN(std::optional<DentryRecord> entry,
                     tables.FindDentry(record.parent, record.name_hint));
    return entry && entry->inode == inode ? record.name_hint : std::string();
  }
  std::string found;
  if (!record.is_directory() || record.nlink == 0) return found;
  int looked_at = 0;
  RETURN_IF_ERROR(
      tables.ScanDentries(record.parent, "", [&](std::string_view name, const DentryRecord& entry) {
        if (entry.inode == inode) found = name;
        return found.empty() && ++looked_at < kMaxEntriesLookedAt;
      }));
  return found;
}

}  // namespace

Result<std::string> PathOf(const View& view, InodeId inode) {
  const Tables tables(view);
  std::string path;
  for (int depth = 0; depth < kMaxDirectoryDepth && inode != kRootInode; ++depth) {
    ASSIGN_OR_RETURN(std::optional<InodeRecord> record, tables.FindInode(inode));
    std::string name;
    if (record) {
      ASSIGN_OR_RETURN(name, NameOf(tables, inode, *record));
    }
    if (name.empty()) break;
    path = path.empty() ? std::move(name) : name + '/' + path;
    inode = record->parent;
  }
  if (inode == kRootInode) return '/' + path;
  return "inode " + std::to_string(inode.value()) + (path.empty() ? "" : '/' + path);
}

}  // namespace tercet
