// What a machine's journal must hold, whatever crashes happen: kept outside of the machine,
// compared with the journal at each start.
#pragma once

#include <fmt/format.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "metaserver/journal/journal.h"
#include "tests/sim/checker.h"

namespace tercet::sim {

class LogShadow {
 public:
  JournalIndex first() const { return first_; }
  JournalIndex last() const { return JournalIndex(first_.value() + entries_.size() - 1); }
  Epoch base_epoch() const { return base_epoch_; }
  const LogEntry* Find(JournalIndex index) const {
    if (index < first_ || index > last()) return nullptr;
    return &entries_[index.value() - first_.value()];
  }
  Epoch EpochAt(JournalIndex index) const {
    const LogEntry* entry = Find(index);
    return entry != nullptr ? entry->epoch : base_epoch_;
  }

  void Append(const CommittedRecord& record) { entries_.push_back(LogEntry::Of(record)); }
  void SetDurable(JournalIndex index) { durable_ = index; }
  /// Before the journal does it; Truncated, Reset when it has.
  void Truncating(JournalIndex index) { truncating_ = index; }
  void Truncated() {
    while (last() > *truncating_) entries_.pop_back();
    durable_ = *truncating_;
    truncating_.reset();
  }
  void Resetting(JournalIndex base, Epoch epoch) { resetting_ = {base, epoch}; }
  void Reset() {
    entries_.clear();
    first_ = resetting_->first.Next();
    base_epoch_ = resetting_->second;
    durable_ = resetting_->first;
    resetting_.reset();
  }
  void Released(JournalIndex first) {
    while (first_ < first && !entries_.empty()) {
      base_epoch_ = entries_.front().epoch;
      entries_.pop_front();
      first_ = first_.Next();
    }
  }

  /// Takes over what a journal that was opened after a crash holds. Not empty: it holds something
  /// that it must not.
  std::string Recovered(const Journal& journal) {
    const JournalRange range = journal.range();
    if (resetting_ && range.first == resetting_->first.Next() && range.last == resetting_->first) {
      Reset();
      return {};
    }
    resetting_.reset();
    const JournalIndex lowest = truncating_ ? std::min(*truncating_, durable_) : durable_;
    truncating_.reset();
    if (range.last < lowest || range.last > last() || range.first < first_) {
      return fmt::format(
          "its journal holds records {} to {}, but {} to {} were synced and {} the "
          "last appended",
          range.first, range.last, first_, lowest, last());
    }
    while (last() > range.last) entries_.pop_back();
    Result<std::vector<CommittedRecord>> records = journal.ReadRecords(range.first, UINT64_MAX);
    if (!records.ok()) return "its journal cannot be read: " + records.status().ToString();
    for (const CommittedRecord& record : *records) {
      const LogEntry* entry = Find(record.index);
      if (entry == nullptr || *entry != LogEntry::Of(record)) {
        return fmt::format("record {} of its journal is not what was appended", record.index);
      }
    }
    if (records->size() != range.last.value() + 1 - range.first.value()) {
      return "its journal gives fewer records than it has";
    }
    Released(range.first);
    durable_ = range.last;
    return {};
  }

 private:
  JournalIndex first_{1};
  Epoch base_epoch_;
  std::deque<LogEntry> entries_;
  JournalIndex durable_;
  std::optional<JournalIndex> truncating_;
  std::optional<std::pair<JournalIndex, Epoch>> resetting_;
};

}  // namespace tercet::sim
