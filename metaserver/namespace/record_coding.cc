#include "metaserver/namespace/record_coding.h"

#include <algorithm>
#include <bit>

namespace tercet::record_coding {

Status CheckVersion(Decoder& decoder, std::string_view what) {
  uint8_t version = decoder.Fixed8();
  if (decoder.failed()) return Malformed(what, "empty");
  if (version == 0) return Malformed(what, "version 0");
  if (version > kRecordVersion) {
    return Status(StatusCode::kVersionTooNew,
                  std::string(what) + " record has version " + std::to_string(version) +
                      ", this program knows " + std::to_string(kRecordVersion) +
                      ": run a newer tercet-metaserver");
  }
  return Status::Ok();
}

void PutServers(std::string* out, const std::vector<ServerId>& servers) {
  PutFixed8(out, static_cast<uint8_t>(servers.size()));
  for (ServerId server : servers) PutVarint64(out, server.value());
}

std::vector<ServerId> GetServers(Decoder& decoder, size_t limit, bool* bad) {
  std::vector<ServerId> servers;
  const size_t count = decoder.Fixed8();
  if (count > limit) {
    *bad = true;
    return servers;
  }
  for (size_t i = 0; i < count; ++i) {
    const ServerId server(Varint32(decoder, bad));
    if (std::ranges::find(servers, server) != servers.end()) *bad = true;
    servers.push_back(server);
  }
  return servers;
}

void PutLabels(std::string* out, const std::map<std::string, std::string>& labels) {
  PutFixed8(out, static_cast<uint8_t>(labels.size()));
  for (const auto& [key, value] : labels) {
    PutLengthPrefixed(out, key);
    PutLengthPrefixed(out, value);
  }
}

std::map<std::string, std::string> GetLabels(Decoder& decoder, bool* bad) {
  std::map<std::string, std::string> labels;
  const size_t count = decoder.Fixed8();
  if (count > kMaxServerLabels) {
    *bad = true;
    return labels;
  }
  for (size_t i = 0; i < count; ++i) {
    std::string key = BoundedString(decoder, kMaxServerLabelBytes, bad);
    std::string value = BoundedString(decoder, kMaxServerLabelBytes, bad);
    if (key.empty() || (!labels.empty() && key <= labels.rbegin()->first)) *bad = true;
    labels.emplace(std::move(key), std::move(value));
  }
  return labels;
}

bool IsBlockSize(uint32_t bytes) {
  return bytes >= kMinBlockSizeBytes && bytes <= kMaxBlockSizeBytes && std::has_single_bit(bytes);
}

}  // namespace tercet::record_coding
