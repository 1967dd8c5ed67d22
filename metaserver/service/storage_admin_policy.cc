#include "common/log/log.h"
#include "metaserver/ops/policy_operations.h"
#include "metaserver/ops/trash_operations.h"
#include "metaserver/placement/placement_rules.h"
#include "metaserver/service/storage_admin.h"

namespace tercet {
namespace {

/// Files that one call of PurgeTrash takes out, and how many pages it looks at for them.
constexpr int kPurgedPerRecord = 500;
constexpr int64_t kPurgedPerCall = 10'000;
constexpr int kPagesPerCall = 200;

}  // namespace

// ---- policies ----

void StorageAdmin::GetPolicy(const wire::GetPolicyRequest& request,
                             wire::GetPolicyResponse* response) {
  parts_.proposer.Read<wire::GetPolicyRequest, wire::GetPolicyResponse>(tercet::GetPolicy, request,
                                                                        response);
}

Status StorageAdmin::CheckPolicyFits(const wire::SetPolicyRequest& request) const {
  ASSIGN_OR_RETURN(const PolicyPreview preview,
                   PreviewPolicy(parts_.proposer.committed(), request));
  // Fewer servers than the policy wants already are no reason not to let writers do with less.
  const bool concerns_servers =
      request.__isset.replicas || request.__isset.domain || request.__isset.require;
  if (!concerns_servers) return Status::Ok();
  PolicyWish wish;
  wish.replicas = preview.policy.replicas;
  wish.min_replicas = preview.policy.min_replicas;
  wish.rule = preview.rule;
  return parts_.servers.CheckPolicy(wish, request.force);
}

void StorageAdmin::SetPolicy(const wire::SetPolicyRequest& request,
                             wire::SetPolicyResponse* response) {
  Answer(response, [&](Epoch epoch) -> Status {
    std::lock_guard lock(change_mutex_);
    RETURN_IF_ERROR(CheckPolicyFits(request));
    wire::SetPolicyResponse made;
    RETURN_IF_ERROR(
        parts_.proposer.Propose(epoch, "set policy", [&](OperationContext& context) -> Status {
          ASSIGN_OR_RETURN(made, EvaluateSetPolicy(context, request));
          return Status::Ok();
        }));
    *response = std::move(made);
    LOG_INFO("policy set path={} replicas={} min_replicas={} domain={}", request.path,
             response->policy.replicas, response->policy.min_replicas, response->policy.domain);
    return Status::Ok();
  });
}

// ---- the trash ----

void StorageAdmin::ListTrash(const wire::ListTrashRequest& request,
                             wire::ListTrashResponse* response) {
  parts_.proposer.Read<wire::ListTrashRequest, wire::ListTrashResponse>(tercet::ListTrash, request,
                                                                        response);
}

void StorageAdmin::RestoreTrash(const wire::RestoreTrashRequest& request,
                                wire::RestoreTrashResponse* response) {
  Answer(response, [&](Epoch epoch) -> Status {
    wire::RestoreTrashResponse made;
    RETURN_IF_ERROR(
        parts_.proposer.Propose(epoch, "restore trash", [&](OperationContext& context) -> Status {
          ASSIGN_OR_RETURN(made, EvaluateRestoreTrash(context, request));
          return Status::Ok();
        }));
    *response = std::move(made);
    return Status::Ok();
  });
}

void StorageAdmin::PurgeTrash(const wire::PurgeTrashRequest& request,
                              wire::PurgeTrashResponse* response) {
  Answer(response, [&](Epoch epoch) { return Purge(epoch, request, response); });
}

Status StorageAdmin::Purge(Epoch epoch, const wire::PurgeTrashRequest& request,
                           wire::PurgeTrashResponse* response) {
  if ((request.inode > 0) == (request.deleted_before_ns > 0)) {
    return Status(StatusCode::kInvalidArgument,
                  "give an inode, or a time before which what is purged was deleted");
  }
  const auto purge = [&](std::span<const InodeId> inodes) -> Status {
    int purged = 0;
    RETURN_IF_ERROR(
        parts_.proposer.Propose(epoch, "purge trash", [&](OperationContext& context) -> Status {
          ASSIGN_OR_RETURN(purged, EvaluatePurgeTrash(context, inodes));
          return Status::Ok();
        }));
    response->purged += purged;
    return Status::Ok();
  };
  if (request.inode > 0) {
    const InodeId inode(static_cast<uint64_t>(request.inode));
    RETURN_IF_ERROR(purge({&inode, 1}));
    if (response->purged > 0) return Status::Ok();
    return Status(StatusCode::kNotFound,
                  "inode " + std::to_string(request.inode) + " is not in the trash");
  }
  TrashPage page;
  for (int pages = 0; pages < kPagesPerCall && response->purged < kPurgedPerCall; ++pages) {
    ASSIGN_OR_RETURN(page, FindTrashBefore(parts_.proposer.committed(), request.deleted_before_ns,
                                           page.cursor, kPurgedPerRecord));
    if (!page.inodes.empty()) RETURN_IF_ERROR(purge(page.inodes));
    if (page.cursor.empty()) return Status::Ok();
  }
  response->more = true;
  return Status::Ok();
}

}  // namespace tercet
