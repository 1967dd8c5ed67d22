#include <algorithm>
#include <set>
#include <string>

#include "common/base/hex.h"
#include "common/log/log.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/placement/placement_rules.h"
#include "metaserver/service/storage_admin.h"

namespace tercet {
namespace {

constexpr int kRowsPerRange = 1000;

std::string NameOf(const ServerState& server) {
  return "chunk server " + std::to_string(server.id.value());
}

std::string_view StateName(ServiceState state) {
  switch (state) {
    case ServiceState::kInService:
      return "in service";
    case ServiceState::kDraining:
      return "draining";
    case ServiceState::kMaintenance:
      return "in maintenance";
    case ServiceState::kRemoved:
      return "removed";
  }
  return "unknown";
}

std::string BytesText(uint64_t bytes) {
  constexpr uint64_t kMiB = 1 << 20;
  return bytes < 10 * 1024 * kMiB ? std::to_string(bytes / kMiB) + " MiB"
                                  : std::to_string(bytes / (1024 * kMiB)) + " GiB";
}

/// "17 blocks", or "at least 17 blocks".
std::string CountText(int64_t blocks, bool complete) {
  return std::string(complete ? "" : "at least ") + std::to_string(blocks) +
         (blocks == 1 ? " block" : " blocks");
}

std::string Join(const std::vector<std::string>& sentences) {
  std::string out;
  for (const std::string& sentence : sentences) out += (out.empty() ? "" : "; ") + sentence;
  return out;
}

std::string Listed(const std::set<std::string>& labels) {
  std::string out;
  for (const std::string& label : labels) out += (out.empty() ? "'" : ", '") + label + "'";
  return out;
}

std::string TooFewForNewFiles(int needed, size_t left) {
  return "new files need " + std::to_string(needed) + " chunk servers in service, and " +
         std::to_string(left) + " would be left";
}

/// Nothing was found that objects, but not everything was looked at.
std::string NotAllLookedAt(int64_t blocks) {
  return "it has so many replicas that only " + CountText(blocks, true) +
         " could be looked at in the time there is for it";
}

std::string DiskName(const DiskState& disk) {
  return disk.path.empty() ? HexOf(disk.uuid) : disk.path;
}

}  // namespace

Result<ServerState> StorageAdmin::FindServer(int32_t id) const {
  const auto server = parts_.servers.Find(ServerId(static_cast<uint32_t>(id)));
  if (server && server->service != ServiceState::kRemoved) return *server;
  if (server) {
    return Status(StatusCode::kNotFound, NameOf(*server) + " was removed from the cluster");
  }
  std::string known;
  int listed = 0;
  for (const ServerState& other : parts_.servers.All()) {
    if (other.service == ServiceState::kRemoved || ++listed > 50) continue;
    known += (known.empty() ? "" : ", ") + std::to_string(other.id.value());
  }
  return Status(StatusCode::kNotFound,
                "there is no chunk server " + std::to_string(id) +
                    (known.empty() ? "; none has registered" : "; there are: " + known));
}

std::set<ServerId> StorageAdmin::DeadServers() const {
  std::set<ServerId> dead;
  for (const ServerState& server : parts_.servers.All()) {
    if (!parts_.servers.IsAlive(server)) dead.insert(server.id);
  }
  return dead;
}

Status StorageAdmin::NoticeStates() {
  RETURN_IF_ERROR(parts_.registry.RefreshKnown());
  if (parts_.repair != nullptr) parts_.repair->NoticeStates();
  return Status::Ok();
}

// ---- what speaks against a change ----

Result<StorageAdmin::Examined> StorageAdmin::Examine(const LookAtRange& look) const {
  Examined sum;
  ExaminedRange range;
  range.max_rows = kRowsPerRange;
  const int64_t end_ms = parts_.clock.MonotonicMillis() + kMaxExaminationMs;
  for (;;) {
    const auto room = kMaxWarningFiles - static_cast<int>(sum.files.size());
    ASSIGN_OR_RETURN(ServerExamination found, look(range, room));
    sum.blocks += found.blocks;
    sum.affected += found.affected_blocks;
    for (wire::FileName& file : found.files) {
      const bool named = std::ranges::any_of(
          sum.files, [&](const wire::FileName& other) { return other.inode == file.inode; });
      if (!named) sum.files.push_back(std::move(file));
    }
    if (!found.next) return sum;
    const bool enough = sum.affected > 0 && sum.blocks >= kEnoughBlocks;
    if (enough || parts_.clock.MonotonicMillis() >= end_ms) break;
    range.first = *found.next;
  }
  sum.complete = false;
  return sum;
}

Result<StorageAdmin::Examined> StorageAdmin::ExamineLastReplicas(const View& view,
                                                                 ServerId server) const {
  const std::set<ServerId> dead = DeadServers();
  return Examine([&](const ExaminedRange& range, int max_files) {
    return ExamineLoss(
        view, server, range, dead, [](const InodeRecord&) { return 1; }, max_files);
  });
}

void StorageAdmin::AddFiles(Examined found, wire::SetServerStateResponse* response) {
  for (wire::FileName& file : found.files) {
    if (response->files.size() == kMaxWarningFiles) break;
    response->files.push_back(std::move(file));
  }
  response->blocks = std::max(response->blocks, found.affected);
}

// ---- servers ----

void StorageAdmin::SetServerState(const wire::SetServerStateRequest& request,
                                  wire::SetServerStateResponse* response) {
  Answer(response, [&](Epoch epoch) { return ChangeServer(epoch, request, response); });
}

Status StorageAdmin::ChangeServer(Epoch epoch, const wire::SetServerStateRequest& request,
                                  wire::SetServerStateResponse* response) {
  if (request.state < wire::ServiceState::IN_SERVICE ||
      request.state > wire::ServiceState::REMOVED) {
    return Status(StatusCode::kInvalidArgument, "there is no such state of a chunk server");
  }
  if (request.maintenance_s < 0 || request.maintenance_s > kMaxMaintenanceSeconds) {
    return Status(StatusCode::kInvalidArgument,
                  "maintenance lasts for 1 second to 10 years, or without end");
  }
  const auto wanted = static_cast<ServiceState>(request.state);
  std::lock_guard lock(change_mutex_);
  ASSIGN_OR_RETURN(const ServerState server, FindServer(request.server_id));
  // What goes on already goes on; only maintenance may get another end.
  if (server.service == wanted && wanted != ServiceState::kMaintenance) return Status::Ok();
  ASSIGN_OR_RETURN(const bool objects, Objects(server, wanted, response));
  if (objects && !request.force) {
    return Status(StatusCode::kFailedPrecondition,
                  NameOf(server) + " stays " + std::string(StateName(server.service)) + ": " +
                      Join(response->warnings) + "; force it if that is to be");
  }
  const auto figures = parts_.census.Get();
  const auto replicas = figures->replicas.find(server.id);
  RETURN_IF_ERROR(
      parts_.proposer.Propose(epoch, "set server state", [&](OperationContext& context) {
        const int64_t until_ns = wanted == ServiceState::kMaintenance && request.maintenance_s > 0
                                     ? context.now_ns + request.maintenance_s * 1'000'000'000
                                     : 0;
        return EvaluateSetServerState(
            context, server.id, wanted, until_ns,
            replicas == figures->replicas.end() ? 0 : static_cast<uint64_t>(replicas->second));
      }));
  LOG_INFO("chunk server changes by command server={} from={} to={} forced={}", server.id,
           StateName(server.service), StateName(wanted), objects);
  return NoticeStates();
}

Result<bool> StorageAdmin::Objects(const ServerState& server, ServiceState wanted,
                                   wire::SetServerStateResponse* response) const {
  switch (wanted) {
    case ServiceState::kInService:
      return false;
    case ServiceState::kDraining:
      return ObjectsToDrain(server, response);
    case ServiceState::kMaintenance:
      return ObjectsToMaintenance(server, response);
    case ServiceState::kRemoved:
      return ObjectsToRemoval(server, response);
  }
  return Status(StatusCode::kInvalidArgument, "there is no such state of a chunk server");
}

Result<bool> StorageAdmin::ObjectsToDrain(const ServerState& server,
                                          wire::SetServerStateResponse* response) const {
  const std::vector<ServerState> all = parts_.servers.All();
  std::vector<const ServerState*> others;
  uint64_t room = 0;
  for (const ServerState& other : all) {
    if (other.id == server.id || other.service != ServiceState::kInService) continue;
    if (!parts_.servers.IsAlive(other)) continue;
    others.push_back(&other);
    room += UsableBytes(other, parts_.servers.options());
  }
  std::vector<const ServerState*> with_it = others;
  with_it.push_back(&server);

  const auto snapshot = parts_.proposer.TakeSnapshot();
  bool too_few_servers = false;
  std::set<std::string> lacking;  // labels of which too few values would be left
  const auto fits = [&](const InodeRecord& file, const PlacementRule& rule) {
    const PolicyCapacity after = CapacityFor(rule, others);
    const PolicyCapacity before = CapacityFor(rule, with_it);
    const size_t wanted = file.replicas;
    if (after.servers < wanted) {
      too_few_servers = true;
      return false;
    }
    if (after.domains >= std::min(wanted, before.domains)) return true;
    lacking.insert(rule.domain);
    return false;
  };
  ASSIGN_OR_RETURN(Examined found, Examine([&](const ExaminedRange& range, int max_files) {
                     return ExaminePolicies(*snapshot, server.id, range, fits, max_files);
                   }));
  std::vector<std::string>& warnings = response->warnings;
  if (found.affected > 0) {
    warnings.push_back(CountText(found.affected, found.complete) +
                       " could not keep the replicas that their policies want: only " +
                       std::to_string(others.size()) +
                       " other chunk servers are alive and in service" +
                       (too_few_servers ? "" : ", with too few values of " + Listed(lacking)));
  } else if (!found.complete) {
    warnings.push_back(NotAllLookedAt(found.blocks));
  }
  ASSIGN_OR_RETURN(const InodeRecord root, Tables(*snapshot).GetInode(kRootInode));
  if (others.size() < root.min_replicas) {
    warnings.push_back(TooFewForNewFiles(root.min_replicas, others.size()));
  }
  if (room < server.replica_bytes()) {
    warnings.push_back(BytesText(server.replica_bytes()) +
                       " are stored on it, but the others have "
                       "room for " +
                       BytesText(room));
  }
  AddFiles(std::move(found), response);
  return !warnings.empty();
}

Result<bool> StorageAdmin::ObjectsToMaintenance(const ServerState& server,
                                                wire::SetServerStateResponse* response) const {
  if (server.service == ServiceState::kDraining) {
    response->warnings.push_back("it is being drained, and that would end");
  }
  std::set<ServerId> away = DeadServers();
  for (const ServerState& other : parts_.servers.All()) {
    if (other.service == ServiceState::kMaintenance) away.insert(other.id);
  }
  const auto snapshot = parts_.proposer.TakeSnapshot();
  const auto without = [&](const BelowFunction& below) {
    return Examine([&](const ExaminedRange& range, int max_files) {
      return ExamineLoss(*snapshot, server.id, range, away, below, max_files);
    });
  };
  ASSIGN_OR_RETURN(Examined unreadable, without([](const InodeRecord&) { return 1; }));
  if (unreadable.affected > 0) {
    response->warnings.push_back(CountText(unreadable.affected, unreadable.complete) +
                                 " could not be read while it is away");
  }
  ASSIGN_OR_RETURN(Examined unwritable,
                   without([](const InodeRecord& file) { return int{file.min_replicas}; }));
  if (unwritable.affected > unreadable.affected) {
    response->warnings.push_back(CountText(unwritable.affected, unwritable.complete) +
                                 " would have fewer replicas than their min_replicas");
  } else if (response->warnings.empty() && !(unreadable.complete && unwritable.complete)) {
    response->warnings.push_back(NotAllLookedAt(std::min(unreadable.blocks, unwritable.blocks)));
  }
  AddFiles(std::move(unreadable), response);
  AddFiles(std::move(unwritable), response);
  return !response->warnings.empty();
}

Result<bool> StorageAdmin::ObjectsToRemoval(const ServerState& server,
                                            wire::SetServerStateResponse* response) const {
  const auto snapshot = parts_.proposer.TakeSnapshot();
  ASSIGN_OR_RETURN(const InodeRecord root, Tables(*snapshot).GetInode(kRootInode));
  size_t others = 0;
  for (const ServerState& other : parts_.servers.All()) {
    others += other.id != server.id && other.service == ServiceState::kInService &&
              parts_.servers.IsAlive(other);
  }
  const bool counts = server.service == ServiceState::kInService && parts_.servers.IsAlive(server);
  if (counts && others < root.min_replicas) {
    response->warnings.push_back(TooFewForNewFiles(root.min_replicas, others));
  }
  ASSIGN_OR_RETURN(Examined lost, ExamineLastReplicas(*snapshot, server.id));
  if (lost.blocks == 0 && lost.complete) return !response->warnings.empty();
  response->warnings.push_back(
      "it still holds replicas of " + CountText(lost.blocks, lost.complete) +
      (parts_.servers.IsAlive(server)
           ? ": drain it first (tercet server drain " + std::to_string(server.id.value()) + ")"
           : ", which are made again elsewhere while it is away: wait until they are (tercet "
             "repair "
             "status)"));
  if (lost.affected > 0) {
    response->warnings.push_back(CountText(lost.affected, lost.complete) +
                                 " of these have no other replica that is reachable: they would be "
                                 "LOST");
  }
  AddFiles(std::move(lost), response);
  return true;
}

// ---- disks ----

void StorageAdmin::SetDiskState(const wire::SetDiskStateRequest& request,
                                wire::SetDiskStateResponse* response) {
  Answer(response, [&](Epoch epoch) { return ChangeDisk(epoch, request, response); });
}

namespace {

/// By its failure, or by command (which it may not have heard of yet).
bool IsEjected(const ServerState& server, const DiskState& disk) {
  return !disk.healthy || server.ServiceOf(disk) == DiskCommandState::kEjected;
}

}  // namespace

Status StorageAdmin::ChangeDisk(Epoch epoch, const wire::SetDiskStateRequest& request,
                                wire::SetDiskStateResponse* response) {
  if (request.state < wire::DiskState::IN_SERVICE || request.state > wire::DiskState::EJECTED) {
    return Status(StatusCode::kInvalidArgument, "there is no such state of a disk");
  }
  const auto wanted = static_cast<DiskCommandState>(request.state);
  std::lock_guard lock(change_mutex_);
  ASSIGN_OR_RETURN(const ServerState server, FindServer(request.server_id));
  const DiskState* disk = nullptr;
  std::string known;
  for (const DiskState& candidate : server.disks) {
    known += (known.empty() ? "" : ", ") + DiskName(candidate);
    const bool named = request.disk_uuid.empty() ? candidate.path == request.path
                                                 : candidate.uuid == request.disk_uuid;
    if (named) disk = &candidate;
  }
  if (disk == nullptr) {
    const std::string name =
        request.disk_uuid.empty() ? "'" + request.path + "'" : HexOf(request.disk_uuid);
    return Status(
        StatusCode::kNotFound,
        NameOf(server) + " has no disk " + name +
            (known.empty() ? ": none is known while it was not heard of" : "; it has: " + known));
  }
  const bool away = IsEjected(server, *disk);
  if (away && wanted == DiskCommandState::kDraining) {
    return Status(StatusCode::kFailedPrecondition,
                  "disk " + DiskName(*disk) + " of " + NameOf(server) +
                      " is ejected: nothing can be moved from it; what it held is made again from "
                      "other replicas");
  }
  ASSIGN_OR_RETURN(const bool objects, ObjectsToDisk(server, *disk, wanted, &response->warnings));
  if (objects && !request.force) {
    return Status(StatusCode::kFailedPrecondition,
                  "disk " + DiskName(*disk) + " of " + NameOf(server) + " stays as it is: " +
                      Join(response->warnings) + "; force it if that is to be");
  }
  RETURN_IF_ERROR(parts_.proposer.Propose(epoch, "set disk state", [&](OperationContext& context) {
    return EvaluateSetDiskState(context, server.id, disk->uuid, static_cast<uint8_t>(wanted));
  }));
  LOG_INFO("disk changes by command server={} disk={} to={} forced={}", server.id, DiskName(*disk),
           static_cast<int>(wanted), objects);
  if (away && wanted == DiskCommandState::kInService) {
    response->warnings.push_back("disk " + DiskName(*disk) +
                                 " stays ejected until the chunk server is started again");
  }
  return NoticeStates();
}

Result<bool> StorageAdmin::ObjectsToDisk(const ServerState& server, const DiskState& disk,
                                         DiskCommandState wanted,
                                         std::vector<std::string>* warnings) const {
  // Nothing changes with a disk of which nothing can be read any more.
  if (wanted == DiskCommandState::kInService || IsEjected(server, disk)) return false;
  if (wanted == DiskCommandState::kDraining && disk.replica_count == 0) return false;
  if (wanted == DiskCommandState::kDraining) {
    uint64_t room = 0;
    for (const DiskState& other : server.disks) {
      if (other.uuid == disk.uuid || server.ServiceOf(other) != DiskCommandState::kInService) {
        continue;
      }
      room += UsableBytes(other, parts_.servers.options());
    }
    if (room >= disk.replica_bytes) return false;
    warnings->push_back(BytesText(disk.replica_bytes) +
                        " are stored on it, but the server's other disks have room for " +
                        BytesText(room) + ": drain the server instead");
    return true;
  }
  const bool last = std::ranges::none_of(server.disks, [&](const DiskState& other) {
    return other.uuid != disk.uuid && other.healthy &&
           server.ServiceOf(other) != DiskCommandState::kEjected;
  });
  if (last) {
    warnings->push_back(
        "it is the last disk of the server, whose process ends without one: drain the server "
        "instead (tercet server drain " +
        std::to_string(server.id.value()) + ")");
  }
  if (disk.replica_count == 0) return last;
  // The journal does not know which of a server's replicas are on which of its disks: any may be.
  const auto snapshot = parts_.proposer.TakeSnapshot();
  ASSIGN_OR_RETURN(const Examined lost, ExamineLastReplicas(*snapshot, server.id));
  if (lost.affected == 0 && lost.complete) return last;
  warnings->push_back(
      (lost.affected == 0
           ? "there are too many replicas on the server to tell in time whether each has another "
             "one"
           : CountText(lost.affected, lost.complete) +
                 " of the server have no other replica that is reachable, and may be on this disk: "
                 "they would be LOST") +
      "; drain it instead");
  for (const wire::FileName& file : lost.files) warnings->push_back("file " + file.path);
  return true;
}

}  // namespace tercet
