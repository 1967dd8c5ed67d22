#include "metaserver/journal/node_identity.h"

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/base/hex.h"
#include "metaserver/journal/journal_format.h"
#include "metaserver/journal/rebuild_advice.h"

namespace tercet {
namespace {

// Part of the format (format.md): never change.
constexpr std::string_view kIdentityMagic("TRCTIDNT", 8);
constexpr uint32_t kIdentityVersion = 1;

std::string Encode(const NodeIdentity& identity) {
  std::string out(kIdentityMagic);
  PutFixed32(&out, kIdentityVersion);
  out += identity.cluster_id;
  out += identity.server_uuid;
  PutFixed32(&out, Crc32c(out));
  return out;
}

}  // namespace

Result<NodeIdentity> LoadIdentity(Disk& disk, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadWholeFile(disk, path, 4096));
  Decoder in(bytes);
  if (in.Bytes(kIdentityMagic.size()) != kIdentityMagic) {
    return Status(StatusCode::kCorruption,
                  path + " is not an identity file. " + std::string(kRebuildAdvice));
  }
  uint32_t version = in.Fixed32();
  if (!in.failed() && version > kIdentityVersion) {
    return Status(StatusCode::kVersionTooNew,
                  path + " was made by a newer Tercet (format " + std::to_string(version) + ")");
  }
  NodeIdentity identity;
  identity.cluster_id = in.Bytes(kIdBytes);
  identity.server_uuid = in.Bytes(kIdBytes);
  uint32_t crc = in.Fixed32();
  if (!in.Finish(path).ok() || crc != Crc32c(std::string_view(bytes).substr(0, bytes.size() - 4))) {
    return Status(StatusCode::kCorruption, path + " is damaged. " + std::string(kRebuildAdvice));
  }
  return identity;
}

Result<NodeIdentity> CheckOrCreateIdentity(Disk& disk, const std::string& path,
                                           const NodeIdentity& wanted, Random& random) {
  for (const std::string* id : {&wanted.cluster_id, &wanted.server_uuid}) {
    if (!id->empty() && id->size() != kIdBytes) {
      return Status(StatusCode::kInvalidArgument,
                    "an id must have 16 bytes, not " + std::to_string(id->size()));
    }
  }
  Result<NodeIdentity> found = LoadIdentity(disk, path);
  if (found.code() == StatusCode::kNotFound) {
    NodeIdentity made = wanted;
    if (made.cluster_id.empty()) made.cluster_id = random.Bytes(kIdBytes);
    if (made.server_uuid.empty()) made.server_uuid = random.Bytes(kIdBytes);
    RETURN_IF_ERROR(WriteFileAtomically(disk, path, Encode(made)));
    return made;
  }
  RETURN_IF_ERROR(found.status());
  if (!wanted.cluster_id.empty() && wanted.cluster_id != found->cluster_id) {
    return Status(StatusCode::kWrongCluster,
                  path + " says that this folder belongs to cluster " + HexOf(found->cluster_id) +
                      ", not to " + HexOf(wanted.cluster_id) + "; check the data folder's path");
  }
  if (!wanted.server_uuid.empty() && wanted.server_uuid != found->server_uuid) {
    return Status(StatusCode::kFailedPrecondition,
                  path + " says that this folder belongs to server " + HexOf(found->server_uuid) +
                      ", not to " + HexOf(wanted.server_uuid) + "; check the data folder's path");
  }
  return found;
}

}  // namespace tercet
