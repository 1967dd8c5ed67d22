#include "fuse_client/core/metadata_client.h"

#include <pthread.h>

#include <algorithm>

#include "common/env/random.h"
#include "common/log/log.h"

namespace tercet {
namespace {

/// More slots than a mount has threads are of no use.
constexpr int kMaxSlots = 256;
constexpr size_t kMaxReleasedPerRenewal = 10'000;
constexpr std::chrono::milliseconds kLongestRenewInterval{5'000};
constexpr std::chrono::milliseconds kShortestRenewInterval{20};
constexpr std::chrono::milliseconds kCloseLimit{2'000};

}  // namespace

Result<std::unique_ptr<MetadataClient>> MetadataClient::Open(MetadataClientOptions options,
                                                             OrphanKeeper* orphans) {
  if (options.metaservers.empty()) {
    return Status(StatusCode::kInvalidArgument, "no metaserver addresses were given");
  }
  std::unique_ptr<MetadataClient> client(new MetadataClient(std::move(options), orphans));
  RETURN_IF_ERROR(client->OpenSession());
  client->renewer_ = std::thread([raw = client.get()] { raw->RenewLoop(); });
  pthread_setname_np(client->renewer_.native_handle(), "session");
  return client;
}

MetadataClient::MetadataClient(MetadataClientOptions options, OrphanKeeper* orphans)
    : options_(std::move(options)),
      orphans_(orphans),
      group_(options_.metaservers, options_.call_timeout) {}

MetadataClient::~MetadataClient() { Close(); }

std::shared_ptr<MetadataClient::Session> MetadataClient::CurrentSession() const {
  std::lock_guard lock(mutex_);
  return session_;
}

std::string MetadataClient::cluster_id() const {
  std::lock_guard lock(mutex_);
  return cluster_id_;
}

Status MetadataClient::OpenSession() {
  wire::OpenSessionRequest request;
  request.client_uuid = SystemRandom().Bytes(16);
  request.host_name = options_.host_name;
  request.mount_point = options_.mount_point;
  request.client_version = options_.version;
  wire::OpenSessionResponse response;
  Status status = Call("open session", &Client::OpenSession, request, &response, options_.deadline);
  if (status.code() == StatusCode::kConflict) {
    // The answer took so long that the session expired on its way.
    request.client_uuid = SystemRandom().Bytes(16);
    status = Call("open session", &Client::OpenSession, request, &response, options_.deadline);
  }
  RETURN_IF_ERROR(status);
  if (response.session_id == 0 || response.slot_count < 1 || response.ttl_ms < 1) {
    return Status(StatusCode::kInternal, "the metaserver answered with an impossible session");
  }
  auto session =
      std::make_shared<Session>(response.session_id, std::min(response.slot_count, kMaxSlots));
  ttl_ms_ = response.ttl_ms;
  std::shared_ptr<Session> old;
  {
    std::lock_guard lock(mutex_);
    if (closing_) return Status(StatusCode::kCancelled, "the mount is ending");
    if (!cluster_id_.empty() && cluster_id_ != response.cluster_id) {
      return Status(StatusCode::kWrongCluster,
                    "the metaservers belong to another cluster than at mount time: mount again");
    }
    old = std::exchange(session_, session);
    cluster_id_ = response.cluster_id;
    if (old == nullptr) root_ = InodeId(static_cast<uint64_t>(response.root_inode));
  }
  return Status::Ok();
}

Status MetadataClient::Renew() {
  std::lock_guard renew_lock(renew_mutex_);
  const std::shared_ptr<Session> session = CurrentSession();
  wire::RenewSessionRequest request;
  request.session_id = session->id;
  request.released = orphans_->TakeReleased(kMaxReleasedPerRenewal);
  wire::RenewSessionResponse response;
  // Bounded by the TTL: what it found by then is more telling than another try.
  const Status status = Call("renew session", &Client::RenewSession, request, &response,
                             std::chrono::milliseconds(ttl_ms_.load()));
  if (status.code() == StatusCode::kStaleHandle) {
    orphans_->PutBackReleased(request.released);
    RETURN_IF_ERROR(OpenSession());
    LOG_ERROR(
        "session {} is gone at the metaserver (it was not renewed in time); session {} goes on in "
        "its place, but open files without a name may be lost (ESTALE)",
        session->id, CurrentSession()->id);
    return Status::Ok();
  }
  if (!status.ok()) {
    orphans_->PutBackReleased(request.released);
    return status;
  }
  const bool news = !response.condemned.empty() && orphans_->Condemn(response.condemned) > 0;
  // Who told something is asked about more: after a large `rm -rf` space must not wait for the
  // usual interval.
  if (news || !request.released.empty()) RenewSoon();
  return Status::Ok();
}

bool MetadataClient::ReplacedIfGone(const std::shared_ptr<Session>& session) {
  if (CurrentSession() != session) return true;
  if (!Renew().ok()) return false;
  return CurrentSession() != session;
}

std::chrono::milliseconds MetadataClient::RenewInterval() const {
  const std::chrono::milliseconds sixth(ttl_ms_.load() / 6);
  return std::clamp(sixth, kShortestRenewInterval, kLongestRenewInterval);
}

void MetadataClient::RenewLoop() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      // Also when there is much to tell, the metaserver gets a moment between two renewals.
      wake_.wait_for(lock, kShortestRenewInterval, [&] { return closing_; });
      wake_.wait_for(lock, RenewInterval(), [&] { return closing_ || renew_soon_; });
      if (closing_) return;
      renew_soon_ = false;
    }
    const Status status = Renew();
    if (!status.ok() && status.code() != StatusCode::kCancelled) {
      LOG_WARN("the session could not be renewed: {}", status.ToString());
    }
  }
}

void MetadataClient::RenewSoon() {
  std::lock_guard lock(mutex_);
  renew_soon_ = true;
  wake_.notify_all();
}

void MetadataClient::Interrupt() {
  group_.Interrupt();
  if (auto session = CurrentSession()) session->slots.Stop();
}

void MetadataClient::Close() {
  std::shared_ptr<Session> session;
  {
    std::lock_guard lock(mutex_);
    if (closing_) return;
    closing_ = true;
    session = session_;
    wake_.notify_all();
  }
  if (session != nullptr) {
    wire::CloseSessionRequest request;
    request.session_id = session->id;
    wire::CloseSessionResponse response;
    const Status status =
        Call("close session", &Client::CloseSession, request, &response, kCloseLimit);
    if (!status.ok()) {
      LOG_WARN("session {} was not closed and will expire: {}", session->id, status.ToString());
    }
  }
  Interrupt();
  if (renewer_.joinable()) renewer_.join();
}

}  // namespace tercet
