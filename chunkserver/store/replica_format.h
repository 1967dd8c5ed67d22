// The format of a replica's file: constants, and the coding of its first page.
// Described, with an example in bytes, in chunkserver/store/format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"

namespace tercet {

/// The unit of checksums.
inline constexpr uint32_t kPageBytes = 4096;
/// What one block can hold.
inline constexpr uint32_t kMaxBlockBytes = 64u << 20;
inline constexpr uint32_t kMaxBlockPages = kMaxBlockBytes / kPageBytes;

// Places in the file. They are part of the format.
inline constexpr uint64_t kReplicaMagic = 0x314b4c4254435254;  // "TRCTBLK1" in memory order
inline constexpr uint32_t kReplicaVersion = 2;
inline constexpr uint32_t kOldestReplicaVersion = 1;  // without an era
inline constexpr uint32_t kReplicaHeaderBytes = 256;
inline constexpr uint32_t kIntentOffset = kReplicaHeaderBytes;
inline constexpr uint32_t kIntentBytes = 1792;
inline constexpr uint32_t kIntentEntriesOffset = 32;  // within the slot
inline constexpr uint32_t kMaxIntentPages = (kIntentBytes - kIntentEntriesOffset) / 4;
inline constexpr uint32_t kTableOffset = kIntentOffset + kIntentBytes;
inline constexpr uint32_t kDataOffset = 17 * kPageBytes;
inline constexpr uint32_t kFirstPageEntries = (kPageBytes - kTableOffset) / 4;
static_assert(kTableOffset + 4 * kMaxBlockPages <= kDataOffset);

/// CRC-32C of 4096 zero bytes. A table entry is the page's CRC XOR this, so that a hole in the
/// table describes a hole in the data.
inline constexpr uint32_t kZeroPageCrc = 0x98f94189;

/// How many pages `length` bytes take.
constexpr uint32_t PagesFor(uint32_t length) { return (length + kPageBytes - 1) / kPageBytes; }

/// A span of time of one disk: activity_log.h. 0 is before all.
using Era = StrongId<struct EraTag, uint32_t>;

/// How many bytes of a disk a replica of `length` bytes takes, when it has no holes.
constexpr uint64_t ReplicaBytes(uint32_t length) {
  const uint64_t pages = PagesFor(length);
  const uint64_t table_pages =
      pages <= kFirstPageEntries
          ? 0
          : (pages - kFirstPageEntries + kPageBytes / 4 - 1) / (kPageBytes / 4);
  return (1 + table_pages + pages) * kPageBytes;
}

struct ReplicaHeader {
  BlockId block;
  Generation generation;   // 0: an incomplete copy
  uint32_t length = 0;     // highest byte written + 1
  int64_t created_ns = 0;  // for people
  Era era;                 // in which it was made, or one by whose end it was durable
};

/// What a change that may be half done was about to do.
struct ReplicaIntent {
  // Stored; never renumber.
  enum class Kind : uint32_t { kNone = 0, kWrite = 1, kTruncate = 2 };
  Kind kind = Kind::kNone;
  /// kWrite: the first page written. kTruncate: the page that the new end is in.
  uint32_t first_page = 0;
  /// kWrite: how many pages. kTruncate: how many table entries there were before, from page 0 on.
  uint32_t page_count = 0;
  /// kWrite: the table entries to be of the pages. kTruncate: one, of the page that the new end
  /// cuts; none when it cuts none.
  std::vector<uint32_t> entries;
};

/// Appends header and intent slot: the first kTableOffset bytes of the file.
void EncodeReplicaHead(const ReplicaHeader& header, const ReplicaIntent& intent, std::string* out);
/// kCorruption when the checksum or a value is wrong, kVersionTooNew for another version.
Result<ReplicaHeader> DecodeReplicaHeader(std::string_view bytes);
/// From the kIntentBytes of the slot; kCorruption when the checksum or a value is wrong.
Result<ReplicaIntent> DecodeReplicaIntent(std::string_view bytes);

}  // namespace tercet
