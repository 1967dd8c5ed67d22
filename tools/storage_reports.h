// What the commands about servers, disks, repair and balance show, from the replies of the admin
// service.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tercet_thrift/admin_types.h"

namespace tercet {

/// "in_service", "draining", "maintenance", "removed".
std::string ServiceStateName(wire::ServiceState::type state);
/// For people, with whether it is alive: "alive", "dead", "draining (dead)", …
std::string ServerStateText(const wire::ServerStatus& server);
/// "rack=a zone=1"; "-" without labels.
std::string LabelsText(const std::map<std::string, std::string>& labels);

/// What healthy disks have together.
struct ServerSpace {
  int64_t total_bytes = 0;
  int64_t available_bytes = 0;
};
ServerSpace SpaceOf(const wire::ServerStatus& server);

nlohmann::json ServerJson(const wire::ServerStatus& server);
std::string ServerListText(const std::vector<wire::ServerStatus>& servers);
std::string ServerInfoText(const wire::ServerStatus& server);
/// How far a drain is: "1,200 of 4,000 replicas moved, 12.0 GiB left, 80.0 MiB/s, done in 2m 30s".
std::string DrainText(const wire::ServerStatus& server);

nlohmann::json DiskJson(const wire::DiskReport& disk);
std::string DiskListText(const std::vector<wire::ServerStatus>& servers);

nlohmann::json RepairJson(const wire::GetRepairStatusResponse& reply);
std::string RepairText(const wire::GetRepairStatusResponse& reply);
/// One line; empty when there is nothing to say.
std::string RepairSummary(const wire::GetRepairStatusResponse& reply);

nlohmann::json BalancePlanJson(const wire::PlanBalanceResponse& reply);
std::string BalancePlanText(const wire::PlanBalanceResponse& reply);
nlohmann::json BalanceJson(const wire::GetBalanceResponse& reply);
std::string BalanceText(const wire::GetBalanceResponse& reply);
/// One line of a running balance's progress.
std::string BalanceProgress(const wire::GetBalanceResponse& reply);

}  // namespace tercet
