#include "metaserver/ops/policies.h"

#include <algorithm>

#include "metaserver/ops/mutations.h"
#include "metaserver/ops/policy_operations.h"

namespace tercet {
namespace {

Result<uint32_t> RuleId(MutableTables& tables, const PlacementRule& wanted) {
  if (wanted.empty()) return 0u;
  uint32_t last = 0;
  uint32_t found = 0;
  RETURN_IF_ERROR(tables.ScanPlacementRules([&](uint32_t rule, const PlacementRule& record) {
    last = rule;
    if (record == wanted) found = rule;
    return found == 0;
  }));
  if (found != 0) return found;
  if (last >= kMaxPlacementRules) {
    return Status(StatusCode::kNoSpace, "the cluster has " + std::to_string(kMaxPlacementRules) +
                                            " different placement rules: use one of them");
  }
  tables.PutPlacementRule(last + 1, wanted);
  return last + 1;
}

}  // namespace

PolicyChange MergePolicyChanges(PolicyChange older, const PolicyChange& newer) {
  if (newer.replicas) older.replicas = newer.replicas;
  if (newer.min_replicas) older.min_replicas = newer.min_replicas;
  if (newer.block_size_bytes) older.block_size_bytes = newer.block_size_bytes;
  if (newer.domain) older.domain = newer.domain;
  if (newer.require) older.require = newer.require;
  if (newer.trash_retention_s) older.trash_retention_s = newer.trash_retention_s;
  return older;
}

Result<bool> ApplyPolicyChange(MutableTables& tables, const PolicyChange& change,
                               InodeRecord& record) {
  InodeRecord changed = record;
  if (change.replicas) changed.replicas = *change.replicas;
  if (change.min_replicas) changed.min_replicas = *change.min_replicas;
  changed.min_replicas = std::min(changed.min_replicas, changed.replicas);
  if (change.block_size_bytes && record.is_directory()) {
    changed.block_size_bytes = *change.block_size_bytes;
  }
  if (change.trash_retention_s) changed.trash_retention_s = *change.trash_retention_s;
  if (change.changes_rule()) {
    ASSIGN_OR_RETURN(PlacementRule rule, tables.GetPlacementRule(record.rule_id));
    if (change.domain) rule.domain = *change.domain;
    if (change.require) rule.require = *change.require;
    ASSIGN_OR_RETURN(changed.rule_id, RuleId(tables, rule));
  }
  const bool same =
      changed.replicas == record.replicas && changed.min_replicas == record.min_replicas &&
      changed.block_size_bytes == record.block_size_bytes &&
      changed.trash_retention_s == record.trash_retention_s && changed.rule_id == record.rule_id;
  record = std::move(changed);
  return !same;
}

Result<bool> ApplyPolicyChangeThatFits(MutableTables& tables, const PolicyChange& change,
                                       InodeRecord& record) {
  Result<bool> changed = ApplyPolicyChange(tables, change, record);
  if (changed.ok() || changed.code() != StatusCode::kNoSpace) return changed;
  PolicyChange rest = change;
  rest.domain.reset();
  rest.require.reset();
  return ApplyPolicyChange(tables, rest, record);
}

bool ConcernsBlocks(const PolicyChange& change) {
  return change.replicas.has_value() || change.changes_rule();
}

Status PutPolicyWalk(MutableTables& tables, InodeId inode, const PolicyChange& change,
                     int64_t now_ns) {
  ASSIGN_OR_RETURN(std::optional<PolicyWalkRecord> pending, tables.FindPolicyWalk(inode));
  PolicyWalkRecord row;
  row.change = pending ? MergePolicyChanges(std::move(pending->change), change) : change;
  row.since_ns = now_ns;
  tables.PutPolicyWalk(inode, row);
  return Status::Ok();
}

Result<PolicyChange> PendingPolicyChange(const Tables& tables, InodeId directory) {
  PolicyChange change;
  bool any = false;
  RETURN_IF_ERROR(tables.ScanPolicyWalks(InodeId(), [&](InodeId, const PolicyWalkRecord&) {
    any = true;
    return false;
  }));
  if (!any) return change;
  // Of two changes on the way up the upper one is newer: no change begins below one that is under
  // way.
  for (int depth = 0; depth < kMaxDirectoryDepth; ++depth) {
    ASSIGN_OR_RETURN(std::optional<PolicyWalkRecord> walk, tables.FindPolicyWalk(directory));
    if (walk) change = MergePolicyChanges(std::move(change), walk->change);
    if (directory == kRootInode) break;
    ASSIGN_OR_RETURN(std::optional<InodeRecord> parent, tables.FindInode(directory));
    if (!parent) break;
    directory = parent->parent;
  }
  return change;
}

Status CarryPolicyWalk(OperationContext& context, InodeId source, InodeId inode,
                       InodeRecord& record) {
  if (!record.is_directory() && !record.is_regular()) return Status::Ok();
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(const PolicyChange change, PendingPolicyChange(tables, source));
  if (change.empty()) return Status::Ok();
  RETURN_IF_ERROR(ApplyPolicyChangeThatFits(tables, change, record).status());
  if (!record.is_directory() && !ConcernsBlocks(change)) return Status::Ok();
  return PutPolicyWalk(tables, inode, change, context.now_ns);
}

}  // namespace tercet
