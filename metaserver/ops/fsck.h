// Checks blocks: enough good replicas on live servers, in the right places, and index rows that
// agree. Reads only; bounded work per call: pages with a cursor.
//
// For "/" whole tables are walked, so that files without a name (open, in the trash) are checked
// too:
//   1. inodes and their blocks
//   2. blocks by id: each belongs to a file
//   3. replicas by server: each belongs to a chain
//   4. what servers reported and no file has
// For another path the tree below it: a file with several names there counts several times.
//
// Each block counts as exactly one of healthy, under_replicated, over_replicated, missing and
// corrupt, except misplaced ones, which are only listed:
//   missing           no good replica on a live server
//   corrupt           a replica is damaged or suspect, but a good one is left
//   under_replicated  fewer good replicas than the policy wants
//   over_replicated   more
//   misplaced         the policy wants other servers, and there are some
// Replicas that may differ in what nobody acknowledged are good ones; healthy blocks with such are
// counted, but are no problem: they are compared by themselves.
// "inconsistent" problems come on top. Reserved blocks, and those that a truncation cut off, are
// none.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/records.h"
#include "metaserver/namespace/view.h"
#include "tercet_thrift/admin_types.h"

namespace tercet {

/// Rows that one call looks at, about.
inline constexpr int kMaxFsckRows = 10'000;
inline constexpr int kMaxFsckProblems = 10'000;
/// Directories within one another that are walked below a path.
inline constexpr size_t kMaxFsckDepth = 4096;

/// What is known of the servers now.
struct FsckLive {
  /// Its replicas can be read.
  std::function<bool(ServerId)> is_alive;
  /// The placement would have other servers for it. May be null: nothing is misplaced.
  std::function<bool(std::span<const ServerId> chain, const PlacementRule& rule, uint64_t bytes)>
      is_misplaced;
  /// Replicas on servers that no file has.
  std::vector<std::pair<ServerId, BlockId>> unknown;
};

struct FsckQuery {
  std::string path;    // empty: "/"
  std::string cursor;  // of the page before; empty: from the start
  int max_problems = 1000;
  int max_rows = kMaxFsckRows;
};

struct FsckPage {
  wire::FsckResponse response;
  /// Blocks about which something can be done, and whether they are misplaced: for
  /// EvaluateReviewBlock.
  std::vector<std::pair<BlockId, bool>> to_repair;
};

/// `view` should be one moment of the state: otherwise changes in between look like
/// inconsistencies. kNotFound, kNotDirectory, kInvalidArgument (path, cursor).
Result<FsckPage> Fsck(const View& view, const FsckQuery& query, const FsckLive& live);

}  // namespace tercet
