#include "metaserver/service/handlers.h"
#include "metaserver/service/timed_call.h"

namespace tercet {
namespace {

class RegistryHandler final : public wire::RegistryServiceIf {
 public:
  explicit RegistryHandler(const HandlerParts& parts) : registry_(parts.registry) {}

  void RegisterServer(wire::RegisterServerResponse& response,
                      const wire::RegisterServerRequest& request) override {
    static OperationMetrics metrics("RegisterServer");
    TimedCall timed(metrics, response.info);
    registry_.Register(request, &response);
  }
  void Heartbeat(wire::HeartbeatResponse& response,
                 const wire::HeartbeatRequest& request) override {
    static OperationMetrics metrics("Heartbeat");
    TimedCall timed(metrics, response.info);
    registry_.Heartbeat(request, &response);
  }
  void ReportDigests(wire::ReportDigestsResponse& response,
                     const wire::ReportDigestsRequest& request) override {
    static OperationMetrics metrics("ReportDigests");
    TimedCall timed(metrics, response.info);
    registry_.ReportDigests(request, &response);
  }
  void ReportReplicas(wire::ReportReplicasResponse& response,
                      const wire::ReportReplicasRequest& request) override {
    static OperationMetrics metrics("ReportReplicas");
    TimedCall timed(metrics, response.info);
    registry_.ReportReplicas(request, &response);
  }
  void FetchDeleteTasks(wire::FetchDeleteTasksResponse& response,
                        const wire::FetchDeleteTasksRequest& request) override {
    static OperationMetrics metrics("FetchDeleteTasks");
    TimedCall timed(metrics, response.info);
    registry_.FetchDeleteTasks(request, &response);
  }

 private:
  Registry& registry_;
};

}  // namespace

std::shared_ptr<wire::RegistryServiceIf> MakeRegistryHandler(const HandlerParts& parts) {
  return std::make_shared<RegistryHandler>(parts);
}

}  // namespace tercet
