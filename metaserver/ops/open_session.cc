#include "metaserver/namespace/tables.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/ops/summary.h"

namespace tercet {

Result<wire::OpenSessionResponse> EvaluateOpenSession(OperationContext& context,
                                                      const wire::OpenSessionRequest& request) {
  if (request.client_uuid.size() != kUuidBytes || request.host_name.size() > kMaxHostBytes ||
      request.mount_point.size() > kMaxPathBytes ||
      request.client_version.size() > kMaxVersionBytes) {
    return Status(
        StatusCode::kInvalidArgument,
        "a session needs a client uuid of 16 bytes, and a host name, mount point and version "
        "within their bounds");
  }
  MutableTables tables(context.transaction);
  wire::OpenSessionResponse response;
  ASSIGN_OR_RETURN(response.cluster_id, tables.GetClusterId());
  response.root_inode = static_cast<int64_t>(kRootInode.value());
  ASSIGN_OR_RETURN(std::optional<SessionId> existing,
                   tables.FindSessionByUuid(request.client_uuid));
  if (existing) {
    Summary(context, "session reopened").Add("session", existing->value());
    response.session_id = static_cast<int64_t>(existing->value());
    return response;
  }
  ASSIGN_OR_RETURN(uint64_t number, tables.TakeNextId(Counter::kNextSession));
  SessionRecord record;
  record.client_uuid = request.client_uuid;
  record.host_name = request.host_name;
  record.mount_point = request.mount_point;
  record.client_version = request.client_version;
  record.opened_at_ns = context.now_ns;
  tables.PutSession(SessionId(number), record);
  tables.PutSessionByUuid(record.client_uuid, SessionId(number));
  Summary(context, "session opened")
      .Add("session", number)
      .AddName("host", record.host_name)
      .AddName("mount", record.mount_point);
  response.session_id = static_cast<int64_t>(number);
  return response;
}

}  // namespace tercet
