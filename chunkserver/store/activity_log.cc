#include "chunkserver/store/activity_log.h"

#include <algorithm>

namespace tercet {
namespace {

/// How many written blocks of an era are known one by one.
constexpr size_t kMaxWritten = 1 << 20;

}  // namespace

ActivityLog::ActivityLog(ActivityRecord record, bool unsettled_before)
    : current_(record.state.current.value()),
      state_(std::move(record.state)),
      places_(kMaxMarks),
      all_written_(unsettled_before),
      all_marked_is_durable_(state_.all_marked),
      all_marked_in_(state_.current) {
  for (size_t i = 0; i < record.marks.size(); ++i) {
    places_[i] = {record.marks[i], state_.current};
    by_block_[record.marks[i].block] = i;
  }
  for (size_t i = kMaxMarks; i-- > record.marks.size();) free_.push_back(i);
}

Result<std::unique_ptr<ActivityLog>> ActivityLog::Start(Disk& disk, const std::string& path,
                                                        ActivityRecord record,
                                                        bool unsettled_before) {
  RETURN_IF_ERROR(WriteFileAtomically(disk, path, EncodeActivity(record)));
  std::unique_ptr<ActivityLog> log(new ActivityLog(std::move(record), unsettled_before));
  ASSIGN_OR_RETURN(log->file_, disk.Open(path, OpenMode::kReadWrite));
  return log;
}

void ActivityLog::NoteWritten(BlockId block) {
  if (written_.size() < kMaxWritten) {
    written_.try_emplace(block, false);
  } else if (!written_.contains(block)) {
    all_written_ = true;
  }
}

Era ActivityLog::Enter(BlockId block) {
  std::lock_guard lock(mutex_);
  NoteWritten(block);
  return state_.current;
}

Result<Era> ActivityLog::Cover(BlockId block, Era replica_era) {
  Era covered;
  bool for_all = false;
  {
    std::lock_guard lock(mutex_);
    NoteWritten(block);
    covered = state_.current;
    if (replica_era == covered) return covered;
    if (auto found = by_block_.find(block); found != by_block_.end()) {
      places_[found->second].written_in = covered;
      return covered;
    }
    if (state_.all_marked || free_.empty()) {
      all_marked_in_ = covered;
      if (state_.all_marked && all_marked_is_durable_) return covered;
      state_.all_marked = true;
      for_all = true;
      RETURN_IF_ERROR(WriteState());
    } else {
      const size_t place = free_.back();
      free_.pop_back();
      places_[place] = {{.block = block}, covered};
      by_block_[block] = place;
      RETURN_IF_ERROR(WriteSectorOf(place));
    }
  }
  // Without the lock, so that several marks share a flush. No round can take the mark back
  // meanwhile: it waits for the caller's handle.
  RETURN_IF_ERROR(file_->Sync());
  if (for_all) {
    std::lock_guard lock(mutex_);
    all_marked_is_durable_ = true;
  }
  return covered;
}

void ActivityLog::NoteGrown(BlockId block) {
  std::lock_guard lock(mutex_);
  if (auto found = written_.find(block); found != written_.end()) found->second = true;
}

bool ActivityLog::IsSuspect(BlockId block, Era replica_era) const {
  std::lock_guard lock(mutex_);
  if (AnyContains(state_.suspects, replica_era)) return true;
  auto found = by_block_.find(block);
  return found != by_block_.end() && places_[found->second].mark.suspect;
}

bool ActivityLog::NeedsVerification(BlockId block, Era replica_era) const {
  std::lock_guard lock(mutex_);
  if (AnyContains(state_.verify, replica_era)) return true;
  auto found = by_block_.find(block);
  return found != by_block_.end() && places_[found->second].mark.verify;
}

Status ActivityLog::Verified(BlockId block) {
  std::lock_guard lock(mutex_);
  auto found = by_block_.find(block);
  if (found == by_block_.end() || !places_[found->second].mark.verify) return Status::Ok();
  places_[found->second].mark.verify = false;
  return WriteSectorOf(found->second);
}

Era ActivityLog::settled() const {
  std::lock_guard lock(mutex_);
  return state_.settled;
}

Status ActivityLog::Cleared(BlockId block) {
  bool was_suspect = false;
  {
    std::lock_guard lock(mutex_);
    auto found = by_block_.find(block);
    if (found == by_block_.end()) return Status::Ok();
    was_suspect = places_[found->second].mark.suspect;
    RETURN_IF_ERROR(Free(found->second));
  }
  // That it is good again was work, and is not to be forgotten.
  return was_suspect ? file_->Sync() : Status::Ok();
}

Status ActivityLog::Deleted(BlockId block) {
  std::lock_guard lock(mutex_);
  auto found = by_block_.find(block);
  if (found == by_block_.end()) return Status::Ok();
  NoteWritten(block);
  Place& place = places_[found->second];
  place.written_in = state_.current;
  if (!place.mark.suspect && !place.mark.verify) return Status::Ok();
  place.mark.suspect = false;
  place.mark.verify = false;
  return WriteSectorOf(found->second);
}

std::vector<BlockId> ActivityLog::ToVerify(size_t max) const {
  std::lock_guard lock(mutex_);
  std::vector<BlockId> blocks;
  for (const auto& [block, place] : by_block_) {
    if (blocks.size() == max) break;
    if (places_[place].mark.verify && !places_[place].mark.suspect) blocks.push_back(block);
  }
  return blocks;
}

bool ActivityLog::overflowed() const {
  std::lock_guard lock(mutex_);
  return state_.all_marked;
}

std::optional<ActivityLog::Round> ActivityLog::BeginRound() {
  std::lock_guard lock(mutex_);
  const bool has_marks = std::any_of(by_block_.begin(), by_block_.end(), [this](const auto& entry) {
    const ActivityMark& mark = places_[entry.second].mark;
    return !mark.suspect && !mark.verify;
  });
  if (written_.empty() && !all_written_ && !has_marks) return std::nullopt;
  Round round;
  round.era = state_.current;
  round.all = all_written_;
  round.written.swap(written_);
  all_written_ = false;
  state_.current = state_.current.Next();
  current_.store(state_.current.value(), std::memory_order_release);
  return round;
}

void ActivityLog::AbandonRound(Round round) {
  std::lock_guard lock(mutex_);
  all_written_ = true;
  for (const auto& [block, grown] : round.written) {
    if (written_.size() >= kMaxWritten) break;
    bool& known = written_[block];
    known = known || grown;
  }
}

Status ActivityLog::FinishRound(const Round& round) {
  RETURN_IF_ERROR(NoteSettled(round.era));
  // Not needed, but the fewer are suspect after a crash. Without the lock: writers may need it.
  return file_->Sync();
}

Status ActivityLog::NoteSettled(Era era) {
  std::lock_guard lock(mutex_);
  state_.settled = era;
  if (state_.all_marked && all_marked_in_ <= era) {
    state_.all_marked = false;
    all_marked_is_durable_ = false;
  }
  RETURN_IF_ERROR(WriteState());
  std::vector<size_t> done;
  for (const auto& [block, place] : by_block_) {
    const Place& marked = places_[place];
    if (marked.written_in < era && !marked.mark.suspect && !marked.mark.verify) {
      done.push_back(place);
    }
  }
  std::vector<bool> changed(kMarkSectors);
  for (size_t place : done) {
    by_block_.erase(places_[place].mark.block);
    places_[place] = {};
    free_.push_back(place);
    changed[place / kMarksPerSector] = true;
  }
  for (size_t sector = 0; sector < kMarkSectors; ++sector) {
    if (changed[sector]) RETURN_IF_ERROR(WriteSectorOf(sector * kMarksPerSector));
  }
  return Status::Ok();
}

Status ActivityLog::ForgetSuspects() {
  std::lock_guard lock(mutex_);
  if (state_.suspects.empty()) return Status::Ok();
  state_.suspects.clear();
  return WriteState();
}

Status ActivityLog::CloseClean() {
  std::lock_guard lock(mutex_);
  state_.clean = true;
  RETURN_IF_ERROR(WriteState());
  return file_->Sync();
}

Status ActivityLog::WriteState() { return file_->WriteAt(0, EncodeActivityState(state_)); }

Status ActivityLog::WriteSectorOf(size_t place) {
  const size_t sector = place / kMarksPerSector;
  std::vector<ActivityMark> marks;
  for (size_t i = 0; i < kMarksPerSector; ++i) {
    marks.push_back(places_[sector * kMarksPerSector + i].mark);
  }
  return file_->WriteAt((sector + 1) * kActivitySectorBytes,
                        EncodeMarkSector(static_cast<uint32_t>(sector) + 1, marks.data()));
}

Status ActivityLog::Free(size_t place) {
  by_block_.erase(places_[place].mark.block);
  places_[place] = {};
  free_.push_back(place);
  return WriteSectorOf(place);
}

}  // namespace tercet
