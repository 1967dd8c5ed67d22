#include "metaserver/namespace/write_set.h"

#include "common/base/coding.h"

namespace tercet {
namespace {

// Part of the journal's format (metaserver/journal/format.md): never renumber.
constexpr uint8_t kEncodingVersion = 1;
constexpr uint8_t kPut = 1;
constexpr uint8_t kDelete = 2;

}  // namespace

std::string WriteSet::Encode() const {
  std::string out;
  size_t size = 16 + kMaxSummaryBytes;
  for (const WriteSetEntry& entry : entries) {
    size += 12 + entry.key.size() + (entry.value ? entry.value->size() : 0);
  }
  out.reserve(size);
  PutFixed8(&out, kEncodingVersion);
  PutLengthPrefixed(&out, std::string_view(summary).substr(0, kMaxSummaryBytes));
  PutVarint64(&out, entries.size());
  for (const WriteSetEntry& entry : entries) {
    PutFixed8(&out, entry.value ? kPut : kDelete);
    PutLengthPrefixed(&out, entry.key);
    if (entry.value) PutLengthPrefixed(&out, *entry.value);
  }
  return out;
}

Status WriteSet::Visit(std::string_view bytes, const EntryFunction& entry,
                       std::string_view* summary) {
  Decoder in(bytes);
  uint8_t version = in.Fixed8();
  if (!in.failed() && version > kEncodingVersion) {
    return Status(StatusCode::kVersionTooNew,
                  "write set: encoding version " + std::to_string(version) +
                      " was written by a newer Tercet; this one reads up to " +
                      std::to_string(kEncodingVersion));
  }
  if (version != kEncodingVersion) {
    return Status(StatusCode::kCorruption, "write set: no encoding version");
  }
  std::string_view line = in.LengthPrefixed();
  if (summary != nullptr) *summary = line;
  uint64_t count = in.Varint64();
  for (uint64_t i = 0; i < count && !in.failed(); ++i) {
    uint8_t kind = in.Fixed8();
    std::string_view key = in.LengthPrefixed();
    std::optional<std::string_view> value;
    if (kind == kPut) value = in.LengthPrefixed();
    if (in.failed()) break;
    if ((kind != kPut && kind != kDelete) || key.empty()) {
      return Status(StatusCode::kCorruption, "write set: entry " + std::to_string(i) +
                                                 (key.empty() ? " has no key" : " has no kind"));
    }
    if (entry) entry(key, value);
  }
  return in.Finish("write set");
}

Result<WriteSet> WriteSet::Decode(std::string_view bytes) {
  WriteSet set;
  std::string_view summary;
  RETURN_IF_ERROR(Visit(
      bytes,
      [&set](std::string_view key, std::optional<std::string_view> value) {
        WriteSetEntry& entry = set.entries.emplace_back();
        entry.key = key;
        if (value) entry.value = std::string(*value);
      },
      &summary));
  set.summary = summary;
  return set;
}

}  // namespace tercet
