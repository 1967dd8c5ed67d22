// Reads one segment from its first record to its last, and judges what is behind.
//
// Invariants it relies on (kept by Journal):
//  - Records of one sync are a batch; each says where its batch begins (batch_offset). A batch is
//    written only after the one before it was synced.
//  - So when anything with a valid checksum stands behind a bad place and its batch begins behind
//    that place too, the bad place had been synced: that is damage. When its batch begins before
//    the bad place, both belong to the last batch, and a power cut kept some of its pages and lost
//    others: a torn tail, of which no record was ever acknowledged.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "metaserver/journal/segment_files.h"

namespace tercet {

/// Reads ahead in large steps. Not thread-safe.
class SegmentReader {
 public:
  /// `file` must outlive the reader.
  SegmentReader(const File& file, uint64_t file_bytes) : file_(file), file_bytes_(file_bytes) {}

  /// The bytes [offset, offset + size), or as many as the file has. Valid until the next call.
  Result<std::string_view> Read(uint64_t offset, uint64_t size);

 private:
  static constexpr uint64_t kStepBytes = 1 << 20;

  const File& file_;
  const uint64_t file_bytes_;
  std::string buffer_;
  uint64_t buffer_offset_ = 0;
};

struct SegmentTail {
  uint64_t end = kSegmentHeaderBytes;         // behind the last valid record
  uint64_t last_batch = kSegmentHeaderBytes;  // where the last valid record's batch begins
};

using RecordFunction =
    std::function<Status(const RecordHeader& header, uint64_t offset, std::string_view payload)>;

/// Calls `record` for each record until the first place that holds none; a status of `record` ends
/// the scan.
Result<SegmentTail> ScanSegment(const Segment& segment, const RecordFunction& record);

/// Looks at everything behind `end`. kCorruption when what is at `end` had been synced, naming the
/// offset; otherwise where the remains of a torn batch end (`end` when there are none).
Result<uint64_t> JudgeTail(const Segment& segment, uint64_t end);

}  // namespace tercet
