// tercet bench: loads the servers at RPC level, without any mount.
#include "tools/bench_command.h"

#include "tools/commands.h"

namespace tercet {

void AddBenchCommand(Command app, int* exit_status) {
  Command bench = app.AddSubcommand("bench", "measure rates and latencies of the servers");
  bench.RequireSubcommand();
  AddMetaBench(bench, exit_status);
  AddDataBench(bench, exit_status);
}

}  // namespace tercet
