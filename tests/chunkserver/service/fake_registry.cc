#include "tests/chunkserver/service/fake_registry.h"

#include <gtest/gtest.h>

namespace tercet {

class FakeRegistry::Handler final : public wire::RegistryServiceNull {
 public:
  explicit Handler(std::shared_ptr<Core> core) : core_(std::move(core)) {}

  void RegisterServer(wire::RegisterServerResponse& response,
                      const wire::RegisterServerRequest& request) override {
    std::unique_lock lock(core_->mutex);
    Enter(lock);
    FakeRegistryState& state = core_->state;
    if (!Answer(state.register_status, &response.info)) {
      ++state.refusals;
      return;
    }
    ++state.registrations;
    state.last_registration = request;
    response.server_id = state.server_id;
    response.cluster_id = state.cluster_id;
    response.heartbeat_interval_ms = state.heartbeat_interval_ms;
    response.next_block_id = state.next_block_id;
  }

  void Heartbeat(wire::HeartbeatResponse& response,
                 const wire::HeartbeatRequest& request) override {
    std::unique_lock lock(core_->mutex);
    Enter(lock);
    FakeRegistryState& state = core_->state;
    if (!Answer(Status::Ok(), &response.info)) {
      ++state.standby_heartbeats;
      state.last_standby_heartbeat = request;
      return;
    }
    if (!request.bad_replicas.empty() && state.bad_replica_reports_to_fail > 0) {
      --state.bad_replica_reports_to_fail;
      state.unanswered_bad_replicas.insert(state.unanswered_bad_replicas.end(),
                                           request.bad_replicas.begin(),
                                           request.bad_replicas.end());
      throw apache::thrift::TException("the connection breaks");
    }
    if (++state.heartbeats == 1) state.fetches_at_first_heartbeat = state.fetches;
    state.last_heartbeat = request;
    state.bad_replicas.insert(state.bad_replicas.end(), request.bad_replicas.begin(),
                              request.bad_replicas.end());
    for (const auto& done : request.deleted) {
      state.confirmed.push_back(done);
      std::erase_if(state.tasks, [&](const auto& task) { return task.block_id == done.block_id; });
    }
    if (state.tasks_in_heartbeats) response.delete_replicas = state.tasks;
    response.limits = state.limits;
    response.disks = state.disk_commands;
    response.register_again = std::exchange(state.register_again, false);
    response.want_digests = std::exchange(state.want_digests, false);
  }

  void FetchDeleteTasks(wire::FetchDeleteTasksResponse& response,
                        const wire::FetchDeleteTasksRequest& request) override {
    std::unique_lock lock(core_->mutex);
    ++core_->state.fetches;
    Enter(lock);
    core_->changed.wait(lock, [&] { return !core_->state.fetches_held || core_->stopping; });
    FakeRegistryState& state = core_->state;
    if (!Answer(state.fetch_status, &response.info)) return;
    response.complete = true;
    for (const wire::DeleteReplicaTask& task : state.tasks) {
      if (task.block_id <= request.after_block_id) continue;
      if (response.tasks.size() == state.tasks_per_fetch) {
        response.complete = false;
        break;
      }
      response.tasks.push_back(task);
    }
  }

  void ReportDigests(wire::ReportDigestsResponse& response,
                     const wire::ReportDigestsRequest& request) override {
    std::unique_lock lock(core_->mutex);
    Enter(lock);
    if (!Answer(Status::Ok(), &response.info)) return;
    core_->state.digest_reports.push_back(request);
    response.differing_ranges = core_->state.differing_ranges;
  }

  void ReportReplicas(wire::ReportReplicasResponse& response,
                      const wire::ReportReplicasRequest& request) override {
    std::unique_lock lock(core_->mutex);
    Enter(lock);
    if (!Answer(Status::Ok(), &response.info)) return;
    core_->state.replica_reports.push_back(request);
    core_->changed.wait(lock,
                        [&] { return !core_->state.replica_reports_held || core_->stopping; });
    response.quarantine = core_->state.quarantine;
  }

 private:
  void Enter(std::unique_lock<std::mutex>& lock) {
    ++core_->state.requests;
    core_->changed.notify_all();
    core_->changed.wait(lock, [&] { return !core_->state.frozen || core_->stopping; });
  }
  /// Fills in the common part; false when that is all.
  bool Answer(const Status& status, wire::ReplyInfo* info) {
    const FakeRegistryState& state = core_->state;
    core_->changed.notify_all();
    info->epoch = state.epoch;
    if (!state.active) {
      info->status.code = static_cast<int32_t>(StatusCode::kNotActive);
      if (!state.active_hint.empty()) info->__set_active_hint(state.active_hint);
      return false;
    }
    info->status.code = static_cast<int32_t>(status.code());
    info->status.message = status.message();
    return status.ok();
  }

  const std::shared_ptr<Core> core_;
};

FakeRegistry::FakeRegistry(uint16_t port) {
  ThriftServerOptions options;
  options.listen = {"127.0.0.1", port};
  auto server =
      ThriftServer::Start(options, {{"registry", std::make_shared<wire::RegistryServiceProcessor>(
                                                     std::make_shared<Handler>(core_))}});
  EXPECT_TRUE(server.ok()) << server.status().ToString();
  server_ = std::move(server).value();
}

void FakeRegistry::Stop() {
  {
    std::lock_guard lock(core_->mutex);
    core_->stopping = true;
    core_->changed.notify_all();
  }
  server_.reset();
}

bool FakeRegistry::WaitUntil(const std::function<bool(const FakeRegistryState&)>& condition) {
  std::unique_lock lock(core_->mutex);
  return core_->changed.wait_for(lock, std::chrono::seconds(20),
                                 [&] { return condition(core_->state); });
}

}  // namespace tercet
