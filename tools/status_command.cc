// tercet status: servers, space, blocks by number of replicas.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/admin_client.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/reports.h"

namespace tercet {

void AddStatusCommand(CLI::App& app, int* exit_status) {
  struct Arguments {
    std::string meta;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("status", "servers, space, blocks by number of replicas");
  command->add_option("--meta", arguments->meta, "metaservers; TERCET_META by default")
      ->type_name("HOST:PORT,…");
  command->add_flag("--json", arguments->json, "as a JSON object");
  command->callback([=] {
    Result<std::vector<HostPort>> metaservers = MetaAddressesFrom(arguments->meta);
    if (!metaservers.ok()) {
      ExitStatus(metaservers.status());
      *exit_status = kExitUsage;
      return;
    }
    Result<wire::GetStatusResponse> reply = AdminClient(*metaservers).GetStatus();
    *exit_status = ExitStatus(reply.status());
    if (!reply.ok()) return;
    std::fputs(
        arguments->json ? (StatusJson(*reply).dump(2) + "\n").c_str() : StatusText(*reply).c_str(),
        stdout);
  });
}

}  // namespace tercet
