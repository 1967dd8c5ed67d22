// The file `activity` of a disk: what is known of its replicas when the machine crashes. What it
// means: activity_log.h. Format: format.md.
//
// Invariant: the file consists of sectors of 512 bytes, each with a checksum of its own. A sector
// is written whole, and disks write sectors whole; so after a crash each is an old or a new one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "chunkserver/store/replica_format.h"
#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/disk.h"

namespace tercet {

// Part of the format.
inline constexpr size_t kActivitySectorBytes = 512;
inline constexpr size_t kMarksPerSector = 31;
inline constexpr size_t kMarkSectors = 256;
inline constexpr size_t kMaxMarks = kMarkSectors * kMarksPerSector;
inline constexpr size_t kMaxEraRanges = 16;  // of each kind
inline constexpr size_t kMaxActivityBootIdBytes = 128;

/// Eras [first, last].
struct EraRange {
  Era first;
  Era last;
  bool Contains(Era era) const { return first <= era && era <= last; }
  friend bool operator==(const EraRange&, const EraRange&) = default;
};
bool AnyContains(const std::vector<EraRange>& ranges, Era era);

/// The first sector.
struct ActivityState {
  bool clean = false;       // closed, and everything is durable
  bool all_marked = false;  // there were too many marks: every replica counts as marked
  Era current;
  Era settled;
  std::vector<EraRange> verify;    // to be verified at the first use; at most kMaxEraRanges
  std::vector<EraRange> suspects;  // at most kMaxEraRanges
  std::string boot_id;
  friend bool operator==(const ActivityState&, const ActivityState&) = default;
};

/// What a mark says besides that the replica was written to. Stored.
struct ActivityMark {
  BlockId block;  // 0: the place is free
  bool suspect = false;
  bool verify = false;
  friend bool operator==(const ActivityMark&, const ActivityMark&) = default;
};

struct ActivityRecord {
  ActivityState state;
  std::vector<ActivityMark> marks;  // at most kMaxMarks
};

std::string EncodeActivityState(const ActivityState& state);
/// kCorruption or kVersionTooNew.
Result<ActivityState> DecodeActivityState(std::string_view sector);
/// `marks`: kMarksPerSector of them.
std::string EncodeMarkSector(uint32_t number, const ActivityMark* marks);
/// Appends the marks of sector `number`; one that was never written holds none.
Status DecodeMarkSector(uint32_t number, std::string_view sector, std::vector<ActivityMark>* marks);

/// The whole file.
std::string EncodeActivity(const ActivityRecord& record);
Result<ActivityRecord> DecodeActivity(std::string_view bytes);
/// kNotFound when there is none.
Result<ActivityRecord> ReadActivity(Disk& disk, const std::string& path);

/// Adds a range; joins the two that are closest when there are too many.
void AddEraRange(std::vector<EraRange>* ranges, EraRange range);

}  // namespace tercet
