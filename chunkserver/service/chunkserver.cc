#include "chunkserver/service/chunkserver.h"

#include <algorithm>

#include "chunkserver/scrub/scrub_pace.h"
#include "common/base/hex.h"
#include "common/log/log.h"
#include "tercet_thrift/registry_types.h"

namespace tercet {
namespace {

constexpr std::chrono::milliseconds kMetricsInterval{1000};

BlockStoreOptions StoreOptions(const ChunkserverConfig& config) {
  BlockStoreOptions options;
  for (const std::string& path : config.disks) {
    options.disks.push_back({.path = path, .index_path = ""});
  }
  options.reserve_bytes = config.store_reserve_bytes;
  options.reserve_max_percent = config.store_reserve_max_percent;
  options.max_open_replicas = config.store_max_open_replicas;
  options.quarantine_retention_ms = config.quarantine_retention.count();
  return options;
}

}  // namespace

Chunkserver::Chunkserver(const ChunkserverConfig& config, Clock& clock)
    : config_(config), clock_(clock) {}

Result<std::unique_ptr<Chunkserver>> Chunkserver::Start(const ChunkserverConfig& config, Disk& disk,
                                                        Clock& clock, Random& random) {
  std::unique_ptr<Chunkserver> server(new Chunkserver(config, clock));
  RETURN_IF_ERROR(server->Open(disk, random));
  return server;
}

Status Chunkserver::Open(Disk& disk, Random& random) {
  ASSIGN_OR_RETURN(store_, BlockStore::Open(disk, clock_, random, StoreOptions(config_)));
  RETURN_IF_ERROR(OpenDataPlane());
  if (config_.metrics_port != 0) {
    ASSIGN_OR_RETURN(metrics_server_,
                     MetricsServer::Start(config_.metrics_host, config_.metrics_port));
  }
  notes_ = std::make_unique<ServerNotes>(*store_, disk);
  const auto note = notes_->last();
  LOG_INFO("serving server_uuid={} listen={}:{} disks={} was_server={} of_cluster={}",
           HexOf(store_->server_uuid()), config_.listen_host, data_plane_->port(),
           config_.disks.size(), note ? std::to_string(note->server.value()) : "none",
           note ? HexOf(note->cluster_id) : "none");
  return StartService(disk, random);
}

Status Chunkserver::OpenDataPlane() {
  DataPlaneOptions options;
  options.listen = {config_.listen_host, config_.listen_port};
  options.max_connections = config_.data_max_connections;
  options.buffer_bytes = config_.data_buffer_bytes;
  options.progress_deadline = config_.data_progress_deadline;
  options.working_interval = std::min(options.working_interval, options.progress_deadline / 4);
  options.disk_deadline = config_.data_disk_deadline;
  ASSIGN_OR_RETURN(data_plane_, DataPlaneServer::Start(options, *store_));
  wire::BackgroundLimits limits;
  limits.repair_bytes_per_second = static_cast<int64_t>(config_.limit_repair_bytes);
  limits.move_bytes_per_second = static_cast<int64_t>(config_.limit_move_bytes);
  data_plane_->SetLimits(limits);
  return Status::Ok();
}

Status Chunkserver::StartService(Disk& disk, Random& random) {
  ASSIGN_OR_RETURN(std::vector<HostPort> metaservers, config_.Metaservers());
  RegistryAgentOptions options;
  ASSIGN_OR_RETURN(options.advertised, config_.AdvertisedAddress(data_plane_->port()));
  options.incarnation = static_cast<int64_t>(random.Next() >> 1);
  options.identity_patience = config_.identity_patience;
  options.labels = config_.labels;
  options.on_fatal = [this](const Status& why) { End(RefusedFor(why)); };

  link_ = std::make_unique<RegistryLink>(std::move(metaservers), config_.registry_timeout);
  deletions_ = std::make_unique<DeletionWorker>(*store_);
  reporter_ = std::make_unique<DigestReporter>(*store_, *link_, config_.digest_interval);
  auto clients_active = [this] { return ClientsActive(); };
  scrubber_ = std::make_unique<Scrubber>(
      *store_, disk, clock_,
      ScrubberOptions{.period = config_.scrub_period, .clients_active = clients_active});
  evacuator_ = std::make_unique<Evacuator>(*store_, clock_, config_.limit_move_bytes,
                                           std::move(clients_active));
  report_ = std::make_unique<StatusReport>(*store_, *data_plane_, *scrubber_, *evacuator_);
  orders_ = std::make_unique<ActiveOrders>(ActiveOrders::Parts{.store = *store_,
                                                               .data_plane = *data_plane_,
                                                               .deletions = *deletions_,
                                                               .reporter = *reporter_,
                                                               .scrubber = *scrubber_,
                                                               .evacuator = *evacuator_,
                                                               .notes = *notes_});
  agent_ = std::make_unique<RegistryAgent>(std::move(options), *store_, *link_, *deletions_,
                                           *report_, *orders_);
  housekeeper_ = std::thread([this] { KeepHouse(); });
  return Status::Ok();
}

Chunkserver::~Chunkserver() {
  RequestStop();
  if (housekeeper_.joinable()) housekeeper_.join();
  // First what gives orders to the store, then what serves it, then the store.
  agent_.reset();
  orders_.reset();
  report_.reset();
  evacuator_.reset();
  scrubber_.reset();
  reporter_.reset();
  deletions_.reset();
  link_.reset();
  metrics_server_.reset();
  data_plane_.reset();
  notes_.reset();
  store_.reset();
}

Status Chunkserver::RefusedFor(const Status& why) const {
  const auto note = notes_->last();
  const std::string who = note ? "chunk server " + std::to_string(note->server.value())
                               : std::string("this chunk server");
  return why.WithContext("the registration of " + who + " (" + HexOf(store_->server_uuid()) +
                         ") was refused");
}

bool Chunkserver::ClientsActive() const {
  const int64_t last = data_plane_->Load().last_client_request_nanos;
  return last != 0 &&
         clock_.MonotonicNanos() - last < std::chrono::nanoseconds(kScrubClientPause).count();
}

void Chunkserver::End(const Status& why) {
  std::lock_guard lock(mutex_);
  if (!ended_) ended_ = why;
  ended_changed_.notify_all();
}

Status Chunkserver::Wait() {
  std::unique_lock lock(mutex_);
  ended_changed_.wait(lock, [this] { return ended_.has_value(); });
  return *ended_;
}

void Chunkserver::CheckDisks() {
  store_->CheckDisks();
  const auto disks = store_->Disks();
  const auto healthy = static_cast<size_t>(
      std::count_if(disks.begin(), disks.end(), [](const auto& disk) { return disk.healthy; }));
  // The active is to know soon which replicas are lost.
  if (healthy < healthy_disks_) reporter_->Trigger();
  healthy_disks_ = healthy;
  if (healthy == 0) {
    End(Status(StatusCode::kIo,
               "all disks have failed or were ejected: see the log for their errors"));
  }
}

void Chunkserver::KeepHouse() {
  ServiceMetrics metrics({.store = *store_,
                          .data_plane = *data_plane_,
                          .scrubber = *scrubber_,
                          .evacuator = *evacuator_,
                          .clock = clock_});
  int64_t next_purge_ms = 0;
  std::unique_lock lock(mutex_);
  while (!ended_) {
    lock.unlock();
    CheckDisks();
    store_->Maintain();
    metrics.Update(agent_->registered());
    if (clock_.MonotonicMillis() >= next_purge_ms) {
      const uint64_t erased = store_->PurgeTrash(config_.trash_grace.count());
      if (erased > 0) LOG_INFO("erased deleted replicas count={}", erased);
      next_purge_ms = clock_.MonotonicMillis() + config_.trash_interval.count();
    }
    lock.lock();
    ended_changed_.wait_for(lock, std::min(kMetricsInterval, config_.trash_interval),
                            [this] { return ended_.has_value(); });
  }
}

}  // namespace tercet
