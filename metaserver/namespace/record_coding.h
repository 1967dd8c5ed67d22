// What the encoders and decoders of records share. For the .cc files of records only.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/coding.h"
#include "common/base/status.h"
#include "metaserver/namespace/records.h"

namespace tercet::record_coding {

inline constexpr uint8_t kRecordVersion = 1;

inline std::string NewRecord(size_t expected_bytes) {
  std::string out;
  out.reserve(expected_bytes);
  PutFixed8(&out, kRecordVersion);
  return out;
}

inline Status Malformed(std::string_view what, std::string_view why) {
  return Status(StatusCode::kCorruption, std::string(what) + " record: " + std::string(why));
}

/// Reads the version byte that every record begins with.
Status CheckVersion(Decoder& decoder, std::string_view what);

inline Status Finish(const Decoder& decoder, std::string_view what) {
  return decoder.FinishAllowingMore(std::string(what) + " record");
}

/// A varint that must fit into 32 bits; a larger one makes *bad true.
inline uint32_t Varint32(Decoder& decoder, bool* bad) {
  uint64_t value = decoder.Varint64();
  if (value > std::numeric_limits<uint32_t>::max()) *bad = true;
  return static_cast<uint32_t>(value);
}

inline std::string BoundedString(Decoder& decoder, size_t limit, bool* bad) {
  std::string_view bytes = decoder.LengthPrefixed();
  if (bytes.size() > limit) {
    *bad = true;
    return {};
  }
  return std::string(bytes);
}

/// u8 count, then a varint each. On more than `limit`, or one twice, *bad is true.
void PutServers(std::string* out, const std::vector<ServerId>& servers);
std::vector<ServerId> GetServers(Decoder& decoder, size_t limit, bool* bad);

/// u8 count, then key and value of each label in order of the keys. Out of bounds: *bad is true.
void PutLabels(std::string* out, const std::map<std::string, std::string>& labels);
std::map<std::string, std::string> GetLabels(Decoder& decoder, bool* bad);

/// A power of two within its bounds.
bool IsBlockSize(uint32_t bytes);

}  // namespace tercet::record_coding
