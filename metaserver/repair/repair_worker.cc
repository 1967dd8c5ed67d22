// What the working threads of the RepairManager do with one block.
#include <algorithm>
#include <utility>

#include "common/log/log.h"
#include "metaserver/ops/replica_operations.h"
#include "metaserver/repair/repair_manager.h"

namespace tercet {
namespace {

using Outcome = RepairPlanner::Outcome;

/// A worker that finds nothing looks again after so long.
constexpr std::chrono::milliseconds kIdle{200};
constexpr std::chrono::milliseconds kLockWait{2000};
/// Doubts that arise after a comparison began are reported later than this after it.
constexpr int64_t kComparisonHoldsMs = 5000;
/// A block that cannot be repaired now, and of which a comparison settled nothing.
constexpr int64_t kCompareAgainMs = 60'000;

wire::PullClass::type PullClassOf(RepairClass repair_class) {
  if (IsUrgent(repair_class)) return wire::PullClass::URGENT;
  return IsMove(repair_class) ? wire::PullClass::MOVE : wire::PullClass::REPAIR;
}

bool Contains(const std::vector<ServerId>& servers, ServerId server) {
  return ContainsServer(servers, server);
}

}  // namespace

/// What is to be done about one block now.
struct RepairManager::Plan {
  ReconfigurationGoal goal;
  std::string why;
};

void RepairManager::WorkerLoop() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    const bool worked = WorkOnce();
    lock.lock();
    if (!worked && !stopping_) changed_.wait_for(lock, kIdle);
  }
}

bool RepairManager::WorkOnce() {
  std::optional<RepairJob> job;
  Epoch epoch;
  {
    std::lock_guard lock(mutex_);
    epoch = epoch_;
    if (epoch.value() == 0 || stopping_) return false;
    job = planner_.Take(
        clock_.MonotonicMillis(),
        [this](const RepairEntry& entry, const auto& can_send, const auto& can_receive) {
          return Assign(entry, can_send, can_receive);
        });
  }
  if (!job) return false;
  const Outcome outcome = Execute(epoch, *job);
  // What is left to do, or what it turned out to be, is entered before this is taken out.
  const Status status = Consider(epoch, job->entry.block, Verdicts());
  if (!status.ok() && status.code() != StatusCode::kNotActive) {
    LOG_WARN_LIMITED("block could not be examined block={}: {}", job->entry.block, status);
  }
  FinishJob(epoch, *job, outcome);
  return true;
}

void RepairManager::FinishJob(Epoch epoch, const RepairJob& job, Outcome outcome) {
  std::lock_guard lock(mutex_);
  if (epoch_ != epoch) return;
  const BlockId block = job.entry.block;
  const auto move = balance_moves_.find(block);
  if (move != balance_moves_.end()) {
    finished_moves_.emplace_back(
        move->second, job.entry.repair_class == RepairClass::kBalance && outcome == Outcome::kDone);
    balance_moves_.erase(move);
    // Another block does as well: balancing picks again.
    if (job.entry.repair_class == RepairClass::kBalance) outcome = Outcome::kDone;
  }
  if (outcome == Outcome::kFailed || outcome == Outcome::kHopeless) ++failed_attempts_;
  planner_.Finish(block, outcome, clock_.MonotonicMillis());
  if (!planner_.Contains(block) || planner_.WaitsAs(block) == RepairClass::kLost) {
    facts_.erase(block);
  } else if (outcome == Outcome::kDone) {
    facts_[block].avoid.clear();
  }
  // Slots are free.
  changed_.notify_one();
}

// ---- who copies ----

std::optional<RepairSlots> RepairManager::Assign(const RepairEntry& entry,
                                                 const RepairPlanner::SlotTest& can_send,
                                                 const RepairPlanner::SlotTest& can_receive) {
  const auto found = facts_.find(entry.block);
  if (found == facts_.end()) return std::nullopt;
  Facts& facts = found->second;
  if (!facts.copies) return RepairSlots{};
  RepairSlots slots;
  for (const ServerId source : entry.sources) {
    if (can_send(source) && servers_.IsAlive(source)) {
      slots.source = source;
      break;
    }
  }
  if (!slots.source) return std::nullopt;
  if (entry.repair_class == RepairClass::kBalance) {
    if (!can_receive(entry.move_to)) return std::nullopt;
    slots.targets = {entry.move_to};
    return slots;
  }
  const int64_t now_ms = clock_.MonotonicMillis();
  TargetChoice choice = ChooseTargets(servers_, facts, entry, can_receive, now_ms);
  if (choice.busy) return std::nullopt;
  slots.targets = std::move(choice.targets);
  if (slots.targets.empty()) {
    // Once all were tried in vain they are tried again.
    if (entry.repair_class != RepairClass::kSurplus) facts.avoid.clear();
    // Nobody can take a copy, perhaps for long. But those that are there can be compared, unless
    // one waits to be healed: that makes all equal.
    if (facts.doubtful && facts.heal.empty() && now_ms >= facts.compare_after_ms) {
      return RepairSlots{};
    }
    return std::nullopt;
  }
  return slots;
}

void RepairManager::Avoid(BlockId block, ServerId server) {
  std::lock_guard lock(mutex_);
  const auto found = facts_.find(block);
  if (found != facts_.end()) found->second.avoid.insert(server);
}

// ---- what is done ----

Outcome RepairManager::Execute(Epoch epoch, RepairJob job) {
  const auto examined = ExamineBlock(journal_.committed(), servers_, Verdicts(), job.entry.block);
  if (!examined.ok()) return Outcome::kFailed;
  if (!*examined) return Outcome::kDone;
  const BlockSituation& situation = **examined;
  auto repair_class = situation.Class();
  if (!repair_class && job.entry.repair_class == RepairClass::kBalance) {
    repair_class = RepairClass::kBalance;
  }
  // It is whole again, or something else is the matter: then it is entered as that.
  if (repair_class != job.entry.repair_class) return Outcome::kDone;

  if (situation.doubtful && job.slots.targets.empty() && !situation.sealed &&
      !situation.only_bad_left) {
    return SettleDoubts(epoch, job, situation, *repair_class);
  }
  // Nothing is copied for an attempt that would be refused.
  if (!MakePlan(job, situation, *repair_class)) return Outcome::kNotNow;
  std::vector<ServerId> fresh;
  for (const ServerId target : job.slots.targets) {
    if (!Contains(situation.good, target) && !situation.IsBadFor(target, BadReplica::kDamaged) &&
        !situation.IsBadFor(target, BadReplica::kSuspect)) {
      fresh.push_back(target);
    }
  }
  const auto doomed = ServersThatDelete(Tables(journal_.committed()), job.entry.block, fresh);
  if (!doomed.ok()) return Outcome::kFailed;
  for (const ServerId server : *doomed) {
    Avoid(job.entry.block, server);
    std::erase(fresh, server);
  }
  if (!doomed->empty()) return Outcome::kNotNow;
  int64_t copied = 0;
  if (!fresh.empty() && job.slots.source && situation.bytes > options_.prepare_above_bytes &&
      !PrepareTargets(epoch, job, situation, fresh, &copied)) {
    return Outcome::kFailed;
  }
  return Attempt(epoch, job, *repair_class, copied);
}

bool RepairManager::PrepareTargets(Epoch epoch, RepairJob& job, const BlockSituation& situation,
                                   const std::vector<ServerId>& targets, int64_t* copied) {
  const BlockId block = job.entry.block;
  const Reconfigurer::Prepared prepared =
      reconfigurer_.Prepare(epoch, block, *job.slots.source, situation.block().generation, targets,
                            PullClassOf(job.entry.repair_class));
  *copied = prepared.copied_bytes;
  if (prepared.failed.empty()) return true;
  for (const auto& [target, failure] : prepared.failed) {
    const auto& [status, server] = failure;
    // While the block is sealed nobody is to wait for it once more.
    std::erase(job.slots.targets, target);
    LOG_WARN_LIMITED("copy failed block={} generation={} source={} target={} failed={}: {}", block,
                     situation.block().generation, *job.slots.source, target, server, status);
    if (server != *job.slots.source) {
      Avoid(block, target);
    } else if (status.code() == StatusCode::kCorruption) {
      const BadReplicaNote note{block, situation.block().generation, server,
                                static_cast<uint8_t>(BadReplica::kDamaged)};
      const Status noted = journal_.Propose(epoch, "bad replica", [&](OperationContext& context) {
        return EvaluateNoteBadReplicas(context, std::span(&note, 1)).status();
      });
      if (!noted.ok()) LOG_WARN_LIMITED("bad replica could not be noted: {}", noted);
    }
  }
  return !job.slots.targets.empty();
}

Outcome RepairManager::SettleDoubts(Epoch epoch, const RepairJob& job,
                                    const BlockSituation& situation, RepairClass repair_class) {
  const FileBlockRecord& block = situation.block();
  const bool complete = situation.good.size() == block.chain.size();
  // An attempt is due anyway, for the members that are gone.
  const bool own_class = repair_class == RepairClass::kDoubtful;
  if (own_class && !complete) return Attempt(epoch, job, repair_class, 0);
  const int64_t begin_ms = clock_.MonotonicMillis();
  const Comparison comparison =
      reconfigurer_.Compare(epoch, block.block, block.generation, situation.good);
  if (comparison == Comparison::kDifferent) return Attempt(epoch, job, repair_class, 0);
  if (comparison == Comparison::kUnknown || !complete) {
    // The note stays: those that did not answer may differ. What else is wrong with the block is
    // not put off for that.
    if (own_class) return Outcome::kFailed;
    PutOffComparison(block.block);
    return Outcome::kNotNow;
  }
  const Status status =
      journal_.Propose(epoch, "clear doubts", [&](OperationContext& context) -> Status {
        if (clock_.MonotonicMillis() - begin_ms > kComparisonHoldsMs) {
          return Status(StatusCode::kDeadlineExceeded, "the comparison is too old");
        }
        return EvaluateClearDoubts(context, block.block, block.generation);
      });
  if (!status.ok()) return Outcome::kFailed;
  RepairCounters::Get().equal_doubts.Increment();
  return Outcome::kDone;
}

void RepairManager::PutOffComparison(BlockId block) {
  std::lock_guard lock(mutex_);
  const auto found = facts_.find(block);
  if (found == facts_.end()) return;
  found->second.compare_after_ms = clock_.MonotonicMillis() + kCompareAgainMs;
}

Outcome RepairManager::Attempt(Epoch epoch, const RepairJob& job, RepairClass repair_class,
                               int64_t prepared_bytes) {
  const BlockId block = job.entry.block;
  const auto hold = reconfigurer_.locks().Acquire(block, kLockWait);
  if (!hold) return Outcome::kNotNow;
  const auto examined = ExamineBlock(journal_.committed(), servers_, Verdicts(), block);
  if (!examined.ok()) return Outcome::kFailed;
  if (!*examined) return Outcome::kDone;
  const BlockSituation& situation = **examined;
  const auto now = situation.Class();
  if (now != repair_class && !(repair_class == RepairClass::kBalance && !now))
    return Outcome::kDone;
  const std::optional<Plan> plan = MakePlan(job, situation, repair_class);
  if (!plan) return Outcome::kNotNow;
  const ReconfigurationResult result =
      reconfigurer_.Run(epoch, plan->goal, PullClassOf(repair_class), plan->why);
  return Judge(epoch, job, situation, *plan, result, prepared_bytes + result.copied_bytes);
}

std::optional<RepairManager::Plan> RepairManager::MakePlan(const RepairJob& job,
                                                           const BlockSituation& situation,
                                                           RepairClass repair_class) const {
  if (situation.MustWait(repair_class)) return std::nullopt;
  Plan plan;
  plan.why = std::string(RepairClassName(repair_class));
  ReconfigurationGoal& goal = plan.goal;
  goal.block = situation.block().block;
  goal.from = situation.block().generation;
  goal.has_data = true;  // reserved blocks are not examined
  goal.unreachable = situation.gone;
  goal.unreachable.insert(goal.unreachable.end(), situation.away.begin(), situation.away.end());
  for (const ServerId server : situation.bad) {
    if (!servers_.IsAlive(server)) goal.unreachable.push_back(server);
    if (situation.IsBadFor(server, BadReplica::kDamaged)) goal.verify.push_back(server);
    if (situation.IsBadFor(server, BadReplica::kSuspect)) goal.suspects.push_back(server);
  }
  goal.drop = goal.unreachable;
  const int good = static_cast<int>(situation.good.size());
  goal.minimum = std::max(good, 1);
  if (situation.only_bad_left) {
    plan.why = "only bad replicas are left";
    goal.verify = situation.bad;
    goal.accept_suspect = true;
    goal.minimum = 1;
    return plan;
  }
  if (situation.sealed) {
    plan.why = "begun before";
    goal.minimum = std::clamp(good, 1, situation.health.minimum);
    return plan;
  }
  for (const ServerId target : job.slots.targets) {
    if (!Contains(situation.block().chain, target)) goal.add.push_back(target);
  }
  // A bad member that is not healed now, because it could not be, leaves.
  for (const ServerId server : situation.bad) {
    if (!Contains(job.slots.targets, server) && !Contains(goal.drop, server)) {
      goal.drop.push_back(server);
    }
  }
  if (!IsMove(repair_class) && repair_class != RepairClass::kSurplus) return plan;
  if (!PlanMove(job, situation, repair_class, &plan)) return std::nullopt;
  return plan;
}

bool RepairManager::PlanMove(const RepairJob& job, const BlockSituation& situation,
                             RepairClass repair_class, Plan* plan) const {
  ReconfigurationGoal& goal = plan->goal;
  const std::vector<ServerId>& good = situation.good;
  switch (repair_class) {
    case RepairClass::kSurplus: {
      // Those that are gone went into `drop` already.
      const int too_many = static_cast<int>(good.size()) - situation.health.wanted;
      if (too_many > 0)
        goal.drop.push_back(BestToLeave(servers_, good, ServerId(), situation.rule));
      goal.minimum = situation.health.wanted;
      return true;
    }
    case RepairClass::kDrain: {
      const size_t spare =
          static_cast<size_t>(std::max(static_cast<int>(good.size()) - situation.health.wanted, 0));
      const size_t leave = std::min(goal.add.size() + spare, situation.leaving.size());
      if (leave == 0) return false;
      goal.drop.insert(goal.drop.end(), situation.leaving.begin(),
                       situation.leaving.begin() + static_cast<std::ptrdiff_t>(leave));
      goal.minimum = static_cast<int>(good.size() - spare);
      return true;
    }
    case RepairClass::kMisplaced: {
      if (goal.add.size() != 1) return false;
      const auto victim = LeavesForBetter(servers_, good, goal.add[0], situation.rule);
      if (!victim) return false;
      goal.drop.push_back(*victim);
      return true;
    }
    default: {
      const ServerId from = job.entry.move_from;
      if (!Contains(good, from) || goal.add.size() != 1) return false;
      goal.drop.push_back(from);
      return true;
    }
  }
}

Outcome RepairManager::Judge(Epoch epoch, const RepairJob& job, const BlockSituation& before,
                             const Plan& plan, const ReconfigurationResult& result,
                             int64_t copied) {
  for (const auto& [server, status] : result.failed) {
    if (!Contains(plan.goal.unreachable, server)) Avoid(job.entry.block, server);
  }
  if (!result.status.ok()) {
    if (result.status.code() == StatusCode::kConflict) return Outcome::kNotNow;
    if (result.begun && result.status.code() != StatusCode::kStaleEpoch) {
      Settle(epoch, plan.goal, result);
    }
    return Outcome::kFailed;
  }
  CountDone(job, before, plan, copied);
  // Without progress the next try waits: a page that is damaged everywhere stays so.
  const auto after = ExamineBlock(journal_.committed(), servers_, Verdicts(), job.entry.block);
  if (!after.ok() || !*after || before.sealed) return Outcome::kDone;
  const BlockSituation& now = **after;
  const bool same = now.Class() && now.Class() == before.Class() &&
                    now.good.size() <= before.good.size() && now.bad.size() >= before.bad.size() &&
                    now.leaving.size() >= before.leaving.size() &&
                    now.health.members >= before.health.members;
  if (!same) return Outcome::kDone;
  return result.lost_pages > 0 ? Outcome::kHopeless : Outcome::kFailed;
}

void RepairManager::Settle(Epoch epoch, const ReconfigurationGoal& failed,
                           const ReconfigurationResult& result) {
  if (result.only_suspects) return;  // all of them are known to be bad now, or will be reported
  ReconfigurationGoal goal;
  goal.block = failed.block;
  goal.from = failed.from;
  goal.has_data = failed.has_data;
  goal.unreachable = failed.unreachable;
  goal.suspects = failed.suspects;
  for (const auto& [server, status] : result.failed) {
    const bool silent =
        status.code() == StatusCode::kUnavailable || status.code() == StatusCode::kDeadlineExceeded;
    if (silent && !Contains(goal.unreachable, server)) goal.unreachable.push_back(server);
  }
  goal.drop = goal.unreachable;
  const ReconfigurationResult settled =
      reconfigurer_.Run(epoch, goal, wire::PullClass::URGENT, "attempt failed");
  if (!settled.status.ok() && settled.status.code() != StatusCode::kStaleEpoch) {
    LOG_WARN("block is not served until one of its servers answers block={} generation={}: {}",
             goal.block, goal.from, settled.status);
  }
}

void RepairManager::CountDone(const RepairJob& job, const BlockSituation& before, const Plan& plan,
                              int64_t copied) {
  RepairCounters& counters = RepairCounters::Get();
  const bool move = IsMove(job.entry.repair_class);
  (move ? counters.moved_blocks : counters.repaired_blocks).Increment();
  (move ? counters.moved_bytes : counters.repaired_bytes).Increment(static_cast<double>(copied));
  const int64_t now_ms = clock_.MonotonicMillis();
  std::lock_guard lock(mutex_);
  ++repaired_blocks_;
  repair_rate_.Add(now_ms, copied);
  for (const ServerId server : plan.goal.drop) {
    if (Contains(before.leaving, server)) {
      drain_rates_[server].Add(now_ms, static_cast<int64_t>(before.bytes));
    }
  }
  if (job.entry.repair_class != RepairClass::kBalance) return;
  balance_rate_.Add(now_ms, copied);
  unsaved_moved_bytes_ += before.bytes;
  ++unsaved_moved_blocks_;
}

}  // namespace tercet
