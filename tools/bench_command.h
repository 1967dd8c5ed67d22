// The parts of `tercet bench`.
#pragma once

namespace CLI {
class App;
}

namespace tercet {

void AddMetaBench(CLI::App& bench, int* exit_status);
void AddDataBench(CLI::App& bench, int* exit_status);

}  // namespace tercet
