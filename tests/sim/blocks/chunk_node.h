// A chunk server in a simulation: the real store over a simulated disk, and the rules of the data
// plane (chunkserver/replication/chain.md) done in events.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chunkserver/replication/replica_pull.h"
#include "chunkserver/store/block_store.h"
#include "common/env/sim_disk.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/repair/reconfiguration.h"
#include "tests/sim/blocks/block_world.h"
#include "tests/sim/machine_clock.h"

namespace tercet::sim {

struct WriteFrame {
  BlockId block;
  Generation generation;
  WriteId write = 0;  // 0: a SYNC
  uint32_t first_cell = 0;
  uint32_t cells = 0;
  bool create = false;
  bool sync = false;
  std::vector<ServerId> downstream;
};

struct PullCommand {
  Epoch epoch;
  BlockId block;
  ServerId source;
  Generation source_generation;
  Generation generation;  // 0: prepare
  bool verify_base = false;
};

struct DeleteOrder {
  BlockId block;
  Generation generation;
  bool hold = false;
};

/// What the active tells a server that registers.
struct RegistrationAnswer {
  Epoch epoch;
  BlockId next_block;  // ids from it on were not given out
  std::vector<DeleteOrder> orders;
};

class ChunkNode {
 public:
  using Reply = std::function<void(const Status&, ServerId failed)>;

  ChunkNode(BlockWorld& world, ServerId id);
  ~ChunkNode();

  ServerId id() const { return id_; }
  bool up() const { return store_ != nullptr; }
  bool serving() const { return store_ != nullptr && serving_; }
  /// Null while it is down.
  BlockStore* store() { return store_.get(); }
  SimDisk& disk() { return *disk_; }

  // ---- life ----
  void Start();
  void KillProcess();
  /// In order, with what it has under way answered.
  void StopProcess();
  void CutPower();
  /// `cut` is called when the disk has no power any more: after `changes` to it.
  void CutPowerAfter(uint64_t changes, std::function<void()> cut);
  void LoseDisk();
  /// No disk fails any more; one that has failed comes back with a new start.
  void MendDisks();
  void PauseUntil(SimTime until);
  bool paused() const { return world_.queue.now() < paused_until_; }

  /// A message for this server, sent over `connection` when the server was in its `incarnation`:
  /// happens now, after a pause, or never.
  void Receive(const ConnectionPtr& connection, uint64_t incarnation, std::function<void()> handle);
  uint64_t incarnation() const { return incarnation_; }

  // ---- what messages ask for (called within Receive) ----
  void OnFrame(const ConnectionPtr& connection, const WriteFrame& frame, Reply reply);
  Result<SealAnswer> OnSeal(Epoch epoch, const SealEffect& seal, BlockId block);
  void OnPull(const PullCommand& command, Reply reply);
  Result<PageTable> OnTable(BlockId block, Generation generation);
  Result<VerifiedPages> OnRead(BlockId block, Generation generation, uint32_t offset,
                               uint32_t length);

  // ---- for checks ----
  /// When the orders were given out that it knows.
  SimTime orders_of() const { return orders_of_; }
  /// Which write filled each cell; an error when the replica cannot be read.
  Result<std::vector<WriteId>> Content(BlockId block, Generation generation, uint32_t cells);

 private:
  struct Operation;
  struct Link;
  struct Pull;

  void MakeFolders();
  void OpenStore();
  void AwaitPowerCut(uint64_t incarnation);
  void ForgetProcess();
  void FetchTasks();
  void Heartbeat();
  void TakeOrders(SimTime given_out, const std::vector<DeleteOrder>& orders);
  void QuarantineUnknown();
  std::vector<BadReplicaNote> NotesOf(const std::vector<BadReplicaFound>& found);
  Link& LinkTo(ServerId next);
  void Forward(const WriteFrame& frame, const std::shared_ptr<Operation>& operation);
  void FailLink(ServerId next, uint64_t number);
  void FinishPart(const std::shared_ptr<Operation>& operation, const Status& status,
                  ServerId failed);
  Status CheckBefore(const WriteFrame& frame);
  Status Apply(const WriteFrame& frame);

  void PullStep(const std::shared_ptr<Pull>& pull);
  void AskSource(const std::shared_ptr<Pull>& pull, std::function<void(ChunkNode&)> ask);
  void EndPull(const std::shared_ptr<Pull>& pull, const Status& status, ServerId failed);

  BlockWorld& world_;
  const ServerId id_;
  std::unique_ptr<SimDisk> disk_;
  MachineClock clock_;
  int boots_ = 1;
  uint64_t incarnation_ = 1;
  std::unique_ptr<BlockStore> store_;
  bool serving_ = false;
  SimTime paused_until_ = 0;
  std::deque<std::function<void()>> backlog_;  // while paused
  std::map<ServerId, std::unique_ptr<Link>> links_;
  std::map<Party, uint64_t> newest_link_;  // of other servers: older ones are not listened to
  std::map<BlockId, std::shared_ptr<Pull>> pulls_;
  std::vector<DeleteOrder> done_;
  SimTime orders_of_ = -1;
  std::function<void()> power_cut_;
};

}  // namespace tercet::sim
