#include "metaserver/namespace/tables.h"
#include "metaserver/ops/reads.h"
#include "metaserver/service/handlers.h"
#include "metaserver/service/timed_call.h"

namespace tercet {
namespace {

template <typename Map>
int64_t CountOf(const Map& map, const typename Map::key_type& key) {
  auto it = map.find(key);
  return it == map.end() ? 0 : it->second;
}

class AdminHandler final : public wire::AdminServiceIf {
 public:
  explicit AdminHandler(const HandlerParts& parts)
      : parts_(parts), started_ms_(parts.clock.MonotonicMillis()) {}

  void GetStatus(wire::GetStatusResponse& response, const wire::GetStatusRequest&) override {
    static OperationMetrics metrics("GetStatus");
    TimedCall timed(metrics, response.info);
    parts_.proposer.FillInfo(FillStatus(&response), &response.info);
    FillMetaserver(&response);
  }

  void GetFileInfo(wire::GetFileInfoResponse& response,
                   const wire::GetFileInfoRequest& request) override {
    static OperationMetrics metrics("GetFileInfo");
    TimedCall timed(metrics, response.info);
    parts_.proposer.Read<wire::GetFileInfoRequest, wire::GetFileInfoResponse>(FileInfo, request,
                                                                              &response);
    for (const wire::ServerAddress& server : response.servers) {
      if (parts_.servers.IsAlive(ServerId(static_cast<uint32_t>(server.server_id)))) {
        response.alive_servers.push_back(server.server_id);
      }
    }
  }

 private:
  Status FillStatus(wire::GetStatusResponse* response) {
    const Tables tables(parts_.proposer.committed());
    ASSIGN_OR_RETURN(response->cluster_id, tables.GetClusterId());
    ASSIGN_OR_RETURN(const uint64_t inodes, tables.GetCounter(Counter::kInodeCount));
    ASSIGN_OR_RETURN(const uint64_t blocks, tables.GetCounter(Counter::kBlockCount));
    ASSIGN_OR_RETURN(const uint64_t orphans, tables.GetCounter(Counter::kOrphanCount));
    response->inode_count = static_cast<int64_t>(inodes);
    response->block_count = static_cast<int64_t>(blocks);
    response->orphan_count = static_cast<int64_t>(orphans);
    response->session_count = static_cast<int64_t>(parts_.sessions.count());

    const std::shared_ptr<const CensusFigures> figures = parts_.census.Get();
    for (const ServerState& server : parts_.servers.All()) {
      response->servers.push_back(DescribeServer(server, *figures));
    }
    const auto counts = figures->BlocksByLiveReplicas(
        [this](ServerId server) { return parts_.servers.IsAlive(server); });
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
    status.alive = parts_.servers.IsAlive(server);
    status.last_heartbeat_ms = server.last_heartbeat_ms < 0
                                   ? -1
                                   : parts_.clock.MonotonicMillis() - server.last_heartbeat_ms;
    for (const DiskState& disk : server.disks) {
      wire::DiskReport report;
      report.disk_uuid = disk.uuid;
      report.path = disk.path;
      report.total_bytes = static_cast<int64_t>(disk.total_bytes);
      report.available_bytes = static_cast<int64_t>(disk.available_bytes);
      report.replica_count = static_cast<int64_t>(disk.replica_count);
      report.healthy = disk.healthy;
      status.disks.push_back(std::move(report));
    }
    status.version = server.version;
    status.replica_count = CountOf(figures.replicas, server.id);
    status.missing_replicas = static_cast<int64_t>(parts_.registry.reports().Missing(server.id));
    status.pending_deletes = CountOf(figures.delete_tasks, server.id);
    return status;
  }

  void FillMetaserver(wire::GetStatusResponse* response) {
    wire::MetaserverStatus self;
    self.address = parts_.address;
    self.role = parts_.proposer.active() ? "active" : "standby";
    self.epoch = response->info.epoch;
    self.journal_index = response->info.commit_index;
    self.applied_index = response->info.journal_index;
    self.uptime_ms = parts_.clock.MonotonicMillis() - started_ms_;
    self.version = parts_.version;
    response->metaservers.push_back(std::move(self));
  }

  const HandlerParts parts_;
  const int64_t started_ms_;
};

}  // namespace

std::shared_ptr<wire::AdminServiceIf> MakeAdminHandler(const HandlerParts& parts) {
  return std::make_shared<AdminHandler>(parts);
}

}  // namespace tercet
