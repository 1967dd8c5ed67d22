// One seed: a group under load and faults, then peace in which it must come to rest, then the
// verdict.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/client.h"
#include "tests/sim/faults.h"
#include "tests/sim/world.h"

namespace tercet::sim {

struct Outcome {
  std::string failure;  // empty: everything held
  uint64_t hash = 0;    // of what happened
  std::string scenario;
  std::vector<std::string> last_lines;  // of the trace, when it was kept
  // What the seed has seen.
  uint64_t calls = 0;
  uint64_t records = 0;
  uint64_t leaders = 0;
  Counts counts;
  SimTime time = 0;
  SimTime recovery = 0;  // from the last fault to the end
};

class Simulation {
 public:
  Simulation(uint64_t seed, Trace::Mode mode);
  ~Simulation();

  Outcome Run();

 private:
  /// After the last fault everything must be in order by then.
  static constexpr SimTime kMaxRecovery = 30 * kSecond;
  static constexpr uint64_t kMaxEvents = 3'000'000;

  void Form();
  bool AtRest() const;
  std::string WhyNotAtRest() const;
  void FinalChecks();

  World world_;
  std::vector<HistoryEntry> history_;
  std::vector<std::unique_ptr<Client>> clients_;
  Faults faults_;
};

}  // namespace tercet::sim
