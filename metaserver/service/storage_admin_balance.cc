#include <algorithm>
#include <cmath>

#include "common/log/log.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/policy_operations.h"
#include "metaserver/placement/balance_planner.h"
#include "metaserver/service/storage_admin.h"

namespace tercet {
namespace {

/// What a run begins with where no lower limit is set (docs/decisions/0022-balance.md).
constexpr uint64_t kUsualMoveRate = 64 << 20;

std::string_view StateName(BalanceState state) {
  switch (state) {
    case BalanceState::kNone:
      return "none";
    case BalanceState::kRunning:
      return "running";
    case BalanceState::kPaused:
      return "paused";
    case BalanceState::kDone:
      return "done";
    case BalanceState::kStopped:
      return "stopped";
  }
  return "unknown";
}

bool GoesOn(BalanceState state) {
  return state == BalanceState::kRunning || state == BalanceState::kPaused;
}

wire::BalanceServer ServerToWire(ServerId id, uint64_t total, uint64_t before, uint64_t after) {
  wire::BalanceServer server;
  server.server_id = static_cast<int32_t>(id.value());
  server.total_bytes = static_cast<int64_t>(total);
  server.used_before_bytes = static_cast<int64_t>(before);
  server.used_after_bytes = static_cast<int64_t>(after);
  return server;
}

std::vector<BalanceBlockSet> SetsOf(const CensusFigures& figures) {
  std::vector<BalanceBlockSet> sets;
  sets.reserve(figures.blocks_by_servers.size());
  for (const auto& [servers, blocks] : figures.blocks_by_servers) sets.push_back({servers, blocks});
  return sets;
}

/// Until the server that takes most has it.
int64_t ExpectedSeconds(const BalancePlan& plan, uint64_t move_limit) {
  const uint64_t rate = move_limit > 0 ? std::min(move_limit, kUsualMoveRate) : kUsualMoveRate;
  uint64_t most = 0;
  for (const BalancePlan::Server& server : plan.servers) {
    if (server.used_after_bytes > server.used_bytes) {
      most = std::max(most, server.used_after_bytes - server.used_bytes);
    }
  }
  return static_cast<int64_t>((most + rate - 1) / rate);
}

}  // namespace

// ---- repair and its limits ----

void StorageAdmin::SetLimits(const wire::SetLimitsRequest& request,
                             wire::SetLimitsResponse* response) {
  Answer(response, [&](Epoch epoch) -> Status {
    RETURN_IF_ERROR(parts_.proposer.Propose(epoch, "set limits", [&](OperationContext& context) {
      return EvaluateSetLimits(context, request);
    }));
    if (parts_.repair != nullptr) parts_.repair->NoticeStates();
    return Status::Ok();
  });
}

void StorageAdmin::GetRepairStatus(const wire::GetRepairStatusRequest&,
                                   wire::GetRepairStatusResponse* response) {
  Answer(response, [&](Epoch) -> Status {
    ASSIGN_OR_RETURN(const LimitsRecord limits, Tables(parts_.proposer.committed()).GetLimits());
    response->limits.repair_bytes_per_second = static_cast<int64_t>(limits.repair_bytes_per_second);
    response->limits.move_bytes_per_second = static_cast<int64_t>(limits.move_bytes_per_second);
    response->limits.scrub_period_s = static_cast<int64_t>(limits.scrub_period_s);
    response->repair_delay_ms = static_cast<int64_t>(limits.repair_delay_ms);
    if (parts_.repair == nullptr) return Status::Ok();
    const RepairReport report = parts_.repair->Report();
    for (const RepairClassReport& entry : report.queue) {
      wire::RepairClassStatus status;
      status.name = entry.name;
      status.blocks = entry.blocks;
      status.oldest_ms = entry.oldest_ms;
      response->queue.push_back(std::move(status));
    }
    response->running = report.running;
    response->bytes_per_second = report.bytes_per_second;
    response->repaired_blocks = report.repaired_blocks;
    response->failed_attempts = report.failed_attempts;
    response->recoveries = report.recoveries;
    return Status::Ok();
  });
}

// ---- balance ----

void StorageAdmin::PlanBalance(const wire::PlanBalanceRequest& request,
                               wire::PlanBalanceResponse* response) {
  Answer(response, [&](Epoch) -> Status {
    const auto figures = parts_.census.Get();
    ASSIGN_OR_RETURN(const BalancePlan plan,
                     tercet::PlanBalance(BalanceStates(parts_.servers), SetsOf(*figures),
                                         request.threshold_points, parts_.clock.WallNanos()));
    ASSIGN_OR_RETURN(const LimitsRecord limits, Tables(parts_.proposer.committed()).GetLimits());
    response->plan = EncodeBalancePlan(plan);
    for (const BalancePlan::Server& server : plan.servers) {
      response->servers.push_back(
          ServerToWire(server.id, server.total_bytes, server.used_bytes, server.used_after_bytes));
    }
    response->bytes_to_move = static_cast<int64_t>(plan.bytes_to_move);
    response->expected_s = ExpectedSeconds(plan, limits.move_bytes_per_second);
    response->notes = plan.notes;
    return Status::Ok();
  });
}

void StorageAdmin::StartBalance(const wire::StartBalanceRequest& request,
                                wire::StartBalanceResponse* response) {
  Answer(response, [&](Epoch epoch) { return StartPlanned(epoch, request); });
}

Status StorageAdmin::StartPlanned(Epoch epoch, const wire::StartBalanceRequest& request) {
  ASSIGN_OR_RETURN(const BalancePlan plan, DecodeBalancePlan(request.plan));
  std::lock_guard lock(change_mutex_);
  ASSIGN_OR_RETURN(const BalanceRecord present, Tables(parts_.proposer.committed()).GetBalance());
  if (GoesOn(present.state)) {
    return Status(StatusCode::kFailedPrecondition, "the servers are being balanced already (" +
                                                       std::string(StateName(present.state)) +
                                                       "): stop that first");
  }
  RETURN_IF_ERROR(CheckBalancePlan(plan, BalanceStates(parts_.servers), parts_.clock.WallNanos()));
  RETURN_IF_ERROR(parts_.proposer.Propose(epoch, "start balance", [&](OperationContext& context) {
    BalanceRecord record;
    record.state = BalanceState::kRunning;
    record.started_at_ns = context.now_ns;
    record.changed_at_ns = context.now_ns;
    record.threshold_permille = static_cast<uint32_t>(std::lround(plan.threshold_points * 10));
    return EvaluatePutBalance(context, present.state, record);
  }));
  LOG_INFO("balancing starts threshold_points={}", plan.threshold_points);
  if (parts_.repair != nullptr) parts_.repair->NoticeStates();
  return Status::Ok();
}

void StorageAdmin::ControlBalance(const wire::ControlBalanceRequest& request,
                                  wire::ControlBalanceResponse* response) {
  Answer(response, [&](Epoch epoch) { return ControlRun(epoch, request.action); });
}

Status StorageAdmin::ControlRun(Epoch epoch, wire::BalanceAction::type action) {
  BalanceState wanted = BalanceState::kNone;
  switch (action) {
    case wire::BalanceAction::PAUSE:
      wanted = BalanceState::kPaused;
      break;
    case wire::BalanceAction::RESUME:
      wanted = BalanceState::kRunning;
      break;
    case wire::BalanceAction::STOP:
      wanted = BalanceState::kStopped;
      break;
    default:
      return Status(StatusCode::kInvalidArgument, "balancing can be paused, resumed and stopped");
  }
  std::lock_guard lock(change_mutex_);
  RETURN_IF_ERROR(
      parts_.proposer.Propose(epoch, "control balance", [&](OperationContext& context) -> Status {
        ASSIGN_OR_RETURN(BalanceRecord record, Tables(context.transaction).GetBalance());
        if (!GoesOn(record.state)) {
          return Status(
              StatusCode::kFailedPrecondition,
              "the servers are not being balanced (" + std::string(StateName(record.state)) + ")");
        }
        if (record.state == wanted) return Status::Ok();
        const BalanceState before = record.state;
        record.state = wanted;
        record.changed_at_ns = context.now_ns;
        return EvaluatePutBalance(context, before, record);
      }));
  LOG_INFO("balancing changes by command to={}", StateName(wanted));
  if (parts_.repair != nullptr) parts_.repair->NoticeStates();
  return Status::Ok();
}

void StorageAdmin::GetBalance(const wire::GetBalanceRequest&, wire::GetBalanceResponse* response) {
  Answer(response, [&](Epoch) { return FillBalance(response); });
}

Status StorageAdmin::FillBalance(wire::GetBalanceResponse* response) const {
  ASSIGN_OR_RETURN(const BalanceRecord record, Tables(parts_.proposer.committed()).GetBalance());
  response->state = StateName(record.state);
  response->started_at_ns = record.started_at_ns;
  response->moved_bytes = static_cast<int64_t>(record.moved_bytes);
  response->moved_blocks = static_cast<int64_t>(record.moved_blocks);
  response->threshold_points = record.threshold_permille / 10.0;

  const std::vector<BalanceServerState> states = BalanceStates(parts_.servers);
  BalancePlanner planner(response->threshold_points, 0);
  planner.Update(states, 0);
  const double mean = planner.mean();
  for (const BalanceServerState& state : states) {
    const auto fair = static_cast<uint64_t>(mean * static_cast<double>(state.total_bytes));
    // Now, and as it would be if all were equally full.
    response->servers.push_back(ServerToWire(state.id, state.total_bytes, state.used_bytes,
                                             state.takes_part ? fair : state.used_bytes));
  }
  if (record.state == BalanceState::kDone && planner.left_bytes() > 0) {
    response->note =
        "the servers are not even: either much was written since, or no other block "
        "may be moved under the policies";
  }
  if (!GoesOn(record.state)) return Status::Ok();
  response->left_bytes = static_cast<int64_t>(planner.left_bytes());
  if (parts_.repair == nullptr || record.state != BalanceState::kRunning) return Status::Ok();
  const BalanceRunReport run = parts_.repair->Balance();
  response->moved_bytes += run.unsaved_moved_bytes;
  response->moved_blocks += run.unsaved_moved_blocks;
  response->left_bytes = run.left_bytes;
  response->bytes_per_second = run.bytes_per_second;
  response->limit_bytes_per_second = run.limit_bytes_per_second;
  response->note = run.note;
  if (run.left_bytes == 0) {
    response->eta_s = 0;
  } else if (run.bytes_per_second > 0) {
    response->eta_s = (run.left_bytes + run.bytes_per_second - 1) / run.bytes_per_second;
  }
  return Status::Ok();
}

}  // namespace tercet
