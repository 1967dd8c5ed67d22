// The active metaserver in a simulation of blocks: the real operations over the state in memory,
// the real Reconfiguration, and simple rules of when to repair. Deposed, it forgets everything but
// the state; what it had under way goes on as that of a metaserver that does not know yet: its
// commands arrive, its records are refused.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "metaserver/namespace/tables.h"
#include "metaserver/ops/operation.h"
#include "metaserver/repair/reconfiguration.h"
#include "tests/metaserver/ops/map_view.h"
#include "tests/sim/blocks/block_world.h"
#include "tests/sim/blocks/chunk_node.h"

namespace tercet::sim {

/// A block as a writer or reader is told of it.
struct BlockPlace {
  InodeId inode;
  BlockId block;
  Generation generation;
  std::vector<ServerId> chain;
  bool reserved = false;
};

struct RecoverAsked {
  SessionId session;
  BlockPlace place;
  std::vector<ServerId> failed;
  bool has_data = false;
};

class ActiveNode {
 public:
  explicit ActiveNode(BlockWorld& world);
  ~ActiveNode();

  /// Makes the file system with its servers, sessions and files.
  void Format();
  void StartTicking() { Tick(); }
  /// Another metaserver is active from `down` later on.
  void Depose(SimTime down);
  bool serving() const { return world_.queue.now() >= down_until_; }
  Epoch epoch() const { return epoch_; }

  // ---- calls; the answer comes to `reply` at once or later, or never ----
  Result<BlockPlace> Allocate(SessionId session, InodeId inode);
  Status CommitWrite(SessionId session, const BlockPlace& place, uint64_t end_offset);
  Result<BlockPlace> Locate(InodeId inode) const;
  void Recover(const RecoverAsked& asked, std::function<void(const Result<BlockPlace>&)> reply);
  void NoteBad(ServerId server, const std::vector<BadReplicaNote>& notes);
  RegistrationAnswer Register(ServerId server);
  std::vector<DeleteOrder> OrdersFor(ServerId server) const;
  void ConfirmDeleted(ServerId server, const std::vector<DeleteOrder>& done);

  std::vector<SessionId> sessions() const { return sessions_; }
  std::vector<InodeId> files() const { return files_; }
  /// Empty when every block has all its replicas and nothing is left to do.
  std::string Unfinished() const;
  std::vector<BlockPlace> Places() const;
  /// Moves a replica to another server, as balancing does.
  void MoveSomething();

 private:
  struct Attempt;
  struct Compared;
  class Chooser;

  template <typename Evaluate>
  auto Propose(const Evaluate& evaluate);
  Result<BlockPlace> PlaceOf(BlockId block) const;

  void Tick();
  void Review(const BlockPlace& place);
  std::vector<ServerId> TargetsFor(const BlockPlace& place, size_t count) const;
  bool Believes(ServerId server) const;
  bool IsSure(ServerId server) const;

  /// Doubts about a block that has nothing else wrong: equal members need no attempt.
  void SettleDoubts(const BlockPlace& place, const ReconfigurationGoal& goal);
  void AskTable(const std::shared_ptr<Compared>& compared, size_t which);
  void EndComparison(const std::shared_ptr<Compared>& compared);
  void StartAttempt(ReconfigurationGoal goal, std::function<void(const Attempt&)> ended);
  void PrepareThen(const BlockPlace& place, ServerId target, std::function<void(bool)> then);
  void Carry(const std::shared_ptr<Attempt>& attempt, ReconfigurationEffects effects);
  void CarryBegin(const std::shared_ptr<Attempt>& attempt, const BeginEffect& effect);
  void CarrySeal(const std::shared_ptr<Attempt>& attempt, const SealEffect& effect);
  void CarryPull(const std::shared_ptr<Attempt>& attempt, const PullEffect& effect);
  void CarryCommit(const std::shared_ptr<Attempt>& attempt, const CommitEffect& effect);
  void SendPull(Epoch epoch, const PullCommand& command, ServerId target,
                std::function<void(const Status&, ServerId)> answered);
  void CheckCommitted(const FileBlockRecord& record, BlockId block, bool accepted);

  BlockWorld& world_;
  MapView view_;
  std::unique_ptr<Chooser> chooser_;
  Epoch epoch_{1};
  SimTime down_until_ = 0;
  int64_t now_ns_ = 1'700'000'000'000'000'000;
  std::vector<SessionId> sessions_;
  std::vector<InodeId> files_;
  // Of the present active.
  std::set<BlockId> busy_;
  std::set<BlockId> only_suspects_;  // what their last attempts found
  std::map<BlockId, std::vector<std::function<void()>>> waiting_;
  std::map<ServerId, SimTime> heard_;
};

}  // namespace tercet::sim
