// The journal's folder: names, and the life of a segment file.
//
// A file's life; in brackets what a power cut between a step and the next leaves:
//  1. made as "spare.tmp", allocated, filled with zeros, synced [a file that the next start
//  removes]
//  2. renamed to "spare-N", folder synced [either name, or a spare]
//  3. taken: a segment header with a new salt is written, synced [a spare, whatever is in it]
//  4. renamed to "segment-S", folder synced [either name; a segment has a whole header]
//  5. records are written
//  6. released: renamed to "spare-N" or removed, folder synced [either; segments go oldest first]
//
// So a file named segment-S always has a whole header, and a spare has been filled. That it was
// filled is why fdatasync of a record is one flush of the disk and needs no commit of the file
// system's own journal.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/env/disk.h"
#include "metaserver/journal/journal_format.h"

namespace tercet {

/// A segment file that is open. Immutable but for the file's content; shared with readers.
struct Segment {
  Segment(SegmentHeader segment_header, std::string segment_path,
          std::unique_ptr<File> segment_file)
      : header(std::move(segment_header)),
        codec(header.salt),
        path(std::move(segment_path)),
        file(std::move(segment_file)) {}

  const SegmentHeader header;
  const RecordCodec codec;
  const std::string path;
  const std::unique_ptr<File> file;
};

/// A filled file without a use.
struct SpareFile {
  std::string path;
  std::unique_ptr<File> file;
};

struct FolderContent {
  std::vector<uint64_t> segments;      // sequence numbers, ascending
  std::vector<std::string> spares;     // names
  std::vector<std::string> leftovers;  // names of unfinished files
  uint64_t next_spare_number = 1;
};

/// One thread at a time makes and releases files; another may take them (StartSegment) meanwhile.
class SegmentFiles {
 public:
  /// `disk` must outlive the object.
  SegmentFiles(Disk& disk, std::string folder, uint64_t segment_bytes)
      : disk_(disk), folder_(std::move(folder)), segment_bytes_(segment_bytes) {}

  /// Files with other names are ignored.
  Result<FolderContent> List() const;
  void set_next_spare_number(uint64_t number) { next_spare_number_ = number; }

  /// kCorruption or kVersionTooNew with the file's name.
  Result<std::shared_ptr<Segment>> OpenSegment(uint64_t sequence) const;
  /// An existing spare; kNotFound when its size is not the one that segments shall have.
  Result<SpareFile> OpenSpare(const std::string& name) const;
  /// Steps 1 and 2. kNoSpace when the disk has no room; nothing is left behind then.
  Result<SpareFile> MakeSpare();
  /// Steps 3 and 4 on the spare at `spare_path`, which `segment.file` is.
  Status StartSegment(const Segment& segment, const std::string& spare_path) const;
  /// Step 6, to a spare.
  Result<SpareFile> Recycle(const Segment& segment);
  /// Step 6, removed.
  Status Remove(const std::string& path) const;

  std::string SegmentPath(uint64_t sequence) const;
  const std::string& folder() const { return folder_; }
  uint64_t segment_bytes() const { return segment_bytes_; }

 private:
  Status Fill(File& file) const;
  std::string NextSparePath();

  Disk& disk_;
  const std::string folder_;
  const uint64_t segment_bytes_;
  uint64_t next_spare_number_ = 1;
};

}  // namespace tercet
