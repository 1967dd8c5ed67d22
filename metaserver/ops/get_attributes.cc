#include "metaserver/namespace/tables.h"
#include "metaserver/ops/attributes.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/reads.h"

namespace tercet {

Result<wire::GetAttributesResponse> GetAttributes(const View& view,
                                                  const wire::GetAttributesRequest& request) {
  const InodeId inode = InodeFromWire(request.inode);
  ASSIGN_OR_RETURN(InodeRecord record, Tables(view).GetInode(inode));
  wire::GetAttributesResponse response;
  response.attributes = MakeAttributes(inode, record);
  return response;
}

}  // namespace tercet
