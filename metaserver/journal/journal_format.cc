#include "metaserver/journal/journal_format.h"

#include "common/base/coding.h"
#include "common/base/crc32c.h"

namespace tercet {
namespace {

// Offsets in a record.
constexpr size_t kCrcAt = 0;
constexpr size_t kLengthAt = 4;
constexpr size_t kIndexAt = 8;
constexpr size_t kEpochAt = 16;
constexpr size_t kBatchOffsetAt = 24;
constexpr size_t kTagAt = 28;

constexpr uint32_t kBeginsJournal = 1;  // bit of the segment header's flags

}  // namespace

std::string SegmentHeader::Encode() const {
  std::string out;
  out.reserve(kSegmentHeaderBytes);
  out.append(kSegmentMagic);
  PutFixed32(&out, version);
  PutFixed32(&out, static_cast<uint32_t>(kSegmentHeaderBytes));
  out.append(cluster_id);
  PutFixed64(&out, sequence);
  PutFixed64(&out, first_index.value());
  PutFixed64(&out, previous_epoch.value());
  PutFixed64(&out, salt);
  PutFixed64(&out, size_bytes);
  if (version >= 2) PutFixed32(&out, begins_journal ? kBeginsJournal : 0);
  PutFixed32(&out, Crc32c(out));
  out.resize(kSegmentHeaderBytes, '\0');
  return out;
}

Result<SegmentHeader> SegmentHeader::Decode(std::string_view bytes) {
  Decoder in(bytes);
  if (in.Bytes(kSegmentMagic.size()) != kSegmentMagic) {
    return Status(StatusCode::kCorruption, "this is not a journal segment (no magic number)");
  }
  SegmentHeader header;
  header.version = in.Fixed32();
  // The version comes first: a newer one may place its checksum elsewhere.
  if (header.version > kJournalFormatVersion) {
    return Status(StatusCode::kVersionTooNew,
                  "the journal has format " + std::to_string(header.version) +
                      ", made by a newer Tercet; this one knows formats up to " +
                      std::to_string(kJournalFormatVersion) + ". Start the newer version on it");
  }
  const uint32_t header_bytes = in.Fixed32();
  header.cluster_id = in.Bytes(kIdBytes);
  header.sequence = in.Fixed64();
  header.first_index = JournalIndex(in.Fixed64());
  header.previous_epoch = Epoch(in.Fixed64());
  header.salt = in.Fixed64();
  header.size_bytes = in.Fixed64();
  const uint32_t flags = header.version >= 2 ? in.Fixed32() : 0;
  header.begins_journal = (flags & kBeginsJournal) != 0;
  const size_t checked_bytes = bytes.size() - in.rest().size();
  const uint32_t crc = in.Fixed32();
  RETURN_IF_ERROR(in.FinishAllowingMore("segment header"));
  if (crc != Crc32c(bytes.substr(0, checked_bytes)) || header.version == 0 ||
      header_bytes != kSegmentHeaderBytes || (flags & ~kBeginsJournal) != 0) {
    return Status(StatusCode::kCorruption, "the segment's header is damaged");
  }
  return header;
}

RecordCodec::RecordCodec(uint64_t salt) : tag_(static_cast<uint32_t>(salt) << 8) {
  char bytes[8];
  EncodeFixed64(bytes, salt);
  crc_seed_ = Crc32c(bytes, sizeof(bytes));
}

void RecordCodec::Append(std::string* out, const RecordHeader& header,
                         std::string_view payload) const {
  const size_t start = out->size();
  out->resize(start + kRecordHeaderBytes);
  char* bytes = out->data() + start;
  EncodeFixed32(bytes + kLengthAt, static_cast<uint32_t>(payload.size()));
  EncodeFixed64(bytes + kIndexAt, header.index.value());
  EncodeFixed64(bytes + kEpochAt, header.epoch.value());
  EncodeFixed32(bytes + kBatchOffsetAt, header.batch_offset);
  EncodeFixed32(bytes + kTagAt, tag_ | static_cast<uint32_t>(header.type));
  uint32_t crc = Crc32cExtend(crc_seed_, bytes + kLengthAt, kRecordHeaderBytes - kLengthAt);
  EncodeFixed32(bytes + kCrcAt, Crc32cExtend(crc, payload.data(), payload.size()));
  out->append(payload);
  out->resize(start + RecordBytes(payload.size()), '\0');
}

std::optional<RecordHeader> RecordCodec::Peek(const char* bytes) const {
  const uint32_t tag = DecodeFixed32(bytes + kTagAt);
  if ((tag & 0xffffff00u) != tag_) return std::nullopt;
  const uint8_t type = tag & 0xffu;
  if (type < static_cast<uint8_t>(RecordType::kData) ||
      type > static_cast<uint8_t>(RecordType::kMembership)) {
    return std::nullopt;
  }
  RecordHeader header;
  header.payload_bytes = DecodeFixed32(bytes + kLengthAt);
  header.index = JournalIndex(DecodeFixed64(bytes + kIndexAt));
  header.epoch = Epoch(DecodeFixed64(bytes + kEpochAt));
  header.batch_offset = DecodeFixed32(bytes + kBatchOffsetAt);
  header.type = static_cast<RecordType>(type);
  return header;
}

bool RecordCodec::Verify(const RecordHeader& header, std::string_view bytes) const {
  if (bytes.size() < kRecordHeaderBytes + header.payload_bytes) return false;
  uint32_t crc = Crc32cExtend(crc_seed_, bytes.data() + kLengthAt,
                              kRecordHeaderBytes - kLengthAt + header.payload_bytes);
  return crc == DecodeFixed32(bytes.data() + kCrcAt);
}

}  // namespace tercet
