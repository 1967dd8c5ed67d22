// Journal::Open: from what a crash left to a journal that may be appended to.
//
// Steps (those before 5 only read, but for the identity of a new folder):
//  1. take the folder's lock
//  2. read all segment headers: version, no hole in the sequence; the newest that begins the
//  journal
//     voids those before it; check the identity
//  3. scan the segments in order: each begins with the index that its predecessor ended before
//  4. judge what is behind the last record of the last segment: torn tail or damage
//  5. write the last batch once more and zeros over the torn tail, sync; a crash in it changes
//     nothing, as the bytes are the same and so is the verdict
//  6. keep spares, remove void segments and unfinished files, make the first segment of a new
//     journal
//
// Why the last batch is written once more: a killed process may have left it in the kernel's cache
// only, or its sync may have failed, after which the kernel takes those pages for clean. What is
// reported as recovered must be on the platter. For the same reason the folder is synced: the name of
// the newest segment may be in the cache only, and records that are appended to it would go with it.
#include <algorithm>
#include <utility>

#include "common/base/hex.h"
#include "metaserver/journal/journal.h"
#include "metaserver/journal/rebuild_advice.h"
#include "metaserver/journal/segment_scanner.h"

namespace tercet {
namespace {

constexpr uint64_t kZeroStepBytes = 1 << 20;
Status Damaged(const std::string& message) {
  return Status(StatusCode::kCorruption, message + ". " + std::string(kRebuildAdvice));
}

Status CheckOptions(const JournalOptions& options) {
  if (options.segment_bytes < Journal::kMinSegmentBytes ||
      options.segment_bytes > Journal::kMaxSegmentBytes || options.segment_bytes % 4096 != 0) {
    return Status(StatusCode::kInvalidArgument,
                  "the journal's segment size must be a multiple of 4096 from " +
                      std::to_string(Journal::kMinSegmentBytes) + " to " +
                      std::to_string(Journal::kMaxSegmentBytes) + " bytes, not " +
                      std::to_string(options.segment_bytes));
  }
  return Status::Ok();
}

}  // namespace

class Journal::Recovery {
 public:
  Recovery(Disk& disk, Journal& journal) : disk_(disk), journal_(journal) {}

  Status Run() {
    const std::string& folder = journal_.options_.folder;
    RETURN_IF_ERROR(disk_.MakeDirectories(folder));
    Result<std::unique_ptr<FileLock>> lock = disk_.Lock(folder + "/lock");
    if (lock.code() == StatusCode::kBusy) {
      return Status(StatusCode::kBusy, "the journal in " + folder +
                                           " is in use by another process; two metaservers cannot "
                                           "share a folder");
    }
    RETURN_IF_ERROR(lock.status());
    journal_.lock_ = std::move(lock).value();
    ASSIGN_OR_RETURN(content_, journal_.files_.List());
    RETURN_IF_ERROR(OpenSegments());
    RETURN_IF_ERROR(CheckIdentity());
    RETURN_IF_ERROR(ScanSegments());
    RETURN_IF_ERROR(disk_.SyncDirectory(folder));
    RETURN_IF_ERROR(SettleTail());
    return SettleFiles();
  }

 private:
  // The headers first, so that a journal of a newer version is recognised before anything is
  // touched.
  Status OpenSegments() {
    std::deque<std::shared_ptr<Segment>>& segments = journal_.segments_;
    for (auto sequence = content_.segments.rbegin(); sequence != content_.segments.rend();
         ++sequence) {
      if (!segments.empty() && segments.front()->header.begins_journal) {
        // A reset did not come to remove it.
        void_paths_.push_back(journal_.files_.SegmentPath(*sequence));
        continue;
      }
      Result<std::shared_ptr<Segment>> segment = journal_.files_.OpenSegment(*sequence);
      if (segment.code() == StatusCode::kCorruption) return Damaged(segment.status().message());
      RETURN_IF_ERROR(segment.status());
      if (!segments.empty() && segments.front()->header.sequence != *sequence + 1) {
        return Damaged("the journal has a hole: " + journal_.files_.SegmentPath(*sequence + 1) +
                       " is missing, though " + segments.front()->path + " is there");
      }
      segments.push_front(std::move(segment).value());
    }
    return Status::Ok();
  }

  Status CheckIdentity() {
    const std::string path = journal_.options_.folder + "/identity";
    if (!journal_.segments_.empty()) {
      ASSIGN_OR_RETURN(bool exists, disk_.Exists(path));
      if (!exists) return Damaged(path + " is missing, though there are journal segments");
    }
    ASSIGN_OR_RETURN(
        journal_.identity_,
        CheckOrCreateIdentity(disk_, path, journal_.options_.identity, journal_.random_));
    for (const std::shared_ptr<Segment>& segment : journal_.segments_) {
      if (segment->header.cluster_id != journal_.identity_.cluster_id) {
        return Status(StatusCode::kWrongCluster,
                      segment->path + " belongs to cluster " + HexOf(segment->header.cluster_id) +
                          ", but its folder to " + HexOf(journal_.identity_.cluster_id));
      }
    }
    return Status::Ok();
  }

  Status ScanSegments() {
    if (journal_.segments_.empty()) {
      journal_.first_ = JournalIndex(1);
      return Status::Ok();
    }
    const SegmentHeader& oldest = journal_.segments_.front()->header;
    journal_.NoteReset(JournalIndex(oldest.first_index.value() - 1), oldest.previous_epoch);
    const Segment* previous = nullptr;
    for (const std::shared_ptr<Segment>& segment : journal_.segments_) {
      const SegmentHeader& header = segment->header;
      if (header.first_index != journal_.last_.Next() ||
          header.previous_epoch != journal_.last_epoch_) {
        return Damaged((previous != nullptr ? previous->path : segment->path) + ": after record " +
                       std::to_string(journal_.last_.value()) +
                       " there is no valid record at offset " + std::to_string(tail_.end) +
                       ", but " + segment->path + " goes on with record " +
                       std::to_string(header.first_index.value()));
      }
      Result<SegmentTail> tail = ScanSegment(
          *segment, [&](const RecordHeader& record, uint64_t offset, std::string_view payload) {
            return Take(*segment, record, offset, payload);
          });
      if (tail.code() == StatusCode::kCorruption) return Damaged(tail.status().message());
      RETURN_IF_ERROR(tail.status());
      tail_ = *tail;
      previous = segment.get();
    }
    return Status::Ok();
  }

  Status Take(const Segment& segment, const RecordHeader& record, uint64_t offset,
              std::string_view payload) {
    const bool truncates = record.type == RecordType::kTruncate;
    if (truncates
            ? record.index >= journal_.last_
            : (record.index != journal_.last_.Next() || record.epoch < journal_.last_epoch_)) {
      return Status(StatusCode::kCorruption,
                    segment.path + ": the record at offset " + std::to_string(offset) +
                        " has index " + std::to_string(record.index.value()) + " in epoch " +
                        std::to_string(record.epoch.value()) + ", but record " +
                        std::to_string(journal_.last_.value()) + " of epoch " +
                        std::to_string(journal_.last_epoch_.value()) + " is before it");
    }
    if (!truncates) {
      journal_.NoteAppended({static_cast<uint32_t>(segment.header.sequence),
                             static_cast<uint32_t>(offset), record.payload_bytes},
                            record.epoch, record.type, payload);
    } else if (record.index >= journal_.first_) {
      journal_.NoteTruncated(record.index, record.epoch);
    } else {
      journal_.NoteReset(record.index, record.epoch);
    }
    return Status::Ok();
  }

  Status SettleTail() {
    journal_.durable_ = journal_.last_;
    journal_.append_offset_ = tail_.end;
    if (journal_.segments_.empty()) return Status::Ok();
    const Segment& segment = *journal_.segments_.back();
    journal_.started_ = segment.header.sequence;
    Result<uint64_t> remains_end = JudgeTail(segment, tail_.end);
    if (remains_end.code() == StatusCode::kCorruption) {
      return Damaged("after record " + std::to_string(journal_.last_.value()) + ": " +
                     remains_end.status().message());
    }
    RETURN_IF_ERROR(remains_end.status());
    if (tail_.end > tail_.last_batch) {
      std::string batch(tail_.end - tail_.last_batch, '\0');
      ASSIGN_OR_RETURN(size_t got, segment.file->ReadAt(tail_.last_batch, batch));
      if (got != batch.size()) {
        return Status(StatusCode::kIo, segment.path + " became shorter while it was read");
      }
      RETURN_IF_ERROR(segment.file->WriteAt(tail_.last_batch, batch));
    }
    // At least one header's length: the torn record itself never becomes valid again.
    const uint64_t zero_end =
        std::min(std::max(*remains_end, tail_.end + kRecordHeaderBytes), segment.header.size_bytes);
    for (uint64_t offset = tail_.end; offset < zero_end;) {
      const uint64_t size = std::min(kZeroStepBytes, zero_end - offset);
      RETURN_IF_ERROR(segment.file->WriteAt(offset, std::string(size, '\0')));
      offset += size;
    }
    return segment.file->Sync();
  }

  Status SettleFiles() {
    SegmentFiles& files = journal_.files_;
    files.set_next_spare_number(content_.next_spare_number);
    for (const std::string& path : void_paths_) RETURN_IF_ERROR(files.Remove(path));
    for (const std::string& name : content_.leftovers) {
      RETURN_IF_ERROR(files.Remove(files.folder() + "/" + name));
    }
    for (const std::string& name : content_.spares) {
      Result<SpareFile> spare = files.OpenSpare(name);
      if (spare.ok() && journal_.spares_.size() < kMaxSpares) {
        journal_.spares_.push_back(std::move(spare).value());
      } else if (spare.ok() || spare.code() == StatusCode::kNotFound) {
        RETURN_IF_ERROR(files.Remove(files.folder() + "/" + name));
      } else {
        return spare.status();
      }
    }
    return journal_.segments_.empty() ? StartFirstSegment() : Status::Ok();
  }

  Status StartFirstSegment() {
    RETURN_IF_ERROR(journal_.PrepareSpare());
    SpareFile spare = std::move(journal_.spares_.back());
    journal_.spares_.pop_back();
    auto segment = std::make_shared<Segment>(journal_.NextSegmentHeader(),
                                             journal_.files_.SegmentPath(1), std::move(spare.file));
    RETURN_IF_ERROR(journal_.files_.StartSegment(*segment, spare.path));
    journal_.segments_.push_back(std::move(segment));
    journal_.started_ = 1;
    journal_.append_offset_ = kSegmentHeaderBytes;
    return Status::Ok();
  }

  Disk& disk_;
  Journal& journal_;
  FolderContent content_;
  std::vector<std::string> void_paths_;  // of segments before the one that begins the journal
  SegmentTail tail_;                     // of the segment scanned last
};

Result<std::unique_ptr<Journal>> Journal::Open(Disk& disk, Random& random, JournalOptions options) {
  RETURN_IF_ERROR(CheckOptions(options));
  options.max_payload_bytes = std::min(
      options.max_payload_bytes, options.segment_bytes - kSegmentHeaderBytes - kRecordHeaderBytes);
  std::unique_ptr<Journal> journal(new Journal(disk, random, std::move(options)));
  RETURN_IF_ERROR(Recovery(disk, *journal).Run());
  return journal;
}

}  // namespace tercet
