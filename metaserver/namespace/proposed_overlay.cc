#include "metaserver/namespace/proposed_overlay.h"

#include <utility>

#include "metaserver/namespace/merge_scan.h"

namespace tercet {

Result<std::optional<std::string>> ProposedOverlay::Get(std::string_view key) const {
  {
    std::lock_guard lock(mutex_);
    auto row = rows_.find(key);
    if (row != rows_.end()) return row->second.value;
  }
  return committed_.Get(key);
}

Status ProposedOverlay::Scan(std::string_view from, std::string_view to,
                             const RowFunction& row) const {
  if (from >= to) return Status::Ok();
  // The copy is taken before the committed state is looked at: see the invariants. What is applied
  // in between is then in both, with the same value.
  std::vector<std::pair<std::string, std::optional<std::string>>> changes;
  {
    std::lock_guard lock(mutex_);
    auto end = rows_.lower_bound(to);
    for (auto it = rows_.lower_bound(from); it != end; ++it) {
      changes.emplace_back(it->first, it->second.value);
    }
  }
  return MergeScan(committed_, from, to, changes.cbegin(), changes.cend(), row);
}

void ProposedOverlay::Add(JournalIndex index, const WriteSet& changes) {
  std::lock_guard lock(mutex_);
  if (index <= applied_) return;  // the applying thread was faster
  Record& record = records_.emplace_back();
  record.index = index;
  record.rows.reserve(changes.entries.size());
  for (const WriteSetEntry& entry : changes.entries) {
    auto [row, added] = rows_.try_emplace(entry.key);
    // A key that comes twice in one record counts once, with its last value.
    bool first_time = added || row->second.index != index;
    row->second.index = index;
    row->second.value = entry.value;
    if (first_time) record.rows.push_back(row);
  }
}

void ProposedOverlay::RemoveApplied(JournalIndex index) {
  std::lock_guard lock(mutex_);
  if (index > applied_) applied_ = index;
  while (!records_.empty() && records_.front().index <= index) {
    // A row that a newer record changed again belongs to that record.
    for (Rows::iterator row : records_.front().rows) {
      if (row->second.index == records_.front().index) rows_.erase(row);
    }
    records_.pop_front();
  }
}

void ProposedOverlay::Clear() {
  std::lock_guard lock(mutex_);
  records_.clear();
  rows_.clear();
}

JournalIndex ProposedOverlay::newest() const {
  std::lock_guard lock(mutex_);
  return records_.empty() ? JournalIndex() : records_.back().index;
}

}  // namespace tercet
