#include "metaserver/placement/repair_planner.h"

#include <algorithm>
#include <array>
#include <limits>

namespace tercet {
namespace {

int CountIn(const std::map<ServerId, int>& counts, ServerId server) {
  auto it = counts.find(server);
  return it == counts.end() ? 0 : it->second;
}

void Add(std::map<ServerId, int>* counts, ServerId server, int delta) {
  auto it = counts->try_emplace(server, 0).first;
  it->second += delta;
  if (it->second == 0) counts->erase(it);
}

}  // namespace

std::string_view RepairClassName(RepairClass repair_class) {
  static constexpr std::array<std::string_view, kRepairClasses> kNames = {
      "lost",     "one_left",  "below_minimum", "damaged", "below_wanted",
      "doubtful", "misplaced", "surplus",       "drain",   "balance",
  };
  return kNames[static_cast<size_t>(repair_class)];
}

std::optional<RepairClass> ClassifyBlock(const BlockHealth& health) {
  if (health.good == 0) return RepairClass::kLost;
  if (health.good == 1 && health.wanted > 1) return RepairClass::kOneLeft;
  if (health.good < health.minimum) return RepairClass::kBelowMinimum;
  if (health.bad > 0) return RepairClass::kDamaged;
  if (health.good < health.wanted) return RepairClass::kBelowWanted;
  if (health.doubtful > 0) return RepairClass::kDoubtful;
  // Whoever leaves is no surplus: the others are counted without.
  if (health.leaving > 0) return RepairClass::kDrain;
  if (health.misplaced) return RepairClass::kMisplaced;
  if (health.members > health.wanted) return RepairClass::kSurplus;
  return std::nullopt;
}

// ---- the queues ----
// An entry that is not running is in exactly one of ready_[class], waiting_ and blocked_; every
// entry is in by_age_[class].

RepairPlanner::Order RepairPlanner::OrderOf(const RepairEntry& entry) {
  const Rank rank = entry.blocked ? kBlocked : entry.first ? kFirst : kUsual;
  return {rank, entry.since_ms, entry.block};
}

void RepairPlanner::Enqueue(State& state) {
  const bool is_lost = state.entry.repair_class == RepairClass::kLost;
  if (state.entry.blocked) {
    blocked_.insert(state.entry.block);
    if (!is_lost) ++class_waiting_[static_cast<size_t>(state.entry.repair_class)];
  } else if (state.not_before_ms >= 0) {
    waiting_.insert({state.not_before_ms, state.entry.block});
    ++class_waiting_[static_cast<size_t>(state.entry.repair_class)];
  } else {
    ready(state.entry.repair_class).insert(OrderOf(state.entry));
  }
}

void RepairPlanner::Dequeue(State& state) {
  const bool is_lost = state.entry.repair_class == RepairClass::kLost;
  if (state.entry.blocked) {
    blocked_.erase(state.entry.block);
    if (!is_lost) --class_waiting_[static_cast<size_t>(state.entry.repair_class)];
  } else if (state.not_before_ms >= 0) {
    waiting_.erase({state.not_before_ms, state.entry.block});
    --class_waiting_[static_cast<size_t>(state.entry.repair_class)];
  } else {
    ready(state.entry.repair_class).erase(OrderOf(state.entry));
  }
}

void RepairPlanner::Wait(State& state, int64_t until_ms) {
  state.not_before_ms = until_ms;
  Enqueue(state);
}

bool RepairPlanner::Evict(size_t repair_class, Rank behind) {
  const std::set<Order>& all = by_age_[repair_class];
  // At most as many run as there are workers.
  for (auto it = all.rbegin(); it != all.rend() && std::get<Rank>(*it) >= behind; ++it) {
    const BlockId block = std::get<BlockId>(*it);
    if (entries_.at(block).running) continue;
    Remove(block);
    return true;
  }
  return false;
}

bool RepairPlanner::MakeRoom(const RepairEntry& entry) {
  // Passes over the replicas of dead servers find lost ones again without being told to.
  if (entry.repair_class == RepairClass::kLost) return lost() < options_.max_lost;
  if (Competing() < options_.max_entries) return true;
  left_out_ = true;
  // All shares together are less than all the room: one that has less than its own finds another
  // that has more.
  const size_t share = options_.max_entries / (2 * kRepairClasses);
  const auto own = static_cast<size_t>(entry.repair_class);
  for (size_t c = kRepairClasses - 1; c > own; --c) {
    if (by_age_[c].size() > share && Evict(c, kFirst)) return true;
  }
  const Rank rank = std::get<Rank>(OrderOf(entry));
  if (rank != kBlocked && Evict(own, rank == kFirst ? kUsual : kBlocked)) return true;
  if (by_age_[own].size() >= share) return false;
  for (size_t c = own - 1; c > static_cast<size_t>(RepairClass::kLost); --c) {
    if (by_age_[c].size() > share && Evict(c, kFirst)) return true;
  }
  return false;
}

bool RepairPlanner::TakeRoomAgain() {
  if (!left_out_ || Competing() > options_.max_entries / 2) return false;
  left_out_ = false;
  return true;
}

bool RepairPlanner::Put(RepairEntry entry) {
  entry.blocked = entry.blocked || entry.repair_class == RepairClass::kLost;
  const auto new_class = static_cast<size_t>(entry.repair_class);
  auto it = entries_.find(entry.block);
  if (it != entries_.end() && it->second.running) {
    it->second.update = std::move(entry);
    return true;
  }
  const auto is_lost = [](const RepairEntry& e) { return e.repair_class == RepairClass::kLost; };
  if (it != entries_.end() && is_lost(it->second.entry) != is_lost(entry)) {
    // It needs the other kind of room.
    entry.since_ms = std::min(entry.since_ms, it->second.entry.since_ms);
    Remove(entry.block);
    it = entries_.end();
  }
  if (it == entries_.end()) {
    if (!MakeRoom(entry)) return false;
    State& state = entries_[entry.block];
    by_age_[new_class].insert(OrderOf(entry));
    state.entry = std::move(entry);
    Enqueue(state);
    return true;
  }
  State& state = it->second;
  const bool more_urgent = std::pair(entry.repair_class, !entry.first) <
                           std::pair(state.entry.repair_class, !state.entry.first);
  Dequeue(state);
  by_age_[static_cast<size_t>(state.entry.repair_class)].erase(OrderOf(state.entry));
  entry.since_ms = std::min(entry.since_ms, state.entry.since_ms);
  state.entry = std::move(entry);
  if (more_urgent) {
    state.failures = 0;
    state.not_before_ms = -1;
  }
  by_age_[new_class].insert(OrderOf(state.entry));
  Enqueue(state);
  return true;
}

bool RepairPlanner::IsRunning(BlockId block) const {
  const auto it = entries_.find(block);
  return it != entries_.end() && it->second.running;
}

std::optional<RepairClass> RepairPlanner::WaitsAs(BlockId block) const {
  const auto it = entries_.find(block);
  if (it == entries_.end() || it->second.running) return std::nullopt;
  return it->second.entry.repair_class;
}

std::vector<BlockId> RepairPlanner::Blocked(BlockId from, size_t most) const {
  std::vector<BlockId> blocks;
  for (auto it = blocked_.lower_bound(from); it != blocked_.end() && blocks.size() < most; ++it) {
    blocks.push_back(*it);
  }
  return blocks;
}

void RepairPlanner::Remove(BlockId block) {
  auto it = entries_.find(block);
  if (it == entries_.end()) return;
  State& state = it->second;
  if (state.running) {
    state.update.reset();
    return;
  }
  Dequeue(state);
  by_age_[static_cast<size_t>(state.entry.repair_class)].erase(OrderOf(state.entry));
  entries_.erase(it);
}

void RepairPlanner::Clear() {
  entries_.clear();
  for (auto& set : ready_) set.clear();
  for (auto& set : by_age_) set.clear();
  waiting_.clear();
  blocked_.clear();
  std::fill(std::begin(class_running_), std::end(class_running_), 0);
  std::fill(std::begin(class_waiting_), std::end(class_waiting_), 0);
  incoming_.clear();
  outgoing_.clear();
  running_ = 0;
  left_out_ = false;
}

void RepairPlanner::WakeDue(int64_t now_ms) {
  while (!waiting_.empty() && waiting_.begin()->first <= now_ms) {
    State& state = entries_.at(waiting_.begin()->second);
    Dequeue(state);
    state.not_before_ms = -1;
    Enqueue(state);
  }
}

// ---- choice ----

bool RepairPlanner::HasFreeSource(const RepairEntry& entry) const {
  if (entry.sources.empty()) return true;  // whoever assigns knows better
  const int slots = SlotsFor(entry.repair_class);
  return std::any_of(entry.sources.begin(), entry.sources.end(),
                     [&](ServerId server) { return CountIn(outgoing_, server) < slots; });
}

bool RepairPlanner::IsFull(RepairClass repair_class) const {
  if (IsUrgent(repair_class)) return false;
  int64_t moves = 0;
  int64_t all = 0;
  for (int c = 0; c < kRepairClasses; ++c) {
    const auto other = static_cast<RepairClass>(c);
    if (IsUrgent(other)) continue;
    all += class_running_[c];
    if (IsMove(other)) moves += class_running_[c];
  }
  return all >= options_.max_not_urgent || (IsMove(repair_class) && moves >= options_.max_moves);
}

void RepairPlanner::Occupy(const RepairSlots& slots, int delta) {
  if (slots.source) Add(&outgoing_, *slots.source, delta);
  for (ServerId target : slots.targets) Add(&incoming_, target, delta);
}

std::optional<RepairJob> RepairPlanner::Take(int64_t now_ms, const Assign& assign) {
  WakeDue(now_ms);
  int assigns = kMaxAssigns;
  int looks = kMaxLooks;
  for (int c = static_cast<int>(RepairClass::kOneLeft); c < kRepairClasses; ++c) {
    const auto repair_class = static_cast<RepairClass>(c);
    if (IsFull(repair_class)) continue;
    const int slots = SlotsFor(repair_class);
    const SlotTest can_send = [&](ServerId server) { return CountIn(outgoing_, server) < slots; };
    const SlotTest can_receive = [&](ServerId server) {
      return CountIn(incoming_, server) < slots;
    };
    const int behind = kRepairClasses - 1 - c;
    const int assigns_left = std::max(assigns / 2, behind);
    const int looks_left = std::max(looks / 2, behind);
    for (auto it = ready(repair_class).begin(); it != ready(repair_class).end();) {
      if (assigns <= assigns_left || looks <= looks_left) break;
      --looks;
      State& state = entries_.at(std::get<BlockId>(*it));
      ++it;  // the entry may leave the set
      if (!HasFreeSource(state.entry)) continue;
      --assigns;
      std::optional<RepairSlots> chosen = assign(state.entry, can_send, can_receive);
      Dequeue(state);
      if (!chosen) {
        Wait(state, now_ms + options_.not_now_ms);
        continue;
      }
      state.running = true;
      state.slots = std::move(*chosen);
      Occupy(state.slots, 1);
      ++class_running_[c];
      ++running_;
      return RepairJob{state.entry, state.slots};
    }
  }
  return std::nullopt;
}

void RepairPlanner::Finish(BlockId block, Outcome outcome, int64_t now_ms) {
  auto it = entries_.find(block);
  if (it == entries_.end() || !it->second.running) return;
  State& state = it->second;
  const auto old_class = static_cast<size_t>(state.entry.repair_class);
  Occupy(state.slots, -1);
  state.slots = {};
  state.running = false;
  --class_running_[old_class];
  --running_;
  by_age_[old_class].erase(OrderOf(state.entry));
  std::optional<RepairEntry> update = std::move(state.update);
  state.update.reset();
  if (outcome == Outcome::kDone && !update) {
    entries_.erase(it);
    return;
  }
  state.not_before_ms = -1;
  if (outcome == Outcome::kNotNow) {
    state.not_before_ms = now_ms + options_.not_now_ms;
  } else if (outcome == Outcome::kHopeless) {
    state.not_before_ms = now_ms + options_.hopeless_ms;
  } else if (outcome == Outcome::kFailed) {
    const int doublings = std::min(state.failures, 20);
    ++state.failures;
    state.not_before_ms =
        now_ms + std::min(options_.first_backoff_ms << doublings, options_.max_backoff_ms);
  } else {
    state.failures = 0;
  }
  if (update) {
    // What was noticed after a success is new; after a failure it waits on with its age.
    if (outcome != Outcome::kDone) {
      update->since_ms = std::min(update->since_ms, state.entry.since_ms);
    }
    state.entry = std::move(*update);
    if (state.entry.repair_class == RepairClass::kLost && lost() >= options_.max_lost) {
      entries_.erase(it);
      return;
    }
  }
  by_age_[static_cast<size_t>(state.entry.repair_class)].insert(OrderOf(state.entry));
  Enqueue(state);
}

// ---- figures ----

RepairPlanner::ClassCount RepairPlanner::Count(RepairClass repair_class) const {
  const auto c = static_cast<size_t>(repair_class);
  ClassCount count;
  count.blocks = static_cast<int64_t>(by_age_[c].size());
  count.running = class_running_[c];
  count.waiting = class_waiting_[c];
  bool found = false;
  for (const Rank rank : {kFirst, kUsual, kBlocked}) {
    const auto it = by_age_[c].lower_bound({rank, std::numeric_limits<int64_t>::min(), BlockId()});
    if (it == by_age_[c].end()) break;
    const int64_t since_ms = std::get<int64_t>(*it);
    count.oldest_since_ms = found ? std::min(count.oldest_since_ms, since_ms) : since_ms;
    found = true;
  }
  return count;
}

std::optional<int64_t> RepairPlanner::NextDue() const {
  if (waiting_.empty()) return std::nullopt;
  return waiting_.begin()->first;
}

int RepairPlanner::Incoming(ServerId server) const { return CountIn(incoming_, server); }
int RepairPlanner::Outgoing(ServerId server) const { return CountIn(outgoing_, server); }

}  // namespace tercet
