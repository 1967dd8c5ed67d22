#include "metaserver/group/join_waiter.h"

#include <utility>

#include "common/base/hex.h"
#include "common/log/log.h"
#include "common/rpc/wire_status.h"
#include "metaserver/journal/node_identity.h"

namespace tercet {
namespace {

constexpr size_t kIdBytes = 16;

}  // namespace

JoinWaiter::JoinWaiter(JoinWaiterOptions options, Disk& disk, Random& random)
    : options_(std::move(options)), disk_(disk), random_(random) {}

std::optional<MemberState> JoinWaiter::Await(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [&] { return joined_.has_value(); });
  return joined_;
}

void JoinWaiter::Hello(wire::HelloResponse& response, const wire::HelloRequest& request) {
  response.status = ToWire(Status(StatusCode::kUnavailable,
                                  "this metaserver is empty and waits to be added to a group"));
}

void JoinWaiter::Deliver(const wire::GroupMessage& message) {}

void JoinWaiter::Join(wire::JoinResponse& response, const wire::JoinRequest& request) {
  std::lock_guard lock(mutex_);
  const Status status = TakeIn(request);
  if (!status.ok()) {
    LOG_WARN("the metaserver at {} asked this one to join a group, refused: {}",
             request.leader_address, status);
  }
  response.status = ToWire(status);
}

// Needs mutex_.
Status JoinWaiter::TakeIn(const wire::JoinRequest& request) {
  if (request.cluster_id.size() != kIdBytes || request.member_id <= 0) {
    return Status(StatusCode::kInvalidArgument, "the request names no cluster or no member");
  }
  MemberState state;
  state.group_id = static_cast<uint64_t>(request.group_id);
  state.self = MemberId(static_cast<uint32_t>(request.member_id));
  state.kind = request.witness ? MemberKind::kWitness : MemberKind::kMetaserver;
  if (joined_) {
    if (*joined_ == state) return Status::Ok();
    return Status(StatusCode::kFailedPrecondition, "it has just become member " +
                                                       std::to_string(joined_->self.value()) +
                                                       " of a metadata group");
  }
  if (!options_.cluster_id.empty() && options_.cluster_id != request.cluster_id) {
    return Status(StatusCode::kWrongCluster, "it is configured for cluster " +
                                                 HexOf(options_.cluster_id) + ", not " +
                                                 HexOf(request.cluster_id));
  }
  RETURN_IF_ERROR(disk_.MakeDirectories(options_.journal_folder));
  NodeIdentity identity;
  identity.cluster_id = request.cluster_id;
  RETURN_IF_ERROR(CheckOrCreateIdentity(disk_, options_.identity_path, identity, random_).status());
  RETURN_IF_ERROR(SaveMemberState(disk_, options_.member_state_path, state));
  LOG_INFO("became member {} of the metadata group of cluster {} on request of {}", state.self,
           HexOf(request.cluster_id), request.leader_address);
  joined_ = std::move(state);
  changed_.notify_all();
  return Status::Ok();
}

}  // namespace tercet
