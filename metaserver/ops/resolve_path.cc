#include <string>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/names.h"
#include "metaserver/ops/reads.h"

namespace tercet {

Result<InodeId> ResolvePath(const View& view, std::string_view path) {
  if (path.size() >= kMaxPathBytes) {
    return Status(StatusCode::kNameTooLong, "the path is longer than 4095 bytes");
  }
  if (!path.starts_with('/')) {
    return Status(StatusCode::kInvalidArgument, "the path does not begin with '/'");
  }
  Tables tables(view);
  InodeId inode = kRootInode;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (name.empty()) continue;
    RETURN_IF_ERROR(CheckName(name, NameUse::kLookUp));
    ASSIGN_OR_RETURN(InodeRecord directory, GetDirectory(tables, inode));
    if (name == ".") continue;
    if (name == "..") {
      inode = directory.parent;
      continue;
    }
    ASSIGN_OR_RETURN(std::optional<DentryRecord> entry, tables.FindDentry(inode, name));
    if (!entry) return Status(StatusCode::kNotFound, "no entry '" + std::string(name) + "'");
    inode = entry->inode;
  }
  return inode;
}

}  // namespace tercet
