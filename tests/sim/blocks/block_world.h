// What everything in one simulation of blocks shares.
#pragma once

#include <fmt/format.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/env/random.h"
#include "tests/sim/blocks/block_network.h"
#include "tests/sim/blocks/cell_history.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/trace.h"

namespace tercet::sim {

class ActiveNode;
class ChunkNode;

/// Drawn from the seed. Not all kinds of faults at once: they would hide each other.
struct BlockScenario {
  int servers = 4;
  int writers = 2;
  int files = 1;
  uint32_t cells_per_block = 16;
  SimTime duration = 6 * kSecond;
  // Mean time between faults of a kind; 0: none.
  SimTime kill_process = 0;
  SimTime cut_power = 0;
  SimTime cut_all_power = 0;
  SimTime pause = 0;
  SimTime partition = 0;
  SimTime lose_disk = 0;
  SimTime flip_bytes = 0;
  SimTime depose_active = 0;
  SimTime move_replica = 0;
  SimTime kill_writer = 0;
  SimTime fail_disk = 0;
  SimTime lose_file = 0;
  int disks = 1;              // of each server
  SimTime commit_delay = 0;   // at most, of reserved blocks
  SimTime start_delay = 0;    // at most, of writers
  bool slow_settle = false;   // what is not synced stays so for long
  uint64_t sync_one_in = 6;   // writes
  uint64_t message_loss = 0;  // one in so many

  static BlockScenario FromSeed(uint64_t seed);
  std::string ToString() const;
};

struct BlockCounts {
  uint64_t writes = 0;
  uint64_t reads = 0;
  uint64_t recoveries = 0;
  uint64_t commits = 0;    // of chains
  uint64_t conflicts = 0;  // attempts that were overtaken
  uint64_t failed_attempts = 0;
  uint64_t faults = 0;
  uint64_t depositions = 0;
  uint64_t accepted_suspects = 0;
  uint64_t pulled_bytes = 0;
  uint64_t held_bases = 0;  // targets that still had a stale replica
  uint64_t doubts = 0;      // reported
  uint64_t comparisons = 0;
  uint64_t settled_doubts = 0;  // all were equal
  uint64_t stale_refused = 0;   // reads of places that are not in force any more
};

struct BlockWorld {
  BlockWorld(uint64_t seed, Trace::Mode mode);
  ~BlockWorld();

  bool OneIn(uint64_t n) { return random.Below(n) == 0; }
  SimTime Between(SimTime low, SimTime high) {
    return low + static_cast<SimTime>(random.Below(static_cast<uint64_t>(high - low + 1)));
  }
  void Fail(const std::string& what) {
    if (failure.empty()) failure = what;
    SIM_TRACE(trace, "FAILED: {}", what);
  }
  ChunkNode& Server(ServerId id) { return *servers.at(id.value()); }

  const BlockScenario scenario;
  EventQueue queue;
  Trace trace;
  SeededRandom random;
  BlockNetwork network;
  std::string failure;
  bool calm = false;
  BlockCounts counts;
  std::string scratch;  // a folder that the real file system need not have
  std::map<uint32_t, std::unique_ptr<ChunkNode>> servers;
  std::unique_ptr<ActiveNode> active;
  std::map<InodeId, CellHistory> histories;  // each file has one block
  /// When each generation of a block was replaced by the next.
  std::map<std::pair<BlockId, Generation>, SimTime> replaced;
};

}  // namespace tercet::sim
