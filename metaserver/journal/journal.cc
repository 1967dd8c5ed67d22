#include "metaserver/journal/journal.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace tercet {

Journal::Journal(Disk& disk, Random& random, JournalOptions options)
    : random_(random),
      options_(std::move(options)),
      files_(disk, options_.folder, options_.segment_bytes) {}

Journal::~Journal() = default;

JournalRange Journal::range() const {
  std::lock_guard lock(mutex_);
  return {first_, last_, durable_, last_epoch_};
}

bool Journal::has_spare() const {
  std::lock_guard lock(mutex_);
  return !spares_.empty();
}

Status Journal::Failed(const Status& status) {
  Status failure = status.WithContext("journal in " + options_.folder);
  std::lock_guard lock(mutex_);
  if (failure_.ok()) failure_ = failure;
  return failure;
}

Result<JournalIndex> Journal::Append(Epoch epoch, std::string_view payload) {
  if (payload.size() > options_.max_payload_bytes) {
    return Status(StatusCode::kArgumentTooBig,
                  "a journal record of " + std::to_string(payload.size()) +
                      " bytes is above the limit of " + std::to_string(options_.max_payload_bytes));
  }
  std::lock_guard lock(mutex_);
  if (epoch < last_epoch_) {
    return Status(StatusCode::kInvalidArgument, "epoch " + std::to_string(epoch.value()) +
                                                    " is below the journal's " +
                                                    std::to_string(last_epoch_.value()));
  }
  const JournalIndex index = last_.Next();
  Position position;
  RETURN_IF_ERROR(AppendLocked(RecordType::kData, index, epoch, payload, &position));
  positions_.push_back(position);
  last_ = index;
  last_epoch_ = epoch;
  return index;
}

// Needs mutex_. Places the record at the end of the last segment, or at the start of a new one.
Status Journal::AppendLocked(RecordType type, JournalIndex index, Epoch epoch,
                             std::string_view payload, Position* position) {
  RETURN_IF_ERROR(failure_);
  const uint64_t bytes = RecordBytes(payload.size());
  std::string spare_path;
  if (append_offset_ + bytes > segments_.back()->header.size_bytes) {
    if (spares_.empty()) {
      return Status(StatusCode::kNoSpace,
                    "the journal in " + options_.folder + " has no room for a further segment");
    }
    SpareFile spare = std::move(spares_.back());
    spares_.pop_back();
    SegmentHeader header;
    header.cluster_id = identity_.cluster_id;
    header.sequence = segments_.back()->header.sequence + 1;
    header.first_index = last_.Next();
    header.previous_epoch = last_epoch_;
    header.salt = random_.Next();
    header.size_bytes = options_.segment_bytes;
    std::string path = files_.SegmentPath(header.sequence);
    segments_.push_back(
        std::make_shared<Segment>(std::move(header), std::move(path), std::move(spare.file)));
    append_offset_ = kSegmentHeaderBytes;
    spare_path = std::move(spare.path);
  }
  if (pending_.empty() || pending_.back().segment != segments_.back()) {
    pending_.push_back({segments_.back(), std::move(spare_path), append_offset_, {}});
  }
  Chunk& chunk = pending_.back();
  RecordHeader header;
  header.index = index;
  header.epoch = epoch;
  header.batch_offset = static_cast<uint32_t>(chunk.offset);
  header.type = type;
  chunk.segment->codec.Append(&chunk.bytes, header, payload);
  *position = {epoch, chunk.segment->header.sequence, static_cast<uint32_t>(append_offset_),
               static_cast<uint32_t>(payload.size())};
  append_offset_ += bytes;
  return Status::Ok();
}

Status Journal::Sync() {
  std::vector<Chunk> chunks;
  JournalIndex last;
  {
    std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(failure_);
    chunks.swap(pending_);
    last = last_;
  }
  for (const Chunk& chunk : chunks) {
    if (Status status = WriteChunk(chunk); !status.ok()) return Failed(status);
  }
  std::lock_guard lock(mutex_);
  durable_ = last;
  return Status::Ok();
}

// The chunk before is synced: so a segment starts, and a batch is written, behind durable ones
// only.
Status Journal::WriteChunk(const Chunk& chunk) {
  const Segment& segment = *chunk.segment;
  if (!chunk.spare_path.empty()) {
    RETURN_IF_ERROR(files_.StartSegment(segment, chunk.spare_path));
    std::lock_guard lock(mutex_);
    started_ = segment.header.sequence;
  }
  RETURN_IF_ERROR(segment.file->WriteAt(chunk.offset, chunk.bytes));
  return segment.file->Sync();
}

Status Journal::TruncateAfter(JournalIndex index) {
  {
    std::lock_guard lock(mutex_);
    if (durable_ != last_ || index.Next() < first_ || index > last_) {
      return Status(StatusCode::kInvalidArgument, "the journal cannot be truncated behind record " +
                                                      std::to_string(index.value()));
    }
    if (index == last_) return Status::Ok();
    const bool keeps_any = index >= first_;
    const size_t kept = keeps_any ? index.value() - first_.value() + 1 : 0;
    const Epoch epoch = keeps_any ? positions_[kept - 1].epoch : base_epoch_;
    Position unused;
    RETURN_IF_ERROR(AppendLocked(RecordType::kTruncate, index, epoch, {}, &unused));
    positions_.resize(kept);
    last_ = index;
    durable_ = index;
    last_epoch_ = epoch;
  }
  return Sync();
}

Result<Epoch> Journal::EpochAt(JournalIndex index) const {
  std::lock_guard lock(mutex_);
  if (index.Next() == first_ && base_epoch_ != Epoch()) return base_epoch_;
  if (index < first_ || index > last_) {
    return Status(StatusCode::kNotFound,
                  "record " + std::to_string(index.value()) + " is not in the journal");
  }
  return positions_[index.value() - first_.value()].epoch;
}

Result<std::vector<CommittedRecord>> Journal::ReadRecords(JournalIndex from,
                                                          uint64_t max_bytes) const {
  struct Run {  // of records that lie one behind the other in one segment
    std::shared_ptr<Segment> segment;
    JournalIndex first;
    std::vector<Position> positions;
  };
  std::vector<Run> runs;
  {
    std::lock_guard lock(mutex_);
    if (from < first_) {
      return Status(StatusCode::kNotFound, "record " + std::to_string(from.value()) +
                                               " is no longer in the journal, which begins at " +
                                               std::to_string(first_.value()));
    }
    uint64_t bytes = 0;
    for (JournalIndex index = from; index <= durable_ && (bytes == 0 || bytes <= max_bytes);
         index = index.Next()) {
      const Position& position = positions_[index.value() - first_.value()];
      bytes += position.payload_bytes + 1;
      bool adjoins = !runs.empty() && runs.back().segment->header.sequence == position.segment &&
                     runs.back().positions.back().offset +
                             RecordBytes(runs.back().positions.back().payload_bytes) ==
                         position.offset;
      if (!adjoins) {
        const uint64_t oldest = segments_.front()->header.sequence;
        runs.push_back({segments_[position.segment - oldest], index, {}});
      }
      runs.back().positions.push_back(position);
    }
  }
  std::vector<CommittedRecord> records;
  for (const Run& run : runs) {
    Status status = ReadRun(*run.segment, run.positions, run.first, &records);
    if (!status.ok()) {
      std::lock_guard lock(mutex_);
      if (from < first_) {  // released, and perhaps in use again, while it was read
        return Status(StatusCode::kNotFound,
                      "record " + std::to_string(from.value()) + " is no longer in the journal");
      }
      return status;
    }
  }
  return records;
}

Status Journal::ReadRun(const Segment& segment, const std::vector<Position>& positions,
                        JournalIndex first, std::vector<CommittedRecord>* records) const {
  const uint64_t begin = positions.front().offset;
  const uint64_t end = positions.back().offset + RecordBytes(positions.back().payload_bytes);
  std::string buffer(end - begin, '\0');
  ASSIGN_OR_RETURN(size_t got, segment.file->ReadAt(begin, buffer));
  const std::string_view bytes = std::string_view(buffer).substr(0, got);
  JournalIndex index = first;
  for (const Position& position : positions) {
    const uint64_t at = position.offset - begin;
    const std::string_view record = at < bytes.size()
                                        ? bytes.substr(at, RecordBytes(position.payload_bytes))
                                        : std::string_view();
    std::optional<RecordHeader> header;
    if (record.size() >= kRecordHeaderBytes) header = segment.codec.Peek(record.data());
    if (!header || header->index != index || header->payload_bytes != position.payload_bytes ||
        !segment.codec.Verify(*header, record)) {
      return Status(StatusCode::kCorruption,
                    segment.path + ": record " + std::to_string(index.value()) + " at offset " +
                        std::to_string(position.offset) + " is damaged; check the disk");
    }
    records->push_back({index, header->epoch,
                        std::string(record.substr(kRecordHeaderBytes, position.payload_bytes))});
    index = index.Next();
  }
  return Status::Ok();
}

Status Journal::PrepareSpare() {
  {
    std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(failure_);
    if (!spares_.empty()) return Status::Ok();
  }
  Result<SpareFile> spare = files_.MakeSpare();
  if (spare.code() == StatusCode::kNoSpace) {
    return spare.status().WithContext("the journal in " + options_.folder +
                                      " needs room for a segment of " +
                                      std::to_string(options_.segment_bytes) + " bytes");
  }
  if (!spare.ok()) return Failed(spare.status());
  AddSpare(std::move(spare).value());
  return Status::Ok();
}

void Journal::AddSpare(SpareFile spare) {
  std::lock_guard lock(mutex_);
  spares_.push_back(std::move(spare));
}

std::shared_ptr<Segment> Journal::TakeReleasable(JournalIndex index) {
  std::lock_guard lock(mutex_);
  index = std::min(index, durable_.Next());
  // The one that becomes the oldest must be on the disk, or a crash would leave no segment at all.
  if (segments_.size() < 2 || segments_[1]->header.sequence > started_) return nullptr;
  const uint64_t oldest = segments_.front()->header.sequence;
  const uint64_t needed = index <= last_ && index >= first_
                              ? positions_[index.value() - first_.value()].segment
                              : (index > last_ ? started_ : oldest);
  if (needed <= oldest) return nullptr;
  while (!positions_.empty() && positions_.front().segment == oldest) {
    base_epoch_ = positions_.front().epoch;
    positions_.pop_front();
    first_ = first_.Next();
  }
  std::shared_ptr<Segment> segment = std::move(segments_.front());
  segments_.pop_front();
  return segment;
}

Status Journal::ReleaseBefore(JournalIndex index) {
  while (std::shared_ptr<Segment> segment = TakeReleasable(index)) {
    bool recycle = false;
    {
      std::lock_guard lock(mutex_);
      RETURN_IF_ERROR(failure_);
      recycle = spares_.size() < kMaxSpares && segment->header.size_bytes == options_.segment_bytes;
    }
    if (!recycle) {
      if (Status status = files_.Remove(segment->path); !status.ok()) return Failed(status);
      continue;
    }
    Result<SpareFile> spare = files_.Recycle(*segment);
    if (!spare.ok()) return Failed(spare.status());
    AddSpare(std::move(spare).value());
  }
  return Status::Ok();
}

}  // namespace tercet
