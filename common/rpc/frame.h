// Data-plane frames: a fixed prelude, a Thrift-compact header, a raw payload.
// The format with an example in bytes is in common/rpc/frame_format.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tercet {

inline constexpr uint32_t kFrameMagic = 0x31464354;  // "TCF1" in memory order
inline constexpr size_t kFramePreludeBytes = 32;
inline constexpr uint32_t kMaxFrameHeaderBytes = 64 << 10;
/// 1 MiB of data at any alignment, rounded out to whole pages, with room to spare.
inline constexpr uint32_t kMaxFramePayloadBytes = (1 << 20) + (64 << 10);

/// The first 32 bytes of a frame.
struct FramePrelude {
  uint8_t kind = 0;  // wire::FrameKind
  uint32_t header_bytes = 0;
  uint32_t payload_bytes = 0;
  uint64_t request_id = 0;  // echoed by the response
  uint32_t header_crc = 0;

  void Encode(char out[kFramePreludeBytes]) const;
  /// kCorruption for a wrong magic, prelude checksum or a length over the limits;
  /// kVersionTooNew for another version of the format.
  static Result<FramePrelude> Decode(std::string_view bytes);
};

/// Serializes a generated struct with the compact protocol. Reuses the capacity of `out`.
template <typename T>
void EncodeFrameHeader(const T& header, std::string* out);
/// kCorruption when the bytes are not a `T`.
template <typename T>
Status DecodeFrameHeader(std::string_view bytes, T* out);

}  // namespace tercet
