#include "chunkserver/store/activity_record.h"

#include <algorithm>

#include "common/base/coding.h"
#include "common/base/crc32c.h"

namespace tercet {
namespace {

constexpr uint64_t kActivityMagic = 0x3154434154435254;  // "TRCTACT1" in memory order
constexpr uint32_t kActivityVersion = 1;
constexpr uint32_t kFlagClean = 1;
constexpr uint32_t kFlagAllMarked = 2;
constexpr uint32_t kMarkSuspect = 1;
constexpr uint32_t kMarkVerify = 2;
constexpr size_t kCrcOffset = kActivitySectorBytes - 4;
constexpr size_t kActivityBytes = (1 + kMarkSectors) * kActivitySectorBytes;

Status Damaged(const std::string& what) {
  return Status(StatusCode::kCorruption, "activity file: " + what);
}

void Seal(std::string* sector) {
  sector->resize(kCrcOffset, '\0');
  PutFixed32(sector, Crc32c(*sector));
}

bool IsSealed(std::string_view sector) {
  return sector.size() == kActivitySectorBytes &&
         DecodeFixed32(sector.data() + kCrcOffset) == Crc32c(sector.substr(0, kCrcOffset));
}

void PutRanges(std::string* out, const std::vector<EraRange>& ranges) {
  PutFixed32(out, static_cast<uint32_t>(ranges.size()));
  for (size_t i = 0; i < kMaxEraRanges; ++i) {
    PutFixed32(out, i < ranges.size() ? ranges[i].first.value() : 0);
    PutFixed32(out, i < ranges.size() ? ranges[i].last.value() : 0);
  }
}

/// False when there are too many.
bool GetRanges(Decoder* in, std::vector<EraRange>* ranges) {
  const uint32_t count = in->Fixed32();
  for (size_t i = 0; i < kMaxEraRanges; ++i) {
    const Era first(in->Fixed32());
    const Era last(in->Fixed32());
    if (i < count) ranges->push_back({first, last});
  }
  return count <= kMaxEraRanges;
}

}  // namespace

std::string EncodeActivityState(const ActivityState& state) {
  std::string out;
  PutFixed64(&out, kActivityMagic);
  PutFixed32(&out, kActivityVersion);
  PutFixed32(&out, (state.clean ? kFlagClean : 0) | (state.all_marked ? kFlagAllMarked : 0));
  PutFixed32(&out, state.current.value());
  PutFixed32(&out, state.settled.value());
  PutRanges(&out, state.verify);
  PutRanges(&out, state.suspects);
  PutLengthPrefixed(&out, state.boot_id);
  Seal(&out);
  return out;
}

Result<ActivityState> DecodeActivityState(std::string_view sector) {
  if (!IsSealed(sector)) return Damaged("wrong checksum of the first sector");
  Decoder in(sector);
  if (in.Fixed64() != kActivityMagic) return Damaged("wrong magic");
  const uint32_t version = in.Fixed32();
  const uint32_t flags = in.Fixed32();
  if (version != kActivityVersion || (flags & ~(kFlagClean | kFlagAllMarked)) != 0) {
    return Status(StatusCode::kVersionTooNew, "activity file: format " + std::to_string(version) +
                                                  "; this program knows format 1: update it");
  }
  ActivityState state;
  state.clean = (flags & kFlagClean) != 0;
  state.all_marked = (flags & kFlagAllMarked) != 0;
  state.current = Era(in.Fixed32());
  state.settled = Era(in.Fixed32());
  if (!GetRanges(&in, &state.verify) || !GetRanges(&in, &state.suspects)) {
    return Damaged("too many ranges");
  }
  state.boot_id = in.LengthPrefixed();
  if (in.failed() || state.boot_id.size() > kMaxActivityBootIdBytes) {
    return Damaged("values out of range");
  }
  return state;
}

std::string EncodeMarkSector(uint32_t number, const ActivityMark* marks) {
  std::string out;
  PutFixed32(&out, number);
  PutFixed64(&out, 0);
  for (size_t i = 0; i < kMarksPerSector; ++i) {
    PutFixed64(&out, marks[i].block.value());
    PutFixed32(&out, (marks[i].suspect ? kMarkSuspect : 0) | (marks[i].verify ? kMarkVerify : 0));
    PutFixed32(&out, 0);
  }
  Seal(&out);
  return out;
}

Status DecodeMarkSector(uint32_t number, std::string_view sector,
                        std::vector<ActivityMark>* marks) {
  if (sector.find_first_not_of('\0') == std::string_view::npos) return Status::Ok();
  Decoder in(sector);
  if (!IsSealed(sector) || in.Fixed32() != number) {
    return Damaged("sector " + std::to_string(number) + " is damaged");
  }
  in.Fixed64();
  for (size_t i = 0; i < kMarksPerSector; ++i) {
    ActivityMark mark;
    mark.block = BlockId(in.Fixed64());
    const uint32_t flags = in.Fixed32();
    in.Fixed32();
    mark.suspect = (flags & kMarkSuspect) != 0;
    mark.verify = (flags & kMarkVerify) != 0;
    if (mark.block != BlockId()) marks->push_back(mark);
  }
  return Status::Ok();
}

std::string EncodeActivity(const ActivityRecord& record) {
  std::string out = EncodeActivityState(record.state);
  std::vector<ActivityMark> places = record.marks;
  places.resize(kMaxMarks);
  for (size_t sector = 0; sector < kMarkSectors; ++sector) {
    if (sector * kMarksPerSector >= record.marks.size()) break;
    out += EncodeMarkSector(static_cast<uint32_t>(sector) + 1, &places[sector * kMarksPerSector]);
  }
  out.resize(kActivityBytes, '\0');
  return out;
}

Result<ActivityRecord> DecodeActivity(std::string_view bytes) {
  if (bytes.size() != kActivityBytes) return Damaged("wrong size");
  ActivityRecord record;
  ASSIGN_OR_RETURN(record.state, DecodeActivityState(bytes.substr(0, kActivitySectorBytes)));
  for (size_t i = 1; i <= kMarkSectors; ++i) {
    RETURN_IF_ERROR(DecodeMarkSector(static_cast<uint32_t>(i),
                                     bytes.substr(i * kActivitySectorBytes, kActivitySectorBytes),
                                     &record.marks));
  }
  return record;
}

Result<ActivityRecord> ReadActivity(Disk& disk, const std::string& path) {
  ASSIGN_OR_RETURN(std::string bytes, ReadWholeFile(disk, path, kActivityBytes));
  return DecodeActivity(bytes);
}

bool AnyContains(const std::vector<EraRange>& ranges, Era era) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [era](const EraRange& range) { return range.Contains(era); });
}

void AddEraRange(std::vector<EraRange>* ranges, EraRange range) {
  ranges->push_back(range);
  std::sort(ranges->begin(), ranges->end(),
            [](const EraRange& a, const EraRange& b) { return a.first < b.first; });
  if (ranges->size() <= kMaxEraRanges) return;
  // What lies between is in the range as well: too many are safe, too few are not.
  size_t closest = 1;
  auto gap = [&](size_t i) {
    return int64_t{(*ranges)[i].first.value()} - int64_t{(*ranges)[i - 1].last.value()};
  };
  for (size_t i = 2; i < ranges->size(); ++i) {
    if (gap(i) < gap(closest)) closest = i;
  }
  (*ranges)[closest - 1].last = std::max((*ranges)[closest - 1].last, (*ranges)[closest].last);
  ranges->erase(ranges->begin() + static_cast<ptrdiff_t>(closest));
}

}  // namespace tercet
