// What several operations do with policies (policy_operations.h).
#pragma once

#include <cstdint>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/operation.h"

namespace tercet {

/// `newer` over `older`.
PolicyChange MergePolicyChanges(PolicyChange older, const PolicyChange& newer);

/// Applies a change to an inode, which the caller writes. min_replicas follows replicas down; a
/// block size concerns directories only. True when something changed. kNoSpace: too many rules.
Result<bool> ApplyPolicyChange(MutableTables& tables, const PolicyChange& change,
                               InodeRecord& record);

/// The same for a change that comes from above, on its way down: when the rule that it would make
/// of the inode's own is one too many, the inode keeps that, and gets the rest.
Result<bool> ApplyPolicyChangeThatFits(MutableTables& tables, const PolicyChange& change,
                                       InodeRecord& record);

/// Whether the file's blocks are to be looked at after this change.
bool ConcernsBlocks(const PolicyChange& change);

/// Puts the row that has `change` carried to the entries or blocks of an inode, on top of what is
/// to be carried there already.
Status PutPolicyWalk(MutableTables& tables, InodeId inode, const PolicyChange& change,
                     int64_t now_ns);

/// What is under way to what is in `directory`, and may not have come to it; empty: nothing. One
/// look at the table when there are no walks.
Result<PolicyChange> PendingPolicyChange(const Tables& tables, InodeId directory);

/// `inode` is moved out of `source`, in or below which changes of policy may be under way that have
/// not come to it: it gets them now. The caller writes `record`. One look at the table when there
/// are none.
Status CarryPolicyWalk(OperationContext& context, InodeId source, InodeId inode,
                       InodeRecord& record);

}  // namespace tercet
