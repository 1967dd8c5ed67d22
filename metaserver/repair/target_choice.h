// Which servers are to copy for a block, among those with free slots.
//
// Invariants:
//  - A server without a free slot is passed over only where that costs nothing: where another one
//    fits the rule as well. Otherwise a block that is not urgent waits for it; one that lacks a
//    replica does so for kWaitForPlaceMs, because a replica in the wrong place is better than none.
//  - Nothing is copied for a move that would not bring the block nearer to its rule.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "common/base/ids.h"
#include "metaserver/placement/repair_planner.h"
#include "metaserver/placement/server_table.h"

namespace tercet {

/// What choosing servers needs to know of a block in the plan; found out when it was examined.
struct BlockFacts {
  std::vector<ServerId> chain;
  std::vector<ServerId> keep;  // members that stay
  std::vector<ServerId> heal;  // bad members that are alive
  std::vector<ServerId> stale;
  std::set<ServerId> avoid;  // failed for this block a moment ago
  PlacementRule rule;
  uint64_t bytes = 0;
  int new_ones = 0;  // how many servers are to come in
  bool copies = true;
  /// Those that are there can be compared while nobody can take a copy.
  bool doubtful = false;
  int64_t compare_after_ms = 0;  // not again before
};

struct TargetChoice {
  std::vector<ServerId> targets;  // empty: nobody can take a copy now
  /// There are none because those that should take it are busy.
  bool busy = false;
};

inline constexpr int64_t kWaitForPlaceMs = 300'000;

/// Bad members to be healed first, then servers that are to come in.
TargetChoice ChooseTargets(ServerTable& servers, const BlockFacts& facts, const RepairEntry& entry,
                           const RepairPlanner::SlotTest& can_receive, int64_t now_ms);

/// Which of `good` leaves when `to` takes its place; nothing: the block would fit the rule no
/// better than now, or one of them is unknown.
std::optional<ServerId> LeavesForBetter(const ServerTable& servers, std::span<const ServerId> good,
                                        ServerId to, const PlacementRule& rule);

}  // namespace tercet
