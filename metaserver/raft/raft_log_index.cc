#include "metaserver/raft/raft_log_index.h"

#include <algorithm>
#include <utility>

namespace tercet {

RaftLogIndex::RaftLogIndex(LogSummary summary)
    : first_(std::max(summary.first, JournalIndex(1))),
      last_(std::max(summary.last, Before(first_))),
      base_epoch_(summary.base_epoch),
      base_membership_(std::move(summary.base_membership)),
      base_membership_index_(summary.base_membership_index) {
  for (const LogSummary::Run& run : summary.runs) {
    if (run.first <= last_ && (runs_.empty() || run.epoch > runs_.back().epoch)) {
      runs_.push_back(run);
    }
  }
  for (auto& entry : summary.memberships) memberships_.push_back(std::move(entry));
}

std::optional<Epoch> RaftLogIndex::EpochAt(JournalIndex index) const {
  if (index > last_ || index.Next() < first_) return std::nullopt;
  if (index < first_) return base_epoch_;
  if (index >= runs_.back().first) return runs_.back().epoch;
  const auto behind =
      std::upper_bound(runs_.begin(), runs_.end(), index,
                       [](JournalIndex i, const LogSummary::Run& run) { return i < run.first; });
  return std::prev(behind)->epoch;
}

std::optional<JournalIndex> RaftLogIndex::NewestUpTo(JournalIndex index, Epoch epoch) const {
  if (index.Next() < first_) return std::nullopt;
  index = std::min(index, last_);
  const auto above =
      std::upper_bound(runs_.begin(), runs_.end(), epoch,
                       [](Epoch e, const LogSummary::Run& run) { return e < run.epoch; });
  // All before the first run of a higher epoch will do.
  if (above != runs_.end()) index = std::min(index, Before(above->first));
  if (index < first_ && base_epoch_ > epoch) return std::nullopt;
  return index;
}

const Membership& RaftLogIndex::membership() const {
  return memberships_.empty() ? base_membership_ : memberships_.back().second;
}

JournalIndex RaftLogIndex::membership_index() const {
  return memberships_.empty() ? base_membership_index_ : memberships_.back().first;
}

std::pair<JournalIndex, const Membership*> RaftLogIndex::MembershipAt(JournalIndex index) const {
  // From the end: asked for the commit index as a rule, and memberships are rare.
  for (auto it = memberships_.rbegin(); it != memberships_.rend(); ++it) {
    if (it->first <= index) return {it->first, &it->second};
  }
  return {base_membership_index_, &base_membership_};
}

void RaftLogIndex::Append(Epoch epoch) {
  last_ = last_.Next();
  if (runs_.empty() || runs_.back().epoch != epoch) runs_.push_back({last_, epoch});
}

void RaftLogIndex::SetMembershipOfLast(Membership membership) {
  memberships_.emplace_back(last_, std::move(membership));
}

void RaftLogIndex::TruncateAfter(JournalIndex index) {
  if (index >= last_) return;
  last_ = std::max(index, Before(first_));
  while (!runs_.empty() && runs_.back().first > last_) runs_.pop_back();
  while (!memberships_.empty() && memberships_.back().first > last_) memberships_.pop_back();
}

void RaftLogIndex::ReleaseBefore(JournalIndex first) {
  first = std::min(first, last_.Next());
  if (first <= first_) return;
  base_epoch_ = *EpochAt(Before(first));
  first_ = first;
  while (!runs_.empty() && (runs_.size() > 1 ? runs_[1].first <= first_ : first_ > last_)) {
    runs_.pop_front();
  }
  if (!runs_.empty()) runs_.front().first = first_;
  while (!memberships_.empty() && memberships_.front().first < first_) {
    base_membership_index_ = memberships_.front().first;
    base_membership_ = std::move(memberships_.front().second);
    memberships_.pop_front();
  }
}

void RaftLogIndex::Reset(JournalIndex base, Epoch base_epoch, Membership membership) {
  first_ = base.Next();
  last_ = base;
  base_epoch_ = base_epoch;
  runs_.clear();
  memberships_.clear();
  base_membership_ = std::move(membership);
  base_membership_index_ = base;
}

}  // namespace tercet
