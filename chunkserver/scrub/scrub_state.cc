#include "chunkserver/scrub/scrub_state.h"

#include "common/base/coding.h"
#include "common/base/crc32c.h"

namespace tercet {
namespace {

// Part of the format (format.md): never change.
constexpr uint64_t kMagic = 0x3152435354435254;  // "TRCTSCR1" in memory order
constexpr uint32_t kVersion = 1;
constexpr size_t kDiskUuidBytes = 16;
constexpr size_t kChecksumBytes = 4;

}  // namespace

std::string EncodeScrubState(const ScrubState& state) {
  std::string out;
  PutFixed64(&out, kMagic);
  PutFixed32(&out, kVersion);
  out += state.disk_uuid;
  PutFixed64(&out, static_cast<uint64_t>(state.round_started_ns));
  PutFixed64(&out, state.position.value());
  PutFixed64(&out, state.verified_cost);
  PutFixed64(&out, state.verified_bytes);
  PutFixed64(&out, state.bad_replicas);
  PutFixed64(&out, static_cast<uint64_t>(state.completed_started_ns));
  PutFixed64(&out, static_cast<uint64_t>(state.completed_ended_ns));
  PutFixed32(&out, Crc32c(out));
  return out;
}

Result<ScrubState> DecodeScrubState(std::string_view bytes) {
  if (bytes.size() < kChecksumBytes || bytes.size() > kMaxScrubFileBytes) {
    return Status(StatusCode::kCorruption, "scrub state: wrong size");
  }
  const std::string_view body = bytes.substr(0, bytes.size() - kChecksumBytes);
  if (DecodeFixed32(bytes.data() + body.size()) != Crc32c(body)) {
    return Status(StatusCode::kCorruption, "scrub state: wrong checksum");
  }
  Decoder in(body);
  if (in.Fixed64() != kMagic) return Status(StatusCode::kCorruption, "scrub state: wrong magic");
  const uint32_t version = in.Fixed32();
  if (!in.failed() && version != kVersion) {
    return Status(StatusCode::kVersionTooNew, "scrub state: format " + std::to_string(version) +
                                                  "; this program knows format " +
                                                  std::to_string(kVersion));
  }
  ScrubState state;
  state.disk_uuid = in.Bytes(kDiskUuidBytes);
  state.round_started_ns = static_cast<int64_t>(in.Fixed64());
  state.position = BlockId(in.Fixed64());
  state.verified_cost = in.Fixed64();
  state.verified_bytes = in.Fixed64();
  state.bad_replicas = in.Fixed64();
  state.completed_started_ns = static_cast<int64_t>(in.Fixed64());
  state.completed_ended_ns = static_cast<int64_t>(in.Fixed64());
  RETURN_IF_ERROR(in.Finish("scrub state"));
  return state;
}

}  // namespace tercet
