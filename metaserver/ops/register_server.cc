#include <algorithm>
#include <limits>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/ops/labels.h"
#include "metaserver/ops/summary.h"

namespace tercet {
namespace {

Status CheckRequest(const wire::RegisterServerRequest& request, const std::string& cluster_id) {
  if (request.server_uuid.size() != kUuidBytes || request.host.empty() ||
      request.host.size() > kMaxHostBytes || request.version.size() > kMaxVersionBytes ||
      request.port <= 0 || request.port > std::numeric_limits<uint16_t>::max()) {
    return Status(
        StatusCode::kInvalidArgument,
        "a server needs a uuid of 16 bytes, a host, a port from 1 to 65535, and a version "
        "within its bound");
  }
  RETURN_IF_ERROR(CheckLabels(request.labels));
  if (!request.cluster_id.empty() && request.cluster_id != cluster_id) {
    return Status(
        StatusCode::kWrongCluster,
        "the server's disks belong to another cluster: give it empty disks or the metaservers "
        "of its own cluster");
  }
  return Status::Ok();
}

}  // namespace

Result<wire::RegisterServerResponse> EvaluateRegisterServer(
    OperationContext& context, const wire::RegisterServerRequest& request) {
  MutableTables tables(context.transaction);
  wire::RegisterServerResponse response;
  ASSIGN_OR_RETURN(response.cluster_id, tables.GetClusterId());
  RETURN_IF_ERROR(CheckRequest(request, response.cluster_id));

  ASSIGN_OR_RETURN(std::optional<ServerId> id, tables.FindServerByUuid(request.server_uuid));
  std::optional<ServerRecord> old;
  if (id) {
    ASSIGN_OR_RETURN(old, tables.FindServer(*id));
  } else {
    ASSIGN_OR_RETURN(uint64_t number, tables.TakeNextId(Counter::kNextServer));
    if (number > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) {
      return Status(StatusCode::kInternal, "all server ids were used");
    }
    id = ServerId(static_cast<uint32_t>(number));
    tables.PutServerByUuid(request.server_uuid, *id);
  }
  response.server_id = static_cast<int32_t>(id->value());

  if (old && old->state == ServiceState::kRemoved) {
    return Status(
        StatusCode::kFailedPrecondition,
        "chunk server " + std::to_string(id->value()) +
            " was removed from the cluster: give the machine empty disks, and it joins as "
            "a new one");
  }
  ServerRecord record = old.value_or(ServerRecord());
  record.uuid = request.server_uuid;
  record.host = request.host;
  record.port = static_cast<uint16_t>(request.port);
  record.incarnation = static_cast<uint64_t>(request.incarnation);
  record.registered_at_ns = old ? old->registered_at_ns : context.now_ns;
  record.version = request.version;
  record.labels = request.labels;
  // The encodings tell whether anything changed; the time of the first registration stays.
  if (!old || old->Encode() != record.Encode()) tables.PutServer(*id, record);
  ASSIGN_OR_RETURN(const uint64_t next_block, tables.GetCounter(Counter::kNextBlock));
  response.next_block_id = static_cast<int64_t>(std::max<uint64_t>(next_block, 1));
  Summary(context, old ? "server registered again" : "server registered")
      .Add("server", id->value())
      .AddName("host", record.host)
      .Add("port", record.port);
  return response;
}

}  // namespace tercet
