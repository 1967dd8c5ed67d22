// What an operation gets to work with. Each mutation is one function in a file of its own:
//   Result<wire::XResponse> EvaluateX(OperationContext&, const wire::XRequest&)
// It reads and writes through the transaction only; on an error status its changes are dropped.
// Each read is
//   Result<wire::XResponse> X(const View&, const wire::XRequest&)
// `info` of the response is filled in by the service.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/records.h"
#include "metaserver/namespace/view.h"

namespace tercet {

/// PlacementRequest::least_bytes for a block that was not written yet.
inline constexpr uint64_t kLeastRoomForNewBlock = 1 << 20;

/// What is wanted of new replicas of one block.
struct PlacementRequest {
  int wanted = 1;   // how many new ones
  int minimum = 1;  // with fewer the choice fails
  uint64_t bytes = 0;
  /// Servers with room for so much only are chosen as well when too few have room for `bytes`: what
  /// is written may be small, and a writer that finds a disk full goes on elsewhere. 0: `bytes`.
  uint64_t least_bytes = 0;
  /// Not to be chosen.
  std::span<const ServerId> exclude;
  /// Servers that have the block and stay in its chain: not chosen, but they count for the rule's
  /// domain.
  std::span<const ServerId> keep;
  const PlacementRule* rule = nullptr;  // null: none
};

/// Picks servers for new replicas. Implemented over the live registry by metaserver/placement; a
/// test may use a fixed list.
class ReplicaChooser {
 public:
  virtual ~ReplicaChooser() = default;
  /// Between `minimum` and `wanted` different live servers with room for `bytes`, in chain order.
  /// kNoSpace when the live servers are full, kUnavailable when too few are alive.
  virtual Result<std::vector<ServerId>> Choose(const PlacementRequest& request) = 0;
};

/// Everything that is not a function of the state is fixed here before the journal.
struct OperationContext {
  Transaction& transaction;
  SessionId session;  // whose mutation this is; 0 for the metaserver's own
  int64_t now_ns;     // wall clock at evaluation
  ReplicaChooser& replica_chooser;
  /// Set by a mutation that succeeds: one line for the write set ("create parent=1 name=a
  /// inode=7"). May be null.
  std::string* summary = nullptr;
};

/// A row of the state cannot be read, or contradicts another. What does something for many rows
/// goes on without it, and logs it.
inline bool IsBadRow(const Status& status) { return status.code() == StatusCode::kCorruption; }

}  // namespace tercet
