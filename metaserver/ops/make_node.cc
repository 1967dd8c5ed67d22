#include <cstring>

#include "metaserver/ops/attributes.h"
#include "metaserver/ops/inodes.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/names.h"
#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

Status CheckSymlinkTarget(const std::string& target) {
  if (target.empty()) return Status(StatusCode::kNotFound, "the target is empty");
  if (target.size() > kMaxSymlinkTargetBytes) {
    return Status(StatusCode::kNameTooLong, "the target has more than 4095 bytes");
  }
  if (target.find('\0') != std::string::npos) {
    return Status(StatusCode::kInvalidArgument, "the target contains a NUL");
  }
  return Status::Ok();
}

// The verb for the journal's summary; null for a type this program does not know.
const char* VerbOf(const wire::FileType::type& type) {
  // Thrift stores whatever number a peer sent, and to load one that is not in the enum as the enum
  // would be undefined: its bytes are looked at.
  int32_t number = 0;
  static_assert(sizeof(number) == sizeof(type));
  std::memcpy(&number, &type, sizeof(number));
  switch (number) {
    case wire::FileType::REGULAR:
      return "mknod regular";
    case wire::FileType::DIRECTORY:
      return "mkdir";
    case wire::FileType::SYMLINK:
      return "symlink";
    case wire::FileType::FIFO:
      return "mknod fifo";
    case wire::FileType::SOCKET:
      return "mknod socket";
    case wire::FileType::CHARACTER_DEVICE:
      return "mknod character";
    case wire::FileType::BLOCK_DEVICE:
      return "mknod block";
  }
  return nullptr;
}

}  // namespace

Result<wire::MakeNodeResponse> EvaluateMakeNode(OperationContext& context,
                                                const wire::MakeNodeRequest& request) {
  const char* verb = VerbOf(request.type);
  if (verb == nullptr) return Status(StatusCode::kInvalidArgument, "unknown file type");
  RETURN_IF_ERROR(CheckName(request.name, NameUse::kCreate));
  const auto type = static_cast<InodeType>(request.type);
  if (type == InodeType::kSymlink) RETURN_IF_ERROR(CheckSymlinkTarget(request.symlink_target));

  MutableTables tables(context.transaction);
  const InodeId parent_id = InodeFromWire(request.parent);
  ASSIGN_OR_RETURN(InodeRecord parent, GetLinkedDirectory(tables, parent_id));
  ASSIGN_OR_RETURN(std::optional<DentryRecord> entry, tables.FindDentry(parent_id, request.name));
  if (entry) return Status(StatusCode::kExists, "there is an entry of this name");

  InodeRecord record = MakeInode(parent, type, request.mode, request.owner, context.now_ns);
  if (type == InodeType::kSymlink) {
    record.mode = 0777;
    record.symlink_target = request.symlink_target;
    record.size_bytes = request.symlink_target.size();
  } else if (type == InodeType::kCharacterDevice || type == InodeType::kBlockDevice) {
    record.rdev = static_cast<uint64_t>(request.rdev);
  }
  ASSIGN_OR_RETURN(InodeId inode, InsertInode(context, parent_id, parent, request.name, record));
  Summary(context, verb)
      .Add("parent", parent_id.value())
      .AddName("name", request.name)
      .Add("inode", inode.value());
  wire::MakeNodeResponse response;
  response.attributes = MakeAttributes(inode, record);
  return response;
}

}  // namespace tercet
