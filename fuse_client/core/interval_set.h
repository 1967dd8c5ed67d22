// A set of byte positions, kept as disjoint, non-adjacent half-open intervals. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace tercet {

class IntervalSet {
 public:
  using Interval = std::pair<uint64_t, uint64_t>;  // [first, second)

  void Add(uint64_t begin, uint64_t end);
  void Remove(uint64_t begin, uint64_t end);
  void Clear() { intervals_.clear(); }
  bool empty() const { return intervals_.empty(); }
  size_t size() const { return intervals_.size(); }

  /// What of [begin, end) is not in the set, in order.
  std::vector<Interval> Gaps(uint64_t begin, uint64_t end) const;
  std::vector<Interval> Intervals() const { return {intervals_.begin(), intervals_.end()}; }

 private:
  std::map<uint64_t, uint64_t> intervals_;  // begin → end
};

}  // namespace tercet
