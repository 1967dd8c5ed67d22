// Which files would be lost, or could not be written, without some servers. Reads only; bounded
// work per call: pages through the replica rows of the servers that are asked about.
//
// A block counts once, at the smallest of its servers that are walked. A replica counts when its
// server is not lost and nothing bad is noted about it. Of a state that changes between two pages,
// blocks may be missed or be counted as they were.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/records.h"
#include "metaserver/namespace/view.h"
#include "tercet_thrift/admin_types.h"

namespace tercet {

/// Replica rows that one call of Exposure looks at.
inline constexpr int kMaxExposureRows = 10'000;
inline constexpr int kMaxFilesNamed = 1000;

struct ExposureQuery {
  /// Servers whose replicas are walked.
  std::set<ServerId> walk;
  /// Servers that count as lost: those of `walk` and, usually, all dead ones.
  std::set<ServerId> lost;
  std::string cursor;  // of the page before; empty: from the start
  int max_files = 100;
  int max_rows = kMaxExposureRows;
};
/// Fills all but `lost_servers`. A file is named once per page. kInvalidArgument: the cursor.
Result<wire::GetExposureResponse> Exposure(const View& view, const ExposureQuery& query);

/// Replicas of a server that one call of an examination looks at.
struct ExaminedRange {
  BlockId first;  // from this block on
  int max_rows = kMaxExposureRows;
};
/// What was found about the replicas of a server in a range. They add up over ranges that follow
/// one another, but for files that are named in several.
struct ServerExamination {
  int64_t blocks = 0;
  int64_t affected_blocks = 0;
  std::vector<wire::FileName> files;  // of affected blocks, each file once
  std::optional<BlockId> next;        // where the next range begins; nothing: there are no more
};
/// Blocks on `server` that have no other good replica but on servers of `lost` ∪ {server}
/// (`below`: 1), or fewer than `below`(inode) of them.
using BelowFunction = std::function<int(const InodeRecord&)>;
Result<ServerExamination> ExamineLoss(const View& view, ServerId server, const ExaminedRange& range,
                                      const std::set<ServerId>& lost, const BelowFunction& below,
                                      int max_files);

/// Blocks on `server` whose policy `fits` refuses: for drains. It is asked once per policy.
using FitsFunction = std::function<bool(const InodeRecord&, const PlacementRule&)>;
Result<ServerExamination> ExaminePolicies(const View& view, ServerId server,
                                          const ExaminedRange& range, const FitsFunction& fits,
                                          int max_files);

}  // namespace tercet
