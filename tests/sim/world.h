// What everything in one simulation shares.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/env/random.h"
#include "tests/sim/checker.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/machine.h"
#include "tests/sim/network.h"
#include "tests/sim/scenario.h"
#include "tests/sim/trace.h"

namespace tercet::sim {

/// What a simulation has seen, to tell whether its faults amount to anything.
struct Counts {
  uint64_t faults = 0;
  uint64_t starts = 0;  // of processes
  uint64_t power_cuts = 0;
  uint64_t truncations = 0;
  uint64_t offers = 0;
  uint64_t fetches = 0;      // that came to an end
  uint64_t memberships = 0;  // committed
};

struct World {
  World(uint64_t seed, Trace::Mode mode)
      : scenario(Scenario::FromSeed(seed)),
        trace(queue, mode),
        random(seed * 0xd1342543de82ef95u + 1),
        network(scenario, queue, random),
        checker(trace) {}

  /// A machine of that number; null when there is none.
  Machine* Find(int number) {
    auto it = machines.find(number);
    return it == machines.end() ? nullptr : it->second.get();
  }
  /// A new one, with a clock of its own.
  Machine& AddMachine(int number);
  /// Uniform in [low, high].
  SimTime Between(SimTime low, SimTime high) {
    return low + static_cast<SimTime>(random.Below(static_cast<uint64_t>(high - low + 1)));
  }
  bool OneIn(uint64_t n) { return random.Below(n) == 0; }
  /// To be called after each event of a machine: whoever serves must be the only one.
  void CheckServing(Machine& machine);

  const Scenario scenario;
  EventQueue queue;
  Trace trace;
  SeededRandom random;
  Network network;
  Checker checker;
  std::string cluster_id = std::string(16, 'c');
  uint64_t group_id = 7;
  bool calm = false;          // no more faults
  bool short_reigns = false;  // by a fault
  std::function<void(Machine&)> on_elected;
  Counts counts;
  std::map<int, std::unique_ptr<Machine>> machines;
};

}  // namespace tercet::sim
