#include <algorithm>
#include <utility>
#include <vector>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/attributes.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/reads.h"

namespace tercet {
namespace {

// Upper estimates of what an entry takes in the reply besides its name.
constexpr size_t kEntryBytes = 32;
constexpr size_t kAttributesBytes = 160;

}  // namespace

Result<wire::ReadDirectoryResponse> ReadDirectory(const View& view,
                                                  const wire::ReadDirectoryRequest& request) {
  if (request.after_name.size() > kMaxNameBytes) {
    return Status(StatusCode::kNameTooLong, "after_name is longer than a name can be");
  }
  Tables tables(view);
  const InodeId inode = InodeFromWire(request.inode);
  ASSIGN_OR_RETURN(InodeRecord directory, GetDirectory(tables, inode));
  const size_t max_entries =
      static_cast<size_t>(std::clamp(request.max_entries, 1, kMaxDirectoryEntries));
  const size_t entry_bytes = kEntryBytes + (request.with_attributes ? kAttributesBytes : 0);

  wire::ReadDirectoryResponse response;
  response.parent = static_cast<int64_t>(directory.parent.value());
  response.complete = true;
  size_t reply_bytes = 0;
  RETURN_IF_ERROR(tables.ScanDentries(
      inode, request.after_name, [&](std::string_view name, const DentryRecord& entry) {
        if (response.entries.size() == max_entries || reply_bytes >= kMaxDirectoryReplyBytes) {
          response.complete = false;
          return false;
        }
        reply_bytes += name.size() + entry_bytes;
        wire::DirectoryEntry& out = response.entries.emplace_back();
        out.name = name;
        out.inode = static_cast<int64_t>(entry.inode.value());
        out.type = ToWire(entry.type);
        return true;
      }));
  if (!request.with_attributes) return response;
  for (wire::DirectoryEntry& entry : response.entries) {
    const InodeId child = InodeFromWire(entry.inode);
    ASSIGN_OR_RETURN(std::optional<InodeRecord> record, tables.FindInode(child));
    // An entry that was removed while this ran stays without attributes: the caller looks it up.
    if (record) entry.__set_attributes(MakeAttributes(child, *record));
  }
  return response;
}

}  // namespace tercet
