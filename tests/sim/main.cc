// tercet_sim: runs seeds of the deterministic simulation of a metadata group (tests/sim/README.md).
#include "tests/sim/seed_runner.h"
#include "tests/sim/simulation.h"

namespace tercet::sim {
namespace {

SeedResult RunSimulation(uint64_t seed, Trace::Mode mode) {
  Outcome outcome = Simulation(seed, mode).Run();
  SeedResult result;
  result.failure = std::move(outcome.failure);
  result.scenario = std::move(outcome.scenario);
  result.hash = outcome.hash;
  result.last_lines = std::move(outcome.last_lines);
  result.virtual_time = outcome.time;
  result.recovery = outcome.recovery;
  const Counts& counts = outcome.counts;
  result.figures = {outcome.calls,  outcome.records,   outcome.leaders,    counts.faults,
                    counts.starts,  counts.power_cuts, counts.truncations, counts.offers,
                    counts.fetches, counts.memberships};
  return result;
}

}  // namespace
}  // namespace tercet::sim

int main(int argc, char** argv) {
  tercet::sim::SeedProgram program;
  program.name = "tercet_sim";
  program.description = "Simulates metadata groups under faults, one seed after the other";
  program.figures = {"calls",      "records",     "leaders",      "faults",         "starts",
                     "power cuts", "truncations", "state offers", "fetched states", "memberships"};
  program.run = tercet::sim::RunSimulation;
  return tercet::sim::RunSeedProgram(program, argc, argv);
}
