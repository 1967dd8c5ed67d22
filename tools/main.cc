// tercet: the command line of a Tercet cluster. Exit status: 0 done, 1 it failed, 2 wrong use.
#include "common/base/version.h"
#include "common/config/command_line.h"
#include "common/log/log.h"
#include "tools/commands.h"
#include "tools/output.h"

int main(int argc, char** argv) {
  tercet::CommandLine command_line("tercet", "Shows and steers a Tercet cluster.");
  command_line.AddVersion("tercet " + std::string(tercet::kVersion));
  tercet::Command root = command_line.root();
  root.RequireSubcommand();
  // Libraries log what they retry; a command reports its outcome itself.
  tercet::SetLogLevel(tercet::LogLevel::kError);
  int exit_status = tercet::kExitOk;
  tercet::AddStatusCommand(root, &exit_status);
  tercet::AddFileCommand(root, &exit_status);
  tercet::AddMetaCommand(root, &exit_status);
  tercet::AddServerCommand(root, &exit_status);
  tercet::AddDiskCommand(root, &exit_status);
  tercet::AddRepairCommand(root, &exit_status);
  tercet::AddBalanceCommand(root, &exit_status);
  tercet::AddExposureCommand(root, &exit_status);
  tercet::AddFsckCommand(root, &exit_status);
  tercet::AddPolicyCommand(root, &exit_status);
  tercet::AddTrashCommand(root, &exit_status);
  tercet::AddDevCommand(root, &exit_status);
  tercet::AddDrillCommand(root, &exit_status);
  tercet::AddBenchCommand(root, &exit_status);
  static_assert(tercet::kExitUsage == 2);  // as Parse has it
  return command_line.Parse(argc, argv).value_or(exit_status);
}
