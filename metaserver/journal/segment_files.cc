#include "metaserver/journal/segment_files.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace tercet {
namespace {

constexpr std::string_view kSegmentPrefix = "segment-";
constexpr std::string_view kSparePrefix = "spare-";
constexpr std::string_view kUnfinishedSpare = "spare.tmp";
constexpr size_t kNumberDigits = 16;
// Zeros are written in such steps and synced after a few, so that a filling in the background does
// not hold up the commits' syncs for long.
constexpr uint64_t kFillStepBytes = 1 << 20;
constexpr uint64_t kFillSyncBytes = 4 << 20;

std::optional<uint64_t> NumberBehind(std::string_view prefix, std::string_view name) {
  if (name.size() != prefix.size() + kNumberDigits || name.substr(0, prefix.size()) != prefix) {
    return std::nullopt;
  }
  name.remove_prefix(prefix.size());
  uint64_t number = 0;
  auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return number;
}

std::string NumberedName(std::string_view prefix, uint64_t number) {
  std::string digits = std::to_string(number);
  digits.insert(0, kNumberDigits - std::min(kNumberDigits, digits.size()), '0');
  return std::string(prefix) + digits;
}

}  // namespace

Result<FolderContent> SegmentFiles::List() const {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, disk_.List(folder_));
  FolderContent content;
  for (const std::string& name : names) {
    if (std::optional<uint64_t> sequence = NumberBehind(kSegmentPrefix, name)) {
      content.segments.push_back(*sequence);
    } else if (std::optional<uint64_t> number = NumberBehind(kSparePrefix, name)) {
      content.spares.push_back(name);
      content.next_spare_number = std::max(content.next_spare_number, *number + 1);
    } else if (name == kUnfinishedSpare) {
      content.leftovers.push_back(name);
    }
  }
  std::sort(content.segments.begin(), content.segments.end());
  std::sort(content.spares.begin(), content.spares.end());
  return content;
}

std::string SegmentFiles::SegmentPath(uint64_t sequence) const {
  return folder_ + "/" + NumberedName(kSegmentPrefix, sequence);
}

std::string SegmentFiles::NextSparePath() {
  return folder_ + "/" + NumberedName(kSparePrefix, next_spare_number_++);
}

Result<std::shared_ptr<Segment>> SegmentFiles::OpenSegment(uint64_t sequence) const {
  std::string path = SegmentPath(sequence);
  ASSIGN_OR_RETURN(std::unique_ptr<File> file, disk_.Open(path, OpenMode::kReadWrite));
  std::string bytes(kSegmentHeaderBytes, '\0');
  ASSIGN_OR_RETURN(size_t got, file->ReadAt(0, bytes));
  bytes.resize(got);
  Result<SegmentHeader> header = SegmentHeader::Decode(bytes);
  if (!header.ok()) return header.status().WithContext(path);
  ASSIGN_OR_RETURN(uint64_t size, file->Size());
  if (header->sequence != sequence || header->size_bytes != size) {
    return Status(StatusCode::kCorruption, path + ": its header says that it is segment " +
                                               std::to_string(header->sequence) + " with " +
                                               std::to_string(header->size_bytes) +
                                               " bytes, but it has " + std::to_string(size) +
                                               "; was it renamed, cut or copied in part?");
  }
  return std::make_shared<Segment>(std::move(header).value(), std::move(path), std::move(file));
}

Result<SpareFile> SegmentFiles::OpenSpare(const std::string& name) const {
  SpareFile spare;
  spare.path = folder_ + "/" + name;
  ASSIGN_OR_RETURN(spare.file, disk_.Open(spare.path, OpenMode::kReadWrite));
  ASSIGN_OR_RETURN(uint64_t size, spare.file->Size());
  if (size != segment_bytes_) return Status(StatusCode::kNotFound, name + " has another size");
  return spare;
}

Status SegmentFiles::Fill(File& file) const {
  RETURN_IF_ERROR(file.Truncate(0));
  RETURN_IF_ERROR(file.Allocate(segment_bytes_));
  const std::string zeros(std::min(kFillStepBytes, segment_bytes_), '\0');
  for (uint64_t offset = 0; offset < segment_bytes_; offset += zeros.size()) {
    uint64_t size = std::min<uint64_t>(zeros.size(), segment_bytes_ - offset);
    RETURN_IF_ERROR(file.WriteAt(offset, std::string_view(zeros).substr(0, size)));
    if ((offset + size) % kFillSyncBytes == 0) RETURN_IF_ERROR(file.Sync());
  }
  return file.Sync();
}

Result<SpareFile> SegmentFiles::MakeSpare() {
  const std::string unfinished = folder_ + "/" + std::string(kUnfinishedSpare);
  SpareFile spare;
  ASSIGN_OR_RETURN(spare.file, disk_.Open(unfinished, OpenMode::kCreate));
  if (Status status = Fill(*spare.file); !status.ok()) {
    // What matters is why it could not be filled. If removing fails too, the next try uses the file
    // again.
    spare.file.reset();
    (void)disk_.Remove(unfinished);
    return status;
  }
  spare.path = NextSparePath();
  RETURN_IF_ERROR(disk_.Rename(unfinished, spare.path));
  RETURN_IF_ERROR(disk_.SyncDirectory(folder_));
  return spare;
}

Status SegmentFiles::StartSegment(const Segment& segment, const std::string& spare_path) const {
  RETURN_IF_ERROR(segment.file->WriteAt(0, segment.header.Encode()));
  RETURN_IF_ERROR(segment.file->Sync());
  RETURN_IF_ERROR(disk_.Rename(spare_path, segment.path));
  return disk_.SyncDirectory(folder_);
}

Result<SpareFile> SegmentFiles::Recycle(const Segment& segment) {
  SpareFile spare;
  spare.path = NextSparePath();
  RETURN_IF_ERROR(disk_.Rename(segment.path, spare.path));
  RETURN_IF_ERROR(disk_.SyncDirectory(folder_));
  // Opened anew: the segment's handle may still be in a reader's hands.
  ASSIGN_OR_RETURN(spare.file, disk_.Open(spare.path, OpenMode::kReadWrite));
  return spare;
}

Status SegmentFiles::Remove(const std::string& path) const {
  RETURN_IF_ERROR(disk_.Remove(path));
  return disk_.SyncDirectory(folder_);
}

}  // namespace tercet
