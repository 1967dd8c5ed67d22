#include "metaserver/service/registry.h"

#include <algorithm>
#include <set>
#include <span>

#include "common/log/log.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/repair/repair_metrics.h"
#include "metaserver/service/service_metrics.h"

namespace tercet {
namespace {

/// Confirmed deletions in one journal record.
constexpr size_t kConfirmationsPerRecord = 256;
/// Confirmations taken from one heartbeat. The others' tasks go out again and are confirmed again.
constexpr size_t kMaxConfirmations = 10'000;
constexpr size_t kMaxDisks = 256;
/// A scan over the rows of deleted tasks costs time until LevelDB compacts them; at most this part
/// of the time is spent on it.
constexpr int64_t kScanPause = 20;
constexpr size_t kBadReplicasPerRecord = 256;
/// Announcements that wait for one server's heartbeat. It gets those beyond in their turn.
constexpr size_t kMaxAnnounced = 10'000;
constexpr int32_t kMaxFetchedTasks = 50'000;
constexpr size_t kMaxQuarantined = 10'000;
constexpr int64_t kQuarantineNewsMs = 3'600'000;

wire::DeleteReplicaTask TaskToWire(BlockId block, const DeleteTaskRecord& record) {
  wire::DeleteReplicaTask task;
  task.block_id = static_cast<int64_t>(block.value());
  task.generation = static_cast<int64_t>(record.generation.value());
  task.hold = record.hold;
  return task;
}

int64_t NoNegative(int64_t value) { return std::max<int64_t>(value, 0); }

std::vector<DiskState> DisksFromWire(const std::vector<wire::DiskReport>& reports) {
  std::vector<DiskState> disks;
  disks.reserve(std::min(reports.size(), kMaxDisks));
  for (const wire::DiskReport& report : reports) {
    if (disks.size() == kMaxDisks) break;
    DiskState disk;
    disk.uuid = report.disk_uuid;
    disk.path = report.path;
    disk.total_bytes = static_cast<uint64_t>(NoNegative(report.total_bytes));
    disk.available_bytes = static_cast<uint64_t>(NoNegative(report.available_bytes));
    disk.replica_count = static_cast<uint64_t>(NoNegative(report.replica_count));
    disk.healthy = report.healthy;
    disk.no_room = report.no_room;
    disk.state = static_cast<DiskCommandState>(
        std::clamp<int32_t>(report.state, 0, static_cast<int32_t>(DiskCommandState::kEjected)));
    disk.trash_bytes = static_cast<uint64_t>(NoNegative(report.trash_bytes));
    disk.quarantine_bytes = static_cast<uint64_t>(NoNegative(report.quarantine_bytes));
    disk.replica_bytes = static_cast<uint64_t>(NoNegative(report.replica_bytes));
    disk.scrubbed_since_ns = report.scrubbed_since_ns;
    disks.push_back(std::move(disk));
  }
  return disks;
}

ServerLoad LoadFromWire(const wire::ServerLoad& report) {
  ServerLoad load;
  load.read_p99_us = static_cast<uint64_t>(NoNegative(report.read_p99_us));
  load.write_p99_us = static_cast<uint64_t>(NoNegative(report.write_p99_us));
  load.client_bytes_per_second = static_cast<uint64_t>(NoNegative(report.client_bytes_per_second));
  load.client_requests_per_second =
      static_cast<uint64_t>(NoNegative(report.client_requests_per_second));
  load.pulled_bytes = static_cast<uint64_t>(NoNegative(report.pulled_bytes));
  load.scrubbed_bytes = static_cast<uint64_t>(NoNegative(report.scrubbed_bytes));
  load.pulls_running = static_cast<uint32_t>(NoNegative(report.pulls_running));
  return load;
}

Status NotActive() { return Status(StatusCode::kNotActive, "not the active metaserver"); }

ServerId IdFromWire(int32_t id) { return ServerId(static_cast<uint32_t>(id)); }

}  // namespace

Registry::Registry(RegistryOptions options, Proposer& proposer, Database& database,
                   ServerTable& servers, const Clock& clock)
    : options_(options),
      proposer_(proposer),
      database_(database),
      servers_(servers),
      clock_(clock) {}

void Registry::AddKnown(ServerId id, const ServerRecord& record) {
  ServerState state;
  state.id = id;
  state.uuid = record.uuid;
  state.address = HostPort{record.host, record.port};
  state.version = record.version;
  state.incarnation = static_cast<int64_t>(record.incarnation);
  state.service = record.state;
  state.service_since_ns = record.state_since_ns;
  state.service_until_ns = record.state_until_ns;
  state.drain_replicas_at_start = record.drain_replicas_at_start;
  state.labels = record.labels;
  servers_.AddKnown(std::move(state));
}

Status Registry::RefreshKnown() {
  const Tables tables(database_.committed());
  std::map<ServerId, std::map<std::string, DiskCommandState>> commands;
  RETURN_IF_ERROR(tables.ScanServers([&](ServerId id, const ServerRecord& record) {
    AddKnown(id, record);
    commands[id];
    return true;
  }));
  RETURN_IF_ERROR(
      tables.ScanAllDisks([&](ServerId server, std::string_view uuid, const DiskRecord& record) {
        commands[server][std::string(uuid)] = record.state;
        return true;
      }));
  for (auto& [server, disks] : commands) servers_.SetDiskCommands(server, std::move(disks));
  return Status::Ok();
}

Status Registry::BecomeActive() {
  const int64_t now_ms = clock_.MonotonicMillis();
  became_active_ms_.store(now_ms);
  reports_.Clear();
  RETURN_IF_ERROR(RefreshKnown());
  servers_.BecomeActive();
  const std::vector<ServerState> servers = servers_.All();
  // Not all of them at once: comparing reads all that is journaled about a server.
  const int64_t spread_ms = options_.digest_interval.count();
  std::lock_guard lock(mutex_);
  deliveries_.clear();
  inventory_id_ = 0;
  quarantined_.clear();
  size_t position = 0;
  for (const ServerState& server : servers) {
    Delivery& delivery = deliveries_[server.id];
    delivery.was_alive = servers_.IsAlive(server);
    ++position;
    // Servers that register are asked at once.
    delivery.next_digest_ms =
        now_ms + spread_ms * static_cast<int64_t>(position) / static_cast<int64_t>(servers.size());
  }
  return Status::Ok();
}

void Registry::BecomeStandby() {
  reports_.Clear();
  std::lock_guard lock(mutex_);
  deliveries_.clear();
}

void Registry::Register(const wire::RegisterServerRequest& request,
                        wire::RegisterServerResponse* response) {
  const AnswerBasis basis = proposer_.Basis();
  const Status status = RegisterChecked(basis.epoch, request, response);
  if (!status.ok() && status.code() != StatusCode::kNotActive) {
    LOG_WARN_LIMITED("registration refused address={}:{}: {}", request.host, request.port, status);
  }
  proposer_.FillInfo({basis.epoch, database_.applied_index()}, status, &response->info);
}

Status Registry::CheckIdentity(const wire::RegisterServerRequest& request) const {
  const auto known = servers_.FindByUuid(request.server_uuid);
  if (!known) {
    if (servers_.All().size() >= options_.max_servers) {
      return Status(StatusCode::kFailedPrecondition, "there are too many chunk servers");
    }
    return Status::Ok();
  }
  const HostPort address{request.host, static_cast<uint16_t>(request.port)};
  if (known->address == address || known->incarnation == request.incarnation) return Status::Ok();
  if (servers_.IsAlive(*known)) {
    ServiceCounters::Get().identity_conflicts.Increment();
    return Status(StatusCode::kIdentityInUse,
                  "chunk server " + std::to_string(known->id.value()) + " with this identity is " +
                      "alive at " + known->address.ToString() + ": if the disks of " +
                      address.ToString() +
                      " are a copy of its disks, give it empty ones, and it joins as a new server "
                      "(a copy is out of date: never let it take the place of the original); if "
                      "they are its disks, stop what still runs at the other address");
  }
  // Until a server that lives had time to be heard of, it may be alive.
  const int64_t wait_ms =
      became_active_ms_.load() + servers_.options().death_timeout_ms - clock_.MonotonicMillis();
  if (!known->heard() && wait_ms > 0) {
    return Status(StatusCode::kUnavailable,
                  "chunk server " + std::to_string(known->id.value()) + " may still be alive at " +
                      known->address.ToString() + ": retry in " + std::to_string(wait_ms) + " ms");
  }
  return Status::Ok();
}

Status Registry::RegisterChecked(Epoch epoch, const wire::RegisterServerRequest& request,
                                 wire::RegisterServerResponse* response) {
  if (!proposer_.Serves(epoch)) return NotActive();
  if (request.port < 1 || request.port > 65535 || request.host.empty()) {
    return Status(StatusCode::kInvalidArgument,
                  "a chunk server needs an address that others can reach, not '" + request.host +
                      ":" + std::to_string(request.port) + "'");
  }
  std::lock_guard register_lock(register_mutex_);
  RETURN_IF_ERROR(CheckIdentity(request));
  RETURN_IF_ERROR(
      proposer_.Propose(epoch, "register server", [&](OperationContext& context) -> Status {
        ASSIGN_OR_RETURN(*response, EvaluateRegisterServer(context, request));
        return Status::Ok();
      }));
  response->heartbeat_interval_ms = static_cast<int32_t>(options_.heartbeat_interval.count());
  ServerState state;
  state.id = IdFromWire(response->server_id);
  state.uuid = request.server_uuid;
  state.address = HostPort{request.host, static_cast<uint16_t>(request.port)};
  state.version = request.version;
  state.incarnation = request.incarnation;
  state.labels = request.labels;
  state.disks = DisksFromWire(request.disks);
  LOG_INFO("chunk server registered server={} address={} disks={} version={}", state.id,
           state.address.ToString(), state.disks.size(), state.version);
  std::lock_guard lock(mutex_);
  Delivery& delivery = deliveries_[state.id];
  // An inventory that is under way waits for it as before, from the beginning: what was found once
  // may be found no more.
  const int rounds = delivery.inventory_rounds;
  delivery = Delivery{};
  delivery.inventory_rounds = rounds > 0 && rounds < kInventoryRounds ? 0 : rounds;
  delivery.was_alive = true;
  delivery.next_digest_ms = clock_.MonotonicMillis();
  servers_.Register(std::move(state));
  return Status::Ok();
}

void Registry::Heartbeat(const wire::HeartbeatRequest& request, wire::HeartbeatResponse* response) {
  const AnswerBasis basis = proposer_.Basis();
  if (basis.epoch.value() == 0) {
    const Status noted = HeartbeatAtStandby(request);
    if (!noted.ok()) LOG_WARN_LIMITED("a heartbeat could not be noted: {}", noted);
    proposer_.FillInfo(basis, Status::Ok(), &response->info);
    return;
  }
  proposer_.FillInfo(basis, HeartbeatChecked(basis.epoch, request, response), &response->info);
  if (response->info.status.code != 0) {
    // Commands are the active's alone.
    response->delete_replicas.clear();
    response->register_again = false;
    response->want_digests = false;
    response->limits = wire::BackgroundLimits();
    response->disks.clear();
  }
}

Status Registry::HeartbeatAtStandby(const wire::HeartbeatRequest& request) {
  const ServerId server = IdFromWire(request.server_id);
  // What the state says now: the server may have registered a moment ago.
  ASSIGN_OR_RETURN(const auto record, Tables(database_.committed()).FindServer(server));
  if (!record) return Status::Ok();  // not applied here yet: the next heartbeat tells
  AddKnown(server, *record);
  servers_.Hear(server, request.incarnation, DisksFromWire(request.disks),
                LoadFromWire(request.load));
  return Status::Ok();
}

Status Registry::HeartbeatChecked(Epoch epoch, const wire::HeartbeatRequest& request,
                                  wire::HeartbeatResponse* response) {
  const ServerId server = IdFromWire(request.server_id);
  if (!servers_.Heartbeat(server, request.incarnation, DisksFromWire(request.disks),
                          LoadFromWire(request.load))) {
    response->register_again = true;
    return Status::Ok();
  }
  FillCommands(server, response);
  RETURN_IF_ERROR(ConfirmDeletions(epoch, server, request.deleted));
  RETURN_IF_ERROR(NoteBadReplicas(epoch, server, request.bad_replicas));
  RETURN_IF_ERROR(CollectTasks(server, &response->delete_replicas));
  const int64_t now_ms = clock_.MonotonicMillis();
  std::lock_guard lock(mutex_);
  Delivery& delivery = deliveries_[server];
  if (now_ms >= delivery.next_digest_ms) {
    response->want_digests = true;
    // Asked again when no report comes.
    delivery.next_digest_ms = now_ms + 10 * options_.heartbeat_interval.count();
  }
  return Status::Ok();
}

Status Registry::ConfirmDeletions(Epoch epoch, ServerId server,
                                  const std::vector<wire::DeleteReplicaTask>& deleted) {
  const std::span<const wire::DeleteReplicaTask> all(deleted.data(),
                                                     std::min(deleted.size(), kMaxConfirmations));
  for (size_t at = 0; at < all.size(); at += kConfirmationsPerRecord) {
    const auto batch = all.subspan(at, std::min(kConfirmationsPerRecord, all.size() - at));
    int removed = 0;
    RETURN_IF_ERROR(
        proposer_.Propose(epoch, "finish delete tasks", [&](OperationContext& context) -> Status {
          ASSIGN_OR_RETURN(BatchResult result, EvaluateFinishDeleteTasks(context, server, batch));
          removed = result.removed;
          return Status::Ok();
        }));
    ServiceCounters::Get().delete_tasks_confirmed.Increment(removed);
  }
  return Status::Ok();
}

void Registry::FillCommands(ServerId server, wire::HeartbeatResponse* response) const {
  const LimitsRecord limits = hooks_.limits ? hooks_.limits() : LimitsRecord();
  response->limits.repair_bytes_per_second = static_cast<int64_t>(limits.repair_bytes_per_second);
  response->limits.move_bytes_per_second = static_cast<int64_t>(limits.move_bytes_per_second);
  response->limits.scrub_period_s = static_cast<int64_t>(limits.scrub_period_s);
  const auto state = servers_.Find(server);
  if (!state) return;
  for (const auto& [uuid, command] : state->disk_commands) {
    wire::DiskCommand disk;
    disk.disk_uuid = uuid;
    disk.state = static_cast<wire::DiskState::type>(command);
    response->disks.push_back(std::move(disk));
  }
}

Status Registry::NoteBadReplicas(Epoch epoch, ServerId server,
                                 const std::vector<wire::BadReplica>& bad) {
  std::vector<BadReplicaNote> notes;
  size_t doubtful = 0;  // many after a crash, and no damage
  for (const wire::BadReplica& replica : bad) {
    BadReplicaCounter(replica.reason).Increment();
    if (replica.generation <= 0) continue;  // an incomplete copy is no one's replica
    notes.push_back({BlockId(static_cast<uint64_t>(replica.block_id)),
                     Generation(static_cast<uint64_t>(replica.generation)), server,
                     static_cast<uint8_t>(replica.reason)});
    if (replica.reason == wire::BadReplicaReason::DOUBTFUL) {
      ++doubtful;
      continue;
    }
    LOG_WARN_LIMITED("bad replica reported server={} block={} generation={} reason={}", server,
                     replica.block_id, replica.generation, static_cast<int>(replica.reason));
  }
  if (doubtful > 0) {
    LOG_INFO("replicas may differ in what nobody acknowledged server={} count={}", server,
             doubtful);
  }
  return NoteAll(epoch, notes);
}

Status Registry::NoteAll(Epoch epoch, std::span<const BadReplicaNote> notes) {
  for (size_t at = 0; at < notes.size(); at += kBadReplicasPerRecord) {
    const auto batch = notes.subspan(at, std::min(kBadReplicasPerRecord, notes.size() - at));
    RETURN_IF_ERROR(
        proposer_.Propose(epoch, "bad replicas", [&](OperationContext& context) -> Status {
          return EvaluateNoteBadReplicas(context, batch).status();
        }));
    if (!hooks_.notice_blocks) continue;
    std::vector<BlockId> blocks;
    for (const BadReplicaNote& note : batch) blocks.push_back(note.block);
    hooks_.notice_blocks(blocks);
  }
  return Status::Ok();
}

void Registry::Announce(ServerId server, BlockId block, Generation generation, bool hold) {
  std::lock_guard lock(mutex_);
  const auto found = deliveries_.find(server);
  if (found == deliveries_.end() || found->second.announced.size() >= kMaxAnnounced) return;
  found->second.announced.push_back(TaskToWire(block, {.generation = generation, .hold = hold}));
}

Status Registry::CollectTasks(ServerId server, std::vector<wire::DeleteReplicaTask>* tasks) {
  const int64_t start_ms = clock_.MonotonicMillis();
  BlockId from;
  std::vector<wire::DeleteReplicaTask> announced;
  {
    std::lock_guard lock(mutex_);
    Delivery& delivery = deliveries_[server];
    from = delivery.next_task;
    announced.swap(delivery.announced);
  }
  const Tables tables(database_.committed());
  // As the journal has them now: the server may have come back into the chain since.
  for (const wire::DeleteReplicaTask& task : announced) {
    const BlockId block(static_cast<uint64_t>(task.block_id));
    ASSIGN_OR_RETURN(const auto record, tables.FindDeleteTask(server, block));
    if (record) tasks->push_back(TaskToWire(block, *record));
  }
  const size_t before = tasks->size();
  RETURN_IF_ERROR(tables.ScanDeleteTasks(server, from, [&](BlockId block, const auto& record) {
    tasks->push_back(TaskToWire(block, record));
    return tasks->size() - before < options_.max_tasks_per_heartbeat;
  }));
  const int64_t now_ms = clock_.MonotonicMillis();
  std::lock_guard lock(mutex_);
  Delivery& delivery = deliveries_[server];
  if (tasks->size() - before == options_.max_tasks_per_heartbeat) {
    delivery.next_task = BlockId(static_cast<uint64_t>(tasks->back().block_id)).Next();
  } else if (now_ms >= delivery.full_scan_ms) {
    // The end was seen. New tasks may have any block id, so the next round starts at the lowest.
    delivery.next_task = BlockId();
    delivery.full_scan_ms = now_ms + kScanPause * (now_ms - start_ms);
  }
  ServiceCounters::Get().delete_tasks_sent.Increment(static_cast<double>(tasks->size()));
  return Status::Ok();
}

void Registry::FetchDeleteTasks(const wire::FetchDeleteTasksRequest& request,
                                wire::FetchDeleteTasksResponse* response) {
  const AnswerBasis basis = proposer_.Basis();
  proposer_.FillInfo(basis, FetchDeleteTasksChecked(request, response), &response->info);
  if (response->info.status.code != 0) {
    response->tasks.clear();
    response->complete = false;
  }
}

Status Registry::FetchDeleteTasksChecked(const wire::FetchDeleteTasksRequest& request,
                                         wire::FetchDeleteTasksResponse* response) {
  const ServerId server = IdFromWire(request.server_id);
  RETURN_IF_ERROR(CheckSender(server, request.incarnation));
  if (request.after_block_id < 0) {
    return Status(StatusCode::kInvalidArgument, "there is no block below 0");
  }
  const auto most = static_cast<size_t>(std::clamp(request.max_tasks, 1, kMaxFetchedTasks));
  response->complete = true;
  const auto take = [&](BlockId block, const DeleteTaskRecord& record) {
    response->complete = response->tasks.size() < most;
    if (response->complete) response->tasks.push_back(TaskToWire(block, record));
    return response->complete;
  };
  const BlockId first = BlockId(static_cast<uint64_t>(request.after_block_id)).Next();
  return Tables(database_.committed()).ScanDeleteTasks(server, first, take);
}

Status Registry::CheckSender(ServerId server, int64_t incarnation) const {
  if (!proposer_.active()) return NotActive();
  const auto known = servers_.Find(server);
  if (!known || known->incarnation != incarnation || !servers_.IsAlive(*known)) {
    return Status(StatusCode::kFailedPrecondition,
                  "chunk server " + std::to_string(server.value()) + " has to register first");
  }
  return Status::Ok();
}

void Registry::AskForDigestsBy(ServerId server, int64_t latest_ms) {
  std::lock_guard lock(mutex_);
  Delivery& delivery = deliveries_[server];
  delivery.next_digest_ms = std::min(delivery.next_digest_ms, latest_ms);
}

void Registry::ReportDigests(const wire::ReportDigestsRequest& request,
                             wire::ReportDigestsResponse* response) {
  const AnswerBasis basis = proposer_.Basis();
  proposer_.FillInfo(basis, ReportDigestsChecked(request, response), &response->info);
}

Status Registry::ReportDigestsChecked(const wire::ReportDigestsRequest& request,
                                      wire::ReportDigestsResponse* response) {
  const ServerId server = IdFromWire(request.server_id);
  RETURN_IF_ERROR(CheckSender(server, request.incarnation));
  const auto snapshot = database_.TakeSnapshot();
  ASSIGN_OR_RETURN(response->differing_ranges,
                   reports_.CompareDigests(*snapshot, server, request.ranges));
  const int64_t now_ms = clock_.MonotonicMillis();
  {
    std::lock_guard lock(mutex_);
    deliveries_[server].next_digest_ms = now_ms + options_.digest_interval.count();
  }
  CountInventoryRound(server, response->differing_ranges.empty());
  // What is missing is looked at more often: it may have been deleted or come back.
  if (reports_.Missing(server) > 0) {
    AskForDigestsBy(server, now_ms + 12 * options_.recheck_interval.count());
  }
  return Status::Ok();
}

void Registry::ReportReplicas(const wire::ReportReplicasRequest& request,
                              wire::ReportReplicasResponse* response) {
  const AnswerBasis basis = proposer_.Basis();
  proposer_.FillInfo(basis, ReportReplicasChecked(basis.epoch, request, response), &response->info);
}

Status Registry::ReportReplicasChecked(Epoch epoch, const wire::ReportReplicasRequest& request,
                                       wire::ReportReplicasResponse* response) {
  const ServerId server = IdFromWire(request.server_id);
  RETURN_IF_ERROR(CheckSender(server, request.incarnation));
  const size_t missing_before = reports_.Missing(server);
  const auto snapshot = database_.TakeSnapshot();
  ASSIGN_OR_RETURN(const ReplicaReports::Findings findings,
                   reports_.CompareRange(*snapshot, server, request.range, request.replicas));
  for (BlockId block : findings.quarantine) {
    response->quarantine.push_back(static_cast<int64_t>(block.value()));
  }
  RETURN_IF_ERROR(TakeFindings(epoch, server, findings));
  if (!findings.quarantine.empty()) {
    LOG_WARN("replicas that no file has are put into quarantine server={} count={} first_block={}",
             server, findings.quarantine.size(), findings.quarantine.front());
    ServiceCounters::Get().replicas_quarantined.Increment(
        static_cast<double>(findings.quarantine.size()));
  }
  if (reports_.Missing(server) > missing_before) {
    LOG_WARN("replicas are missing server={} range={} missing={}", server, request.range,
             findings.missing);
  }
  if (findings.look_again) {
    AskForDigestsBy(server, clock_.MonotonicMillis() + options_.recheck_interval.count());
  }
  return Status::Ok();
}

Status Registry::TakeFindings(Epoch epoch, ServerId server,
                              const ReplicaReports::Findings& findings) {
  {
    std::lock_guard lock(mutex_);
    const int64_t now_ms = clock_.MonotonicMillis();
    std::erase_if(quarantined_,
                  [&](const auto& entry) { return now_ms - entry.second >= kQuarantineNewsMs; });
    for (const BlockId block : findings.quarantine) {
      if (quarantined_.size() < kMaxQuarantined) quarantined_[{server, block}] = now_ms;
    }
  }
  for (const BadReplicaNote& note : findings.missing_replicas)
    BadReplicaCounter(note.reason).Increment();
  RETURN_IF_ERROR(NoteAll(epoch, findings.missing_replicas));
  for (size_t at = 0; at < findings.strays.size(); at += kBadReplicasPerRecord) {
    const size_t end = std::min(findings.strays.size(), at + kBadReplicasPerRecord);
    RETURN_IF_ERROR(
        proposer_.Propose(epoch, "discard strays", [&](OperationContext& context) -> Status {
          for (size_t i = at; i < end; ++i) {
            const auto& [block, generation] = findings.strays[i];
            RETURN_IF_ERROR(
                EvaluateDiscardTargets(context, block, generation, std::span(&server, 1)));
          }
          return Status::Ok();
        }));
  }
  if (!findings.strays.empty()) {
    LOG_INFO("replicas that given-up attempts left are deleted server={} count={} first_block={}",
             server, findings.strays.size(), findings.strays.front().first);
  }
  return Status::Ok();
}

// ---- inventories ----

Result<int64_t> Registry::StartInventory() {
  if (!proposer_.active()) return NotActive();
  const std::vector<ServerId> alive = servers_.Alive();
  std::lock_guard lock(mutex_);
  for (auto& [server, delivery] : deliveries_) delivery.inventory_rounds = kNoInventory;
  for (const ServerId server : alive) {
    Delivery& delivery = deliveries_[server];
    delivery.inventory_rounds = 0;
    delivery.next_digest_ms = 0;
  }
  // Different under each activation, so that an id of an earlier one is not taken for ours.
  inventory_id_ =
      inventory_id_ == 0 ? static_cast<int64_t>(proposer_.epoch().value()) << 20 : inventory_id_;
  return ++inventory_id_;
}

void Registry::CountInventoryRound(ServerId server, bool clean) {
  std::lock_guard lock(mutex_);
  Delivery& delivery = deliveries_[server];
  if (delivery.inventory_rounds == kNoInventory) return;
  delivery.inventory_rounds = clean ? kInventoryRounds : delivery.inventory_rounds + 1;
  if (delivery.inventory_rounds >= kInventoryRounds) return;
  const int64_t soon_ms = clock_.MonotonicMillis() + options_.recheck_interval.count();
  delivery.next_digest_ms = std::min(delivery.next_digest_ms, soon_ms);
}

Result<InventoryReport> Registry::GetInventory(int64_t inventory_id) const {
  const std::vector<ServerId> alive = servers_.Alive();
  std::lock_guard lock(mutex_);
  if (inventory_id == 0 || inventory_id != inventory_id_) {
    return Status(StatusCode::kNotFound, "there is no inventory " + std::to_string(inventory_id) +
                                             " (any more): start one");
  }
  InventoryReport report;
  for (const auto& [server, delivery] : deliveries_) {
    if (delivery.inventory_rounds == kNoInventory) continue;
    if (delivery.inventory_rounds >= kInventoryRounds) {
      report.done.push_back(server);
    } else if (std::binary_search(alive.begin(), alive.end(), server)) {
      report.pending.push_back(server);
    }
  }
  return report;
}

std::vector<UnknownReplica> Registry::UnknownReplicas(size_t max) const {
  std::lock_guard lock(mutex_);
  std::vector<UnknownReplica> unknown;
  const int64_t now_ms = clock_.MonotonicMillis();
  for (const auto& [replica, found_ms] : quarantined_) {
    if (unknown.size() == max) break;
    if (now_ms - found_ms < kQuarantineNewsMs) unknown.push_back({replica.first, replica.second});
  }
  return unknown;
}

void Registry::LogLiveness() {
  const auto alive = servers_.Alive();
  const std::set<ServerId> alive_set(alive.begin(), alive.end());
  std::lock_guard lock(mutex_);
  for (auto& [server, delivery] : deliveries_) {
    const bool is_alive = alive_set.contains(server);
    if (is_alive == delivery.was_alive) continue;
    delivery.was_alive = is_alive;
    if (!is_alive) LOG_WARN("chunk server is dead: no heartbeat came in time server={}", server);
  }
}

}  // namespace tercet
