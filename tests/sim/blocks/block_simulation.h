// One seed: servers, writers, readers, faults, then peace, then the final look at every replica
// (README.md).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/blocks/active_node.h"
#include "tests/sim/blocks/block_world.h"
#include "tests/sim/blocks/block_writer.h"
#include "tests/sim/blocks/chunk_node.h"

namespace tercet::sim {

struct BlockOutcome {
  std::string failure;  // empty: all was well
  std::string scenario;
  uint64_t hash = 0;
  BlockCounts counts;
  SimTime time = 0;
  SimTime recovery = 0;  // from the last fault to rest
  uint64_t acknowledged = 0;
  std::vector<std::string> last_lines;
};

class BlockSimulation {
 public:
  BlockSimulation(uint64_t seed, Trace::Mode mode);
  ~BlockSimulation();
  BlockOutcome Run();

 private:
  void Every(SimTime mean, std::function<void()> fault);
  void StartFaults();
  void KillSome();
  void CutSomePower();
  void CutAllPower();
  void PauseSome();
  void PartitionSome();
  void LoseSomeDisk();
  void FlipSomeByte();
  void FailSomeDisk();
  void LoseSomeFile();
  void KillSomeWriter();
  void StartWriter(size_t number, bool first);
  void ReadSomething();
  /// With locations that may be out of date.
  void ReadFrom(const BlockPlace& place);
  void Scrub();
  void CheckReplica(const BlockPlace& place, ChunkNode& node);
  void MakePeace();
  /// Every replica can be read, and nothing is left to do.
  bool AllWhole();
  bool AtRest();
  void CheckEnd();
  /// A server that is up, or null.
  ChunkNode* AnyServer();

  BlockWorld world_;
  std::vector<std::unique_ptr<BlockWriterSim>> writers_;
  Party next_party_ = kFirstWriter;
  std::map<InodeId, BlockPlace> remembered_;  // by readers
};

}  // namespace tercet::sim
