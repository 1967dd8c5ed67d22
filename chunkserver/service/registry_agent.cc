#include "chunkserver/service/registry_agent.h"

#include <algorithm>

#include "common/base/hex.h"
#include "common/base/version.h"
#include "common/log/log.h"
#include "common/rpc/wire_status.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstBackoff{50};
constexpr milliseconds kLongestBackoff{2000};
constexpr milliseconds kShortestHeartbeat{50};
constexpr milliseconds kLongestHeartbeat{60'000};
constexpr milliseconds kEndedWait{60'000};
constexpr size_t kConfirmationsPerHeartbeat = 5000;
constexpr size_t kBadReplicasPerHeartbeat = 1000;
constexpr int32_t kTasksPerFetch = 10'000;

/// How often each metaserver is asked while no active is known, by how long that has lasted.
milliseconds HurryInterval(std::chrono::steady_clock::duration lasted) {
  if (lasted < std::chrono::seconds(10)) return RegistryAgent::kHurryInterval;
  if (lasted < std::chrono::seconds(60)) return milliseconds(250);
  return milliseconds(1000);
}

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

milliseconds HeartbeatInterval(const wire::RegisterServerResponse& registration) {
  return std::clamp(milliseconds(registration.heartbeat_interval_ms), kShortestHeartbeat,
                    kLongestHeartbeat);
}

Epoch EpochOf(const wire::ReplyInfo& info) { return Epoch(static_cast<uint64_t>(info.epoch)); }

}  // namespace

RegistryAgent::RegistryAgent(RegistryAgentOptions options, BlockStore& store, RegistryLink& link,
                             DeletionWorker& deletions, const StatusReport& report,
                             ActiveOrders& orders)
    : options_(std::move(options)),
      store_(store),
      link_(link),
      deletions_(deletions),
      report_(report),
      orders_(orders) {
  const std::vector<HostPort> metaservers = link_.metaservers();
  std::lock_guard lock(mutex_);
  hurrying_since_ = Clock::now();
  for (size_t i = 0; i < metaservers.size(); ++i) AddPeerLocked(i, metaservers[i]);
}

RegistryAgent::~RegistryAgent() {
  std::vector<RegistryPeer*> peers;
  {
    std::lock_guard lock(mutex_);
    ended_ = true;  // no peers are added any more
    for (const auto& peer : peers_) peers.push_back(peer.get());
  }
  for (RegistryPeer* peer : peers) peer->Stop();
}

void RegistryAgent::AddPeerLocked(size_t metaserver, const HostPort& address) {
  auto on_slow = [this, metaserver] {
    if (link_.active() == metaserver) Hurry();
  };
  peers_.push_back(std::make_unique<RegistryPeer>(address, link_.timeout(), std::move(on_slow)));
  peers_.back()->Start(
      [this, metaserver](RegistryPeer& peer) { return TakeTurn(metaserver, peer); });
}

void RegistryAgent::Hurry() {
  {
    std::lock_guard lock(mutex_);
    if (hurrying_since_) return;
    hurrying_since_ = Clock::now();
  }
  WakeAll();
}

void RegistryAgent::WakeAll() {
  std::lock_guard lock(mutex_);
  for (const auto& peer : peers_) peer->Wake();
}

milliseconds RegistryAgent::TakeTurn(size_t metaserver, RegistryPeer& peer) {
  {
    std::lock_guard lock(mutex_);
    if (ended_) return kEndedWait;
  }
  const bool registering = !registered();
  const Status status = registering ? Register(metaserver, peer) : Heartbeat(metaserver, peer);
  if (registering && !status.ok()) {
    bool fatal = false;
    {
      std::lock_guard lock(mutex_);
      fatal = IsLastWordLocked(status) && !std::exchange(ended_, true);
    }
    if (fatal) {
      options_.on_fatal(status);
      return kEndedWait;
    }
  }
  return NextWait(status);
}

milliseconds RegistryAgent::NextWait(const Status& status) {
  std::lock_guard lock(mutex_);
  if (status.ok()) {
    if (outage_logged_) LOG_INFO("an active metaserver answers");
    outage_logged_ = false;
    refusal_backoff_ = milliseconds(0);
    return registered() ? heartbeat_interval_ : milliseconds(0);
  }
  const bool nobody_serves = status.code() == StatusCode::kUnavailable ||
                             status.code() == StatusCode::kDeadlineExceeded ||
                             status.code() == StatusCode::kNotActive;
  if (registered() && !hurrying_since_) return heartbeat_interval_;
  const auto lasted = hurrying_since_ ? Clock::now() - *hurrying_since_ : Clock::duration::zero();
  if (!outage_logged_ && lasted > std::chrono::seconds(1)) {
    LOG_WARN("waiting to be served by an active metaserver: {}", status);
    outage_logged_ = true;
  }
  if (nobody_serves) return HurryInterval(lasted);
  refusal_backoff_ = std::clamp(2 * refusal_backoff_, kFirstBackoff, kLongestBackoff);
  return refusal_backoff_;
}

bool RegistryAgent::IsLastWordLocked(const Status& refusal) {
  if (refusal.code() != StatusCode::kIdentityInUse) return IsFatal(refusal);
  const auto now = Clock::now();
  if (!identity_refused_since_) {
    identity_refused_since_ = now;
    LOG_WARN("refused, ends in {} s unless the other one goes: {}",
             std::chrono::duration_cast<std::chrono::seconds>(options_.identity_patience).count(),
             refusal);
  }
  return now - *identity_refused_since_ >= options_.identity_patience;
}

Status RegistryAgent::Judge(size_t metaserver, const Status& exchanged,
                            const wire::ReplyInfo& info) {
  if (!exchanged.ok()) {
    if (link_.Leave(metaserver)) Hurry();
    // A failure of the exchange says nothing about the registration.
    return Status(StatusCode::kUnavailable, exchanged.message());
  }
  const Status answer = FromWire(info.status);
  if (answer.code() == StatusCode::kNotActive) {
    NoteNotActive(metaserver, info);
    return answer;
  }
  if (Status observed = store_.ObserveEpoch(EpochOf(info)); !observed.ok()) {
    if (observed.code() == StatusCode::kStaleEpoch) {
      LOG_WARN_LIMITED(
          "refused the answer of a metaserver that was deposed, or whose state is older than what "
          "this server has seen epoch={} highest={}",
          EpochOf(info), store_.highest_epoch());
    }
    if (link_.Leave(metaserver)) Hurry();
    return observed;
  }
  if (link_.active() != metaserver) {
    LOG_INFO("follows an active metaserver number={} epoch={}", metaserver, EpochOf(info));
    link_.Follow(metaserver);
  }
  std::lock_guard lock(mutex_);
  if (registered()) hurrying_since_.reset();
  return answer;
}

void RegistryAgent::NoteNotActive(size_t metaserver, const wire::ReplyInfo& info) {
  if (link_.Leave(metaserver)) Hurry();
  if (!info.__isset.active_hint || EpochOf(info) < store_.highest_epoch()) return;
  const auto known = link_.Learn(info.active_hint);
  if (!known || known->number == metaserver) return;
  const bool is_followed = link_.active() == known->number;
  const std::vector<HostPort> metaservers = link_.metaservers();
  std::lock_guard lock(mutex_);
  if (ended_) return;
  for (size_t i = peers_.size(); i < metaservers.size(); ++i) AddPeerLocked(i, metaservers[i]);
  // There is a successor; the one that is followed has not noticed, or is paused.
  if (!known->is_new && !is_followed && !hurrying_since_) peers_[known->number]->Wake();
}

Status RegistryAgent::Register(size_t metaserver, RegistryPeer& peer) {
  wire::RegisterServerRequest request;
  request.server_uuid = store_.server_uuid();
  request.cluster_id = store_.cluster_id();
  request.incarnation = options_.incarnation;
  request.host = options_.advertised.host;
  request.port = options_.advertised.port;
  request.disks = report_.Disks();
  request.version = kVersion;
  request.labels = options_.labels;
  wire::RegisterServerResponse response;
  const Status exchanged =
      peer.Exchange(&RegistryPeer::Client::send_RegisterServer,
                    &RegistryPeer::Client::recv_RegisterServer, request, &response);
  RETURN_IF_ERROR(Judge(metaserver, exchanged, response.info));
  RETURN_IF_ERROR(AcceptRegistration(metaserver, peer, response));
  LOG_INFO("registered server={} cluster={} address={} metaserver={} epoch={}", response.server_id,
           HexOf(response.cluster_id), options_.advertised.ToString(), peer.address().ToString(),
           EpochOf(response.info));
  // All are to know of this server as soon as possible.
  WakeAll();
  return Status::Ok();
}

Status RegistryAgent::AcceptRegistration(size_t metaserver, RegistryPeer& peer,
                                         const wire::RegisterServerResponse& response) {
  if (response.server_id <= 0) {
    return Status(StatusCode::kUnavailable, "the metaserver gave no server id");
  }
  ASSIGN_OR_RETURN(const uint64_t registration, orders_.BeginRegistration(response));
  RETURN_IF_ERROR(FetchTasks(metaserver, peer, response));
  {
    std::lock_guard lock(mutex_);
    server_id_ = response.server_id;
    identity_refused_since_.reset();
    hurrying_since_.reset();
    heartbeat_interval_ = HeartbeatInterval(response);
  }
  RETURN_IF_ERROR(orders_.Serve(registration, ServerId(static_cast<uint32_t>(response.server_id)),
                                options_.incarnation));
  registered_.store(true, std::memory_order_relaxed);
  return Status::Ok();
}

Status RegistryAgent::FetchTasks(size_t metaserver, RegistryPeer& peer,
                                 const wire::RegisterServerResponse& registration) {
  const milliseconds interval = HeartbeatInterval(registration);
  auto heard = Clock::now();
  wire::FetchDeleteTasksRequest request;
  request.server_id = registration.server_id;
  request.incarnation = options_.incarnation;
  request.max_tasks = kTasksPerFetch;
  for (;;) {
    wire::FetchDeleteTasksResponse response;
    const Status exchanged =
        peer.Exchange(&RegistryPeer::Client::send_FetchDeleteTasks,
                      &RegistryPeer::Client::recv_FetchDeleteTasks, request, &response);
    Status answer = Judge(metaserver, exchanged, response.info);
    // No refusal of this call says that the server must not go on: it registers anew.
    if (!answer.ok()) {
      return Status(StatusCode::kUnavailable,
                    "deletions could not be fetched: " + answer.message());
    }
    orders_.TakeTasks(EpochOf(response.info), response.tasks);
    if (response.complete) return Status::Ok();
    // Each page goes on behind the one before; else this would not end.
    if (response.tasks.empty() || response.tasks.back().block_id <= request.after_block_id) {
      return Status(StatusCode::kUnavailable, "the metaserver gives no next page of deletions");
    }
    request.after_block_id = response.tasks.back().block_id;
    if (Clock::now() - heard < interval) continue;
    RETURN_IF_ERROR(StayAlive(metaserver, peer, registration.server_id));
    heard = Clock::now();
  }
}

Status RegistryAgent::StayAlive(size_t metaserver, RegistryPeer& peer, int32_t server_id) {
  wire::HeartbeatRequest request;
  request.server_id = server_id;
  request.incarnation = options_.incarnation;
  request.disks = report_.Disks();
  wire::HeartbeatResponse response;
  const Status exchanged = peer.Exchange(&RegistryPeer::Client::send_Heartbeat,
                                         &RegistryPeer::Client::recv_Heartbeat, request, &response);
  RETURN_IF_ERROR(Judge(metaserver, exchanged, response.info));
  if (!response.register_again) return Status::Ok();
  return Status(StatusCode::kUnavailable, "the metaserver asks for a new registration");
}

RegistryAgent::Confirmations RegistryAgent::Confirm(wire::HeartbeatRequest* request) const {
  Confirmations told;
  told.deleted = deletions_.Done(kConfirmationsPerHeartbeat);
  for (const DeletionTask& task : told.deleted) {
    wire::DeleteReplicaTask confirmed;
    confirmed.block_id = static_cast<int64_t>(task.block.value());
    confirmed.generation = static_cast<int64_t>(task.generation.value());
    request->deleted.push_back(confirmed);
  }
  told.bad_replicas = store_.TakeBadReplicas(kBadReplicasPerHeartbeat);
  request->bad_replicas = ReportOf(told.bad_replicas);
  return told;
}

Status RegistryAgent::Heartbeat(size_t metaserver, RegistryPeer& peer) {
  wire::HeartbeatRequest request;
  request.incarnation = options_.incarnation;
  request.disks = report_.Disks();
  request.load = report_.Load();
  const bool confirms = link_.active() == metaserver;
  uint64_t confirmation = 0;
  {
    std::lock_guard lock(mutex_);
    request.server_id = server_id_;
    if (confirms) confirmation = ++confirmation_;
  }
  Confirmations told;
  if (confirms) told = Confirm(&request);
  wire::HeartbeatResponse response;
  const Status exchanged = peer.Exchange(&RegistryPeer::Client::send_Heartbeat,
                                         &RegistryPeer::Client::recv_Heartbeat, request, &response);
  RETURN_IF_ERROR(Judge(metaserver, exchanged, response.info));
  heartbeats_.fetch_add(1, std::memory_order_relaxed);
  if (response.register_again) {
    LOG_INFO("the metaserver asks for a new registration server={}", request.server_id);
    orders_.StopServing();
    registered_.store(false, std::memory_order_relaxed);
    return Status::Ok();
  }
  {
    std::lock_guard lock(mutex_);
    if (confirms && confirmation == confirmation_) {
      deletions_.Forget(told.deleted.size());
      store_.AcknowledgeBadReplicas(told.bad_replicas);
    }
  }
  orders_.CarryOut(response);
  return Status::Ok();
}

}  // namespace tercet
