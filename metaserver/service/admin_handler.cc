#include <algorithm>
#include <memory>

#include "common/rpc/wire_status.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/reads.h"
#include "metaserver/service/group_report.h"
#include "metaserver/service/handlers.h"
#include "metaserver/service/storage_admin.h"
#include "metaserver/service/timed_call.h"

namespace tercet {
namespace {

template <typename Map>
int64_t CountOf(const Map& map, const typename Map::key_type& key) {
  auto it = map.find(key);
  return it == map.end() ? 0 : it->second;
}

MemberId IdFromWire(int32_t id) { return MemberId(static_cast<uint32_t>(id)); }

class AdminHandler final : public wire::AdminServiceIf {
 public:
  explicit AdminHandler(const AdminParts& parts) : parts_(parts) {
    if (parts_.state != nullptr) storage_ = std::make_unique<StorageAdmin>(*parts_.state);
  }

  void GetStatus(wire::GetStatusResponse& response, const wire::GetStatusRequest&) override {
    static OperationMetrics metrics("GetStatus");
    TimedCall timed(metrics, response.info);
    if (parts_.state != nullptr) {
      const AnswerBasis basis = parts_.state->proposer.Basis();
      const Status status = FillStatus(&response);
      parts_.state->proposer.FillInfo(basis, status, &response.info);
    } else {
      RefuseNotActive(parts_.member, &response.info);
    }
    FillMetaservers(&response);
  }

  void GetFileInfo(wire::GetFileInfoResponse& response,
                   const wire::GetFileInfoRequest& request) override {
    static OperationMetrics metrics("GetFileInfo");
    TimedCall timed(metrics, response.info);
    if (parts_.state == nullptr) return RefuseNotActive(parts_.member, &response.info);
    parts_.state->proposer.Read<wire::GetFileInfoRequest, wire::GetFileInfoResponse>(
        FileInfo, request, &response);
    for (const wire::ServerAddress& server : response.servers) {
      if (parts_.state->servers.IsAlive(ServerId(static_cast<uint32_t>(server.server_id)))) {
        response.alive_servers.push_back(server.server_id);
      }
    }
  }

  void GetGroupStatus(wire::GetGroupStatusResponse& response,
                      const wire::GetGroupStatusRequest&) override {
    static OperationMetrics metrics("GetGroupStatus");
    TimedCall timed(metrics, response.info);
    response.cluster_id = parts_.cluster_id;
    response.version = parts_.version;
    response.election_timeout_ms = static_cast<int32_t>(parts_.election_timeout.count());
    FillOwnInfo(Status::Ok(), &response.info);
    if (parts_.member == nullptr) return;
    DescribeGroup(parts_.member->status(), parts_.election_timeout, StateNote(), &response);
  }

  void AddMember(wire::AddMemberResponse& response,
                 const wire::AddMemberRequest& request) override {
    static OperationMetrics metrics("AddMember");
    TimedCall timed(metrics, response.info);
    Administer(&response.info, [&](GroupMember& member) -> Status {
      RETURN_IF_ERROR(CheckOwnAddress());
      ASSIGN_OR_RETURN(
          const MemberId id,
          member.AddMember(request.address,
                           request.witness ? MemberKind::kWitness : MemberKind::kMetaserver));
      response.member_id = static_cast<int32_t>(id.value());
      return Status::Ok();
    });
  }

  void RemoveMember(wire::RemoveMemberResponse& response,
                    const wire::RemoveMemberRequest& request) override {
    static OperationMetrics metrics("RemoveMember");
    TimedCall timed(metrics, response.info);
    Administer(&response.info, [&](GroupMember& member) -> Status {
      ASSIGN_OR_RETURN(const MemberId id, FindMember(member, request.member_id, request.address));
      return member.RemoveMember(id, request.force);
    });
  }

  void PromoteWitness(wire::PromoteWitnessResponse& response,
                      const wire::PromoteWitnessRequest& request) override {
    static OperationMetrics metrics("PromoteWitness");
    TimedCall timed(metrics, response.info);
    Administer(&response.info, [&](GroupMember& member) -> Status {
      ASSIGN_OR_RETURN(const MemberId id, FindMember(member, request.member_id, request.address));
      return member.PromoteWitness(id);
    });
  }

  void TransferActive(wire::TransferActiveResponse& response,
                      const wire::TransferActiveRequest& request) override {
    static OperationMetrics metrics("TransferActive");
    TimedCall timed(metrics, response.info);
    Administer(&response.info, [&](GroupMember& member) -> Status {
      ASSIGN_OR_RETURN(const MemberId target, member.TransferActive(IdFromWire(request.member_id)));
      response.target_id = static_cast<int32_t>(target.value());
      return Status::Ok();
    });
  }

  void OpenStateSnapshot(wire::OpenStateSnapshotResponse& response,
                         const wire::OpenStateSnapshotRequest& request) override {
    static OperationMetrics metrics("OpenStateSnapshot");
    TimedCall timed(metrics, response.info);
    Status status = CheckSnapshots();
    if (status.ok() && request.from_active &&
        !parts_.state->proposer.Serves(parts_.state->proposer.epoch())) {
      status = Status(StatusCode::kFailedPrecondition, "this metaserver is not the active one");
    }
    if (status.ok()) status = parts_.snapshots->Open(&response);
    FillOwnInfo(status, &response.info);
  }

  void ReadStateSnapshot(wire::ReadStateSnapshotResponse& response,
                         const wire::ReadStateSnapshotRequest& request) override {
    static OperationMetrics metrics("ReadStateSnapshot");
    TimedCall timed(metrics, response.info);
    Status status = CheckSnapshots();
    if (status.ok()) status = parts_.snapshots->Read(request, &response);
    FillOwnInfo(status, &response.info);
  }

  void CloseStateSnapshot(wire::CloseStateSnapshotResponse& response,
                          const wire::CloseStateSnapshotRequest& request) override {
    static OperationMetrics metrics("CloseStateSnapshot");
    TimedCall timed(metrics, response.info);
    const Status status = CheckSnapshots();
    if (status.ok()) parts_.snapshots->Close(request.snapshot_id);
    FillOwnInfo(status, &response.info);
  }

  // ---- chunk servers, disks, repair, policies, trash: storage_admin.h ----

  void SetServerState(wire::SetServerStateResponse& response,
                      const wire::SetServerStateRequest& request) override {
    Storage<&StorageAdmin::SetServerState>("SetServerState", request, &response);
  }
  void SetDiskState(wire::SetDiskStateResponse& response,
                    const wire::SetDiskStateRequest& request) override {
    Storage<&StorageAdmin::SetDiskState>("SetDiskState", request, &response);
  }
  void SetLimits(wire::SetLimitsResponse& response,
                 const wire::SetLimitsRequest& request) override {
    Storage<&StorageAdmin::SetLimits>("SetLimits", request, &response);
  }
  void GetRepairStatus(wire::GetRepairStatusResponse& response,
                       const wire::GetRepairStatusRequest& request) override {
    Storage<&StorageAdmin::GetRepairStatus>("GetRepairStatus", request, &response);
  }
  void PlanBalance(wire::PlanBalanceResponse& response,
                   const wire::PlanBalanceRequest& request) override {
    Storage<&StorageAdmin::PlanBalance>("PlanBalance", request, &response);
  }
  void StartBalance(wire::StartBalanceResponse& response,
                    const wire::StartBalanceRequest& request) override {
    Storage<&StorageAdmin::StartBalance>("StartBalance", request, &response);
  }
  void ControlBalance(wire::ControlBalanceResponse& response,
                      const wire::ControlBalanceRequest& request) override {
    Storage<&StorageAdmin::ControlBalance>("ControlBalance", request, &response);
  }
  void GetBalance(wire::GetBalanceResponse& response,
                  const wire::GetBalanceRequest& request) override {
    Storage<&StorageAdmin::GetBalance>("GetBalance", request, &response);
  }
  void GetExposure(wire::GetExposureResponse& response,
                   const wire::GetExposureRequest& request) override {
    Storage<&StorageAdmin::GetExposure>("GetExposure", request, &response);
  }
  void Fsck(wire::FsckResponse& response, const wire::FsckRequest& request) override {
    Storage<&StorageAdmin::Fsck>("Fsck", request, &response);
  }
  void StartInventory(wire::StartInventoryResponse& response,
                      const wire::StartInventoryRequest& request) override {
    Storage<&StorageAdmin::StartInventory>("StartInventory", request, &response);
  }
  void GetInventory(wire::GetInventoryResponse& response,
                    const wire::GetInventoryRequest& request) override {
    Storage<&StorageAdmin::GetInventory>("GetInventory", request, &response);
  }
  void GetPolicy(wire::GetPolicyResponse& response,
                 const wire::GetPolicyRequest& request) override {
    Storage<&StorageAdmin::GetPolicy>("GetPolicy", request, &response);
  }
  void SetPolicy(wire::SetPolicyResponse& response,
                 const wire::SetPolicyRequest& request) override {
    Storage<&StorageAdmin::SetPolicy>("SetPolicy", request, &response);
  }
  void ListTrash(wire::ListTrashResponse& response,
                 const wire::ListTrashRequest& request) override {
    Storage<&StorageAdmin::ListTrash>("ListTrash", request, &response);
  }
  void RestoreTrash(wire::RestoreTrashResponse& response,
                    const wire::RestoreTrashRequest& request) override {
    Storage<&StorageAdmin::RestoreTrash>("RestoreTrash", request, &response);
  }
  void PurgeTrash(wire::PurgeTrashResponse& response,
                  const wire::PurgeTrashRequest& request) override {
    Storage<&StorageAdmin::PurgeTrash>("PurgeTrash", request, &response);
  }

 private:
  template <auto kMethod, typename Request, typename Response>
  void Storage(const char* name, const Request& request, Response* response) {
    static OperationMetrics metrics(name);
    TimedCall timed(metrics, response->info);
    if (storage_ == nullptr) return RefuseNotActive(parts_.member, &response->info);
    ((*storage_).*kMethod)(request, response);
  }

  /// Answers that do not need an active: of this member as it is.
  void FillOwnInfo(const Status& status, wire::ReplyInfo* info) {
    info->status = ToWire(status);
    if (parts_.member == nullptr) return;
    const ConsensusState state = parts_.member->state();
    info->epoch = static_cast<int64_t>(state.epoch.value());
    info->journal_index = static_cast<int64_t>(state.applied_index.value());
    info->commit_index = static_cast<int64_t>(state.commit_index.value());
    if (!state.active && !state.active_hint.empty()) info->__set_active_hint(state.active_hint);
  }

  /// A change of the group: at its leader only.
  template <typename Function>
  void Administer(wire::ReplyInfo* info, Function&& change) {
    if (parts_.member == nullptr) return RefuseNotActive(nullptr, info);
    FillOwnInfo(change(*parts_.member), info);
  }

  /// A new member must reach this one.
  Status CheckOwnAddress() const {
    ASSIGN_OR_RETURN(const HostPort own, ParseHostPort(parts_.address));
    if (own.host != "0.0.0.0" && own.host != "::") return Status::Ok();
    return Status(StatusCode::kFailedPrecondition,
                  "this metaserver is known as " + parts_.address +
                      ", which others cannot reach: set listen.advertise and start it again");
  }

  static Result<MemberId> FindMember(const GroupMember& member, int32_t id,
                                     const std::string& address) {
    const GroupStatus status = member.status();
    const Member* found =
        id != 0 ? status.membership.Find(IdFromWire(id)) : status.membership.FindByAddress(address);
    if (found == nullptr) {
      return Status(StatusCode::kNotFound,
                    "the metadata group has no member " +
                        (id != 0 ? std::to_string(id) : "at address '" + address + "'"));
    }
    return found->id;
  }

  Status CheckSnapshots() const {
    if (parts_.snapshots != nullptr) return Status::Ok();
    return Status(StatusCode::kFailedPrecondition,
                  "this member of the metadata group has no namespace");
  }

  std::string StateNote() const {
    return parts_.fetcher == nullptr ? std::string() : parts_.fetcher->Progress();
  }

  Status FillStatus(wire::GetStatusResponse* response) {
    const Tables tables(parts_.state->proposer.committed());
    ASSIGN_OR_RETURN(response->cluster_id, tables.GetClusterId());
    ASSIGN_OR_RETURN(const uint64_t inodes, tables.GetCounter(Counter::kInodeCount));
    ASSIGN_OR_RETURN(const uint64_t blocks, tables.GetCounter(Counter::kBlockCount));
    ASSIGN_OR_RETURN(const uint64_t orphans, tables.GetCounter(Counter::kOrphanCount));
    response->inode_count = static_cast<int64_t>(inodes);
    response->block_count = static_cast<int64_t>(blocks);
    response->orphan_count = static_cast<int64_t>(orphans);
    response->session_count = static_cast<int64_t>(parts_.state->sessions.count());

    const std::shared_ptr<const CensusFigures> figures = parts_.state->census.Get();
    for (const ServerState& server : parts_.state->servers.All()) {
      response->servers.push_back(DescribeServer(server, *figures));
    }
    const auto counts = figures->BlocksByLiveReplicas(
        [this](ServerId server) { return parts_.state->servers.IsAlive(server); });
    for (const auto& [replicas, count] : counts) {
      wire::ReplicaCount entry;
      entry.replicas = replicas;
      entry.blocks = count;
      response->blocks_by_replicas.push_back(entry);
    }
    response->__set_counted_index(static_cast<int64_t>(figures->index.value()));
    return Status::Ok();
  }

  wire::ServerStatus DescribeServer(const ServerState& server, const CensusFigures& figures) {
    wire::ServerStatus status;
    status.server_id = static_cast<int32_t>(server.id.value());
    status.server_uuid = server.uuid;
    status.host = server.address.host;
    status.port = server.address.port;
    status.alive = parts_.state->servers.IsAlive(server);
    status.last_heartbeat_ms =
        server.heard() ? parts_.clock.MonotonicMillis() - server.last_heartbeat_ms : -1;
    for (const DiskState& disk : server.disks) {
      wire::DiskReport report;
      report.disk_uuid = disk.uuid;
      report.path = disk.path;
      report.total_bytes = static_cast<int64_t>(disk.total_bytes);
      report.available_bytes = static_cast<int64_t>(disk.available_bytes);
      report.replica_count = static_cast<int64_t>(disk.replica_count);
      report.healthy = disk.healthy;
      report.no_room = disk.no_room;
      report.state = static_cast<int32_t>(server.ServiceOf(disk));
      report.trash_bytes = static_cast<int64_t>(disk.trash_bytes);
      report.quarantine_bytes = static_cast<int64_t>(disk.quarantine_bytes);
      report.replica_bytes = static_cast<int64_t>(disk.replica_bytes);
      report.scrubbed_since_ns = disk.scrubbed_since_ns;
      status.disks.push_back(std::move(report));
    }
    status.version = server.version;
    status.replica_count = CountOf(figures.replicas, server.id);
    status.missing_replicas =
        static_cast<int64_t>(parts_.state->registry.reports().Missing(server.id));
    status.pending_deletes = CountOf(figures.delete_tasks, server.id);
    storage_->DescribeServer(server, status.replica_count, &status);
    return status;
  }

  /// All metaservers and witnesses of the group; this one itself comes with all that it knows.
  void FillMetaservers(wire::GetStatusResponse* response) {
    wire::MetaserverStatus self;
    self.address = parts_.address;
    self.role = parts_.state != nullptr && parts_.state->proposer.active() ? "active" : "standby";
    self.epoch = response->info.epoch;
    self.journal_index = response->info.commit_index;
    self.applied_index = response->info.journal_index;
    if (parts_.member != nullptr) {
      wire::GetGroupStatusResponse group;
      DescribeGroup(parts_.member->status(), parts_.election_timeout, StateNote(), &group);
      for (wire::MetaserverStatus& status : DescribeMetaservers(group)) {
        const auto& member = group.members[response->metaservers.size()];
        if (member.member_id == group.member_id) {
          self.role = status.role;
          self.journal_index = status.journal_index;
          self.applied_index = status.applied_index;
          status = self;
          FillOwn(&status);
        }
        response->metaservers.push_back(std::move(status));
      }
    }
    if (response->metaservers.empty()) {
      FillOwn(&self);
      response->metaservers.push_back(std::move(self));
    }
  }

  void FillOwn(wire::MetaserverStatus* self) {
    self->uptime_ms = parts_.clock.MonotonicMillis() - parts_.started_ms;
    self->version = parts_.version;
  }

  const AdminParts parts_;
  std::unique_ptr<StorageAdmin> storage_;  // with parts_.state
};

}  // namespace

std::shared_ptr<wire::AdminServiceIf> MakeAdminHandler(const AdminParts& parts) {
  return std::make_shared<AdminHandler>(parts);
}

}  // namespace tercet
