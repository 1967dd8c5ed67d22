// Policies: how many replicas, where, in blocks of which size, and what becomes of deleted files.
// Each inode has its own copy, which it took over from its directory when it was made
// (docs/decisions/0020-policy-by-copy.md). A change for a directory is carried to what is below by
// a walk: rows that say what is still to be done, taken up by EvaluatePolicyWalkStep.
//
// Invariants:
//  - The inode of a walk row has the change already; what the row is about is its entries or
//    blocks.
//  - At every moment each inode that a running change is yet to reach is below a directory with a
//    row, whatever is renamed meanwhile. A change that is made above or beside waits: no second one
//    begins below a running one.
#pragma once

#include <cstdint>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/records.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/namespace/view.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/ops/operation.h"
#include "tercet_thrift/admin_types.h"

namespace tercet {

/// Different placement rules that a cluster may have.
inline constexpr uint32_t kMaxPlacementRules = 1000;
/// The longest time for which deleted files are kept: 10 years.
inline constexpr uint32_t kMaxTrashRetentionSeconds = 10 * 366 * 24 * 3600;

/// What the request changes. kInvalidArgument: nothing, or a value out of its bounds (whether there
/// are enough servers, and whether a label is known, is for placement to check).
Result<PolicyChange> PolicyChangeFromWire(const wire::SetPolicyRequest& request);

/// The policy that `request`.path would have, and the rule it would use: to be checked against the
/// live servers before EvaluateSetPolicy. The same errors.
struct PolicyPreview {
  wire::Policy policy;
  PlacementRule rule;
};
Result<PolicyPreview> PreviewPolicy(const View& view, const wire::SetPolicyRequest& request);

/// kNotFound, kNotDirectory (path); kInvalidArgument: PolicyChangeFromWire, neither a file nor a
/// directory, min_replicas above replicas, a block size for a file; kBusy: a change of a directory
/// above is being carried down: wait for it; kNoSpace: too many rules. min_replicas that is not
/// given follows replicas down. `force` is for the caller.
Result<wire::SetPolicyResponse> EvaluateSetPolicy(OperationContext& context,
                                                  const wire::SetPolicyRequest& request);

/// kNotFound, kNotDirectory.
Result<wire::GetPolicyResponse> GetPolicy(const View& view, const wire::GetPolicyRequest& request);
/// Of an inode. kCorruption when its rule is missing.
Result<wire::Policy> MakePolicy(const Tables& tables, const InodeRecord& record);

/// Carries changes of policies on: at most `max_rows` inodes or blocks. `removed` counts them. Done
/// when there is nothing more to be carried (Tables::ScanPolicyWalks).
Result<BatchResult> EvaluatePolicyWalkStep(OperationContext& context, int max_rows);

// ---- settings of the cluster ----

/// Absent fields stay. kInvalidArgument: negative or beyond their bounds.
Status EvaluateSetLimits(OperationContext& context, const wire::SetLimitsRequest& request);

/// Puts the balance row. kConflict when its state is not `expected` any more.
Status EvaluatePutBalance(OperationContext& context, BalanceState expected,
                          const BalanceRecord& record);
/// Adds to what the running balance moved, whatever its state is meanwhile. `started_at_ns` says of
/// which run: another one's progress is not touched.
Status EvaluateAddBalanceProgress(OperationContext& context, int64_t started_at_ns, uint64_t bytes,
                                  uint64_t blocks);

}  // namespace tercet
