// tercet status: servers, space, blocks by number of replicas.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/admin_client.h"
#include "tools/commands.h"
#include "tools/group_survey.h"
#include "tools/output.h"
#include "tools/reports.h"
#include "tools/storage_reports.h"

namespace tercet {

namespace {

/// Of one metaserver: a paused one must not keep the command waiting for long.
constexpr AdminOptions kOptions{.timeout = std::chrono::milliseconds(2'000),
                                .patience = std::chrono::milliseconds(2'000)};

int Show(const std::vector<HostPort>& metaservers, bool json) {
  const GroupSurvey survey = SurveyGroup(metaservers);
  const AdminClient client(metaservers, kOptions);
  Result<wire::GetStatusResponse> reply = client.GetStatus();
  // Only to say more: without it the rest is still of use.
  Result<wire::GetRepairStatusResponse> repair =
      client.Call(&wire::AdminServiceClient::GetRepairStatus, wire::GetRepairStatusRequest());
  std::string text;
  if (json) {
    nlohmann::json out = reply.ok() ? StatusJson(*reply) : nlohmann::json::object();
    out["group"] = SurveyJson(survey);
    if (repair.ok()) out["repair"] = RepairJson(*repair);
    text = JsonText(out);
  } else {
    text = reply.ok() ? StatusText(*reply, SurveyText(survey)) : SurveyText(survey);
    const std::string line = repair.ok() ? RepairSummary(*repair) : "";
    if (!line.empty()) text += line + "\n";
  }
  std::fputs(text.c_str(), stdout);
  return ExitStatus(reply.status());
}

}  // namespace

void AddStatusCommand(Command app, int* exit_status) {
  struct Arguments {
    std::string meta;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  Command command = app.AddSubcommand("status", "servers, space, blocks by number of replicas");
  command.AddOption("--meta", arguments->meta, "metaservers; TERCET_META by default")
      .TypeName("HOST:PORT,…");
  command.AddFlag("--json", arguments->json, "as a JSON object");
  command.OnRun([=] {
    Result<std::vector<HostPort>> metaservers = MetaAddressesFrom(arguments->meta);
    if (!metaservers.ok()) {
      ExitStatus(metaservers.status());
      *exit_status = kExitUsage;
      return;
    }
    *exit_status = Show(*metaservers, arguments->json);
  });
}

}  // namespace tercet
