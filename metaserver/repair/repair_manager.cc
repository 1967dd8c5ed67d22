#include "metaserver/repair/repair_manager.h"

#include <algorithm>
#include <utility>

#include "common/log/log.h"
#include "metaserver/ops/policy_operations.h"
#include "metaserver/ops/replica_operations.h"

namespace tercet {
namespace {

constexpr int64_t kTickMs = 1000;
constexpr int64_t kBalanceSaveMs = 10'000;
/// At most a tenth of the time goes into passes over repair rows, and over the replica rows of
/// servers.
constexpr int64_t kScanPause = 10;
/// Rows whose blocks are sealed and looked at first.
constexpr size_t kMaxSealed = 200'000;
constexpr int kBalanceRows = 200;
/// A run that found nothing to move for so long is over.
constexpr int64_t kBalanceStuckMs = 60'000;
constexpr int kMovesPerServer = 2;

/// Slow moves must not keep all working threads from what is more urgent.
RepairPlannerOptions PlannerOptions(const RepairManagerOptions& options) {
  RepairPlannerOptions planner = options.planner;
  planner.max_moves = std::max(1, std::min(planner.max_moves, options.workers / 2));
  planner.max_not_urgent = std::max(1, std::min(planner.max_not_urgent, options.workers * 3 / 4));
  return planner;
}

/// Of the journal or of this metaserver, not of one block.
bool ConcernsAll(const Status& status) {
  switch (status.code()) {
    case StatusCode::kNotActive:
    case StatusCode::kStaleEpoch:
    case StatusCode::kUnavailable:
    case StatusCode::kDeadlineExceeded:
    case StatusCode::kCancelled:
      return true;
    default:
      return false;
  }
}

bool NeedsScan(ServerVerdict verdict) { return verdict != ServerVerdict::kServing; }

}  // namespace

RepairManager::RepairManager(RepairManagerOptions options, RepairJournal& journal,
                             ServerTable& servers, Reconfigurer& reconfigurer, const Clock& clock)
    : options_(options),
      journal_(journal),
      servers_(servers),
      reconfigurer_(reconfigurer),
      clock_(clock),
      planner_(PlannerOptions(options)) {}

RepairManager::~RepairManager() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    epoch_ = Epoch();
    changed_.notify_all();
  }
  reconfigurer_.Stop();
  for (std::thread& thread : threads_) thread.join();
}

void RepairManager::StartThreads() {
  threads_.emplace_back([this] { ScanLoop(); });
  for (int i = 0; i < options_.workers; ++i) threads_.emplace_back([this] { WorkerLoop(); });
}

void RepairManager::BecomeActive(Epoch epoch) {
  std::lock_guard lock(mutex_);
  Forget();
  epoch_ = epoch;
  active_since_ms_ = clock_.MonotonicMillis();
  repaired_blocks_ = failed_attempts_ = recoveries_ = 0;
  changed_.notify_all();
}

void RepairManager::BecomeStandby() {
  std::lock_guard lock(mutex_);
  Forget();
  epoch_ = Epoch();
  gauges_.Clear();
  changed_.notify_all();
}

void RepairManager::Forget() {
  planner_.Clear();
  facts_.clear();
  notices_.clear();
  balance_moves_.clear();
  finished_moves_.clear();
  balance_ = BalanceRecord();
  balance_left_bytes_ = unsaved_moved_bytes_ = unsaved_moved_blocks_ = 0;
  drain_rates_.clear();
}

void RepairManager::NoticeBlocks(const std::vector<BlockId>& blocks) {
  std::lock_guard lock(mutex_);
  if (epoch_.value() == 0) return;
  for (const BlockId block : blocks) {
    // What does not fit has its row, and is found by the next pass.
    if (notices_.size() >= options_.max_notices) {
      rescan_rows_ = true;
      break;
    }
    notices_.push_back(block);
  }
  changed_.notify_all();
}

void RepairManager::NoticeStates() {
  std::lock_guard lock(mutex_);
  states_changed_ = true;
  rescan_rows_ = true;
  changed_.notify_all();
}

void RepairManager::CountRecovery() {
  std::lock_guard lock(mutex_);
  ++recoveries_;
}

LimitsRecord RepairManager::Limits() const {
  std::lock_guard lock(mutex_);
  LimitsRecord limits = limits_;
  limits.move_bytes_per_second = throttle_.limit();
  return limits;
}

RepairReport RepairManager::Report() const {
  std::lock_guard lock(mutex_);
  const int64_t now_ms = clock_.MonotonicMillis();
  RepairReport report;
  RepairClassReport waiting{"waiting", 0, 0};
  for (int c = 0; c < kRepairClasses; ++c) {
    const auto repair_class = static_cast<RepairClass>(c);
    const RepairPlanner::ClassCount count = planner_.Count(repair_class);
    waiting.blocks += count.waiting;
    if (count.blocks == 0) continue;
    report.queue.push_back(RepairClassReport{std::string(RepairClassName(repair_class)),
                                             count.blocks, now_ms - count.oldest_since_ms});
  }
  if (waiting.blocks > 0) report.queue.push_back(waiting);
  report.running = planner_.running();
  report.bytes_per_second = repair_rate_.PerSecond(now_ms);
  report.repaired_blocks = repaired_blocks_;
  report.failed_attempts = failed_attempts_;
  report.recoveries = recoveries_;
  return report;
}

DrainReport RepairManager::Drain(ServerId server) const {
  std::lock_guard lock(mutex_);
  const auto found = drain_rates_.find(server);
  if (found == drain_rates_.end()) return {};
  return DrainReport{found->second.PerSecond(clock_.MonotonicMillis())};
}

BalanceRunReport RepairManager::Balance() const {
  std::lock_guard lock(mutex_);
  BalanceRunReport report;
  report.bytes_per_second = balance_rate_.PerSecond(clock_.MonotonicMillis());
  report.limit_bytes_per_second = static_cast<int64_t>(throttle_.limit());
  report.left_bytes = static_cast<int64_t>(balance_left_bytes_);
  report.unsaved_moved_bytes = static_cast<int64_t>(unsaved_moved_bytes_);
  report.unsaved_moved_blocks = static_cast<int64_t>(unsaved_moved_blocks_);
  if (throttle_.backing_off()) report.note = "clients wait longer than before: going slower";
  return report;
}

ServerVerdicts RepairManager::Verdicts() const {
  int64_t delay_ms = 0;
  int64_t since_ms = 0;
  {
    std::lock_guard lock(mutex_);
    delay_ms = static_cast<int64_t>(limits_.repair_delay_ms);
    since_ms = active_since_ms_;
  }
  return JudgeServers(servers_, clock_.MonotonicMillis(), delay_ms, since_ms);
}

// ---- scanning ----

void RepairManager::ScanLoop() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    const bool more = Step();
    lock.lock();
    if (more) continue;
    changed_.wait_for(lock, options_.scan_interval, [this] {
      return stopping_ || !notices_.empty() || (epoch_.value() != 0 && states_changed_);
    });
  }
}

bool RepairManager::Step() {
  Epoch epoch;
  {
    std::lock_guard lock(mutex_);
    epoch = epoch_;
  }
  if (epoch.value() == 0 || !journal_.Serves(epoch)) return false;
  bool more = false;
  const Status status = Look(epoch, clock_.MonotonicMillis(), &more);
  if (!status.ok() && status.code() != StatusCode::kNotActive) {
    LOG_WARN_LIMITED("blocks could not be examined, will retry: {}", status);
    return false;
  }
  return status.ok() && more;
}

Status RepairManager::Look(Epoch epoch, int64_t now_ms, bool* more) {
  if (scanned_epoch_ != epoch) {
    next_row_ = BlockId();
    next_row_pass_ms_ = now_ms;
    next_tick_ms_ = now_ms;
    scans_.clear();
    balance_planner_.reset();
    blocked_scan_ = BlockedScan();
    Tick(epoch, now_ms);
    // The pass over all rows finds them too, somewhat later.
    const Status status = ScanSealed(epoch);
    if (!status.ok()) LOG_WARN("begun attempts could not be looked for: {}", status);
    scanned_epoch_ = epoch;
  }
  bool changed = false;
  {
    std::lock_guard lock(mutex_);
    changed = std::exchange(states_changed_, false);
  }
  if (changed || now_ms >= next_tick_ms_) {
    next_tick_ms_ = now_ms + kTickMs;
    Tick(epoch, now_ms);
  }
  Status status = TakeNotices(epoch);
  Refill(now_ms);
  // What one of them stumbles over keeps none of the others from going on.
  for (const auto scan :
       {&RepairManager::ScanRows, &RepairManager::ScanServers, &RepairManager::ScanBlocked}) {
    const Status scanned = (this->*scan)(epoch, now_ms, more);
    if (status.ok()) status = scanned;
  }
  return status;
}

void RepairManager::Refill(int64_t now_ms) {
  {
    std::lock_guard lock(mutex_);
    if (!planner_.TakeRoomAgain()) return;
    rescan_rows_ = true;
  }
  for (auto& [server, scan] : scans_) {
    if (scan.again_ms >= 0) scan.again_ms = now_ms;
  }
}

void RepairManager::Tick(Epoch epoch, int64_t now_ms) {
  const Tables tables(journal_.committed());
  const auto limits = tables.GetLimits();
  const auto balance = tables.GetBalance();
  std::vector<ServerLoad> loads;
  for (const ServerState& server : servers_.All()) {
    if (servers_.IsAlive(server)) loads.push_back(server.load);
  }
  {
    std::lock_guard lock(mutex_);
    if (epoch_ != epoch) return;
    if (limits.ok()) limits_ = *limits;
    if (balance.ok()) balance_ = *balance;
    int64_t moving = 0;
    for (const auto c : {RepairClass::kDrain, RepairClass::kBalance, RepairClass::kMisplaced}) {
      moving += planner_.Count(c).running;
    }
    throttle_.Update(loads, moving > 0, limits_.move_bytes_per_second);
    if (facts_.size() > 2 * planner_.size() + 1000) {
      std::erase_if(facts_, [this](const auto& entry) { return !planner_.Contains(entry.first); });
    }
  }
  TickBalance(epoch, now_ms);
  UpdateGauges(now_ms);
}

Status RepairManager::ScanSealed(Epoch epoch) {
  std::vector<BlockId> sealed;
  RETURN_IF_ERROR(Tables(journal_.committed())
                      .ScanRepairs(BlockId(), [&](BlockId block, const RepairRecord& record) {
                        if (record.sealing.value() != 0) sealed.push_back(block);
                        return sealed.size() < kMaxSealed;
                      }));
  RETURN_IF_ERROR(ConsiderAll(epoch, sealed));
  if (!sealed.empty())
    LOG_INFO("attempts of an earlier active are gone on with blocks={}", sealed.size());
  return Status::Ok();
}

Status RepairManager::ScanRows(Epoch epoch, int64_t now_ms, bool* more) {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(rescan_rows_, false)) {
      rows_changed_ = rows_changed_ || next_row_ != BlockId();
      next_row_pass_ms_ = now_ms;
    }
  }
  if (now_ms < next_row_pass_ms_) return Status::Ok();
  if (next_row_ == BlockId()) row_pass_began_ms_ = now_ms;
  std::vector<BlockId> blocks;
  RETURN_IF_ERROR(
      Tables(journal_.committed()).ScanRepairs(next_row_, [&](BlockId block, const RepairRecord&) {
        blocks.push_back(block);
        return static_cast<int>(blocks.size()) < options_.rows_per_step;
      }));
  RETURN_IF_ERROR(ConsiderAll(epoch, blocks));
  if (static_cast<int>(blocks.size()) < options_.rows_per_step) {
    next_row_ = BlockId();
    next_row_pass_ms_ = std::exchange(rows_changed_, false)
                            ? now_ms + options_.rescan_interval.count()
                            : NextPass(row_pass_began_ms_);
  } else {
    next_row_ = blocks.back().Next();
    *more = true;
  }
  return Status::Ok();
}

Status RepairManager::ScanServers(Epoch epoch, int64_t now_ms, bool* more) {
  Status status;
  const ServerVerdicts verdicts = Verdicts();
  for (const auto& [server, verdict] : verdicts.servers) {
    auto [it, fresh] = scans_.try_emplace(server);
    ServerScan& scan = it->second;
    const bool changed = fresh ? NeedsScan(verdict) : scan.verdict != verdict;
    scan.verdict = verdict;
    const bool due = scan.again_ms >= 0 && now_ms >= scan.again_ms && NeedsScan(verdict);
    if (changed || (due && !scan.running)) {
      scan.running = true;
      scan.next = BlockId();
      scan.began_ms = now_ms;
    }
    if (!scan.running) continue;
    const Status scanned = ScanServer(epoch, server, &scan);
    if (status.ok()) status = scanned;
    *more = *more || scan.running;
  }
  return status;
}

Status RepairManager::ScanBlocked(Epoch epoch, int64_t now_ms, bool* more) {
  BlockedScan& scan = blocked_scan_;
  if (now_ms < scan.again_ms) return Status::Ok();
  if (scan.next == BlockId()) scan.began_ms = now_ms;
  const auto most = static_cast<size_t>(options_.rows_per_step);
  std::vector<BlockId> blocks;
  {
    std::lock_guard lock(mutex_);
    blocks = planner_.Blocked(scan.next, most);
  }
  RETURN_IF_ERROR(ConsiderAll(epoch, blocks));
  if (blocks.size() == most) {
    scan.next = blocks.back().Next();
    *more = true;
    return Status::Ok();
  }
  scan.next = BlockId();
  scan.again_ms = NextPass(scan.began_ms);
  return Status::Ok();
}

Status RepairManager::ScanServer(Epoch epoch, ServerId server, ServerScan* scan) {
  std::vector<BlockId> blocks;
  RETURN_IF_ERROR(Tables(journal_.committed())
                      .ScanReplicas(server, scan->next, BlockId(~uint64_t{0}),
                                    [&](BlockId block, const ReplicaRecord&) {
                                      blocks.push_back(block);
                                      return static_cast<int>(blocks.size()) <
                                             options_.rows_per_step;
                                    }));
  RETURN_IF_ERROR(ConsiderAll(epoch, blocks));
  if (static_cast<int>(blocks.size()) == options_.rows_per_step) {
    scan->next = blocks.back().Next();
    return Status::Ok();
  }
  scan->running = false;
  scan->again_ms = NextPass(scan->began_ms);
  return Status::Ok();
}

int64_t RepairManager::NextPass(int64_t began_ms) const {
  const int64_t now_ms = clock_.MonotonicMillis();
  return now_ms +
         std::max<int64_t>(options_.rescan_interval.count(), kScanPause * (now_ms - began_ms));
}

Status RepairManager::TakeNotices(Epoch epoch) {
  std::deque<BlockId> blocks;
  {
    std::lock_guard lock(mutex_);
    blocks.swap(notices_);
  }
  if (blocks.empty()) return Status::Ok();
  const Status status = ConsiderAll(epoch, std::vector<BlockId>(blocks.begin(), blocks.end()));
  if (status.ok()) return status;
  // Those that were not looked at have their rows.
  std::lock_guard lock(mutex_);
  rescan_rows_ = true;
  return status;
}

Status RepairManager::ConsiderAll(Epoch epoch, std::span<const BlockId> blocks) {
  const ServerVerdicts verdicts = Verdicts();
  for (const BlockId block : blocks) {
    const Status status = Consider(epoch, block, verdicts);
    if (status.ok()) continue;
    if (ConcernsAll(status)) return status;
    LOG_WARN_LIMITED("block could not be examined, goes without repair block={}: {}", block,
                     status);
  }
  return Status::Ok();
}

RepairManager::Facts RepairManager::MakeFacts(const BlockSituation& situation,
                                              RepairClass repair_class) const {
  Facts facts;
  facts.chain = situation.block().chain;
  facts.stale = situation.block().stale;
  facts.keep = situation.good;
  facts.rule = situation.rule;
  facts.bytes = situation.bytes;
  const int wanted = situation.health.wanted;
  const auto count = [](const std::vector<ServerId>& servers) {
    return static_cast<int>(servers.size());
  };
  facts.heal = situation.bad;
  facts.doubtful = situation.doubtful;
  if (situation.sealed || situation.only_bad_left || repair_class == RepairClass::kSurplus ||
      repair_class == RepairClass::kDoubtful) {
    facts.copies = false;
    return facts;
  }
  switch (repair_class) {
    case RepairClass::kBelowWanted:
      facts.new_ones = wanted - count(situation.good) - count(situation.away) -
                       count(situation.returning) - count(facts.heal);
      break;
    case RepairClass::kDrain:
      // Where there are more than wanted some may leave without being replaced.
      facts.new_ones = wanted - (count(situation.good) - count(situation.leaving));
      facts.copies = facts.new_ones > 0;
      std::erase_if(facts.keep,
                    [&](ServerId server) { return ContainsServer(situation.leaving, server); });
      break;
    case RepairClass::kMisplaced: {
      facts.new_ones = 1;
      const ServerId victim = BestToLeave(servers_, facts.chain, ServerId(), facts.rule);
      std::erase(facts.keep, victim);
      break;
    }
    case RepairClass::kDamaged:
    case RepairClass::kBalance:
      break;
    default:
      facts.new_ones = wanted - count(situation.good) - count(facts.heal);
  }
  facts.new_ones = std::max(facts.new_ones, 0);
  return facts;
}

void RepairManager::ForgetBlock(BlockId block) {
  // A move that is planned is the business of balancing; what came in its place is not.
  if (balance_moves_.contains(block) && planner_.WaitsAs(block) == RepairClass::kBalance) return;
  planner_.Remove(block);
  if (!planner_.Contains(block)) facts_.erase(block);
}

Status RepairManager::Consider(Epoch epoch, BlockId block, const ServerVerdicts& verdicts) {
  ASSIGN_OR_RETURN(const auto situation,
                   ExamineBlock(journal_.committed(), servers_, verdicts, block));
  const auto repair_class = situation ? situation->Class() : std::nullopt;
  if (!repair_class) {
    // As long as servers may be alive that were not heard of, nobody can say that a block is not
    // misplaced.
    if (situation && situation->repair && !servers_.WaitsForKnown()) {
      RETURN_IF_ERROR(Review(epoch, *situation));
    }
    std::lock_guard lock(mutex_);
    if (epoch_ == epoch) ForgetBlock(block);
    return Status::Ok();
  }
  RepairEntry entry;
  entry.block = block;
  entry.repair_class = *repair_class;
  entry.since_ms = clock_.MonotonicMillis();
  if (situation->repair) {
    const int64_t age_ms = (clock_.WallNanos() - situation->repair->since_ns) / 1'000'000;
    entry.since_ms -= std::max<int64_t>(age_ms, 0);
  }
  entry.first = situation->sealed;
  entry.blocked = situation->MustWait(*repair_class);
  Facts facts = MakeFacts(*situation, *repair_class);
  // Where nothing is copied nobody's slots are waited for.
  if (facts.copies) entry.sources = situation->good;
  std::lock_guard lock(mutex_);
  if (epoch_ != epoch) return Status(StatusCode::kNotActive, "not the active metaserver");
  if (!planner_.Put(std::move(entry)) || *repair_class == RepairClass::kLost) {
    if (!planner_.IsRunning(block)) facts_.erase(block);
    return Status::Ok();
  }
  Facts& known = facts_[block];
  facts.avoid = std::move(known.avoid);
  facts.compare_after_ms = known.compare_after_ms;
  std::erase_if(facts.heal, [&](ServerId server) { return facts.avoid.contains(server); });
  // Whoever could not be healed is replaced.
  if (*repair_class == RepairClass::kDamaged && facts.heal.empty()) {
    facts.new_ones = situation->health.bad;
  }
  known = std::move(facts);
  changed_.notify_one();
  return Status::Ok();
}

Status RepairManager::Review(Epoch epoch, const BlockSituation& situation) {
  // Most reviews change nothing: passes over many rows are not to wait for the journal.
  Transaction trial(journal_.committed());
  OperationContext context{trial, SessionId(), clock_.WallNanos(), servers_};
  RETURN_IF_ERROR(EvaluateReviewBlock(context, situation.block().block, situation.misplaced));
  if (trial.empty()) return Status::Ok();
  return journal_.Propose(epoch, "review block", [&](OperationContext& context) {
    return EvaluateReviewBlock(context, situation.block().block, situation.misplaced);
  });
}

// ---- balance ----

void RepairManager::TickBalance(Epoch epoch, int64_t now_ms) {
  BalanceRecord record;
  std::vector<std::pair<BalanceMove, bool>> finished;
  {
    std::lock_guard lock(mutex_);
    record = balance_;
    finished.swap(finished_moves_);
  }
  if (record.state != BalanceState::kRunning) {
    balance_planner_.reset();
    balance_stuck_since_ms_ = -1;
    std::lock_guard lock(mutex_);
    balance_left_bytes_ = 0;
    const auto moves = std::exchange(balance_moves_, {});
    for (const auto& [block, move] : moves) ForgetBlock(block);
  } else {
    if (!balance_planner_) {
      balance_planner_.emplace(record.threshold_permille / 10.0, options_.balance_settle.count());
    }
    TakeAbandonedMoves(&finished);
    for (const auto& [move, moved] : finished) balance_planner_->Finished(move, moved, now_ms);
    const std::vector<BalanceServerState> states = BalanceStates(servers_);
    balance_planner_->Update(states, now_ms);
    const int most = kMovesPerServer * static_cast<int>(states.size());
    while (balance_planner_->running() < most) {
      const auto move = balance_planner_->Next(
          [this](const BalancePlanner::Wish& wish) { return PickBalanceBlock(wish); }, now_ms);
      if (!move) break;
      EnterMove(epoch, *move, now_ms);
    }
    std::lock_guard lock(mutex_);
    balance_left_bytes_ = balance_planner_->left_bytes();
  }
  const bool done = BalanceIsOver(now_ms);
  if (done || now_ms >= next_balance_save_ms_) {
    next_balance_save_ms_ = now_ms + kBalanceSaveMs;
    const Status status = SaveBalanceProgress(epoch, record, done);
    if (!status.ok() && status.code() != StatusCode::kNotActive) {
      LOG_WARN_LIMITED("progress of balancing could not be journaled: {}", status);
    }
  }
}

void RepairManager::TakeAbandonedMoves(std::vector<std::pair<BalanceMove, bool>>* finished) {
  std::lock_guard lock(mutex_);
  // More urgent blocks took their places in the plan, or something else became the matter with
  // these.
  for (auto it = balance_moves_.begin(); it != balance_moves_.end();) {
    if (planner_.IsRunning(it->first) || planner_.WaitsAs(it->first) == RepairClass::kBalance) {
      ++it;
      continue;
    }
    finished->emplace_back(it->second, false);
    it = balance_moves_.erase(it);
  }
}

bool RepairManager::BalanceIsOver(int64_t now_ms) {
  if (!balance_planner_ || balance_planner_->running() > 0) return false;
  const BalancePlanner::State state = balance_planner_->state(now_ms);
  if (state != BalancePlanner::State::kStuck) {
    balance_stuck_since_ms_ = -1;
    return state == BalancePlanner::State::kEven;
  }
  // What the rules forbid today they forbid tomorrow; repair under way may free some blocks.
  if (balance_stuck_since_ms_ < 0) balance_stuck_since_ms_ = now_ms;
  if (now_ms - balance_stuck_since_ms_ < kBalanceStuckMs) return false;
  LOG_WARN("balancing ends although the servers are not even: no other block may be moved");
  return true;
}

void RepairManager::EnterMove(Epoch epoch, const BalanceMove& move, int64_t now_ms) {
  RepairEntry entry;
  entry.block = move.block;
  entry.repair_class = RepairClass::kBalance;
  entry.since_ms = now_ms;
  entry.sources = {move.from};
  entry.move_from = move.from;
  entry.move_to = move.to;
  std::lock_guard lock(mutex_);
  if (epoch_ != epoch || planner_.Contains(move.block) || !planner_.Put(std::move(entry))) {
    finished_moves_.emplace_back(move, false);
    return;
  }
  balance_moves_[move.block] = move;
  facts_[move.block] = Facts();
  changed_.notify_one();
}

BalancePlanner::Pick RepairManager::PickBalanceBlock(const BalancePlanner::Wish& wish) {
  BlockId& cursor = balance_cursors_[wish.from];
  const Tables tables(journal_.committed());
  std::vector<BlockId> blocks;
  const auto take = [&](BlockId block, const ReplicaRecord&) {
    blocks.push_back(block);
    return static_cast<int>(blocks.size()) < kBalanceRows;
  };
  if (!tables.ScanReplicas(wish.from, cursor, BlockId(~uint64_t{0}), take).ok()) return {};
  const bool at_end = static_cast<int>(blocks.size()) < kBalanceRows;
  cursor = at_end ? BlockId() : blocks.back().Next();
  const ServerVerdicts verdicts = Verdicts();
  for (const BlockId block : blocks) {
    const auto situation = ExamineBlock(journal_.committed(), servers_, verdicts, block);
    if (!situation.ok() || !*situation || (*situation)->Class() || !(*situation)->away.empty()) {
      continue;
    }
    {
      std::lock_guard lock(mutex_);
      if (planner_.Contains(block)) continue;
    }
    auto move = FitMove(**situation, wish);
    if (!move) continue;
    // The next pick goes on behind it.
    cursor = block.Next();
    return {move};
  }
  return {std::nullopt, at_end};
}

std::optional<BalanceMove> RepairManager::FitMove(const BlockSituation& situation,
                                                  const BalancePlanner::Wish& wish) const {
  std::vector<ServerState> members;
  size_t from = 0;
  for (const ServerId server : situation.block().chain) {
    auto state = servers_.Find(server);
    if (!state) return std::nullopt;
    if (server == wish.from) from = members.size();
    members.push_back(std::move(*state));
  }
  std::vector<const ServerState*> pointers;
  for (const ServerState& state : members) pointers.push_back(&state);
  for (size_t i = 0; i < wish.to.size(); ++i) {
    const ServerId to = wish.to[i];
    if (ContainsServer(situation.block().chain, to)) continue;
    if (situation.bytes == 0 || situation.bytes > wish.max_bytes[i]) continue;
    const auto state = servers_.Find(to);
    if (!state || !MoveKeepsRule(pointers, from, *state, situation.rule)) continue;
    const auto doomed = ServersThatDelete(Tables(journal_.committed()), situation.block().block,
                                          std::vector<ServerId>{to});
    if (!doomed.ok() || !doomed->empty()) continue;
    return BalanceMove{situation.block().block, wish.from, to, situation.bytes};
  }
  return std::nullopt;
}

Status RepairManager::SaveBalanceProgress(Epoch epoch, const BalanceRecord& record, bool done) {
  uint64_t bytes = 0;
  uint64_t blocks = 0;
  {
    std::lock_guard lock(mutex_);
    bytes = unsaved_moved_bytes_;
    blocks = unsaved_moved_blocks_;
  }
  if (blocks > 0) {
    RETURN_IF_ERROR(journal_.Propose(epoch, "balance progress", [&](OperationContext& context) {
      return EvaluateAddBalanceProgress(context, record.started_at_ns, bytes, blocks);
    }));
    std::lock_guard lock(mutex_);
    unsaved_moved_bytes_ -= std::min(bytes, unsaved_moved_bytes_);
    unsaved_moved_blocks_ -= std::min(blocks, unsaved_moved_blocks_);
  }
  if (!done) return Status::Ok();
  RETURN_IF_ERROR(journal_.Propose(epoch, "balance done", [&](OperationContext& context) -> Status {
    ASSIGN_OR_RETURN(BalanceRecord now, Tables(context.transaction).GetBalance());
    if (now.state != BalanceState::kRunning) return Status::Ok();
    now.state = BalanceState::kDone;
    now.changed_at_ns = context.now_ns;
    return EvaluatePutBalance(context, BalanceState::kRunning, now);
  }));
  LOG_INFO("balancing is done");
  std::lock_guard lock(mutex_);
  balance_.state = BalanceState::kDone;
  return Status::Ok();
}

void RepairManager::UpdateGauges(int64_t now_ms) {
  uint64_t draining = 0;
  for (const ServerState& server : servers_.All()) {
    if (server.service == ServiceState::kDraining) draining += server.replica_count();
  }
  std::lock_guard lock(mutex_);
  if (epoch_.value() == 0) return;
  for (int c = 0; c < kRepairClasses; ++c) {
    const auto count = planner_.Count(static_cast<RepairClass>(c));
    const double oldest =
        count.blocks == 0 ? 0 : static_cast<double>(now_ms - count.oldest_since_ms) / 1000;
    gauges_.queue[static_cast<size_t>(c)]->Set(static_cast<double>(count.blocks));
    gauges_.oldest_seconds[static_cast<size_t>(c)]->Set(oldest);
  }
  gauges_.running.Set(planner_.running());
  gauges_.balance_state.Set(static_cast<double>(balance_.state));
  gauges_.balance_left_bytes.Set(static_cast<double>(balance_left_bytes_));
  gauges_.move_limit_bytes.Set(static_cast<double>(throttle_.limit()));
  gauges_.drain_replicas_left.Set(static_cast<double>(draining));
}

}  // namespace tercet
