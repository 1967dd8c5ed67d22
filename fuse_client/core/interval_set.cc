#include "fuse_client/core/interval_set.h"

#include <algorithm>

namespace tercet {

void IntervalSet::Add(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  auto it = intervals_.upper_bound(begin);
  if (it != intervals_.begin()) {
    auto before = std::prev(it);
    if (before->second >= begin) {
      begin = before->first;
      end = std::max(end, before->second);
      it = intervals_.erase(before);
    }
  }
  while (it != intervals_.end() && it->first <= end) {
    end = std::max(end, it->second);
    it = intervals_.erase(it);
  }
  intervals_.emplace_hint(it, begin, end);
}

void IntervalSet::Remove(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  auto it = intervals_.upper_bound(begin);
  if (it != intervals_.begin()) --it;
  while (it != intervals_.end() && it->first < end) {
    const Interval old = *it;
    if (old.second <= begin) {
      ++it;
      continue;
    }
    it = intervals_.erase(it);
    if (old.first < begin) intervals_.emplace(old.first, begin);
    if (old.second > end) it = intervals_.emplace(end, old.second).first;
  }
}

std::vector<IntervalSet::Interval> IntervalSet::Gaps(uint64_t begin, uint64_t end) const {
  std::vector<Interval> gaps;
  auto it = intervals_.upper_bound(begin);
  if (it != intervals_.begin()) --it;
  for (; it != intervals_.end() && it->first < end && begin < end; ++it) {
    if (it->second <= begin) continue;
    if (it->first > begin) gaps.emplace_back(begin, it->first);
    begin = it->second;
  }
  if (begin < end) gaps.emplace_back(begin, end);
  return gaps;
}

}  // namespace tercet
