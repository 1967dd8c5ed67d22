// The journal's bytes on disk. The description, with a worked example, is
// metaserver/journal/format.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/raft/consensus.h"

namespace tercet {

// Part of the format: never change.
inline constexpr std::string_view kSegmentMagic("TRCTJRNL", 8);
inline constexpr uint32_t kJournalFormatVersion = 2;
inline constexpr uint32_t kFirstVersionWithMemberships = 2;
inline constexpr uint64_t kSegmentHeaderBytes = 4096;  // records begin here, in a page of their own
inline constexpr uint64_t kSegmentHeaderUsedBytes = 80;  // the rest is zeros
inline constexpr uint64_t kRecordHeaderBytes = 32;
inline constexpr uint64_t kRecordAlignment = 8;
inline constexpr size_t kIdBytes = 16;  // cluster ids and server UUIDs

/// What a record is. Part of the format: append only, never renumber.
enum class RecordType : uint8_t {
  kData = 1,        // a payload for the applier
  kTruncate = 2,    // all records before this one whose index is above its index are void
  kMembership = 3,  // a payload for the consensus core; since version 2
};
static_assert(static_cast<int>(RecordType::kData) == static_cast<int>(RecordKind::kData));
static_assert(static_cast<int>(RecordType::kMembership) ==
              static_cast<int>(RecordKind::kMembership));

struct SegmentHeader {
  std::string cluster_id;  // kIdBytes
  uint64_t sequence = 0;   // of segments, from 1, without holes
  uint32_t version = kJournalFormatVersion;
  JournalIndex first_index;  // the first record written into the segment has this index
  Epoch previous_epoch;      // of the record before first_index; 0 when there is none
  uint64_t salt = 0;         // random for each use of a file
  uint64_t size_bytes = 0;   // of the file
  /// The journal begins with this segment: those before it are void. Since version 2.
  bool begins_journal = false;

  /// kSegmentHeaderBytes long.
  std::string Encode() const;
  /// `bytes` is the file's first kSegmentHeaderBytes. kVersionTooNew, or kCorruption with what is
  /// wrong.
  static Result<SegmentHeader> Decode(std::string_view bytes);
};

struct RecordHeader {
  uint32_t payload_bytes = 0;
  JournalIndex index;
  Epoch epoch;
  uint32_t batch_offset =
      0;  // in the file; all records before it were synced before this one was written
  RecordType type = RecordType::kData;
};

/// The whole record's length in the file, padding included.
inline constexpr uint64_t RecordBytes(uint64_t payload_bytes) {
  return (kRecordHeaderBytes + payload_bytes + kRecordAlignment - 1) / kRecordAlignment *
         kRecordAlignment;
}

/// Encodes and checks the records of one use of a segment file. Immutable.
class RecordCodec {
 public:
  explicit RecordCodec(uint64_t salt);

  /// Appends the record with its padding. `header.payload_bytes` is not looked at.
  void Append(std::string* out, const RecordHeader& header, std::string_view payload) const;

  /// The header, when the kRecordHeaderBytes look like one of this use of the file: cheap, and
  /// wrong once in 2^24 times on foreign bytes. The payload's length is not checked against
  /// anything.
  std::optional<RecordHeader> Peek(const char* bytes) const;

  /// `bytes` begins with the header and holds at least header.payload_bytes behind it. True when
  /// the checksum is right.
  bool Verify(const RecordHeader& header, std::string_view bytes) const;

 private:
  uint32_t crc_seed_;
  uint32_t tag_;  // the salt's low 24 bits, in the upper 24
};

}  // namespace tercet
