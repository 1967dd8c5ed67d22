#include "chunkserver/service/active_orders.h"

#include <algorithm>
#include <chrono>

#include "common/log/log.h"

namespace tercet {
namespace {

Epoch EpochOf(const wire::ReplyInfo& info) { return Epoch(static_cast<uint64_t>(info.epoch)); }

/// kEjected for what this version does not know: a later one may have found a reason not to use it.
StoreDiskState StateOf(wire::DiskState::type state) {
  switch (state) {
    case wire::DiskState::IN_SERVICE:
      return StoreDiskState::kInService;
    case wire::DiskState::DRAINING:
      return StoreDiskState::kDraining;
    default:
      return StoreDiskState::kEjected;
  }
}

const char* NameOf(StoreDiskState state) {
  switch (state) {
    case StoreDiskState::kInService:
      return "in service";
    case StoreDiskState::kDraining:
      return "draining";
    case StoreDiskState::kEjected:
      break;
  }
  return "ejected";
}

}  // namespace

void ActiveOrders::StopServing() { parts_.data_plane.Suspend(); }

Result<uint64_t> ActiveOrders::BeginRegistration(const wire::RegisterServerResponse& response) {
  RETURN_IF_ERROR(parts_.store.SetClusterId(response.cluster_id));
  std::lock_guard lock(mutex_);
  parts_.data_plane.Suspend();
  // What is known from before may not hold any more: the journal may have been set back.
  parts_.store.ForgetDooms();
  if (response.next_block_id > 0) {
    parts_.store.RaiseCreateFloor(BlockId(static_cast<uint64_t>(response.next_block_id)));
  }
  cluster_id_ = response.cluster_id;
  return ++registration_;
}

void ActiveOrders::TakeTasks(Epoch epoch, const std::vector<wire::DeleteReplicaTask>& tasks) {
  std::vector<DeletionTask> to_delete;
  to_delete.reserve(tasks.size());
  for (const wire::DeleteReplicaTask& task : tasks) {
    const BlockId block(static_cast<uint64_t>(task.block_id));
    const Generation generation(static_cast<uint64_t>(task.generation));
    parts_.store.Doom(block, generation);
    if (!task.hold) to_delete.push_back({block, generation});
  }
  parts_.deletions.Submit(epoch, to_delete);
}

Status ActiveOrders::Serve(uint64_t registration, ServerId server, int64_t incarnation) {
  std::lock_guard lock(mutex_);
  if (registration != registration_) {
    return Status(StatusCode::kUnavailable, "another registration of this server has begun");
  }
  parts_.notes.Write({server, cluster_id_});
  parts_.reporter.SetServer(static_cast<int32_t>(server.value()), incarnation);
  parts_.data_plane.SetIdentity(cluster_id_, server);
  return Status::Ok();
}

void ActiveOrders::CarryOut(const wire::HeartbeatResponse& response) {
  TakeTasks(EpochOf(response.info), response.delete_replicas);
  if (response.__isset.limits) SetLimits(response.limits);
  if (response.__isset.disks) SetDiskStates(response.disks);
  if (response.want_digests) parts_.reporter.Trigger();
}

void ActiveOrders::SetLimits(const wire::BackgroundLimits& limits) {
  std::lock_guard lock(mutex_);
  if (limits == limits_) return;
  limits_ = limits;
  LOG_INFO(
      "limits of background work repair_bytes_per_second={} move_bytes_per_second={} "
      "scrub_period_s={}",
      limits.repair_bytes_per_second, limits.move_bytes_per_second, limits.scrub_period_s);
  parts_.data_plane.SetLimits(limits);
  parts_.evacuator.SetLimit(
      static_cast<uint64_t>(std::max<int64_t>(limits.move_bytes_per_second, 0)));
  constexpr int64_t kLongestPeriod = 100ll * 365 * 24 * 3600;
  parts_.scrubber.SetPeriod(
      std::chrono::seconds(std::clamp<int64_t>(limits.scrub_period_s, 0, kLongestPeriod)));
}

void ActiveOrders::SetDiskStates(const std::vector<wire::DiskCommand>& commands) {
  std::lock_guard lock(mutex_);
  bool any = false;
  for (const StoreDiskStatus& disk : parts_.store.Disks()) {
    StoreDiskState wanted = StoreDiskState::kInService;
    for (const wire::DiskCommand& command : commands) {
      if (command.disk_uuid == disk.disk_uuid) wanted = StateOf(command.state);
    }
    // An ejected one stays so until the server starts again: its replicas count as lost.
    if (wanted == disk.state || disk.state == StoreDiskState::kEjected) continue;
    Status set = parts_.store.SetDiskState(disk.disk_uuid, wanted);
    if (!set.ok()) {
      LOG_WARN_LIMITED("a disk does not become {} disk={}: {}", NameOf(wanted), disk.path, set);
      continue;
    }
    any = true;
    if (wanted == StoreDiskState::kEjected) parts_.reporter.Trigger();
  }
  if (any) parts_.evacuator.Wake();
}

}  // namespace tercet
