#include "metaserver/group/record_tail.h"

#include <cassert>
#include <utility>

namespace tercet {

void RecordTail::Reset(JournalIndex next) {
  records_.clear();
  bytes_ = 0;
  first_ = next;
}

void RecordTail::Push(CommittedRecord record) {
  assert(record.index == last().Next());
  bytes_ += record.payload.size();
  records_.push_back(std::move(record));
}

void RecordTail::TruncateAfter(JournalIndex index) {
  while (!records_.empty() && last() > index) {
    bytes_ -= records_.back().payload.size();
    records_.pop_back();
  }
  if (records_.empty()) first_ = index.Next();
}

void RecordTail::PopFront() {
  bytes_ -= records_.front().payload.size();
  records_.pop_front();
  first_ = first_.Next();
}

void RecordTail::Trim(JournalIndex durable) {
  while (bytes_ > max_bytes_ && !records_.empty() && first_ <= durable) PopFront();
}

void RecordTail::DropThrough(JournalIndex index) {
  while (!records_.empty() && first_ <= index) PopFront();
}

std::vector<CommittedRecord> RecordTail::Copy(JournalIndex from, JournalIndex to,
                                              uint64_t max_bytes) const {
  assert(Has(from));
  std::vector<CommittedRecord> out;
  uint64_t bytes = 0;
  for (JournalIndex index = from; index <= to && index <= last(); index = index.Next()) {
    const CommittedRecord& record = records_[index.value() - first_.value()];
    if (!out.empty() && bytes + record.payload.size() > max_bytes) break;
    bytes += record.payload.size();
    out.push_back(record);
  }
  return out;
}

}  // namespace tercet
