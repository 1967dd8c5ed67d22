// The commands of the CLI. Each file adds one to the application; its callback leaves the exit
// status.
#pragma once

#include "common/config/command_line.h"

namespace tercet {

void AddDevCommand(Command app, int* exit_status);
void AddStatusCommand(Command app, int* exit_status);
void AddFileCommand(Command app, int* exit_status);
void AddBenchCommand(Command app, int* exit_status);
void AddMetaCommand(Command app, int* exit_status);
void AddServerCommand(Command app, int* exit_status);
void AddDiskCommand(Command app, int* exit_status);
void AddRepairCommand(Command app, int* exit_status);
void AddBalanceCommand(Command app, int* exit_status);
void AddExposureCommand(Command app, int* exit_status);
void AddFsckCommand(Command app, int* exit_status);
void AddPolicyCommand(Command app, int* exit_status);
void AddTrashCommand(Command app, int* exit_status);
void AddDrillCommand(Command app, int* exit_status);

}  // namespace tercet
