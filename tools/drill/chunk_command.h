// tercet drill chunks|flips|compare
#pragma once

#include "common/config/command_line.h"

namespace tercet {

void AddChunkDrills(Command drill, int* exit_status);

}  // namespace tercet
