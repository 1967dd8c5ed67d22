#include "metaserver/namespace/tables.h"
#include "metaserver/ops/attributes.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/names.h"
#include "metaserver/ops/reads.h"

namespace tercet {

Result<wire::LookupResponse> Lookup(const View& view, const wire::LookupRequest& request) {
  RETURN_IF_ERROR(CheckName(request.name, NameUse::kLookUp));
  Tables tables(view);
  const InodeId parent = InodeFromWire(request.parent);
  ASSIGN_OR_RETURN(InodeRecord directory, GetDirectory(tables, parent));
  wire::LookupResponse response;
  if (request.name == ".") {
    response.attributes = MakeAttributes(parent, directory);
    return response;
  }
  InodeId inode = directory.parent;
  if (request.name != "..") {
    ASSIGN_OR_RETURN(std::optional<DentryRecord> entry, tables.FindDentry(parent, request.name));
    if (!entry) return Status(StatusCode::kNotFound, "no such entry");
    inode = entry->inode;
  }
  ASSIGN_OR_RETURN(std::optional<InodeRecord> record, tables.FindInode(inode));
  if (!record) return Status(StatusCode::kNotFound, "the entry was just removed");
  response.attributes = MakeAttributes(inode, *record);
  return response;
}

}  // namespace tercet
