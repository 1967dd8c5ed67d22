#include "chunkserver/replication/replica_pull.h"

#include <algorithm>

#include "chunkserver/store/replica_format.h"
#include "common/base/coding.h"
#include "common/base/crc32c.h"

namespace tercet {

namespace {

uint32_t CrcOfPage(const PageTable& table, uint32_t page) {
  return page < PagesFor(table.length) ? DecodeFixed32(table.page_crcs.data() + size_t{4} * page)
                                       : kZeroPageCrc;
}

Status CheckTable(const PageTable& table) {
  if (table.length > kMaxBlockBytes ||
      table.page_crcs.size() != size_t{4} * PagesFor(table.length)) {
    return Status(StatusCode::kCorruption,
                  "the source's table of " + std::to_string(table.page_crcs.size()) +
                      " bytes does not fit a length of " + std::to_string(table.length));
  }
  return Status::Ok();
}

}  // namespace

Status ReplicaPull::Start(const PageTable& source) {
  RETURN_IF_ERROR(CheckTable(source));
  source_ = source;
  ASSIGN_OR_RETURN(PullBase base,
                   store_.OpenPullBase(options_.block, options_.source_generation, options_.finish,
                                       source.length, options_.verify_base));
  base_ = base.table.generation;
  uint32_t base_length = base.table.length;
  if (base_length > source.length) {
    // At a page's start: nothing of the old content needs to be read, which might be damaged. The
    // page of the end comes from the source.
    base_length = source.length / kPageBytes * kPageBytes;
    RETURN_IF_ERROR(store_.Truncate(options_.block, base_, base_length));
    base.table.length = base_length;
  }
  const uint32_t pages = PagesFor(source.length);
  differing_.assign(pages, false);
  for (uint32_t page = 0; page < pages; ++page) {
    const bool damaged =
        page < base.damaged.size() && page < PagesFor(base_length) && base.damaged[page];
    differing_[page] = damaged || CrcOfPage(source_, page) != CrcOfPage(base.table, page);
  }
  // Writing it makes the length right even if it is all zeros.
  if (base_length < source.length) differing_[pages - 1] = true;
  const auto count = std::count(differing_.begin(), differing_.end(), true);
  left_bytes_ = static_cast<uint64_t>(count) * kPageBytes;
  next_page_ = 0;
  return Status::Ok();
}

std::optional<PullRange> ReplicaPull::NextRange() {
  const auto pages = static_cast<uint32_t>(differing_.size());
  while (next_page_ < pages && !differing_[next_page_]) ++next_page_;
  if (next_page_ == pages) return std::nullopt;
  const uint32_t first = next_page_;
  const uint32_t limit = first + std::max(options_.max_range_bytes / kPageBytes, 1u);
  while (next_page_ < std::min(limit, pages) && differing_[next_page_]) ++next_page_;
  const uint32_t offset = first * kPageBytes;
  return PullRange{offset, std::min(next_page_ * kPageBytes, source_.length) - offset};
}

Status ReplicaPull::CheckPages(const PullRange& range, std::string_view pages,
                               std::string_view page_crcs) const {
  const uint32_t first = range.offset / kPageBytes;
  const uint32_t asked = PagesFor(range.length);
  const auto got = static_cast<uint32_t>(pages.size() / kPageBytes);
  if (pages.size() % kPageBytes != 0 || got > asked || page_crcs.size() != size_t{4} * got) {
    return Status(StatusCode::kCorruption, "the source's answer does not fit what was asked for");
  }
  if (finishing() && got < asked) {
    return Status(StatusCode::kCorruption, "the source's replica ends before its table does");
  }
  for (uint32_t i = 0; i < got; ++i) {
    const uint32_t crc = Crc32c(pages.substr(size_t{i} * kPageBytes, kPageBytes));
    const bool as_sent = crc == DecodeFixed32(page_crcs.data() + size_t{4} * i);
    if (!as_sent || (finishing() && crc != CrcOfPage(source_, first + i))) {
      return Status(StatusCode::kCorruption,
                    "page " + std::to_string(first + i) + " of block " +
                        std::to_string(options_.block.value()) +
                        (as_sent ? " is not what the source's table says"
                                 : " fails its checksum as it came from the source"));
    }
  }
  return Status::Ok();
}

Status ReplicaPull::Apply(const PullRange& range, std::string_view pages,
                          std::string_view page_crcs) {
  RETURN_IF_ERROR(CheckPages(range, pages, page_crcs));
  // A source that is being written to may have become shorter: what it cut off is left to the pull
  // that finishes.
  const size_t bytes = std::min<size_t>(pages.size(), range.length);
  if (bytes > 0) {
    std::string piece_crcs(page_crcs);
    if (const size_t in_last = bytes % kPageBytes; in_last != 0) {
      piece_crcs.resize(piece_crcs.size() - 4);
      PutFixed32(&piece_crcs, Crc32c(pages.substr(bytes - in_last, in_last)));
    }
    WriteArguments write;
    write.block = options_.block;
    write.generation = base_;
    write.offset = range.offset;
    write.data = pages.substr(0, bytes);
    write.piece_crcs = piece_crcs;
    write.crcs_verified = true;
    write.start_writeback = true;
    RETURN_IF_ERROR(store_.Write(write));
  }
  copied_bytes_ += bytes;
  left_bytes_ -= std::min(left_bytes_, uint64_t{PagesFor(range.length)} * kPageBytes);
  return Status::Ok();
}

Status ReplicaPull::SyncApplied() {
  const Status synced = store_.Sync(options_.block, base_);
  // A base that is suspect since a crash is not served like others before it was promoted; the
  // pull that finishes makes all of it durable.
  return synced.code() == StatusCode::kUnavailable ? Status::Ok() : synced;
}

Status ReplicaPull::Finish() {
  if (left_bytes_ > 0) {
    return Status(StatusCode::kInternal, "a pull was to be finished with " +
                                             std::to_string(left_bytes_) + " bytes missing");
  }
  if (!finishing()) return SyncApplied();
  RETURN_IF_ERROR(store_.Promote(options_.block, base_, options_.finish));
  ASSIGN_OR_RETURN(const PageTable own, store_.Table(options_.block, options_.finish));
  if (own.length != source_.length || own.page_crcs != source_.page_crcs) {
    return Status(StatusCode::kConflict, "block " + std::to_string(options_.block.value()) +
                                             " was changed while it was being pulled");
  }
  return Status::Ok();
}

}  // namespace tercet
