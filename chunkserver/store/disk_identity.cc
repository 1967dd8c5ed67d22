#include "chunkserver/store/disk_identity.h"

#include "common/base/coding.h"
#include "common/base/crc32c.h"

namespace tercet {
namespace {

constexpr uint64_t kIdentityMagic = 0x314b534454435254;  // "TRCTDSK1" in memory order
constexpr uint64_t kEpochMagic = 0x314f504554435254;     // "TRCTEPO1"
constexpr uint32_t kIdentityVersion = 1;

/// Checks and takes off the checksum at the end.
Result<std::string_view> Checked(std::string_view bytes, const char* what) {
  if (bytes.size() < 4 || bytes.size() > kMaxIdentityFileBytes) {
    return Status(StatusCode::kCorruption, std::string(what) + ": wrong size");
  }
  std::string_view body = bytes.substr(0, bytes.size() - 4);
  if (DecodeFixed32(bytes.data() + body.size()) != Crc32c(body)) {
    return Status(StatusCode::kCorruption, std::string(what) + ": wrong checksum");
  }
  return body;
}

}  // namespace

std::string EncodeDiskIdentity(const DiskIdentity& identity) {
  std::string out;
  PutFixed64(&out, kIdentityMagic);
  PutFixed32(&out, kIdentityVersion);
  out += identity.server_uuid;
  out += identity.disk_uuid;
  PutLengthPrefixed(&out, identity.cluster_id);
  PutFixed32(&out, Crc32c(out));
  return out;
}

Result<DiskIdentity> DecodeDiskIdentity(std::string_view bytes) {
  ASSIGN_OR_RETURN(std::string_view body, Checked(bytes, "disk identity"));
  Decoder in(body);
  if (in.Fixed64() != kIdentityMagic) {
    return Status(StatusCode::kCorruption, "disk identity: wrong magic");
  }
  const uint32_t version = in.Fixed32();
  if (!in.failed() && version != kIdentityVersion) {
    return Status(StatusCode::kVersionTooNew, "disk identity: format " + std::to_string(version) +
                                                  "; this program knows format 1: update it");
  }
  DiskIdentity identity;
  identity.server_uuid = in.Bytes(kUuidBytes);
  identity.disk_uuid = in.Bytes(kUuidBytes);
  identity.cluster_id = in.LengthPrefixed();
  RETURN_IF_ERROR(in.Finish("disk identity"));
  if (identity.cluster_id.size() > kMaxClusterIdBytes) {
    return Status(StatusCode::kCorruption, "disk identity: cluster id too long");
  }
  return identity;
}

std::string EncodeEpochFile(Epoch epoch) {
  std::string out;
  PutFixed64(&out, kEpochMagic);
  PutFixed64(&out, epoch.value());
  PutFixed32(&out, Crc32c(out));
  return out;
}

Result<Epoch> DecodeEpochFile(std::string_view bytes) {
  ASSIGN_OR_RETURN(std::string_view body, Checked(bytes, "epoch file"));
  Decoder in(body);
  if (in.Fixed64() != kEpochMagic) {
    return Status(StatusCode::kCorruption, "epoch file: wrong magic");
  }
  const Epoch epoch(in.Fixed64());
  RETURN_IF_ERROR(in.Finish("epoch file"));
  return epoch;
}

}  // namespace tercet
