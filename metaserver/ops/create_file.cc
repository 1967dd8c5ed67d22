#include <limits>

#include "metaserver/ops/attributes.h"
#include "metaserver/ops/blocks.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/names.h"
#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

// Blocks that the reply carries for a file that existed; the reader asks for more.
constexpr int kBlocksInReply = 4;

Result<wire::CreateFileResponse> ExistingFile(const Tables& tables, const DentryRecord& entry,
                                              bool exclusive) {
  if (exclusive) return Status(StatusCode::kExists, "there is an entry of this name");
  if (entry.type == InodeType::kDirectory) {
    return Status(StatusCode::kIsDirectory, "a directory has this name");
  }
  if (entry.type != InodeType::kRegular) {
    return Status(StatusCode::kExists, "something else than a regular file has this name");
  }
  ASSIGN_OR_RETURN(InodeRecord record, tables.GetInode(entry.inode));
  wire::CreateFileResponse response;
  response.created = false;
  response.attributes = MakeAttributes(entry.inode, record);
  ASSIGN_OR_RETURN(BlockList list,
                   ListBlocks(tables, entry.inode, record, 0, std::numeric_limits<uint64_t>::max(),
                              kBlocksInReply));
  response.blocks = std::move(list.blocks);
  RETURN_IF_ERROR(AppendServers(tables, response.blocks, &response.servers));
  return response;
}

}  // namespace

Result<wire::CreateFileResponse> EvaluateCreateFile(OperationContext& context,
                                                    const wire::CreateFileRequest& request) {
  RETURN_IF_ERROR(CheckName(request.name, NameUse::kCreate));
  MutableTables tables(context.transaction);
  const InodeId parent_id = InodeFromWire(request.parent);
  ASSIGN_OR_RETURN(InodeRecord parent, GetLinkedDirectory(tables, parent_id));
  ASSIGN_OR_RETURN(std::optional<DentryRecord> entry, tables.FindDentry(parent_id, request.name));
  if (entry) {
    Summary(context, "create existing").Add("inode", entry->inode.value());
    return ExistingFile(tables, *entry, request.exclusive);
  }
  InodeRecord record =
      MakeInode(parent, InodeType::kRegular, request.mode, request.owner, context.now_ns);
  ASSIGN_OR_RETURN(InodeId inode, InsertInode(context, parent_id, parent, request.name, record));
  Summary(context, "create")
      .Add("parent", parent_id.value())
      .AddName("name", request.name)
      .Add("inode", inode.value());
  wire::CreateFileResponse response;
  response.created = true;
  response.attributes = MakeAttributes(inode, record);
  return response;
}

}  // namespace tercet
