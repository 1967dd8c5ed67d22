#include "chunkserver/store/doubtful_replicas.h"

#include <utility>

#include "common/log/log.h"

namespace tercet {

bool DoubtfulReplicas::Note(BlockId block, Generation generation) {
  const int64_t now_ms = clock_.MonotonicMillis();
  std::lock_guard lock(mutex_);
  if (auto known = by_block_.find(block); known != by_block_.end()) {
    auto doubt = by_number_.find(known->second);
    if (doubt->second.replica.generation == generation) doubt->second.last_ms = now_ms;
    if (doubt->second.replica.generation >= generation) return true;
    Erase(doubt);
  }
  if (by_number_.size() >= kMaxDoubts) {
    if (!std::exchange(overflow_logged_, true)) {
      LOG_ERROR(
          "too many replicas are in doubt: from now on some that differ from others may stay so "
          "block={} generation={} doubts={}",
          block, generation, by_number_.size());
    }
    return false;
  }
  Add({block, generation}, now_ms);
  return true;
}

std::vector<DoubtfulReplicas::Due> DoubtfulReplicas::TakeDue(uint64_t after, size_t max) {
  const int64_t now_ms = clock_.MonotonicMillis();
  std::vector<Due> due;
  std::lock_guard lock(mutex_);
  for (auto doubt = by_number_.upper_bound(after); doubt != by_number_.end(); ++doubt) {
    if (due.size() == max || now_ms - doubt->second.noted_ms < kDelayMs) break;
    doubt->second.being_told = true;
    due.push_back({doubt->first, doubt->second.replica});
  }
  return due;
}

void DoubtfulReplicas::Acknowledge(BlockId block, Generation generation) {
  std::lock_guard lock(mutex_);
  auto doubt = Find(block, generation);
  if (doubt == by_number_.end() || !doubt->second.being_told) return;
  const Doubt told = doubt->second;
  Erase(doubt);
  if (told.last_ms > told.noted_ms) Add(told.replica, told.last_ms);
}

void DoubtfulReplicas::Drop(BlockId block, Generation generation) {
  std::lock_guard lock(mutex_);
  if (auto doubt = Find(block, generation); doubt != by_number_.end()) Erase(doubt);
}

std::vector<ReplicaInfo> DoubtfulReplicas::List() const {
  std::lock_guard lock(mutex_);
  std::vector<ReplicaInfo> doubts;
  doubts.reserve(by_number_.size());
  for (const auto& [number, doubt] : by_number_) doubts.push_back(doubt.replica);
  return doubts;
}

uint64_t DoubtfulReplicas::last_number() const {
  std::lock_guard lock(mutex_);
  return last_number_;
}

size_t DoubtfulReplicas::size() const {
  std::lock_guard lock(mutex_);
  return by_number_.size();
}

std::map<uint64_t, DoubtfulReplicas::Doubt>::iterator DoubtfulReplicas::Find(
    BlockId block, Generation generation) {
  auto known = by_block_.find(block);
  if (known == by_block_.end()) return by_number_.end();
  auto doubt = by_number_.find(known->second);
  return doubt->second.replica.generation == generation ? doubt : by_number_.end();
}

void DoubtfulReplicas::Add(const ReplicaInfo& replica, int64_t noted_ms) {
  const uint64_t number = ++last_number_;
  by_number_[number] = {.replica = replica, .noted_ms = noted_ms, .last_ms = noted_ms};
  by_block_[replica.block] = number;
}

void DoubtfulReplicas::Erase(std::map<uint64_t, Doubt>::iterator doubt) {
  by_block_.erase(doubt->second.replica.block);
  by_number_.erase(doubt);
  if (by_number_.empty()) overflow_logged_ = false;
}

}  // namespace tercet
