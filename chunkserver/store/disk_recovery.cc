#include "chunkserver/store/disk_recovery.h"

#include <algorithm>

namespace tercet {

RunEnd HowRunEnded(const std::optional<ActivityState>& activity,
                   const std::optional<IndexState>& index, const std::string& boot_id) {
  if (activity.has_value()) {
    if (activity->clean) return RunEnd::kClean;
    return activity->boot_id == boot_id ? RunEnd::kProcessCrash : RunEnd::kMachineCrash;
  }
  if (!index.has_value()) return RunEnd::kMachineCrash;
  if (index->clean) return RunEnd::kClean;
  return index->boot_id == boot_id ? RunEnd::kProcessCrash : RunEnd::kMachineCrash;
}

DiskRecovery::DiskRecovery(std::optional<ActivityRecord> found, RunEnd end)
    : found_(std::move(found)), end_(end) {
  if (!found_.has_value()) return;
  last_era_ = std::max(found_->state.current, found_->state.settled);
  for (const ActivityMark& mark : found_->marks) marks_[mark.block] = mark;
}

Era DiskRecovery::settled() const { return found_.has_value() ? found_->state.settled : Era(0); }

bool DiskRecovery::IsNewlySuspect(BlockId block, Era era) const {
  return end_ == RunEnd::kMachineCrash && IsUnsettled(block, era);
}

bool DiskRecovery::IsDoubtful(BlockId block, Era era) const {
  if (!makes_doubtful() || IsNewlySuspect(block, era)) return false;
  return IsUnsettled(block, era) || era == found_->state.settled;
}

bool DiskRecovery::IsUnsettled(BlockId block, Era era) const {
  if (!found_.has_value() || found_->state.all_marked) return true;
  return era > found_->state.settled || marks_.contains(block);
}

bool DiskRecovery::IsSuspect(BlockId block, Era era) const {
  if (IsNewlySuspect(block, era)) return true;
  if (!found_.has_value()) return false;
  if (AnyContains(found_->state.suspects, era)) return true;
  auto mark = marks_.find(block);
  return mark != marks_.end() && mark->second.suspect;
}

void DiskRecovery::Saw(BlockId block, Era era) {
  last_era_ = std::max(last_era_, era);
  if (IsNewlySuspect(block, era) &&
      (!found_.has_value() || found_->state.all_marked || era > found_->state.settled)) {
    suspects_by_era_ = true;
  }
}

ActivityRecord DiskRecovery::Next(const std::string& boot_id,
                                  const std::function<bool(BlockId)>& exists) const {
  ActivityRecord next;
  ActivityState& state = next.state;
  const bool known = found_.has_value();
  if (known) state = found_->state;
  state.clean = false;
  state.boot_id = boot_id;
  state.current = last_era_.Next();
  const EraRange everything{Era(0), last_era_};
  const bool all = !known || state.all_marked;
  switch (end_) {
    case RunEnd::kClean:
      if (!known) state.settled = last_era_;
      state.all_marked = false;
      break;
    case RunEnd::kProcessCrash:
      // What was not durable yet is still in the system's cache: it stays marked until a round.
      AddEraRange(&state.verify, all ? everything : EraRange{state.settled.Next(), last_era_});
      state.all_marked = all;
      break;
    case RunEnd::kMachineCrash:
      if (suspects_by_era_) {
        AddEraRange(&state.suspects, all ? everything : EraRange{state.settled.Next(), last_era_});
      }
      state.all_marked = false;
      state.settled = last_era_.Next();
      state.current = state.settled.Next();
      break;
  }
  for (auto [block, mark] : marks_) {
    if (end_ == RunEnd::kMachineCrash) mark = {.block = block, .suspect = true};
    if (end_ == RunEnd::kProcessCrash && !mark.suspect) mark.verify = true;
    if ((mark.suspect || mark.verify) && exists(block)) next.marks.push_back(mark);
  }
  return next;
}

}  // namespace tercet
