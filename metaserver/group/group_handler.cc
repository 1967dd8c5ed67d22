#include "metaserver/group/group_handler.h"

#include <mutex>

#include "common/base/hex.h"
#include "common/log/log.h"
#include "common/rpc/wire_status.h"
#include "metaserver/group/group_wire.h"

namespace tercet {
namespace {

Status Stopping() {
  return Status(StatusCode::kUnavailable, "this metaserver is stopping or starting");
}

}  // namespace

void GroupHandler::Detach() {
  std::unique_lock lock(mutex_);
  driver_ = nullptr;
}

void GroupHandler::Hello(wire::HelloResponse& response, const wire::HelloRequest& request) {
  const Status status = CheckHello(request);
  if (!status.ok() && status.code() != StatusCode::kUnavailable) {
    LOG_WARN_LIMITED("refused the metaserver at {}: {}", request.from_address, status);
  }
  response.status = ToWire(status);
}

Status GroupHandler::CheckHello(const wire::HelloRequest& request) {
  std::shared_lock lock(mutex_);
  if (driver_ == nullptr) return Stopping();
  if (request.cluster_id != driver_->identity().cluster_id) {
    return Status(StatusCode::kWrongCluster, "this metaserver belongs to cluster " +
                                                 HexOf(driver_->identity().cluster_id) +
                                                 ", the caller to " + HexOf(request.cluster_id));
  }
  if (static_cast<uint64_t>(request.group_id) != driver_->group_id()) {
    return Status(StatusCode::kWrongCluster,
                  "this metaserver belongs to another life of the metadata group than the caller: "
                  "one of the two is from before a restore");
  }
  if (request.to_member != static_cast<int64_t>(driver_->self().value())) {
    return Status(StatusCode::kFailedPrecondition,
                  "this metaserver is member " + std::to_string(driver_->self().value()) +
                      " of the group, not " + std::to_string(request.to_member));
  }
  if (request.from_member <= 0) {
    return Status(StatusCode::kInvalidArgument, "the caller names no member");
  }
  return driver_->Hello(MemberId(static_cast<uint32_t>(request.from_member)), request.from_address);
}

void GroupHandler::Join(wire::JoinResponse& response, const wire::JoinRequest& request) {
  response.status = ToWire(CheckJoin(request));
}

Status GroupHandler::CheckJoin(const wire::JoinRequest& request) {
  std::shared_lock lock(mutex_);
  if (driver_ == nullptr) return Stopping();
  const bool same = request.cluster_id == driver_->identity().cluster_id &&
                    static_cast<uint64_t>(request.group_id) == driver_->group_id() &&
                    request.member_id == static_cast<int64_t>(driver_->self().value());
  if (same) return Status::Ok();
  return Status(StatusCode::kFailedPrecondition,
                "it is already member " + std::to_string(driver_->self().value()) +
                    " of the metadata group of cluster " + HexOf(driver_->identity().cluster_id) +
                    "; to add it anew, stop it, move its data_dir away and start it with "
                    "group.join=true and an empty one");
}

void GroupHandler::Deliver(const wire::GroupMessage& message) {
  std::shared_lock lock(mutex_);
  if (driver_ == nullptr) return;
  if (static_cast<uint64_t>(message.group_id) != driver_->group_id() ||
      message.to_member != static_cast<int64_t>(driver_->self().value())) {
    driver_->CountDropped();
    LOG_WARN_LIMITED("dropped a message from member {} that is not for this one",
                     message.from_member);
    return;
  }
  Result<RaftMessage> converted = FromWire(message);
  if (!converted.ok()) {
    driver_->CountDropped();
    LOG_WARN_LIMITED("dropped a message from member {}: {}", message.from_member,
                     converted.status());
    return;
  }
  driver_->Receive(std::move(converted).value());
}

}  // namespace tercet
