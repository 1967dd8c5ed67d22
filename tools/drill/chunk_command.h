// tercet drill chunks|flips|compare
#pragma once

namespace CLI {
class App;
}

namespace tercet {

void AddChunkDrills(CLI::App& drill, int* exit_status);

}  // namespace tercet
