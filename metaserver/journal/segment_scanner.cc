#include "metaserver/journal/segment_scanner.h"

#include <algorithm>
#include <optional>

namespace tercet {
namespace {

// The record at `offset`, when there is a valid one. `bytes` is set to the whole record without
// padding.
Result<std::optional<RecordHeader>> ValidRecordAt(const Segment& segment, SegmentReader& reader,
                                                  uint64_t offset, std::string_view* bytes) {
  const std::optional<RecordHeader> none;
  const uint64_t size = segment.header.size_bytes;
  if (offset + kRecordHeaderBytes > size) return none;
  ASSIGN_OR_RETURN(std::string_view head, reader.Read(offset, kRecordHeaderBytes));
  if (head.size() < kRecordHeaderBytes) return none;
  std::optional<RecordHeader> header = segment.codec.Peek(head.data());
  if (!header || offset + RecordBytes(header->payload_bytes) > size) return none;
  ASSIGN_OR_RETURN(*bytes, reader.Read(offset, kRecordHeaderBytes + header->payload_bytes));
  if (!segment.codec.Verify(*header, *bytes)) return none;
  return header;
}

// The first offset at or behind `offset` where the bytes look like a record header; the file's size
// when none do.
Result<uint64_t> NextCandidate(const Segment& segment, SegmentReader& reader, uint64_t offset) {
  constexpr uint64_t kWindowBytes = 64 << 10;
  while (true) {
    ASSIGN_OR_RETURN(std::string_view window, reader.Read(offset, kWindowBytes));
    if (window.size() < kRecordHeaderBytes) return segment.header.size_bytes;
    uint64_t at = 0;
    for (; at + kRecordHeaderBytes <= window.size(); at += kRecordAlignment) {
      if (segment.codec.Peek(window.data() + at)) return offset + at;
    }
    offset += at;
  }
}

}  // namespace

Result<std::string_view> SegmentReader::Read(uint64_t offset, uint64_t size) {
  if (offset >= file_bytes_) return std::string_view();
  size = std::min(size, file_bytes_ - offset);
  if (offset < buffer_offset_ || offset + size > buffer_offset_ + buffer_.size()) {
    buffer_.resize(std::min(std::max(size, kStepBytes), file_bytes_ - offset));
    buffer_offset_ = offset;
    ASSIGN_OR_RETURN(size_t got, file_.ReadAt(offset, buffer_));
    buffer_.resize(got);
  }
  return std::string_view(buffer_).substr(offset - buffer_offset_, size);
}

Result<SegmentTail> ScanSegment(const Segment& segment, const RecordFunction& record) {
  SegmentReader reader(*segment.file, segment.header.size_bytes);
  SegmentTail tail;
  while (true) {
    std::string_view bytes;
    ASSIGN_OR_RETURN(std::optional<RecordHeader> header,
                     ValidRecordAt(segment, reader, tail.end, &bytes));
    if (!header) return tail;
    if (header->batch_offset < tail.last_batch || header->batch_offset > tail.end) {
      return Status(StatusCode::kCorruption, segment.path + ": the record at offset " +
                                                 std::to_string(tail.end) +
                                                 " has a right checksum but is out of place");
    }
    RETURN_IF_ERROR(record(*header, tail.end, bytes.substr(kRecordHeaderBytes)));
    tail.last_batch = header->batch_offset;
    tail.end += RecordBytes(header->payload_bytes);
  }
}

Result<uint64_t> JudgeTail(const Segment& segment, uint64_t end) {
  SegmentReader reader(*segment.file, segment.header.size_bytes);
  uint64_t remains_end = end;
  uint64_t offset = end;
  while (true) {
    ASSIGN_OR_RETURN(offset, NextCandidate(segment, reader, offset));
    if (offset >= segment.header.size_bytes) return remains_end;
    std::string_view bytes;
    ASSIGN_OR_RETURN(std::optional<RecordHeader> header,
                     ValidRecordAt(segment, reader, offset, &bytes));
    if (!header) {
      offset += kRecordAlignment;
      continue;
    }
    if (header->batch_offset > end) {
      return Status(StatusCode::kCorruption,
                    segment.path + ": no valid record at offset " + std::to_string(end) +
                        ", though it was synced: record " + std::to_string(header->index.value()) +
                        " at offset " + std::to_string(offset) + " was written after that");
    }
    offset += RecordBytes(header->payload_bytes);
    remains_end = offset;
  }
}

}  // namespace tercet
