// Brings every block to where journal and policy want it: makes lost replicas again, heals bad
// ones, moves those of draining servers, evens out, takes away surplus (protocol.md,
// docs/decisions/0019-derived-repair.md).
//
// Life of a block here, and what a crash of the active leaves: nothing of this is journaled but the
// steps of attempts. Everything is found again by looking:
//  1. Noticed: through its repair row (scanned at activation and now and then), through the replica
//  rows of a server
//     that is gone or draining, or because somebody said so (NoticeBlocks).
//  2. Examined and entered into the planner, with its class.
//  3. Taken by a worker when its servers have free slots; examined again under the block's lock.
//  Bulk copy, attempt.
//  4. Done, looked at again; or failed, and tried again after a pause that doubles.
//
// Invariants:
//  - What was found out under one epoch is acted upon under no other.
//  - No attempt is meant to leave a block with fewer replicas than it found alive: moves and
//    surplus wait until all members are there.
//  - An attempt that sealed and failed is followed by one that asks for nothing but a chain that
//    can be served.
//  - A block that cannot be examined holds up no other.
//  - Bounded: the planner's entries, the notices, the rows looked at in one step.
//
// Threads: one scans and ticks, `workers` change chains.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "metaserver/placement/balance_planner.h"
#include "metaserver/placement/repair_planner.h"
#include "metaserver/placement/server_table.h"
#include "metaserver/repair/block_situation.h"
#include "metaserver/repair/control.h"
#include "metaserver/repair/move_throttle.h"
#include "metaserver/repair/rate_meter.h"
#include "metaserver/repair/reconfigurer.h"
#include "metaserver/repair/repair_journal.h"
#include "metaserver/repair/repair_metrics.h"
#include "metaserver/repair/target_choice.h"

namespace tercet {

struct RepairManagerOptions {
  int workers = 32;
  RepairPlannerOptions planner;
  std::chrono::milliseconds scan_interval{200};
  /// Between two passes over all repair rows, and over a server's replica rows.
  std::chrono::milliseconds rescan_interval{5000};
  int rows_per_step = 500;
  size_t max_notices = 10'000;
  /// Blocks with less are not copied ahead: the attempt does it all.
  uint64_t prepare_above_bytes = 1 << 20;
  /// How long a server's report may take to show what was moved.
  std::chrono::milliseconds balance_settle{5000};
};

/// Thread-safe.
class RepairManager final : public RepairControl {
 public:
  /// All references must outlive the object.
  RepairManager(RepairManagerOptions options, RepairJournal& journal, ServerTable& servers,
                Reconfigurer& reconfigurer, const Clock& clock);
  ~RepairManager() override;

  /// To be called once. Tests without threads call Step and WorkOnce.
  void StartThreads();
  void BecomeActive(Epoch epoch);
  /// Does not wait for attempts under way: they end by themselves, without effect.
  void BecomeStandby();

  RepairReport Report() const override;
  DrainReport Drain(ServerId server) const override;
  BalanceRunReport Balance() const override;
  void NoticeBlocks(const std::vector<BlockId>& blocks) override;
  void NoticeStates() override;
  /// A chain was changed for a writer.
  void CountRecovery();
  /// What servers may use, for heartbeats.
  LimitsRecord Limits() const;

  /// One round of the scanning thread. True: there is more to look at now.
  bool Step();
  /// One job, if there is one to be done now. False: there was none.
  bool WorkOnce();

 private:
  using Facts = BlockFacts;
  /// A pass over the replica rows of one server.
  struct ServerScan {
    ServerVerdict verdict = ServerVerdict::kServing;
    BlockId next;
    bool running = false;
    int64_t began_ms = 0;
    int64_t again_ms = -1;  // the next pass; -1: none is needed
  };
  /// A pass over the planner's entries that no worker takes.
  struct BlockedScan {
    BlockId next;
    int64_t began_ms = 0;
    int64_t again_ms = 0;
  };
  struct Plan;

  // ---- scanning ----
  void Tick(Epoch epoch, int64_t now_ms);
  void ScanLoop();
  void Forget();
  Status Look(Epoch epoch, int64_t now_ms, bool* more);
  /// What was left out for want of room is found again.
  void Refill(int64_t now_ms);
  Status ScanSealed(Epoch epoch);
  Status ScanRows(Epoch epoch, int64_t now_ms, bool* more);
  Status ScanServers(Epoch epoch, int64_t now_ms, bool* more);
  Status ScanServer(Epoch epoch, ServerId server, ServerScan* scan);
  /// Files are removed while their blocks are lost, and chains changed by writers: no other pass
  /// need find those again.
  Status ScanBlocked(Epoch epoch, int64_t now_ms, bool* more);
  /// When the next pass over rows may begin after one that ends now.
  int64_t NextPass(int64_t began_ms) const;
  Status TakeNotices(Epoch epoch);
  /// A block that cannot be examined is logged and passed over: it keeps no other from being
  /// repaired. An error is one of the journal, not of a block.
  Status ConsiderAll(Epoch epoch, std::span<const BlockId> blocks);
  /// Examines a block and brings its entry in the plan up to date.
  Status Consider(Epoch epoch, BlockId block, const ServerVerdicts& verdicts);
  void ForgetBlock(BlockId block);
  Facts MakeFacts(const BlockSituation& situation, RepairClass repair_class) const;
  void TickBalance(Epoch epoch, int64_t now_ms);
  void TakeAbandonedMoves(std::vector<std::pair<BalanceMove, bool>>* finished);
  BalancePlanner::Pick PickBalanceBlock(const BalancePlanner::Wish& wish);
  bool BalanceIsOver(int64_t now_ms);
  std::optional<BalanceMove> FitMove(const BlockSituation& situation,
                                     const BalancePlanner::Wish& wish) const;
  void EnterMove(Epoch epoch, const BalanceMove& move, int64_t now_ms);
  Status SaveBalanceProgress(Epoch epoch, const BalanceRecord& record, bool done);
  void UpdateGauges(int64_t now_ms);

  // ---- working ----
  void WorkerLoop();
  std::optional<RepairSlots> Assign(const RepairEntry& entry,
                                    const RepairPlanner::SlotTest& can_send,
                                    const RepairPlanner::SlotTest& can_receive);
  RepairPlanner::Outcome Execute(Epoch epoch, RepairJob job);
  /// Compares the members: equal ones need no new generation.
  RepairPlanner::Outcome SettleDoubts(Epoch epoch, const RepairJob& job,
                                      const BlockSituation& situation, RepairClass repair_class);
  void PutOffComparison(BlockId block);
  RepairPlanner::Outcome Attempt(Epoch epoch, const RepairJob& job, RepairClass repair_class,
                                 int64_t prepared_bytes);
  std::optional<Plan> MakePlan(const RepairJob& job, const BlockSituation& situation,
                               RepairClass repair_class) const;
  bool PlanMove(const RepairJob& job, const BlockSituation& situation, RepairClass repair_class,
                Plan* plan) const;
  /// Those of `targets` that could not copy leave the job. False: it has none any more.
  bool PrepareTargets(Epoch epoch, RepairJob& job, const BlockSituation& situation,
                      const std::vector<ServerId>& targets, int64_t* copied);
  RepairPlanner::Outcome Judge(Epoch epoch, const RepairJob& job, const BlockSituation& before,
                               const Plan& plan, const ReconfigurationResult& result,
                               int64_t copied);
  void Settle(Epoch epoch, const ReconfigurationGoal& failed, const ReconfigurationResult& result);
  Status Review(Epoch epoch, const BlockSituation& situation);
  void Avoid(BlockId block, ServerId server);
  void CountDone(const RepairJob& job, const BlockSituation& before, const Plan& plan,
                 int64_t copied);
  void FinishJob(Epoch epoch, const RepairJob& job, RepairPlanner::Outcome outcome);

  ServerVerdicts Verdicts() const;

  const RepairManagerOptions options_;
  RepairJournal& journal_;
  ServerTable& servers_;
  Reconfigurer& reconfigurer_;
  const Clock& clock_;
  RepairGauges gauges_;

  // Of the scanning thread.
  std::optional<BalancePlanner> balance_planner_;
  int64_t balance_stuck_since_ms_ = -1;
  BlockId next_row_;
  int64_t row_pass_began_ms_ = 0;
  int64_t next_row_pass_ms_ = 0;
  bool rows_changed_ = false;  // perhaps behind the pass that is under way
  std::map<ServerId, ServerScan> scans_;
  BlockedScan blocked_scan_;
  int64_t next_tick_ms_ = 0;
  int64_t next_balance_save_ms_ = 0;
  std::map<ServerId, BlockId> balance_cursors_;
  Epoch scanned_epoch_;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::condition_variable changed_;
  bool stopping_ = false;
  Epoch epoch_;  // 0: not active
  int64_t active_since_ms_ = 0;
  RepairPlanner planner_;
  std::map<BlockId, Facts> facts_;  // of the planner's entries, but lost ones
  std::deque<BlockId> notices_;
  bool rescan_rows_ = false;
  bool states_changed_ = false;
  LimitsRecord limits_;
  BalanceRecord balance_;
  std::map<BlockId, BalanceMove> balance_moves_;              // entered and not finished
  std::vector<std::pair<BalanceMove, bool>> finished_moves_;  // for the scanning thread: moved?
  uint64_t balance_left_bytes_ = 0;
  uint64_t unsaved_moved_bytes_ = 0;
  uint64_t unsaved_moved_blocks_ = 0;
  MoveThrottle throttle_;
  int64_t repaired_blocks_ = 0;
  int64_t failed_attempts_ = 0;
  int64_t recoveries_ = 0;
  RateMeter repair_rate_;
  RateMeter balance_rate_;
  std::map<ServerId, RateMeter> drain_rates_;

  std::vector<std::thread> threads_;  // changed by StartThreads and the destructor only
};

}  // namespace tercet
