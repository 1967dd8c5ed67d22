// tercet: the command line of a Tercet cluster. Exit status: 0 done, 1 it failed, 2 wrong use.
#include <CLI/CLI.hpp>

#include "common/base/version.h"
#include "common/log/log.h"
#include "tools/commands.h"
#include "tools/output.h"

int main(int argc, char** argv) {
  CLI::App app("Shows and steers a Tercet cluster.", "tercet");
  app.require_subcommand(1);
  app.set_version_flag("--version", "tercet " + std::string(tercet::kVersion));
  // Libraries log what they retry; a command reports its outcome itself.
  tercet::SetLogLevel(tercet::LogLevel::kError);
  int exit_status = tercet::kExitOk;
  tercet::AddStatusCommand(app, &exit_status);
  tercet::AddFileCommand(app, &exit_status);
  tercet::AddMetaCommand(app, &exit_status);
  tercet::AddServerCommand(app, &exit_status);
  tercet::AddDiskCommand(app, &exit_status);
  tercet::AddRepairCommand(app, &exit_status);
  tercet::AddBalanceCommand(app, &exit_status);
  tercet::AddExposureCommand(app, &exit_status);
  tercet::AddFsckCommand(app, &exit_status);
  tercet::AddPolicyCommand(app, &exit_status);
  tercet::AddTrashCommand(app, &exit_status);
  tercet::AddDevCommand(app, &exit_status);
  tercet::AddDrillCommand(app, &exit_status);
  tercet::AddBenchCommand(app, &exit_status);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? tercet::kExitOk : tercet::kExitUsage;
  }
  return exit_status;
}
