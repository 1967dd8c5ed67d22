// A metaserver in this process: the real operations over rows in memory, behind a real Thrift
// server, with sessions and slots of its own and faults on demand. It can have several doors, each
// with an address and a role of its own: a metadata group, seen from outside.
#pragma once

#include <any>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/rpc/host_port.h"
#include "common/rpc/thrift_server.h"
#include "fuse_client/core/block_io/block_target.h"
#include "metaserver/ops/operation.h"
#include "tercet_thrift/MetadataService.h"
#include "tests/fuse_client/core/replica_host.h"
#include "tests/metaserver/ops/map_view.h"

namespace tercet {

inline constexpr const char* kFakeClusterId = "fake-cluster-id!";  // 16 bytes

struct FakeMetaserverOptions {
  uint32_t block_size_bytes = 64 << 10;
  uint8_t replicas = 3;
  uint8_t min_replicas = 2;
  int ttl_ms = 60'000;
  int slot_count = 16;
};

/// Takes the servers with room in turn.
class RoundRobinChooser final : public ReplicaChooser {
 public:
  Result<std::vector<ServerId>> Choose(const PlacementRequest& request) override;

  std::vector<ServerId> servers;
  std::set<ServerId> full;
  size_t next = 0;
};

/// Thread-safe.
class FakeMetaserver {
 public:
  explicit FakeMetaserver(FakeMetaserverOptions options = {});
  ~FakeMetaserver();

  // ---- doors; the first one is there from the beginning ----
  /// What a door answers; a kStandby's hint may be empty.
  enum class Role { kActive, kStandby, kFrozen };
  /// Opens another one, under the same state; returns its number.
  size_t AddDoor(Role role, int64_t epoch = 0);
  /// kFrozen accepts connections and requests, and answers what came in then once it is thawed by
  /// another role (as that one).
  void SetRole(size_t door, Role role, int64_t epoch, const std::string& hint = "");
  /// As if the process were killed: connections are closed, and refused from now on.
  void StopDoor(size_t door);
  void RestartDoor(size_t door);
  HostPort address(size_t door = 0) const;
  /// All requests that reached the door, also those it has not answered.
  int requests(size_t door) const;
  /// Those it answered: FindActive, and all others.
  int finds(size_t door) const;
  int answered(size_t door) const;
  void AwaitRequests(size_t door, int count);
  void AwaitFinds(size_t door, int count);

  void Stop();
  /// On the same port, with the same state.
  void Restart() { RestartDoor(0); }
  /// Where the blocks' servers listen; their ids are 1, 2, …
  void SetServers(const std::vector<ReplicaAddress>& servers);

  /// Who seals and copies for RecoverBlock; must outlive the calls.
  void SetReplicaHost(ReplicaHost* host);
  /// The next RecoverBlock that changes a chain calls this between its first record and the seals.
  void DuringNextRecovery(std::function<void()> action);
  /// The next `count` recoveries are answered with the block as it is.
  void LeaveChainsAsTheyAre(int count);
  std::vector<wire::RecoverBlockRequest> recoveries() const;
  std::vector<wire::BadReplicaReport> bad_replicas() const;
  void AwaitBadReplicas(size_t count);

  // ---- faults; `method` as in the Thrift service ----
  /// The next `count` calls are carried out, but their replies come only with ResumeReplies.
  void StallReplies(const std::string& method, int count);
  void ResumeReplies();
  /// The next `count` calls are answered with `code` instead of being carried out.
  void FailNext(const std::string& method, StatusCode code, int count = 1);
  /// Answers everything with kNotActive and this hint; empty: serves.
  void PointTo(const std::string& hint);
  void LoseSessions();
  /// Chooser: no new block on this server.
  void SetServerFull(ServerId server, bool full);

  /// Removes an inode without a name, whoever holds it open.
  void Reclaim(int64_t inode);
  /// Names the inode in the renewals of each session until it is released.
  void Condemn(int64_t inode);
  std::set<int64_t> released() const;
  void AwaitReleased(int64_t inode);

  // ---- what happened ----
  int calls(const std::string& method) const;
  /// Of those the mutations that were evaluated, not answered from a slot.
  int evaluated(const std::string& method) const;
  std::vector<wire::MutationContext> contexts(const std::string& method) const;
  void AwaitCalls(const std::string& method, int count);
  int open_sessions() const;

  /// Changes the state as another client's session would.
  template <typename Response, typename Request>
  Result<Response> Do(Result<Response> (*operation)(OperationContext&, const Request&),
                      const Request& request) {
    std::lock_guard lock(mutex_);
    return EvaluateLocked(operation, request, other_session_);
  }
  template <typename Response, typename Request>
  Result<Response> Look(Result<Response> (*operation)(const View&, const Request&),
                        const Request& request) const {
    std::lock_guard lock(mutex_);
    return operation(view_, request);
  }
  /// See tests/metaserver/ops/invariants.h.
  std::vector<std::string> Violations() const;

 private:
  class Handler;
  class DoorProcessor;
  struct Door {
    uint16_t port = 0;
    std::unique_ptr<ThriftServer> server;
    Role role = Role::kActive;
    int64_t epoch = 0;
    std::string hint;
    bool stopping = false;
    int requests = 0;
    int finds = 0;
    int answered = 0;
  };
  struct Slot {
    int64_t sequence = 0;
    std::any reply;
  };

  template <typename Response, typename Request>
  Result<Response> EvaluateLocked(Result<Response> (*operation)(OperationContext&, const Request&),
                                  const Request& request, SessionId session) {
    Transaction transaction(view_);
    now_ns_ += 1'000;
    OperationContext context{transaction, session, now_ns_, *chooser_};
    Result<Response> response = operation(context, request);
    if (response.ok()) view_.Apply(transaction.Take());
    return response;
  }
  template <typename Response, typename Request>
  void Mutate(const char* method, Result<Response> (*operation)(OperationContext&, const Request&),
              const Request& request, Response* response);
  template <typename Response, typename Request>
  void Read(const char* method, Result<Response> (*operation)(const View&, const Request&),
            const Request& request, Response* response);
  bool BeginLocked(const char* method, wire::ReplyInfo* info);
  /// The door that the calling thread serves.
  Door& CurrentDoorLocked();
  void SetStatusLocked(const Status& status, wire::ReplyInfo* info);
  void FinishCall(const char* method);
  void RecoverBlock(const wire::RecoverBlockRequest& request, wire::RecoverBlockResponse* response);
  Result<FileBlockRecord> Recover(const wire::RecoverBlockRequest& request,
                                  std::unique_lock<std::mutex>& lock);
  Result<FileBlockRecord> ChangeChain(const wire::RecoverBlockRequest& request,
                                      const FileBlockRecord& before,
                                      std::unique_lock<std::mutex>& lock);
  /// Runs an operation of the metaserver's own.
  template <typename Function>
  auto ChangeLocked(SessionId session, Function&& function) {
    Transaction transaction(view_);
    now_ns_ += 1'000;
    OperationContext context{transaction, session, now_ns_, *chooser_};
    auto result = function(context);
    if (result.ok()) view_.Apply(transaction.Take());
    return result;
  }
  void OpenSession(const wire::OpenSessionRequest& request, wire::OpenSessionResponse* response);
  void RenewSession(const wire::RenewSessionRequest& request, wire::RenewSessionResponse* response);

  const FakeMetaserverOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  MapView view_;
  std::unique_ptr<RoundRobinChooser> chooser_;
  SessionId other_session_;
  int64_t now_ns_ = 1'700'000'000'000'000'000;
  std::map<int64_t, std::map<int32_t, Slot>> sessions_;
  std::map<std::string, int> calls_, evaluated_, stalls_;
  std::map<std::string, std::pair<StatusCode, int>> failures_;
  std::map<std::string, std::vector<wire::MutationContext>> contexts_;
  std::set<int64_t> condemned_, released_;
  std::vector<std::unique_ptr<Door>> doors_;
  int resumed_ = 0;
  ReplicaHost* host_ = nullptr;
  std::function<void()> during_recovery_;
  int unchanged_recoveries_ = 0;
  std::vector<wire::RecoverBlockRequest> recoveries_;
  std::vector<wire::BadReplicaReport> bad_replicas_;
};

}  // namespace tercet
