#include "chunkserver/store/replica_file.h"

#include <algorithm>

#include "common/base/coding.h"
#include "common/base/crc32c.h"

namespace tercet {
namespace {

uint32_t EntryOf(const char* page) { return Crc32c(page, kPageBytes) ^ kZeroPageCrc; }

/// Reads as many bytes as `out` has; what is behind the end of the file is zero.
Status ReadPadded(const File& file, uint64_t offset, std::span<char> out) {
  ASSIGN_OR_RETURN(size_t count, file.ReadAt(offset, out));
  std::fill(out.begin() + static_cast<ptrdiff_t>(count), out.end(), '\0');
  return Status::Ok();
}

}  // namespace

ReplicaFile::ReplicaFile(std::unique_ptr<File> file, const ReplicaHeader& header)
    : file_(std::move(file)), header_(header) {}

Result<std::unique_ptr<ReplicaFile>> ReplicaFile::Open(std::unique_ptr<File> file, BlockId block) {
  std::string head(kPageBytes, '\0');
  RETURN_IF_ERROR(ReadPadded(*file, 0, head));
  ASSIGN_OR_RETURN(ReplicaHeader header, DecodeReplicaHeader(head));
  if (header.block != block) {
    return Status(StatusCode::kCorruption,
                  "the file holds block " + std::to_string(header.block.value()) + " instead");
  }
  auto replica = std::make_unique<ReplicaFile>(std::move(file), header);
  RETURN_IF_ERROR(replica->LoadTable(head));
  auto intent = DecodeReplicaIntent(std::string_view(head).substr(kIntentOffset));
  if (!intent.ok()) {
    replica->intent_was_damaged_ = true;
  } else if (intent->kind == ReplicaIntent::Kind::kWrite) {
    RETURN_IF_ERROR(replica->FinishWrite(*intent));
  } else if (intent->kind == ReplicaIntent::Kind::kTruncate) {
    RETURN_IF_ERROR(replica->FinishTruncate(*intent));
  }
  return replica;
}

Status ReplicaFile::LoadTable(std::string_view first_page) {
  std::string bytes(first_page.substr(kTableOffset));
  const size_t pages = PagesFor(header_.length);
  const size_t in_first_page = bytes.size() / 4;
  if (pages > in_first_page) {
    bytes.resize(pages * 4);
    RETURN_IF_ERROR(ReadPadded(*file_, kPageBytes, std::span(bytes).subspan(in_first_page * 4)));
  }
  table_.resize(pages);
  for (size_t i = 0; i < pages; ++i) table_[i] = DecodeFixed32(bytes.data() + 4 * i);
  return Status::Ok();
}

Status ReplicaFile::FinishWrite(const ReplicaIntent& intent) {
  std::string page;
  bool changed = false;
  // Pages behind the length would contradict the header of the same write: nothing to finish there.
  const uint32_t end =
      std::min(intent.first_page + intent.page_count, static_cast<uint32_t>(table_.size()));
  for (uint32_t i = intent.first_page; i < end; ++i) {
    const uint32_t wanted = intent.entries[i - intent.first_page];
    if (table_[i] == wanted) continue;
    RETURN_IF_ERROR(ReadPages(i, 1, &page));
    if (EntryOf(page.data()) != wanted)
      continue;  // not written yet, or damaged: the table says which
    table_[i] = wanted;
    changed = true;
  }
  if (!changed) return Status::Ok();
  return WriteTable(intent.first_page, {table_.begin() + intent.first_page, table_.begin() + end});
}

Status ReplicaFile::FinishTruncate(const ReplicaIntent& intent) {
  ASSIGN_OR_RETURN(uint64_t size, file_->Size());
  const uint64_t end = kDataOffset + uint64_t{header_.length};
  if (size > end) RETURN_IF_ERROR(file_->Truncate(end));

  const uint32_t first = intent.first_page;
  if (first >= intent.page_count) return Status::Ok();
  std::vector<uint32_t> wanted(intent.page_count - first, 0);
  std::copy(intent.entries.begin(), intent.entries.end(), wanted.begin());
  std::string stored(wanted.size() * 4, '\0');
  RETURN_IF_ERROR(ReadPadded(*file_, kTableOffset + 4ull * first, stored));
  bool same = true;
  for (size_t i = 0; i < wanted.size(); ++i) {
    same = same && DecodeFixed32(stored.data() + 4 * i) == wanted[i];
    if (first + i < table_.size()) table_[first + i] = wanted[i];
  }
  return same ? Status::Ok() : WriteTable(first, wanted);
}

ReplicaFile::PageRange ReplicaFile::Pages(uint32_t offset, uint32_t length) const {
  const uint64_t end = std::min<uint64_t>(uint64_t{offset} + length, header_.length);
  if (offset >= end) return {};
  const uint32_t first = offset / kPageBytes;
  return {.first = first, .count = PagesFor(static_cast<uint32_t>(end)) - first};
}

void ReplicaFile::AppendCrcs(PageRange pages, std::string* out) const {
  out->reserve(out->size() + 4 * pages.count);
  for (uint32_t i = 0; i < pages.count; ++i)
    PutFixed32(out, table_[pages.first + i] ^ kZeroPageCrc);
}

Status ReplicaFile::ReadVerified(PageRange pages, std::string* out) const {
  if (pages.count == 0) {
    out->clear();
    return Status::Ok();
  }
  RETURN_IF_ERROR(ReadPages(pages.first, pages.count, out));
  for (uint32_t i = 0; i < pages.count; ++i) {
    RETURN_IF_ERROR(VerifyPage(pages.first + i, out->data() + size_t{i} * kPageBytes));
  }
  return Status::Ok();
}

Status ReplicaFile::ReadPages(uint32_t first, uint32_t count, std::string* out) const {
  out->resize(size_t{count} * kPageBytes);
  return ReadPadded(*file_, kDataOffset + uint64_t{first} * kPageBytes, *out);
}

Status ReplicaFile::VerifyPage(uint32_t page, const char* bytes) const {
  if (EntryOf(bytes) == table_[page]) return Status::Ok();
  return Status(StatusCode::kCorruption, "block " + std::to_string(header_.block.value()) +
                                             " page " + std::to_string(page) +
                                             " fails its checksum");
}

Status ReplicaFile::Write(uint32_t offset, std::string_view data, std::string_view piece_crcs) {
  if (data.empty() && table_.empty()) return WriteHead(ReplicaIntent{});  // a new, empty replica
  while (!data.empty()) {
    const uint32_t limit = (offset / kPageBytes + kMaxIntentPages) * kPageBytes;
    const size_t size = std::min<size_t>(data.size(), limit - offset);
    const uint32_t last_page = (offset + static_cast<uint32_t>(size) - 1) / kPageBytes;
    const size_t crc_bytes = 4 * (last_page - offset / kPageBytes + 1);
    RETURN_IF_ERROR(WriteChunk(offset, data.substr(0, size), piece_crcs.substr(0, crc_bytes)));
    offset += static_cast<uint32_t>(size);
    data.remove_prefix(size);
    piece_crcs.remove_prefix(crc_bytes);
  }
  return Status::Ok();
}

Status ReplicaFile::WriteChunk(uint32_t offset, std::string_view data,
                               std::string_view piece_crcs) {
  const uint32_t end = offset + static_cast<uint32_t>(data.size());
  ReplicaIntent intent;
  intent.kind = ReplicaIntent::Kind::kWrite;
  intent.first_page = offset / kPageBytes;
  intent.page_count = PagesFor(end) - intent.first_page;
  intent.entries.reserve(intent.page_count);
  for (uint32_t page = intent.first_page; page < intent.first_page + intent.page_count; ++page) {
    const uint32_t page_start = page * kPageBytes;
    const uint32_t from = std::max(offset, page_start);
    const uint32_t to = std::min(end, page_start + kPageBytes);
    if (to - from == kPageBytes) {
      const char* crc = piece_crcs.data() + 4 * (page - intent.first_page);
      intent.entries.push_back(DecodeFixed32(crc) ^ kZeroPageCrc);
    } else {
      std::string_view piece = data.substr(from - offset, to - from);
      ASSIGN_OR_RETURN(uint32_t entry, MergedEntry(page, from - page_start, piece));
      intent.entries.push_back(entry);
    }
  }
  header_.length = std::max(header_.length, end);
  RETURN_IF_ERROR(WriteHead(intent));
  RETURN_IF_ERROR(file_->WriteAt(kDataOffset + uint64_t{offset}, data));
  RETURN_IF_ERROR(WriteTable(intent.first_page, intent.entries));
  table_.resize(PagesFor(header_.length), 0);
  std::copy(intent.entries.begin(), intent.entries.end(), table_.begin() + intent.first_page);
  return Status::Ok();
}

Result<uint32_t> ReplicaFile::MergedEntry(uint32_t page, uint32_t begin,
                                          std::string_view piece) const {
  const uint32_t page_start = page * kPageBytes;
  const uint32_t end = begin + static_cast<uint32_t>(piece.size());
  // Behind the length there are zeros: then nothing of the old page stays, and it need not be read.
  const bool nothing_stays =
      page >= table_.size() || (begin == 0 && page_start + end >= header_.length);
  if (nothing_stays) {
    const uint32_t crc = Crc32cExtend(Crc32cExtendZeros(0, begin), piece.data(), piece.size());
    return Crc32cExtendZeros(crc, kPageBytes - end) ^ kZeroPageCrc;
  }
  std::string merged;
  RETURN_IF_ERROR(ReadPages(page, 1, &merged));
  RETURN_IF_ERROR(VerifyPage(page, merged.data()));
  merged.replace(begin, piece.size(), piece);
  return EntryOf(merged.data());
}

Status ReplicaFile::Truncate(uint32_t new_length) {
  if (new_length >= header_.length) return Status::Ok();
  ReplicaIntent intent;
  intent.kind = ReplicaIntent::Kind::kTruncate;
  intent.first_page = new_length / kPageBytes;
  intent.page_count = static_cast<uint32_t>(table_.size());
  const uint32_t kept = new_length % kPageBytes;
  if (kept != 0) {
    std::string page;
    RETURN_IF_ERROR(ReadPages(intent.first_page, 1, &page));
    const bool sound = VerifyPage(intent.first_page, page.data()).ok();
    std::fill(page.begin() + kept, page.end(), '\0');
    // What is left of a damaged page stays damaged.
    intent.entries.push_back(sound ? EntryOf(page.data()) : ~EntryOf(page.data()));
  }
  header_.length = new_length;
  RETURN_IF_ERROR(WriteHead(intent));
  RETURN_IF_ERROR(file_->Truncate(kDataOffset + uint64_t{new_length}));
  std::vector<uint32_t> entries(intent.page_count - intent.first_page, 0);
  std::copy(intent.entries.begin(), intent.entries.end(), entries.begin());
  RETURN_IF_ERROR(WriteTable(intent.first_page, entries));
  table_.resize(PagesFor(new_length));
  if (kept != 0) table_.back() = intent.entries.front();
  return Status::Ok();
}

Result<std::vector<uint32_t>> ReplicaFile::DamagedPages(PageRange pages, bool from_platter) const {
  constexpr uint32_t kPiecePages = 256;
  std::vector<uint32_t> damaged;
  std::string bytes;
  const uint32_t end = pages.first + pages.count;
  for (uint32_t first = pages.first; first < end; first += kPiecePages) {
    const uint32_t count = std::min(kPiecePages, end - first);
    const uint64_t offset = kDataOffset + uint64_t{first} * kPageBytes;
    if (from_platter) file_->DropCache(offset, uint64_t{count} * kPageBytes);
    RETURN_IF_ERROR(ReadPages(first, count, &bytes));
    if (from_platter) file_->DropCache(offset, uint64_t{count} * kPageBytes);
    for (uint32_t i = 0; i < count; ++i) {
      if (EntryOf(bytes.data() + size_t{i} * kPageBytes) != table_[first + i]) {
        damaged.push_back(first + i);
      }
    }
  }
  return damaged;
}

Status ReplicaFile::Rename(Generation generation, Era era) {
  header_.generation = generation;
  header_.era = era;
  return WriteHead(ReplicaIntent{});
}

Status ReplicaFile::CutTail() {
  RETURN_IF_ERROR(WriteHead(ReplicaIntent{}));
  RETURN_IF_ERROR(file_->Truncate(kDataOffset + uint64_t{header_.length}));
  const auto used = static_cast<uint32_t>(table_.size());
  return WriteTable(used, std::vector<uint32_t>(kMaxBlockPages - used, 0));
}

Status ReplicaFile::AcceptPages(const std::vector<uint32_t>& damaged) {
  std::string page;
  for (uint32_t index : damaged) {
    RETURN_IF_ERROR(ReadPages(index, 1, &page));
    table_[index] = EntryOf(page.data());
    RETURN_IF_ERROR(WriteTable(index, {table_[index]}));
  }
  return Status::Ok();
}

uint32_t ReplicaFile::TableCrc() const {
  std::string crcs;
  AppendCrcs({.first = 0, .count = static_cast<uint32_t>(table_.size())}, &crcs);
  return Crc32c(crcs);
}

Status ReplicaFile::WriteHead(const ReplicaIntent& intent) {
  std::string head;
  head.reserve(kTableOffset);
  EncodeReplicaHead(header_, intent, &head);
  return file_->WriteAt(0, head);
}

Status ReplicaFile::WriteTable(uint32_t first, const std::vector<uint32_t>& entries) {
  std::string bytes;
  bytes.reserve(entries.size() * 4);
  for (uint32_t entry : entries) PutFixed32(&bytes, entry);
  return file_->WriteAt(kTableOffset + 4ull * first, bytes);
}

}  // namespace tercet
