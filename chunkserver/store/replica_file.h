// One open replica: its file, and its table of page checksums in memory.
//
// Life of a change (a write of up to kMaxIntentPages pages, or a truncation):
//   1. one write of header and intent slot: the new length, and the new checksums of all pages it
//   changes
//   2. the data (one write), or the cut of the file
//   3. one write of the table entries
// A crash of the process between or within these steps (a write may be cut between pages; header
// and intent lie in one page) leaves each page matching either the table or the intent. Opening
// finishes the change: a page that matches the intent gets its table entry; a truncation is done
// again. A page that matches neither is damaged, and its bytes are never returned.
//
// Invariants, when no change is half done:
//  - Table entries from PagesFor(length) on are zero, and the file holds only zeros behind
//    `length`.
//  - The table in memory equals the one in the file.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "chunkserver/store/replica_format.h"
#include "common/base/status.h"
#include "common/env/disk.h"

namespace tercet {

/// Not thread-safe: const functions may run together, others alone. After an error of a change the
/// state of the file is in doubt: drop the object and open the file again.
class ReplicaFile {
 public:
  /// For a file that was just made. Nothing is written before the first Write.
  ReplicaFile(std::unique_ptr<File> file, const ReplicaHeader& header);
  /// Reads head and table, and finishes what a crash left half done. kCorruption when the header is
  /// damaged or is that of another block.
  static Result<std::unique_ptr<ReplicaFile>> Open(std::unique_ptr<File> file, BlockId block);

  /// The pages that a range covers, cut at the end of the data.
  struct PageRange {
    uint32_t first = 0;
    uint32_t count = 0;
  };
  PageRange Pages(uint32_t offset, uint32_t length) const;
  /// Appends the CRC-32C of each page, little-endian.
  void AppendCrcs(PageRange pages, std::string* out) const;
  /// Reads the pages and compares them with the table; kCorruption names the first damaged one.
  Status ReadVerified(PageRange pages, std::string* out) const;

  /// `piece_crcs`: 4 bytes per page touched, true of `data`. A page that is overwritten in part is
  /// read and verified first (kCorruption).
  Status Write(uint32_t offset, std::string_view data, std::string_view piece_crcs);
  /// As File::StartWriteback, of the replica's bytes [offset, offset + size).
  void StartWriteback(uint32_t offset, size_t size) {
    file_->StartWriteback(kDataOffset + uint64_t{offset}, size);
  }
  /// `new_length` must not be over length(). A damaged page that is cut stays damaged.
  Status Truncate(uint32_t new_length);

  /// All pages of [first, first + count) that fail their checksum. `from_platter`: not from the
  /// system's cache, as far as that can be had.
  Result<std::vector<uint32_t>> DamagedPages(PageRange pages, bool from_platter) const;
  /// Gives it another generation and era, in the file as well (one write, not synced).
  Status Rename(Generation generation, Era era);
  /// After a crash of the machine: takes away what is behind the length in data and table.
  Status CutTail();
  /// Takes damaged pages for what they hold; they match their checksums afterwards. They must have
  /// been found by DamagedPages.
  Status AcceptPages(const std::vector<uint32_t>& damaged);
  /// CRC-32C over what AppendCrcs gives of all pages.
  uint32_t TableCrc() const;

  Generation generation() const { return header_.generation; }
  Era era() const { return header_.era; }
  uint32_t length() const { return header_.length; }
  const std::shared_ptr<File>& file() const { return file_; }
  /// The intent slot was found damaged: if a change was half done, its pages count as damaged.
  bool intent_was_damaged() const { return intent_was_damaged_; }

 private:
  Status LoadTable(std::string_view first_page);
  Status FinishWrite(const ReplicaIntent& intent);
  Status FinishTruncate(const ReplicaIntent& intent);
  Status WriteChunk(uint32_t offset, std::string_view data, std::string_view piece_crcs);
  Result<uint32_t> MergedEntry(uint32_t page, uint32_t begin, std::string_view piece) const;
  Status WriteHead(const ReplicaIntent& intent);
  Status WriteTable(uint32_t first, const std::vector<uint32_t>& entries);
  /// One page, padded with zeros at the end of the file.
  Status ReadPages(uint32_t first, uint32_t count, std::string* out) const;
  Status VerifyPage(uint32_t page, const char* bytes) const;

  const std::shared_ptr<File> file_;
  ReplicaHeader header_;
  std::vector<uint32_t> table_;  // one entry per page of [0, length)
  bool intent_was_damaged_ = false;
};

}  // namespace tercet
