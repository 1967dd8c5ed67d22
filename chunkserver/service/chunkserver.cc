#include "chunkserver/service/chunkserver.h"

#include <algorithm>

#include "common/base/hex.h"
#include "common/log/log.h"

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
  ASSIGN_OR_RETURN(std::vector<HostPort> metaservers, config_.Metaservers());
  ASSIGN_OR_RETURN(store_, BlockStore::Open(disk, clock_, random, StoreOptions(config_)));
  DataPlaneOptions data_options;
  data_options.listen = {config_.listen_host, config_.listen_port};
  data_options.max_connections = config_.data_max_connections;
  data_options.buffer_bytes = config_.data_buffer_bytes;
  data_options.progress_deadline = config_.data_progress_deadline;
  ASSIGN_OR_RETURN(data_plane_, DataPlaneServer::Start(data_options, *store_));
  if (config_.metrics_port != 0) {
    ASSIGN_OR_RETURN(metrics_server_,
                     MetricsServer::Start(config_.metrics_host, config_.metrics_port));
  }
  RegistryAgentOptions agent_options;
  ASSIGN_OR_RETURN(agent_options.advertised, config_.AdvertisedAddress(data_plane_->port()));
  agent_options.incarnation = static_cast<int64_t>(random.Next() >> 1);
  agent_options.identity_patience = config_.identity_patience;
  agent_options.on_registered = [this](const std::string& cluster_id, ServerId server_id) {
    data_plane_->SetIdentity(cluster_id, server_id);
  };
  agent_options.on_fatal = [this](const Status& why) {
    End(why.WithContext("registration was refused"));
  };
  LOG_INFO("serving server_uuid={} listen={}:{} disks={}", HexOf(store_->server_uuid()),
           config_.listen_host, data_plane_->port(), config_.disks.size());
  link_ = std::make_unique<RegistryLink>(std::move(metaservers), config_.registry_timeout);
  deletions_ = std::make_unique<DeletionWorker>(*store_);
  reporter_ = std::make_unique<DigestReporter>(*store_, *link_, config_.digest_interval);
  agent_ = std::make_unique<RegistryAgent>(std::move(agent_options), *store_, *link_, *deletions_,
                                           *reporter_);
  housekeeper_ = std::thread([this] { KeepHouse(); });
  return Status::Ok();
}

Chunkserver::~Chunkserver() {
  RequestStop();
  if (housekeeper_.joinable()) housekeeper_.join();
  // First what gives orders to the store, then what serves it, then the store.
  agent_.reset();
  reporter_.reset();
  deletions_.reset();
  link_.reset();
  metrics_server_.reset();
  data_plane_.reset();
  store_.reset();
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

void Chunkserver::KeepHouse() {
  ServiceMetrics metrics(*store_, data_plane_->counters());
  int64_t next_purge_ms = 0;
  std::unique_lock lock(mutex_);
  while (!ended_) {
    lock.unlock();
    store_->CheckDisks();
    metrics.Update();
    if (clock_.MonotonicMillis() >= next_purge_ms) {
      const uint64_t erased = store_->PurgeTrash(config_.trash_grace.count());
      if (erased > 0) LOG_INFO("erased deleted replicas count={}", erased);
      next_purge_ms = clock_.MonotonicMillis() + config_.trash_interval.count();
    }
    const auto disks = store_->Disks();
    if (std::none_of(disks.begin(), disks.end(), [](const auto& disk) { return disk.healthy; })) {
      End(Status(StatusCode::kIo, "all disks have failed: see the log for their errors"));
    }
    lock.lock();
    ended_changed_.wait_for(lock, std::min(kMetricsInterval, config_.trash_interval),
                            [this] { return ended_.has_value(); });
  }
}

}  // namespace tercet
