// The commands of the CLI. Each file adds one to the application; its callback leaves the exit
// status.
#pragma once

namespace CLI {
class App;
}

namespace tercet {

void AddDevCommand(CLI::App& app, int* exit_status);
void AddStatusCommand(CLI::App& app, int* exit_status);
void AddFileCommand(CLI::App& app, int* exit_status);
void AddBenchCommand(CLI::App& app, int* exit_status);
void AddMetaCommand(CLI::App& app, int* exit_status);
void AddServerCommand(CLI::App& app, int* exit_status);
void AddDiskCommand(CLI::App& app, int* exit_status);
void AddRepairCommand(CLI::App& app, int* exit_status);
void AddBalanceCommand(CLI::App& app, int* exit_status);
void AddExposureCommand(CLI::App& app, int* exit_status);
void AddFsckCommand(CLI::App& app, int* exit_status);
void AddPolicyCommand(CLI::App& app, int* exit_status);
void AddTrashCommand(CLI::App& app, int* exit_status);
void AddDrillCommand(CLI::App& app, int* exit_status);

}  // namespace tercet
