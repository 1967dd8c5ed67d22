// A session at the metadata group and the calls made in it.
//
// Life of a session:
//  1. Open: OpenSession with a new random uuid. A retry with it gets the same session.
//  2. A thread renews it each sixth of its TTL (5 s at most), at once when there are released
//  inodes
//     to tell. The replies name condemned inodes, which go to the OrphanKeeper.
//  3. When the metaserver does not know it any more (kStaleHandle), a new one is opened and
//  mutations go
//     on in it. Files without a name that were kept by the old one may be gone then.
//  4. Close ends it; a crash leaves it to its TTL.
//
// Exactly once: a mutation keeps its slot and sequence number over all its retries. Only when its
// session was lost it is made again in the new one.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "fuse_client/core/metaserver_group.h"
#include "fuse_client/core/slot_pool.h"

namespace tercet {

/// Knows which inodes are open. Called without locks held.
class OrphanKeeper {
 public:
  virtual ~OrphanKeeper() = default;
  /// Inodes without a name: those not open are never to be opened again and become released.
  /// Returns how many did.
  virtual size_t Condemn(const std::vector<int64_t>& inodes) = 0;
  /// Takes up to `max` released inodes that were not told yet.
  virtual std::vector<int64_t> TakeReleased(size_t max) = 0;
  /// They could not be told: to be taken again.
  virtual void PutBackReleased(const std::vector<int64_t>& inodes) = 0;
};

struct MetadataClientOptions {
  std::vector<HostPort> metaservers;
  std::string host_name;
  std::string mount_point;
  std::string version;
  bool hard = false;
  std::chrono::milliseconds call_timeout{10'000};
  std::chrono::milliseconds deadline{60'000};
};

/// Thread-safe.
class MetadataClient {
 public:
  using Client = wire::MetadataServiceClient;
  template <typename Response, typename Request>
  using Method = void (Client::*)(Response&, const Request&);

  /// Opens the session. `orphans` must outlive the client.
  static Result<std::unique_ptr<MetadataClient>> Open(MetadataClientOptions options,
                                                      OrphanKeeper* orphans);
  ~MetadataClient();

  /// A read. `what` names it in errors and logs. `limit`: as for Mutate.
  template <typename Response, typename Request>
  Result<Response> Read(const char* what, Method<Response, Request> method, const Request& request,
                        std::optional<std::chrono::milliseconds> limit = std::nullopt) {
    Response response;
    RETURN_IF_ERROR(Call(what, method, request, &response, limit ? limit : Limit()));
    return response;
  }

  /// A call that names the session, and does no harm when it is made twice. Unlike with the others
  /// it is the caller's to repeat it when the active itself answers kUnavailable or
  /// kDeadlineExceeded.
  template <typename Response, typename Request>
  Result<Response> Ask(const char* what, Method<Response, Request> method, Request request,
                       std::optional<std::chrono::milliseconds> limit) {
    for (bool again = false;; again = true) {
      const std::shared_ptr<Session> session = CurrentSession();
      request.session_id = session->id;
      Response response;
      Status refusal;
      Status status = Call(what, method, request, &response, limit ? limit : Limit(), &refusal);
      if (status.ok()) status = refusal;
      if (status.ok()) return response;
      if (status.code() == StatusCode::kStaleHandle && !again && ReplacedIfGone(session)) continue;
      return status;
    }
  }

  /// A mutation; fills in its context. `limit`: for all attempts together, if not the usual one.
  template <typename Response, typename Request>
  Result<Response> Mutate(const char* what, Method<Response, Request> method, Request request,
                          std::optional<std::chrono::milliseconds> limit = std::nullopt) {
    for (bool again = false;; again = true) {
      const std::shared_ptr<Session> session = CurrentSession();
      ASSIGN_OR_RETURN(SlotPool::Lease lease, session->slots.Acquire());
      request.context.session_id = session->id;
      request.context.slot = lease.slot();
      request.context.sequence = lease.sequence();
      Response response;
      const Status status = Call(what, method, request, &response, limit ? limit : Limit());
      if (status.ok()) return response;
      // Either the inode or the session is gone.
      if (status.code() == StatusCode::kStaleHandle && !again && ReplacedIfGone(session)) continue;
      return status;
    }
  }

  /// Tells released inodes soon.
  void RenewSoon();
  /// Ends all waits with kCancelled, now and later.
  void Interrupt();
  /// Ends the session, best effort, and the thread. Once.
  void Close();

  InodeId root() const { return root_; }
  std::string cluster_id() const;
  int64_t session_id() const { return CurrentSession()->id; }
  const MetaserverGroup& group() const { return group_; }

 private:
  struct Session {
    Session(int64_t session_id, int slot_count) : id(session_id), slots(slot_count) {}
    const int64_t id;
    SlotPool slots;
  };

  MetadataClient(MetadataClientOptions options, OrphanKeeper* orphans);

  /// `refusal`, if given, gets an answer that would be a reason to repeat the call; the call counts
  /// as done then.
  template <typename Response, typename Request>
  Status Call(const char* what, Method<Response, Request> method, const Request& request,
              Response* response, std::optional<std::chrono::milliseconds> limit,
              Status* refusal = nullptr) {
    auto attempt = [&](MetaserverGroup::Pool& pool, std::chrono::milliseconds timeout,
                       wire::ReplyInfo* info) {
      *response = Response();
      Status status =
          pool.Call(timeout, [&](Client& client) { (client.*method)(*response, request); });
      if (!status.ok()) return status;
      *info = response->info;
      if (refusal == nullptr) return status;
      const Status answer = FromWire(info->status);
      if (answer.code() == StatusCode::kUnavailable ||
          answer.code() == StatusCode::kDeadlineExceeded) {
        *refusal = answer;
        info->status = wire::WireStatus();
      }
      return status;
    };
    return group_.Call(what, attempt, limit);
  }

  std::optional<std::chrono::milliseconds> Limit() const {
    if (options_.hard) return std::nullopt;
    return options_.deadline;
  }
  std::shared_ptr<Session> CurrentSession() const;
  /// Opens a session in place of the current one.
  Status OpenSession();
  /// Renews; opens a new session when the old one is gone.
  Status Renew();
  /// Whether `session` is no longer the current one, after asking for it.
  bool ReplacedIfGone(const std::shared_ptr<Session>& session);
  void RenewLoop();
  std::chrono::milliseconds RenewInterval() const;

  // Constant after Open.
  const MetadataClientOptions options_;
  OrphanKeeper* const orphans_;
  InodeId root_;
  std::thread renewer_;

  MetaserverGroup group_;
  std::atomic<int64_t> ttl_ms_{60'000};

  /// Serialises renewals and re-opening; taken before mutex_.
  std::mutex renew_mutex_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  std::shared_ptr<Session> session_;
  std::string cluster_id_;
  bool renew_soon_ = false;
  bool closing_ = false;
};

}  // namespace tercet
