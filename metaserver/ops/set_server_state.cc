#include <algorithm>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {

Status EvaluateSetServerState(OperationContext& context, ServerId server, ServiceState state,
                              int64_t until_ns, uint64_t replicas) {
  if (static_cast<uint8_t>(state) > static_cast<uint8_t>(ServiceState::kRemoved) || until_ns < 0) {
    return Status(StatusCode::kInvalidArgument, "unknown server state, or a negative time");
  }
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(std::optional<ServerRecord> record, tables.FindServer(server));
  if (!record) {
    return Status(StatusCode::kNotFound,
                  "there is no chunk server " + std::to_string(server.value()));
  }
  Summary(context, "server state")
      .Add("server", server.value())
      .Add("state", static_cast<uint64_t>(state));
  const int64_t until = state == ServiceState::kMaintenance ? until_ns : 0;
  if (record->state == state && record->state_until_ns == until) return Status::Ok();
  if (record->state == ServiceState::kRemoved) {
    return Status(StatusCode::kFailedPrecondition,
                  "chunk server " + std::to_string(server.value()) +
                      " was removed: give the machine empty disks, and it gets a new id");
  }
  // Maintenance that is given another end goes on.
  if (record->state != state) record->state_since_ns = context.now_ns;
  record->state = state;
  record->state_until_ns = until;
  record->drain_replicas_at_start = state == ServiceState::kDraining ? replicas : 0;
  tables.PutServer(server, *record);
  return Status::Ok();
}

Result<bool> EvaluateEndMaintenance(OperationContext& context, ServerId server) {
  ASSIGN_OR_RETURN(const std::optional<ServerRecord> record,
                   Tables(context.transaction).FindServer(server));
  const bool over = record && record->state == ServiceState::kMaintenance &&
                    record->StateAt(context.now_ns) == ServiceState::kInService;
  if (!over) return false;
  RETURN_IF_ERROR(EvaluateSetServerState(context, server, ServiceState::kInService, 0));
  return true;
}

Status EvaluateSetDiskState(OperationContext& context, ServerId server, std::string_view disk_uuid,
                            uint8_t state) {
  if (disk_uuid.size() != kUuidBytes || state > static_cast<uint8_t>(DiskCommandState::kEjected)) {
    return Status(StatusCode::kInvalidArgument, "a disk has a uuid of 16 bytes and a known state");
  }
  MutableTables tables(context.transaction);
  ASSIGN_OR_RETURN(std::optional<ServerRecord> record, tables.FindServer(server));
  if (!record) {
    return Status(StatusCode::kNotFound,
                  "there is no chunk server " + std::to_string(server.value()));
  }
  Summary(context, "disk state").Add("server", server.value()).Add("state", state);
  ASSIGN_OR_RETURN(std::optional<DiskRecord> disk, tables.FindDisk(server, disk_uuid));
  const auto wanted = static_cast<DiskCommandState>(state);
  if (wanted == DiskCommandState::kInService) {
    if (disk) tables.DeleteDisk(server, disk_uuid);
    return Status::Ok();
  }
  if (disk && disk->state == wanted) return Status::Ok();
  if (!disk) {
    size_t disks = 0;
    RETURN_IF_ERROR(tables.ScanDisks(server, [&](ServerId, std::string_view, const DiskRecord&) {
      return ++disks < kMaxDiskCommands;
    }));
    if (disks == kMaxDiskCommands) {
      return Status(StatusCode::kInvalidArgument, "the server has too many disks out of service");
    }
  }
  tables.PutDisk(server, disk_uuid, {wanted, context.now_ns});
  return Status::Ok();
}

}  // namespace tercet
