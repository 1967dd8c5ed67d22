#include "metaserver/ops/inodes.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/policy_operations.h"
#include "metaserver/ops/reads.h"

namespace tercet {
namespace {

// Rows of running changes that are looked at; when there are more, one of them is taken to be
// below.
constexpr int kMaxWalksLookedAt = 1000;

Result<bool> IsConverting(const Tables& tables, InodeId inode, const InodeRecord& record) {
  ASSIGN_OR_RETURN(std::optional<PolicyWalkRecord> own, tables.FindPolicyWalk(inode));
  if (own) return true;
  bool any = false;
  int looked_at = 0;
  Status failed;
  RETURN_IF_ERROR(tables.ScanPolicyWalks(InodeId(), [&](InodeId walk, const PolicyWalkRecord&) {
    any = ++looked_at > kMaxWalksLookedAt;
    if (any) return false;
    // Above it, or below it (a file's own row: by where its name is).
    const InodeId directory = record.is_directory() ? inode : record.parent;
    Result<std::optional<InodeRecord>> other = tables.FindInode(walk);
    if (!other.ok()) {
      failed = other.status();
      return false;
    }
    if (!*other) return true;
    const InodeId other_directory = (*other)->is_directory() ? walk : (*other)->parent;
    for (const auto& [below, above] :
         {std::pair(directory, walk), std::pair(other_directory, inode)}) {
      if (below.value() == 0) continue;
      Result<bool> within = IsWithin(tables, below, above);
      // The tree may change between two look-ups of a read: then it is not known, and said to be
      // so.
      if (within.ok() && *within) any = true;
    }
    return !any;
  }));
  RETURN_IF_ERROR(failed);
  return any;
}

}  // namespace

Result<wire::Policy> MakePolicy(const Tables& tables, const InodeRecord& record) {
  ASSIGN_OR_RETURN(PlacementRule rule, tables.GetPlacementRule(record.rule_id));
  wire::Policy policy;
  policy.replicas = record.replicas;
  policy.min_replicas = record.min_replicas;
  policy.block_size_bytes = static_cast<int32_t>(record.block_size_bytes);
  policy.domain = std::move(rule.domain);
  policy.require = std::move(rule.require);
  policy.trash_retention_s = record.trash_retention_s;
  return policy;
}

Result<wire::GetPolicyResponse> GetPolicy(const View& view, const wire::GetPolicyRequest& request) {
  Tables tables(view);
  ASSIGN_OR_RETURN(const InodeId inode, ResolvePath(view, request.path));
  ASSIGN_OR_RETURN(const std::optional<InodeRecord> record, tables.FindInode(inode));
  if (!record) return Status(StatusCode::kNotFound, "the entry was just removed");
  wire::GetPolicyResponse response;
  ASSIGN_OR_RETURN(response.policy, MakePolicy(tables, *record));
  response.inode = static_cast<int64_t>(inode.value());
  response.is_directory = record->is_directory();
  ASSIGN_OR_RETURN(response.converting, IsConverting(tables, inode, *record));
  return response;
}

}  // namespace tercet
