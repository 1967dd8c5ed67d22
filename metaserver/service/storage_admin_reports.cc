#include <algorithm>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/fsck.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/placement/placement_rules.h"
#include "metaserver/service/storage_admin.h"

namespace tercet {
namespace {

constexpr size_t kMaxUnknownReplicas = 10'000;
/// Blocks whose review goes into one record.
constexpr size_t kReviewsPerRecord = 100;

/// The values that servers have for a label, for people.
std::string ValuesOf(const std::vector<ServerState>& servers, const std::string& key) {
  std::set<std::string> values;
  for (const ServerState& server : servers) {
    auto it = server.labels.find(key);
    if (it != server.labels.end()) values.insert(it->second);
  }
  std::string out;
  for (const std::string& value : values) out += (out.empty() ? "" : ", ") + value;
  return out.empty() ? "no server has a label '" + key + "'" : "there are: " + out;
}

Status AddLabelled(const std::vector<ServerState>& servers, const std::string& label,
                   std::set<ServerId>* ids) {
  const size_t equals = label.find('=');
  const std::string key = label.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : label.substr(equals + 1);
  if (!IsLabelText(key) || !IsLabelText(value)) {
    return Status(StatusCode::kInvalidArgument,
                  "'" + label + "' is no label: give LABEL=VALUE, such as rack=r1");
  }
  bool found = false;
  for (const ServerState& server : servers) {
    auto it = server.labels.find(key);
    if (it == server.labels.end() || it->second != value) continue;
    ids->insert(server.id);
    found = true;
  }
  if (found) return Status::Ok();
  return Status(StatusCode::kInvalidArgument,
                "no chunk server has the label " + label + "; " + ValuesOf(servers, key));
}

}  // namespace

// ---- exposure ----

Result<std::set<ServerId>> StorageAdmin::ResolveServers(
    const wire::GetExposureRequest& request) const {
  std::set<ServerId> ids;
  for (int32_t id : request.servers) {
    ASSIGN_OR_RETURN(const ServerState server, FindServer(id));
    ids.insert(server.id);
  }
  const std::vector<ServerState> all = parts_.servers.All();
  for (const std::string& label : request.labels) {
    RETURN_IF_ERROR(AddLabelled(all, label, &ids));
  }
  // What is dead already is lost as well.
  ids.merge(DeadServers());
  return ids;
}

void StorageAdmin::GetExposure(const wire::GetExposureRequest& request,
                               wire::GetExposureResponse* response) {
  Answer(response, [&](Epoch) -> Status {
    ExposureQuery query;
    ASSIGN_OR_RETURN(query.walk, ResolveServers(request));
    query.lost = query.walk;
    query.cursor = request.cursor;
    query.max_files = request.max_files;
    const auto snapshot = parts_.proposer.TakeSnapshot();
    ASSIGN_OR_RETURN(*response, Exposure(*snapshot, query));
    for (ServerId server : query.lost) {
      response->lost_servers.push_back(static_cast<int32_t>(server.value()));
    }
    return Status::Ok();
  });
}

// ---- fsck ----

void StorageAdmin::Fsck(const wire::FsckRequest& request, wire::FsckResponse* response) {
  Answer(response, [&](Epoch epoch) -> Status {
    FsckLive live;
    const std::vector<ServerId> alive_list = parts_.servers.Alive();
    const std::set<ServerId> alive(alive_list.begin(), alive_list.end());
    live.is_alive = [&](ServerId server) { return alive.contains(server); };
    live.is_misplaced = [&](std::span<const ServerId> chain, const PlacementRule& rule,
                            uint64_t bytes) {
      return parts_.servers.IsMisplaced(chain, rule, bytes);
    };
    if (parts_.inventory != nullptr) {
      for (const UnknownReplica& replica : parts_.inventory->UnknownReplicas(kMaxUnknownReplicas)) {
        live.unknown.emplace_back(replica.server, replica.block);
      }
    }
    FsckQuery query;
    query.path = request.path;
    query.cursor = request.cursor;
    query.max_problems = request.max_problems;
    const auto snapshot = parts_.proposer.TakeSnapshot();
    ASSIGN_OR_RETURN(FsckPage page, tercet::Fsck(*snapshot, query, live));
    *response = std::move(page.response);
    if (!request.repair || page.to_repair.empty()) return Status::Ok();
    RETURN_IF_ERROR(QueueForRepair(epoch, page.to_repair));
    response->queued_for_repair = static_cast<int64_t>(page.to_repair.size());
    return Status::Ok();
  });
}

Status StorageAdmin::QueueForRepair(Epoch epoch,
                                    const std::vector<std::pair<BlockId, bool>>& blocks) {
  for (size_t begin = 0; begin < blocks.size(); begin += kReviewsPerRecord) {
    const size_t end = std::min(begin + kReviewsPerRecord, blocks.size());
    RETURN_IF_ERROR(
        parts_.proposer.Propose(epoch, "review blocks", [&](OperationContext& context) -> Status {
          for (size_t i = begin; i < end; ++i) {
            RETURN_IF_ERROR(EvaluateReviewBlock(context, blocks[i].first, blocks[i].second));
          }
          return Status::Ok();
        }));
  }
  if (parts_.repair == nullptr) return Status::Ok();
  std::vector<BlockId> ids;
  ids.reserve(blocks.size());
  for (const auto& [block, misplaced] : blocks) ids.push_back(block);
  parts_.repair->NoticeBlocks(ids);
  return Status::Ok();
}

// ---- inventories ----

void StorageAdmin::StartInventory(const wire::StartInventoryRequest&,
                                  wire::StartInventoryResponse* response) {
  Answer(response, [&](Epoch) -> Status {
    if (parts_.inventory == nullptr) {
      return Status(StatusCode::kNotSupported, "this metaserver takes no inventories");
    }
    ASSIGN_OR_RETURN(response->inventory_id, parts_.inventory->StartInventory());
    return Status::Ok();
  });
}

void StorageAdmin::GetInventory(const wire::GetInventoryRequest& request,
                                wire::GetInventoryResponse* response) {
  Answer(response, [&](Epoch) -> Status {
    if (parts_.inventory == nullptr) {
      return Status(StatusCode::kNotFound, "there is no such inventory");
    }
    ASSIGN_OR_RETURN(const InventoryReport report,
                     parts_.inventory->GetInventory(request.inventory_id));
    for (ServerId server : report.done) {
      response->done_servers.push_back(static_cast<int32_t>(server.value()));
    }
    for (ServerId server : report.pending) {
      response->pending_servers.push_back(static_cast<int32_t>(server.value()));
    }
    return Status::Ok();
  });
}

// ---- status ----

void StorageAdmin::DescribeServer(const ServerState& server, int64_t replicas,
                                  wire::ServerStatus* status) const {
  status->state = static_cast<wire::ServiceState::type>(server.service);
  status->labels = server.labels;
  status->suspected = server.suspected();
  status->load.read_p99_us = static_cast<int64_t>(server.load.read_p99_us);
  status->load.write_p99_us = static_cast<int64_t>(server.load.write_p99_us);
  status->load.client_bytes_per_second = static_cast<int64_t>(server.load.client_bytes_per_second);
  status->load.client_requests_per_second =
      static_cast<int64_t>(server.load.client_requests_per_second);
  status->load.pulled_bytes = static_cast<int64_t>(server.load.pulled_bytes);
  status->load.scrubbed_bytes = static_cast<int64_t>(server.load.scrubbed_bytes);
  status->load.pulls_running = static_cast<int32_t>(server.load.pulls_running);
  status->used_bytes = static_cast<int64_t>(server.replica_bytes());
  const int64_t now_ns = parts_.clock.WallNanos();
  if (server.service == ServiceState::kMaintenance && server.service_until_ns > 0) {
    status->maintenance_left_s =
        std::max<int64_t>((server.service_until_ns - now_ns) / 1'000'000'000, 1);
  }
  if (server.service == ServiceState::kDraining) {
    DescribeDrain(server, replicas, now_ns, status);
  }
}

void StorageAdmin::DescribeDrain(const ServerState& server, int64_t replicas, int64_t now_ns,
                                 wire::ServerStatus* status) const {
  const auto at_start = static_cast<int64_t>(server.drain_replicas_at_start);
  status->drain_replicas_at_start = at_start;
  // The journal says how many are left, the server how large its replicas are.
  const uint64_t held = std::max<uint64_t>(server.replica_count(), 1);
  const int64_t mean_bytes = static_cast<int64_t>(server.replica_bytes() / held);
  status->drain_bytes_left = replicas * mean_bytes;
  if (parts_.repair != nullptr) {
    status->drain_bytes_per_second = parts_.repair->Drain(server.id).bytes_per_second;
  }
  if (replicas == 0) {
    status->drain_eta_s = 0;
    return;
  }
  if (status->drain_bytes_per_second > 0 && mean_bytes > 0) {
    status->drain_eta_s = status->drain_bytes_left / status->drain_bytes_per_second + 1;
    return;
  }
  // No rate at the moment: by what was done since it began.
  const int64_t elapsed_s = (now_ns - server.service_since_ns) / 1'000'000'000;
  const int64_t done = at_start - replicas;
  if (done > 0 && elapsed_s > 0) status->drain_eta_s = replicas * elapsed_s / done + 1;
}

}  // namespace tercet
