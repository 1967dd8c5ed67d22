#include "metaserver/journal/journal.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "metaserver/journal/rebuild_advice.h"

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

Result<JournalIndex> Journal::Append(Epoch epoch, std::string_view payload, RecordKind kind) {
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
  const auto type = static_cast<RecordType>(kind);
  Position position;
  RETURN_IF_ERROR(AppendLocked(type, index, epoch, payload, &position));
  NoteAppended(position, epoch, type, payload);
  return index;
}

bool Journal::older_than_groups() const {
  std::lock_guard lock(mutex_);
  return segments_.back()->header.version < kFirstVersionWithMemberships;
}

size_t Journal::CountThatFit(std::span<const CommittedRecord> records) const {
  std::lock_guard lock(mutex_);
  uint64_t size = segments_.back()->header.size_bytes;
  uint64_t offset = append_offset_ + RecordBytes(0);
  // Until a segment of the present version is begun.
  bool too_old = segments_.back()->header.version < kFirstVersionWithMemberships;
  size_t spares = spares_.size();
  size_t count = 0;
  for (; count < records.size(); ++count) {
    const CommittedRecord& record = records[count];
    const uint64_t bytes = RecordBytes(record.payload.size());
    if (record.payload.size() > options_.max_payload_bytes ||
        kSegmentHeaderBytes + bytes > options_.segment_bytes) {
      break;
    }
    if (offset + bytes > size || (too_old && record.kind == RecordKind::kMembership)) {
      if (spares == 0) break;
      --spares;
      too_old = false;
      size = options_.segment_bytes;
      offset = kSegmentHeaderBytes;
    }
    offset += bytes;
  }
  // Had the truncation no room, it would take the spare.
  return append_offset_ + RecordBytes(0) > segments_.back()->header.size_bytes && spares == 0
             ? 0
             : count;
}

void Journal::NoteAppended(const Position& position, Epoch epoch, RecordType type,
                           std::string_view payload) {
  last_ = last_.Next();
  last_epoch_ = epoch;
  positions_.push_back(position);
  if (runs_.empty() || runs_.back().epoch != epoch) runs_.push_back({last_, epoch});
  if (type == RecordType::kMembership) memberships_.push_back({last_, std::string(payload)});
}

// `index` is in [first_ - 1, last_]; `epoch` is its epoch.
void Journal::NoteTruncated(JournalIndex index, Epoch epoch) {
  positions_.resize(index.Next().value() - first_.value());
  while (!runs_.empty() && runs_.back().first > index) runs_.pop_back();
  while (!memberships_.empty() && memberships_.back().index > index) memberships_.pop_back();
  last_ = index;
  last_epoch_ = epoch;
}

void Journal::NoteReset(JournalIndex index, Epoch epoch) {
  positions_.clear();
  runs_.clear();
  memberships_.clear();
  first_ = index.Next();
  last_ = index;
  last_epoch_ = epoch;
  base_epoch_ = epoch;
}

Epoch Journal::EpochAtLocked(JournalIndex index) const {
  if (index < first_) return base_epoch_;
  auto behind = std::upper_bound(
      runs_.begin(), runs_.end(), index,
      [](JournalIndex wanted, const LogSummary::Run& run) { return wanted < run.first; });
  return std::prev(behind)->epoch;
}

uint64_t Journal::SequenceOf(const Position& position) const {
  const uint64_t oldest = segments_.front()->header.sequence;
  return oldest + static_cast<uint32_t>(position.segment - static_cast<uint32_t>(oldest));
}

const std::shared_ptr<Segment>& Journal::SegmentOf(const Position& position) const {
  return segments_[SequenceOf(position) - segments_.front()->header.sequence];
}

// The segment behind the last one.
SegmentHeader Journal::NextSegmentHeader() const {
  SegmentHeader header;
  header.cluster_id = identity_.cluster_id;
  header.sequence = segments_.empty() ? 1 : segments_.back()->header.sequence + 1;
  header.first_index = last_.Next();
  header.previous_epoch = last_epoch_;
  header.salt = random_.Next();
  header.size_bytes = options_.segment_bytes;
  return header;
}

// Needs mutex_. Places the record at the end of the last segment, or at the start of a new one.
Status Journal::AppendLocked(RecordType type, JournalIndex index, Epoch epoch,
                             std::string_view payload, Position* position) {
  RETURN_IF_ERROR(failure_);
  const uint64_t bytes = RecordBytes(payload.size());
  std::string spare_path;
  // A version that knows no memberships refuses a segment of the present one, but not its records.
  const bool too_old = type == RecordType::kMembership &&
                       segments_.back()->header.version < kFirstVersionWithMemberships;
  if (too_old || append_offset_ + bytes > segments_.back()->header.size_bytes) {
    if (spares_.empty()) {
      return Status(StatusCode::kNoSpace,
                    "the journal in " + options_.folder + " has no room for a further segment");
    }
    SpareFile spare = std::move(spares_.back());
    spares_.pop_back();
    SegmentHeader header = NextSegmentHeader();
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
  *position = {static_cast<uint32_t>(chunk.segment->header.sequence),
               static_cast<uint32_t>(append_offset_), static_cast<uint32_t>(payload.size())};
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
    const Epoch epoch = EpochAtLocked(index);
    Position unused;
    RETURN_IF_ERROR(AppendLocked(RecordType::kTruncate, index, epoch, {}, &unused));
    NoteTruncated(index, epoch);
    durable_ = index;
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
  return EpochAtLocked(index);
}

Result<LogSummary> Journal::Summary(const Membership& base_membership,
                                    JournalIndex base_membership_index) const {
  std::lock_guard lock(mutex_);
  LogSummary summary;
  summary.first = first_;
  summary.last = last_;
  summary.base_epoch = base_epoch_;
  summary.runs.assign(runs_.begin(), runs_.end());
  summary.base_membership = base_membership;
  summary.base_membership_index = base_membership_index;
  for (const MembershipRecord& record : memberships_) {
    if (record.index <= base_membership_index) continue;
    Result<Membership> membership = Membership::Decode(record.payload);
    if (!membership.ok()) {
      return membership.status().WithContext("journal in " + options_.folder + ", record " +
                                             std::to_string(record.index.value()));
    }
    summary.memberships.emplace_back(record.index, std::move(membership).value());
  }
  return summary;
}

JournalIndex Journal::FirstWithin(uint64_t max_bytes) const {
  std::lock_guard lock(mutex_);
  size_t kept = 1;
  uint64_t bytes = segments_.back()->header.size_bytes;
  while (kept < segments_.size()) {
    bytes += segments_[segments_.size() - 1 - kept]->header.size_bytes;
    if (bytes > max_bytes) break;
    ++kept;
  }
  const uint64_t oldest_kept = segments_[segments_.size() - kept]->header.sequence;
  auto first = std::partition_point(
      positions_.begin(), positions_.end(),
      [&](const Position& position) { return SequenceOf(position) < oldest_kept; });
  return JournalIndex(first_.value() + static_cast<uint64_t>(first - positions_.begin()));
}

Status Journal::ResetTo(JournalIndex index, Epoch epoch) {
  RETURN_IF_ERROR(PrepareSpare());
  std::shared_ptr<Segment> segment;
  std::string spare_path;
  {
    std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(failure_);
    SpareFile spare = std::move(spares_.back());
    spares_.pop_back();
    SegmentHeader header = NextSegmentHeader();
    header.sequence = started_ + 1;  // segments that were not started vanish with their records
    header.first_index = index.Next();
    header.previous_epoch = epoch;
    header.begins_journal = true;
    std::string path = files_.SegmentPath(header.sequence);
    segment = std::make_shared<Segment>(std::move(header), std::move(path), std::move(spare.file));
    spare_path = std::move(spare.path);
  }
  if (Status status = files_.StartSegment(*segment, spare_path); !status.ok()) {
    return Failed(status);
  }
  std::deque<std::shared_ptr<Segment>> void_segments;
  std::vector<Chunk> void_chunks;
  {
    std::lock_guard lock(mutex_);
    ++resets_;
    void_chunks.swap(pending_);
    void_segments.swap(segments_);
    started_ = segment->header.sequence;
    append_offset_ = kSegmentHeaderBytes;
    segments_.push_back(std::move(segment));
    NoteReset(index, epoch);
    durable_ = index;
  }
  for (const Chunk& chunk : void_chunks) {
    if (chunk.spare_path.empty()) continue;
    void_segments.pop_back();  // was never started: the chunk's file is a spare
    if (Status status = files_.Remove(chunk.spare_path); !status.ok()) return Failed(status);
  }
  for (const std::shared_ptr<Segment>& released : void_segments) {
    RETURN_IF_ERROR(Release(*released));
  }
  return Status::Ok();
}

Result<std::vector<CommittedRecord>> Journal::ReadRecords(JournalIndex from,
                                                          uint64_t max_bytes) const {
  struct Run {  // of records that lie one behind the other in one segment
    std::shared_ptr<Segment> segment;
    JournalIndex first;
    std::vector<Position> positions;
  };
  std::vector<Run> runs;
  uint64_t resets = 0;
  {
    std::lock_guard lock(mutex_);
    resets = resets_;
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
      bool adjoins = !runs.empty() && runs.back().positions.back().segment == position.segment &&
                     runs.back().positions.back().offset +
                             RecordBytes(runs.back().positions.back().payload_bytes) ==
                         position.offset;
      if (!adjoins) runs.push_back({SegmentOf(position), index, {}});
      runs.back().positions.push_back(position);
    }
  }
  std::vector<CommittedRecord> records;
  for (const Run& run : runs) {
    Status status = ReadRun(*run.segment, run.positions, run.first, &records);
    if (!status.ok()) {
      std::lock_guard lock(mutex_);
      // Released, and perhaps in use again, while it was read.
      if (from < first_ || resets != resets_) {
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
    if (!header || header->type == RecordType::kTruncate || header->index != index ||
        header->payload_bytes != position.payload_bytes || !segment.codec.Verify(*header, record)) {
      return Status(StatusCode::kCorruption, segment.path + ": record " +
                                                 std::to_string(index.value()) + " at offset " +
                                                 std::to_string(position.offset) + " is damaged. " +
                                                 std::string(kRebuildAdvice));
    }
    records->push_back({index, header->epoch,
                        std::string(record.substr(kRecordHeaderBytes, position.payload_bytes)),
                        static_cast<RecordKind>(header->type)});
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
                              ? SequenceOf(positions_[index.value() - first_.value()])
                              : (index > last_ ? started_ : oldest);
  if (needed <= oldest) return nullptr;
  JournalIndex first = first_;
  while (!positions_.empty() && SequenceOf(positions_.front()) == oldest) {
    positions_.pop_front();
    first = first.Next();
  }
  NoteReleased(first);
  std::shared_ptr<Segment> segment = std::move(segments_.front());
  segments_.pop_front();
  return segment;
}

// Its records' positions are gone already.
void Journal::NoteReleased(JournalIndex first) {
  if (first == first_) return;
  base_epoch_ = EpochAtLocked(JournalIndex(first.value() - 1));
  first_ = first;
  while (runs_.size() > 1 && runs_[1].first <= first) runs_.pop_front();
  if (positions_.empty()) {
    runs_.clear();
  } else {
    runs_.front().first = first;
  }
  while (!memberships_.empty() && memberships_.front().index < first) memberships_.pop_front();
}

Status Journal::ReleaseBefore(JournalIndex index) {
  while (std::shared_ptr<Segment> segment = TakeReleasable(index)) {
    RETURN_IF_ERROR(Release(*segment));
  }
  return Status::Ok();
}

// The segment is none of segments_ any more.
Status Journal::Release(const Segment& segment) {
  bool recycle = false;
  {
    std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(failure_);
    recycle = spares_.size() < kMaxSpares && segment.header.size_bytes == options_.segment_bytes;
  }
  if (!recycle) {
    if (Status status = files_.Remove(segment.path); !status.ok()) return Failed(status);
    return Status::Ok();
  }
  Result<SpareFile> spare = files_.Recycle(segment);
  if (!spare.ok()) return Failed(spare.status());
  AddSpare(std::move(spare).value());
  return Status::Ok();
}

}  // namespace tercet
