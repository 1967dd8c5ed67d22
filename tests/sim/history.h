// Whether what clients saw can have come from one copy of the data that handles one call at a time
// (linearizability: M. Herlihy, J. Wing, 1990).
//
// Each change of a row gets the row's next version, and each answer tells the version seen or made.
// So the order of the calls on a row is known but for reads of the same version, and a history is
// linearizable exactly when
//  1. no version was made by two calls, and what a version is read as is what its call wrote;
//  2. of two calls, one of which was answered before the other began, the later one has no lower
//     version, and a higher one if it changed the row.
// (1 and 2 leave no cycle between the order of versions and the order of time: a cycle would need a
// step back in versions, or, within one version, a read that ended before its write began.)
// A call without an answer may have had its effect at any time after it began; whether it had, and
// with which version, the versions that others read tell.
//
// Rows are independent of each other, so each is checked alone. O(n log n).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/calls.h"
#include "tests/sim/event_queue.h"

namespace tercet::sim {

struct HistoryEntry {
  static constexpr SimTime kNever = INT64_MAX;

  Call call;
  SimTime began = 0;
  SimTime answered = kNever;
  // Of the answer:
  bool done = true;
  uint64_t version = 0;
  std::string value;
};

/// Empty when the history is linearizable, else what is wrong with it. `rows` of register kind hold
/// one value, those in [first_list, …) a list of tokens.
std::string CheckHistory(const std::vector<HistoryEntry>& history, uint32_t first_list);

}  // namespace tercet::sim
