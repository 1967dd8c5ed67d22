// A client that writes one file in a simulation, as fuse_client/core does: frames in flight,
// recovery through the active, all that was not acknowledged sent again.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "tests/sim/blocks/active_node.h"
#include "tests/sim/blocks/block_world.h"

namespace tercet::sim {

class BlockWriterSim {
 public:
  BlockWriterSim(BlockWorld& world, Party party, SessionId session, InodeId inode);

  void Start() { Step(); }
  /// The client is gone: what it was not told to be written may be there or not.
  void Kill() {
    ++life_;
    dead_ = true;
    for (WriteId write : uncommitted_) history().Disown(write);
  }
  /// Begins nothing more.
  void Stop() { stopping_ = true; }
  bool idle() const {
    return dead_ || (stopping_ && pending_.empty() && !syncing_ && !recovering_);
  }
  bool dead() const { return dead_; }

 private:
  struct Pending {
    WriteId write = 0;
    uint32_t first_cell = 0;
    uint32_t cells = 0;
    bool sent = false;
  };

  void Step();
  void StepSoon(SimTime delay);
  void EnsurePlace();
  void SendAll();
  void SendFrame(const Pending& pending);
  void SendSync();
  void Watch(WriteId write);
  void OnAnswer(uint64_t chain, WriteId write, SimTime sent, const Status& status, ServerId failed);
  void FailChain(const Status& status, ServerId failed);
  void Recover(std::vector<ServerId> failed);
  void CommitIfNeeded();
  CellHistory& history() { return world_.histories.at(inode_); }

  BlockWorld& world_;
  const Party party_;
  const SessionId session_;
  const InodeId inode_;
  std::optional<BlockPlace> place_;
  ConnectionPtr connection_;  // to the head
  uint64_t head_incarnation_ = 0;
  uint64_t chain_number_ = 0;  // grows when the chain is given up
  std::deque<Pending> pending_;
  std::vector<WriteId>
      uncommitted_;  // acknowledged, in a block that no commit of this writer named
  bool syncing_ = false;
  SimTime sync_sent_ = 0;
  bool recovering_ = false;
  bool has_data_ = false;
  SimTime commit_at_ = 0;
  uint64_t life_ = 1;
  bool dead_ = false;
  bool stopping_ = false;
};

}  // namespace tercet::sim
