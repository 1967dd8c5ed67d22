// The small files that say what a disk's folder is: `identity` and `epoch`. Formats: format.md.
#pragma once

#include <string>
#include <string_view>

#include "common/base/ids.h"
#include "common/base/status.h"

namespace tercet {

inline constexpr size_t kUuidBytes = 16;
inline constexpr size_t kMaxClusterIdBytes = 64;
inline constexpr size_t kMaxIdentityFileBytes = 256;

struct DiskIdentity {
  std::string server_uuid;  // kUuidBytes
  std::string disk_uuid;    // kUuidBytes
  std::string cluster_id;   // empty while unknown
};

std::string EncodeDiskIdentity(const DiskIdentity& identity);
/// kCorruption or kVersionTooNew.
Result<DiskIdentity> DecodeDiskIdentity(std::string_view bytes);

std::string EncodeEpochFile(Epoch epoch);
Result<Epoch> DecodeEpochFile(std::string_view bytes);

}  // namespace tercet
