// The command line that simulators share: runs seeds one after the other in several processes,
// prints those that fail with what happened last, and adds up figures.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/sim/trace.h"

namespace tercet::sim {

struct SeedResult {
  std::string failure;  // empty: all was well
  std::string scenario;
  uint64_t hash = 0;
  std::vector<std::string> last_lines;
  /// One for each name in SeedProgram::figures.
  std::vector<uint64_t> figures;
  SimTime virtual_time = 0;
  /// From the last fault until everything was at rest; below 0: it never was.
  SimTime recovery = 0;
};

struct SeedProgram {
  std::string name;
  std::string description;
  std::vector<std::string> figures;
  std::function<SeedResult(uint64_t seed, Trace::Mode mode)> run;
};

/// The exit status: 0 when no seed failed.
int RunSeedProgram(const SeedProgram& program, int argc, char** argv);

}  // namespace tercet::sim
