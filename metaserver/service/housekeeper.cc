#include "metaserver/service/housekeeper.h"

#include <utility>
#include <vector>

#include "common/log/log.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/policy_operations.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/ops/trash_operations.h"

namespace tercet {
namespace {

constexpr int kRowsPerStep = 100;

}  // namespace

Result<bool> Housekeeper::Step() {
  const Epoch epoch = proposer_.epoch();
  if (!proposer_.Serves(epoch)) return false;
  const std::pair<const char*, Result<bool>> steps[] = {
      {"policies", WalkPolicies(epoch)},
      {"trash", ExpireTrash(epoch)},
      {"servers", TendServers(epoch)},
      {"places", audit_.Step(epoch)},
  };
  // One that fails, perhaps again and again, does not keep the others from their work.
  bool more = false;
  for (const auto& [name, step] : steps) {
    if (step.ok()) {
      more = more || *step;
      continue;
    }
    if (step.code() == StatusCode::kNotActive) return step.status();
    LOG_WARN_LIMITED("background work failed, will retry step={}: {}", name, step.status());
  }
  return more;
}

Result<bool> Housekeeper::WalkPolicies(Epoch epoch) {
  bool any = false;
  RETURN_IF_ERROR(Tables(proposer_.committed())
                      .ScanPolicyWalks(InodeId(), [&](InodeId, const PolicyWalkRecord&) {
                        any = true;
                        return false;
                      }));
  if (!any) return false;
  BatchResult result;
  RETURN_IF_ERROR(proposer_.Propose(epoch, "policy walk", [&](OperationContext& context) -> Status {
    ASSIGN_OR_RETURN(result, EvaluatePolicyWalkStep(context, kRowsPerStep));
    return Status::Ok();
  }));
  // The blocks that do not fit the policy have repair rows now.
  if (result.done) repair_.NoticeStates();
  return !result.done;
}

Result<bool> Housekeeper::ExpireTrash(Epoch epoch) {
  bool due = false;
  const int64_t now_ns = clock_.WallNanos();
  RETURN_IF_ERROR(
      Tables(proposer_.committed())
          .ScanTrash(0, InodeId(), [&](int64_t expires_ns, InodeId, const TrashRecord&) {
            due = expires_ns <= now_ns;
            return false;
          }));
  if (!due) return false;
  BatchResult result;
  RETURN_IF_ERROR(
      proposer_.Propose(epoch, "expire trash", [&](OperationContext& context) -> Status {
        ASSIGN_OR_RETURN(result, EvaluateExpireTrash(context, kRowsPerStep));
        return Status::Ok();
      }));
  return !result.done && result.removed > 0;
}

Result<bool> Housekeeper::TendServers(Epoch epoch) {
  const Tables tables(proposer_.committed());
  const int64_t now_ns = clock_.WallNanos();
  std::vector<ServerId> ended;
  std::vector<ServerId> removed;
  RETURN_IF_ERROR(tables.ScanServers([&](ServerId server, const ServerRecord& record) {
    if (record.state == ServiceState::kMaintenance &&
        record.StateAt(now_ns) == ServiceState::kInService) {
      ended.push_back(server);
    }
    if (record.state == ServiceState::kRemoved) removed.push_back(server);
    return true;
  }));
  for (const ServerId server : ended) {
    bool over = false;
    RETURN_IF_ERROR(
        proposer_.Propose(epoch, "maintenance ends", [&](OperationContext& context) -> Status {
          ASSIGN_OR_RETURN(over, EvaluateEndMaintenance(context, server));
          return Status::Ok();
        }));
    if (!over) continue;
    LOG_INFO("maintenance is over server={}", server);
    repair_.NoticeStates();
  }
  bool more = false;
  for (const ServerId server : removed) {
    bool any = false;
    RETURN_IF_ERROR(
        tables.ScanDeleteTasks(server, BlockId(), [&](BlockId, const DeleteTaskRecord& task) {
          any = !task.hold;
          return !any;
        }));
    if (!any) continue;
    BatchResult result;
    RETURN_IF_ERROR(
        proposer_.Propose(epoch, "drop deletions", [&](OperationContext& context) -> Status {
          ASSIGN_OR_RETURN(result, EvaluateDropDeleteTasks(context, server, kRowsPerStep));
          return Status::Ok();
        }));
    more = more || !result.done;
  }
  return more;
}

}  // namespace tercet
