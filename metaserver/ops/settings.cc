// The cluster's settings that administrators change, and the state of the balance run.
#include "metaserver/ops/policy_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

constexpr int64_t kMaxBytesPerSecond = int64_t{1} << 50;
constexpr int64_t kMaxScrubPeriodSeconds = int64_t{10} * 366 * 24 * 3600;
constexpr int64_t kMaxRepairDelayMillis = int64_t{30} * 24 * 3600 * 1000;

Status Take(bool set, int64_t value, int64_t limit, std::string_view what, uint64_t* out) {
  if (!set) return Status::Ok();
  if (value < 0 || value > limit) {
    return Status(StatusCode::kInvalidArgument,
                  std::string(what) + " must be from 0 to " + std::to_string(limit));
  }
  *out = static_cast<uint64_t>(value);
  return Status::Ok();
}

}  // namespace

Status EvaluateSetLimits(OperationContext& context, const wire::SetLimitsRequest& request) {
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(const LimitsRecord before, tables.GetLimits());
  LimitsRecord limits = before;
  const auto& set = request.__isset;
  RETURN_IF_ERROR(Take(set.repair_bytes_per_second, request.repair_bytes_per_second,
                       kMaxBytesPerSecond, "repair_bytes_per_second",
                       &limits.repair_bytes_per_second));
  RETURN_IF_ERROR(Take(set.move_bytes_per_second, request.move_bytes_per_second, kMaxBytesPerSecond,
                       "move_bytes_per_second", &limits.move_bytes_per_second));
  RETURN_IF_ERROR(Take(set.scrub_period_s, request.scrub_period_s, kMaxScrubPeriodSeconds,
                       "scrub_period_s", &limits.scrub_period_s));
  RETURN_IF_ERROR(Take(set.repair_delay_ms, request.repair_delay_ms, kMaxRepairDelayMillis,
                       "repair_delay_ms", &limits.repair_delay_ms));
  if (!(limits == before)) tables.PutLimits(limits);
  Summary(context, "limits")
      .Add("repair", limits.repair_bytes_per_second)
      .Add("move", limits.move_bytes_per_second)
      .Add("scrub_period_s", limits.scrub_period_s)
      .Add("repair_delay_ms", limits.repair_delay_ms);
  return Status::Ok();
}

Status EvaluatePutBalance(OperationContext& context, BalanceState expected,
                          const BalanceRecord& record) {
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(const BalanceRecord before, tables.GetBalance());
  Summary(context, "balance").Add("state", static_cast<uint64_t>(record.state));
  if (before.state != expected) {
    return Status(StatusCode::kConflict, "the state of the balance run has just changed");
  }
  tables.PutBalance(record);
  return Status::Ok();
}

Status EvaluateAddBalanceProgress(OperationContext& context, int64_t started_at_ns, uint64_t bytes,
                                  uint64_t blocks) {
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(BalanceRecord record, tables.GetBalance());
  Summary(context, "balance progress").Add("bytes", bytes).Add("blocks", blocks);
  if (record.state == BalanceState::kNone || record.started_at_ns != started_at_ns) {
    return Status::Ok();
  }
  record.moved_bytes += bytes;
  record.moved_blocks += blocks;
  tables.PutBalance(record);
  return Status::Ok();
}

}  // namespace tercet
