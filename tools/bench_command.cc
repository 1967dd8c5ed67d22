// tercet bench: loads the servers at RPC level, without any mount.
#include "tools/bench_command.h"

#include <CLI/CLI.hpp>

#include "tools/commands.h"

namespace tercet {

void AddBenchCommand(CLI::App& app, int* exit_status) {
  CLI::App* bench = app.add_subcommand("bench", "measure rates and latencies of the servers");
  bench->require_subcommand(1);
  AddMetaBench(*bench, exit_status);
  AddDataBench(*bench, exit_status);
}

}  // namespace tercet
