// The parts of `tercet bench`.
#pragma once

#include "common/config/command_line.h"

namespace tercet {

void AddMetaBench(Command bench, int* exit_status);
void AddDataBench(Command bench, int* exit_status);

}  // namespace tercet
