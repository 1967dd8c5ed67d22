#include <bit>
#include <limits>

#include "metaserver/ops/inodes.h"
#include "metaserver/ops/labels.h"
#include "metaserver/ops/mutations.h"
#include "metaserver/ops/policies.h"
#include "metaserver/ops/policy_operations.h"
#include "metaserver/ops/reads.h"
#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

Status Invalid(std::string message) {
  return Status(StatusCode::kInvalidArgument, std::move(message));
}

Result<uint8_t> ReplicaCount(int32_t count, std::string_view what) {
  if (count < 1 || count > static_cast<int32_t>(kMaxChainLength)) {
    return Invalid(std::string(what) + " must be from 1 to " + std::to_string(kMaxChainLength));
  }
  return static_cast<uint8_t>(count);
}

// Something whose policy can be set.
struct Subject {
  InodeId inode;
  InodeRecord record;
};

Result<Subject> FindSubject(const Tables& tables, const wire::SetPolicyRequest& request) {
  Subject subject;
  ASSIGN_OR_RETURN(subject.inode, ResolvePath(tables.view(), request.path));
  ASSIGN_OR_RETURN(subject.record, tables.GetInode(subject.inode));
  if (!subject.record.is_directory() && !subject.record.is_regular()) {
    return Invalid("only directories and regular files have a policy");
  }
  if (!subject.record.is_directory() && request.__isset.block_size_bytes) {
    return Invalid(
        "a file's block size cannot be changed: set it on its directory and copy the file");
  }
  return subject;
}

Status CheckCounts(const PolicyChange& change, const InodeRecord& record) {
  const uint8_t replicas = change.replicas.value_or(record.replicas);
  if (!change.min_replicas || *change.min_replicas <= replicas) return Status::Ok();
  return Invalid("min_replicas " + std::to_string(*change.min_replicas) + " is above replicas " +
                 std::to_string(replicas));
}

// What is below a change that is being carried down would be overtaken by it.
Status CheckNothingComesDown(const Tables& tables, const Subject& subject, std::string_view path) {
  bool any = false;
  RETURN_IF_ERROR(tables.ScanPolicyWalks(InodeId(), [&](InodeId, const PolicyWalkRecord&) {
    any = true;
    return false;
  }));
  if (!any || subject.inode == kRootInode) return Status::Ok();
  InodeId directory = subject.record.parent;
  if (!subject.record.is_directory()) {
    while (path.ends_with('/')) path.remove_suffix(1);
    ASSIGN_OR_RETURN(directory, ResolvePath(tables.view(), path.substr(0, path.rfind('/') + 1)));
  }
  for (int depth = 0; depth < kMaxDirectoryDepth; ++depth) {
    ASSIGN_OR_RETURN(std::optional<PolicyWalkRecord> walk, tables.FindPolicyWalk(directory));
    if (walk) {
      return Status(StatusCode::kBusy,
                    "a change of the policy of a directory above is still being carried out: wait "
                    "until it is done");
    }
    if (directory == kRootInode) return Status::Ok();
    ASSIGN_OR_RETURN(InodeRecord record, tables.GetInode(directory));
    directory = record.parent;
  }
  return Status(StatusCode::kNotSupported, "the directory is too deep in the tree");
}

}  // namespace

Result<PolicyChange> PolicyChangeFromWire(const wire::SetPolicyRequest& request) {
  const auto& set = request.__isset;
  PolicyChange change;
  if (set.replicas) {
    ASSIGN_OR_RETURN(change.replicas, ReplicaCount(request.replicas, "replicas"));
  }
  if (set.min_replicas) {
    ASSIGN_OR_RETURN(change.min_replicas, ReplicaCount(request.min_replicas, "min_replicas"));
  }
  if (set.block_size_bytes) {
    const auto bytes = static_cast<uint32_t>(request.block_size_bytes);
    if (request.block_size_bytes <= 0 || !std::has_single_bit(bytes) ||
        bytes < kMinBlockSizeBytes || bytes > kMaxBlockSizeBytes) {
      return Invalid("a block size is a power of two from 4 KiB to 64 MiB");
    }
    change.block_size_bytes = bytes;
  }
  if (set.domain) {
    if (!request.domain.empty() && !IsLabelWord(request.domain)) {
      return Invalid("a domain is the name of a label");
    }
    change.domain = request.domain;
  }
  if (set.require) {
    RETURN_IF_ERROR(CheckLabels(request.require));
    change.require = request.require;
  }
  if (set.trash_retention_s) {
    if (request.trash_retention_s < 0 || request.trash_retention_s > kMaxTrashRetentionSeconds) {
      return Invalid("deleted files are kept for at most ten years");
    }
    change.trash_retention_s = static_cast<uint32_t>(request.trash_retention_s);
  }
  if (change.empty()) return Invalid("nothing is to be changed");
  return change;
}

Result<PolicyPreview> PreviewPolicy(const View& view, const wire::SetPolicyRequest& request) {
  ASSIGN_OR_RETURN(PolicyChange change, PolicyChangeFromWire(request));
  Transaction scratch(view);
  MutableTables tables(scratch);
  ASSIGN_OR_RETURN(Subject subject, FindSubject(tables, request));
  RETURN_IF_ERROR(CheckCounts(change, subject.record));
  RETURN_IF_ERROR(ApplyPolicyChange(tables, change, subject.record).status());
  PolicyPreview preview;
  ASSIGN_OR_RETURN(preview.policy, MakePolicy(tables, subject.record));
  ASSIGN_OR_RETURN(preview.rule, tables.GetPlacementRule(subject.record.rule_id));
  return preview;
}

Result<wire::SetPolicyResponse> EvaluateSetPolicy(OperationContext& context,
                                                  const wire::SetPolicyRequest& request) {
  ASSIGN_OR_RETURN(PolicyChange change, PolicyChangeFromWire(request));
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(Subject subject, FindSubject(tables, request));
  RETURN_IF_ERROR(CheckCounts(change, subject.record));
  RETURN_IF_ERROR(CheckNothingComesDown(tables, subject, request.path));
  ASSIGN_OR_RETURN(const bool changed, ApplyPolicyChange(tables, change, subject.record));
  if (changed) PutChangedInode(tables, subject.inode, subject.record);
  // Of a directory also when it has the policy already: what is below may have another.
  const bool carried =
      subject.record.is_directory() ? !request.new_files_only : changed && ConcernsBlocks(change);
  if (carried) RETURN_IF_ERROR(PutPolicyWalk(tables, subject.inode, change, context.now_ns));
  Summary(context, "set policy")
      .Add("inode", subject.inode.value())
      .Add("carried", carried ? 1 : 0);
  wire::SetPolicyResponse response;
  ASSIGN_OR_RETURN(response.policy, MakePolicy(tables, subject.record));
  return response;
}

}  // namespace tercet
