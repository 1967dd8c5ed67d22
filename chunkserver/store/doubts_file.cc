#include "chunkserver/store/doubts_file.h"

#include "common/base/coding.h"
#include "common/base/crc32c.h"

namespace tercet {
namespace {

// Part of the format (format.md): never change.
constexpr uint64_t kMagic = 0x3154424454435254;  // "TRCTDBT1" in memory order
constexpr uint32_t kVersion = 1;
constexpr size_t kChecksumBytes = 4;

}  // namespace

std::string EncodeDoubts(const std::vector<ReplicaInfo>& doubts) {
  std::string out;
  PutFixed64(&out, kMagic);
  PutFixed32(&out, kVersion);
  PutFixed32(&out, static_cast<uint32_t>(doubts.size()));
  for (const ReplicaInfo& doubt : doubts) {
    PutFixed64(&out, doubt.block.value());
    PutFixed64(&out, doubt.generation.value());
  }
  PutFixed32(&out, Crc32c(out));
  return out;
}

Result<std::vector<ReplicaInfo>> DecodeDoubts(std::string_view bytes) {
  if (bytes.size() < kChecksumBytes || bytes.size() > kMaxDoubtsFileBytes) {
    return Status(StatusCode::kCorruption, "doubts: wrong size");
  }
  const std::string_view body = bytes.substr(0, bytes.size() - kChecksumBytes);
  if (DecodeFixed32(bytes.data() + body.size()) != Crc32c(body)) {
    return Status(StatusCode::kCorruption, "doubts: wrong checksum");
  }
  Decoder in(body);
  if (in.Fixed64() != kMagic) return Status(StatusCode::kCorruption, "doubts: wrong magic");
  const uint32_t version = in.Fixed32();
  if (!in.failed() && version != kVersion) {
    return Status(StatusCode::kVersionTooNew, "doubts: format " + std::to_string(version) +
                                                  "; this program knows format " +
                                                  std::to_string(kVersion) + ": update it");
  }
  std::vector<ReplicaInfo> doubts;
  const uint32_t count = in.Fixed32();
  for (uint32_t i = 0; i < count && !in.failed(); ++i) {
    const BlockId block(in.Fixed64());
    doubts.push_back({block, Generation(in.Fixed64())});
  }
  RETURN_IF_ERROR(in.Finish("doubts"));
  return doubts;
}

}  // namespace tercet
