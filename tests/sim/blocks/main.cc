// tercet_block_sim: runs seeds of the deterministic simulation of blocks and their replicas
// (tests/sim/blocks/README.md).
#include "tests/sim/blocks/block_simulation.h"
#include "tests/sim/seed_runner.h"

namespace tercet::sim {
namespace {

SeedResult RunSimulation(uint64_t seed, Trace::Mode mode) {
  BlockOutcome outcome = BlockSimulation(seed, mode).Run();
  SeedResult result;
  result.failure = std::move(outcome.failure);
  result.scenario = std::move(outcome.scenario);
  result.hash = outcome.hash;
  result.last_lines = std::move(outcome.last_lines);
  result.virtual_time = outcome.time;
  result.recovery = outcome.recovery;
  const BlockCounts& counts = outcome.counts;
  result.figures = {counts.writes,         outcome.acknowledged,
                    counts.reads,          counts.recoveries,
                    counts.commits,        counts.failed_attempts,
                    counts.conflicts,      counts.faults,
                    counts.depositions,    counts.accepted_suspects,
                    counts.held_bases,     counts.pulled_bytes >> 10,
                    counts.doubts,         counts.comparisons,
                    counts.settled_doubts, counts.stale_refused};
  return result;
}

}  // namespace
}  // namespace tercet::sim

int main(int argc, char** argv) {
  tercet::sim::SeedProgram program;
  program.name = "tercet_block_sim";
  program.description =
      "Simulates chunk servers, writers and the active under faults, seed by seed";
  program.figures = {"writes",
                     "acknowledged",
                     "reads",
                     "recoveries",
                     "chains",
                     "failed attempts",
                     "overtaken",
                     "faults",
                     "depositions",
                     "accepted suspects",
                     "pulls onto a base",
                     "KiB pulled",
                     "doubts",
                     "comparisons",
                     "of them equal",
                     "stale reads refused"};
  program.run = tercet::sim::RunSimulation;
  return tercet::sim::RunSeedProgram(program, argc, argv);
}
