#include "chunkserver/service/registry_agent.h"

#include <algorithm>

#include "chunkserver/store/disk_identity.h"
#include "common/base/version.h"
#include "common/log/log.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstBackoff{50};
constexpr milliseconds kLongestBackoff{2000};
constexpr milliseconds kShortestHeartbeat{50};
constexpr milliseconds kLongestHeartbeat{60'000};
constexpr size_t kConfirmationsPerHeartbeat = 5000;

/// A refusal that no waiting changes.
bool IsFatal(const Status& status) {
  switch (status.code()) {
    case StatusCode::kWrongCluster:
    case StatusCode::kInvalidArgument:
    case StatusCode::kFailedPrecondition:
    case StatusCode::kVersionTooNew:
      return true;
    default:
      return false;
  }
}

std::vector<wire::DiskReport> ReportDisks(BlockStore& store) {
  std::vector<wire::DiskReport> reports;
  for (const StoreDiskStatus& disk : store.Disks()) {
    wire::DiskReport report;
    report.disk_uuid = disk.disk_uuid;
    report.path = disk.path;
    report.total_bytes = static_cast<int64_t>(disk.total_bytes);
    report.available_bytes = static_cast<int64_t>(disk.available_bytes);
    report.replica_count = static_cast<int64_t>(disk.replica_count);
    report.healthy = disk.healthy;
    reports.push_back(std::move(report));
  }
  return reports;
}

Epoch EpochOf(const wire::ReplyInfo& info) { return Epoch(static_cast<uint64_t>(info.epoch)); }

}  // namespace

RegistryAgent::RegistryAgent(RegistryAgentOptions options, BlockStore& store, RegistryLink& link,
                             DeletionWorker& deletions, DigestReporter& reporter)
    : options_(std::move(options)),
      store_(store),
      link_(link),
      deletions_(deletions),
      reporter_(reporter),
      thread_([this] { Run(); }) {}

RegistryAgent::~RegistryAgent() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

bool RegistryAgent::WaitFor(milliseconds duration) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, duration, [this] { return stopping_; });
}

void RegistryAgent::Run() {
  milliseconds backoff = kFirstBackoff;
  milliseconds wait{0};
  bool outage_logged = false;
  while (WaitFor(wait)) {
    Status status = registered() ? Heartbeat() : Register();
    if (status.ok()) {
      if (outage_logged) LOG_INFO("an active metaserver answers");
      outage_logged = false;
      backoff = kFirstBackoff;
      wait = registered() ? heartbeat_interval_ : milliseconds(0);
      continue;
    }
    if (!registered() && IsLastWord(status)) {
      options_.on_fatal(status);
      return;
    }
    if (status.code() == StatusCode::kStaleEpoch) link_.LeaveDeposed();
    if (!outage_logged) LOG_WARN("waiting to be served by an active metaserver: {}", status);
    outage_logged = true;
    wait = backoff;
    backoff = std::min(2 * backoff, kLongestBackoff);
  }
}

bool RegistryAgent::IsLastWord(const Status& refusal) {
  if (refusal.code() != StatusCode::kIdentityInUse) {
    identity_refused_since_.reset();
    return IsFatal(refusal);
  }
  const auto now = std::chrono::steady_clock::now();
  if (!identity_refused_since_) identity_refused_since_ = now;
  return now - *identity_refused_since_ >= options_.identity_patience;
}

Status RegistryAgent::Register() {
  wire::RegisterServerRequest request;
  request.server_uuid = store_.server_uuid();
  request.cluster_id = store_.cluster_id();
  request.incarnation = options_.incarnation;
  request.host = options_.advertised.host;
  request.port = options_.advertised.port;
  request.disks = ReportDisks(store_);
  request.version = kVersion;
  wire::RegisterServerResponse response;
  RETURN_IF_ERROR(link_.Call(&RegistryLink::Client::RegisterServer, request, &response));
  RETURN_IF_ERROR(store_.ObserveEpoch(EpochOf(response.info)));
  if (response.server_id <= 0) {
    return Status(StatusCode::kUnavailable, "the metaserver gave no server id");
  }
  RETURN_IF_ERROR(store_.SetClusterId(response.cluster_id));
  server_id_ = response.server_id;
  identity_refused_since_.reset();
  heartbeat_interval_ = std::clamp(milliseconds(response.heartbeat_interval_ms), kShortestHeartbeat,
                                   kLongestHeartbeat);
  LOG_INFO("registered server={} cluster={} address={} epoch={}", server_id_,
           HexOf(response.cluster_id), options_.advertised.ToString(), EpochOf(response.info));
  options_.on_registered(response.cluster_id, ServerId(static_cast<uint32_t>(server_id_)));
  reporter_.SetServer(server_id_, options_.incarnation);
  registered_.store(true, std::memory_order_relaxed);
  return Status::Ok();
}

Status RegistryAgent::Heartbeat() {
  wire::HeartbeatRequest request;
  request.server_id = server_id_;
  request.incarnation = options_.incarnation;
  request.disks = ReportDisks(store_);
  const std::vector<DeletionTask> done = deletions_.Done(kConfirmationsPerHeartbeat);
  for (const DeletionTask& task : done) {
    wire::DeleteReplicaTask confirmed;
    confirmed.block_id = static_cast<int64_t>(task.block.value());
    confirmed.generation = static_cast<int64_t>(task.generation.value());
    request.deleted.push_back(confirmed);
  }
  wire::HeartbeatResponse response;
  RETURN_IF_ERROR(link_.Call(&RegistryLink::Client::Heartbeat, request, &response));
  RETURN_IF_ERROR(store_.ObserveEpoch(EpochOf(response.info)));
  heartbeats_.fetch_add(1, std::memory_order_relaxed);
  if (response.register_again) {
    LOG_INFO("the metaserver asks for a new registration server={}", server_id_);
    registered_.store(false, std::memory_order_relaxed);
    return Status::Ok();
  }
  deletions_.Forget(done.size());
  std::vector<DeletionTask> tasks;
  tasks.reserve(response.delete_replicas.size());
  for (const wire::DeleteReplicaTask& task : response.delete_replicas) {
    tasks.push_back({BlockId(static_cast<uint64_t>(task.block_id)),
                     Generation(static_cast<uint64_t>(task.generation))});
  }
  deletions_.Submit(EpochOf(response.info), tasks);
  if (response.want_digests) reporter_.Trigger();
  return Status::Ok();
}

}  // namespace tercet
