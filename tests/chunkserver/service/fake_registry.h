// A metaserver's registry that a test steers: it answers over real connections.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "common/rpc/thrift_server.h"
#include "tercet_thrift/RegistryService.h"

namespace tercet {

/// What the fake answers and what it was told; guarded by the fake's mutex.
struct FakeRegistryState {
  // Set by the test.
  int64_t epoch = 1;
  int32_t server_id = 3;
  std::string cluster_id = "cluster-one-----";
  int32_t heartbeat_interval_ms = 50;
  int64_t next_block_id = 0;
  Status register_status;
  bool active = true;
  std::string active_hint;
  bool frozen = false;                         // takes requests and answers them once it is thawed
  bool register_again = false;                 // once
  bool want_digests = false;                   // once
  std::vector<wire::DeleteReplicaTask> tasks;  // those confirmed go; in order of blocks
  bool tasks_in_heartbeats = true;
  Status fetch_status;            // of fetching the tasks
  size_t tasks_per_fetch = 1000;  // at most
  bool fetches_held = false;      // they are answered once this is false
  wire::BackgroundLimits limits;
  std::vector<wire::DiskCommand> disk_commands;
  /// So many heartbeats with bad replicas are taken and not answered.
  int bad_replica_reports_to_fail = 0;
  std::vector<int64_t> differing_ranges;
  std::vector<int64_t> quarantine;
  bool replica_reports_held = false;  // they are answered once this is false

  // Seen.
  int registrations = 0;
  int refusals = 0;
  int heartbeats = 0;          // answered as active
  int standby_heartbeats = 0;  // answered otherwise
  int requests = 0;            // of all kinds, also those it has not answered
  int fetches = 0;             // of tasks, also those that are held
  int fetches_at_first_heartbeat = 0;
  std::vector<wire::BadReplica> bad_replicas;  // of all heartbeats that were answered, as active
  std::vector<wire::BadReplica> unanswered_bad_replicas;  // of those that failed
  wire::HeartbeatRequest last_standby_heartbeat;
  wire::RegisterServerRequest last_registration;
  wire::HeartbeatRequest last_heartbeat;
  std::vector<wire::DeleteReplicaTask> confirmed;
  std::vector<wire::ReportDigestsRequest> digest_reports;
  std::vector<wire::ReportReplicasRequest> replica_reports;
};

/// Thread-safe.
class FakeRegistry {
 public:
  /// On `port`, or on any free one.
  explicit FakeRegistry(uint16_t port = 0);
  ~FakeRegistry() { Stop(); }

  uint16_t port() const { return server_->port(); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port()); }
  void Stop();

  /// Changes the state, or looks at it.
  template <typename Function>
  auto With(Function&& function) {
    std::lock_guard lock(core_->mutex);
    core_->changed.notify_all();
    return function(core_->state);
  }
  /// Waits until `condition` holds, for at most 20 s.
  bool WaitUntil(const std::function<bool(const FakeRegistryState&)>& condition);

 private:
  struct Core {
    std::mutex mutex;
    std::condition_variable changed;
    FakeRegistryState state;
    bool stopping = false;  // guarded by mutex
  };
  class Handler;

  const std::shared_ptr<Core> core_ = std::make_shared<Core>();
  std::unique_ptr<ThriftServer> server_;
};

}  // namespace tercet
