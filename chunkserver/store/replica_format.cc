#include "chunkserver/store/replica_format.h"

#include "common/base/coding.h"
#include "common/base/crc32c.h"

namespace tercet {
namespace {

constexpr size_t kHeaderCrcOffset = kReplicaHeaderBytes - 4;

Status Damaged(const char* what) {
  return Status(StatusCode::kCorruption, std::string("replica ") + what);
}

/// Whether the values of a decoded slot are ones that a writer puts there.
bool IsSane(const ReplicaIntent& intent, uint32_t entry_count) {
  switch (intent.kind) {
    case ReplicaIntent::Kind::kNone:
      return entry_count == 0;
    case ReplicaIntent::Kind::kWrite:
      return entry_count <= kMaxIntentPages && intent.page_count == entry_count &&
             intent.first_page <= kMaxBlockPages &&
             intent.page_count <= kMaxBlockPages - intent.first_page;
    case ReplicaIntent::Kind::kTruncate:
      return entry_count <= 1 && intent.page_count <= kMaxBlockPages &&
             uint64_t{intent.first_page} + entry_count <= intent.page_count;
  }
  return false;
}

}  // namespace

void EncodeReplicaHead(const ReplicaHeader& header, const ReplicaIntent& intent, std::string* out) {
  const size_t start = out->size();
  PutFixed64(out, kReplicaMagic);
  PutFixed32(out, kReplicaVersion);
  PutFixed32(out, 0);  // flags
  PutFixed64(out, header.block.value());
  PutFixed64(out, header.generation.value());
  PutFixed32(out, header.length);
  PutFixed32(out, header.era.value());
  PutFixed64(out, static_cast<uint64_t>(header.created_ns));
  out->resize(start + kHeaderCrcOffset, '\0');
  PutFixed32(out, Crc32c(out->data() + start, kHeaderCrcOffset));

  const size_t slot = out->size();
  PutFixed32(out, 0);  // the checksum, below
  PutFixed32(out, static_cast<uint32_t>(intent.kind));
  PutFixed32(out, intent.first_page);
  PutFixed32(out, intent.page_count);
  PutFixed32(out, static_cast<uint32_t>(intent.entries.size()));
  out->resize(slot + kIntentEntriesOffset, '\0');
  for (uint32_t entry : intent.entries) PutFixed32(out, entry);
  out->resize(slot + kIntentBytes, '\0');
  EncodeFixed32(out->data() + slot, Crc32c(out->data() + slot + 4, kIntentBytes - 4));
}

Result<ReplicaHeader> DecodeReplicaHeader(std::string_view bytes) {
  if (bytes.size() < kReplicaHeaderBytes) return Damaged("header: the file is too short");
  Decoder in(bytes.substr(0, kReplicaHeaderBytes));
  if (in.Fixed64() != kReplicaMagic) return Damaged("header: wrong magic");
  // The checksum is at the same place in all versions, so that damage is told from a newer version.
  if (DecodeFixed32(bytes.data() + kHeaderCrcOffset) != Crc32c(bytes.data(), kHeaderCrcOffset)) {
    return Damaged("header: wrong checksum");
  }
  const uint32_t version = in.Fixed32();
  const uint32_t flags = in.Fixed32();
  if (version < kOldestReplicaVersion || version > kReplicaVersion || flags != 0) {
    return Status(StatusCode::kVersionTooNew,
                  "replica header: format " + std::to_string(version) + " with flags " +
                      std::to_string(flags) + "; this program knows formats 1 and 2: update it");
  }
  ReplicaHeader header;
  header.block = BlockId(in.Fixed64());
  header.generation = Generation(in.Fixed64());
  header.length = in.Fixed32();
  header.era = Era(in.Fixed32());  // 0 in format 1
  header.created_ns = static_cast<int64_t>(in.Fixed64());
  if (header.length > kMaxBlockBytes) return Damaged("header: length over the limit");
  return header;
}

Result<ReplicaIntent> DecodeReplicaIntent(std::string_view bytes) {
  if (bytes.size() < kIntentBytes) return Damaged("intent slot: the file is too short");
  bytes = bytes.substr(0, kIntentBytes);
  Decoder in(bytes);
  if (in.Fixed32() != Crc32c(bytes.substr(4))) return Damaged("intent slot: wrong checksum");
  const uint32_t kind = in.Fixed32();
  if (kind > static_cast<uint32_t>(ReplicaIntent::Kind::kTruncate)) {
    return Damaged("intent slot: unknown kind");
  }
  ReplicaIntent intent;
  intent.kind = static_cast<ReplicaIntent::Kind>(kind);
  intent.first_page = in.Fixed32();
  intent.page_count = in.Fixed32();
  const uint32_t entry_count = in.Fixed32();
  if (!IsSane(intent, entry_count)) return Damaged("intent slot: values out of range");
  in.Bytes(kIntentEntriesOffset - 20);
  intent.entries.reserve(entry_count);
  for (uint32_t i = 0; i < entry_count; ++i) intent.entries.push_back(in.Fixed32());
  RETURN_IF_ERROR(in.FinishAllowingMore("replica intent slot"));
  return intent;
}

}  // namespace tercet
