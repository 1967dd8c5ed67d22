#include "metaserver/placement/balance_planner.h"

#include <algorithm>
#include <cmath>

namespace tercet {
namespace {

/// A server without a movable block is asked again after so long: others may have changed.
constexpr int64_t kDryMs = 5000;

}  // namespace

double BalancePlanner::Server::least() const {
  const uint64_t used = reported.used_bytes > outgoing ? reported.used_bytes - outgoing : 0;
  return reported.total_bytes == 0
             ? 0
             : static_cast<double>(used) / static_cast<double>(reported.total_bytes);
}

double BalancePlanner::Server::most() const {
  return reported.total_bytes == 0 ? 0
                                   : static_cast<double>(reported.used_bytes + incoming) /
                                         static_cast<double>(reported.total_bytes);
}

void BalancePlanner::Update(std::span<const BalanceServerState> servers, int64_t now_ms) {
  std::map<ServerId, Server> updated;
  for (const BalanceServerState& state : servers) {
    Server& server = updated[state.id];
    auto known = servers_.find(state.id);
    if (known != servers_.end()) server = known->second;
    server.reported = state;
  }
  servers_ = std::move(updated);
  Settle(now_ms);
}

void BalancePlanner::Count(const BalanceMove& move, int sign) {
  const auto add = [&](uint64_t* sum) {
    *sum = sign > 0 ? *sum + move.bytes : *sum - std::min(*sum, move.bytes);
  };
  // A server that went away took its counts with it.
  if (auto it = servers_.find(move.from); it != servers_.end()) add(&it->second.outgoing);
  if (auto it = servers_.find(move.to); it != servers_.end()) add(&it->second.incoming);
}

void BalancePlanner::Settle(int64_t now_ms) {
  while (!settling_.empty() && settling_.front().until_ms <= now_ms) {
    Count(settling_.front().move, -1);
    settling_.pop_front();
  }
}

double BalancePlanner::Mean() const {
  double used = 0;
  double total = 0;
  for (const auto& [id, server] : servers_) {
    if (!server.reported.takes_part) continue;
    used += static_cast<double>(server.reported.used_bytes);
    total += static_cast<double>(server.reported.total_bytes);
  }
  return total == 0 ? 0 : used / total;
}

bool BalancePlanner::Outside() const {
  const double mean = Mean();
  const double goal = BalanceGoal(threshold_);
  return std::any_of(servers_.begin(), servers_.end(), [&](const auto& entry) {
    const Server& server = entry.second;
    return server.reported.takes_part &&
           (server.least() - mean > goal || mean - server.most() > goal);
  });
}

std::optional<BalancePlanner::Wish> BalancePlanner::MakeWish(const Server& from,
                                                             double mean) const {
  const double goal = BalanceGoal(threshold_);
  const bool must_give = from.least() - mean > goal;
  std::vector<const Server*> takers;
  for (const auto& [id, server] : servers_) {
    if (!server.reported.takes_part || id == from.reported.id) continue;
    if (server.most() >= from.least()) continue;
    if (must_give || mean - server.most() > goal) takers.push_back(&server);
  }
  std::sort(takers.begin(), takers.end(), [](const Server* a, const Server* b) {
    return std::pair(a->most(), a->reported.id) < std::pair(b->most(), b->reported.id);
  });
  Wish wish;
  wish.from = from.reported.id;
  for (const Server* to : takers) {
    // As much as makes the two equally full.
    const double inverse = 1.0 / static_cast<double>(from.reported.total_bytes) +
                           1.0 / static_cast<double>(to->reported.total_bytes);
    const auto even = static_cast<uint64_t>((from.least() - to->most()) / inverse);
    const uint64_t usable = to->reported.usable_bytes;
    const uint64_t room = usable > to->incoming ? usable - to->incoming : 0;
    const uint64_t most = std::min(even, room);
    if (most == 0) continue;
    wish.to.push_back(to->reported.id);
    wish.max_bytes.push_back(most);
  }
  if (wish.to.empty()) return std::nullopt;
  return wish;
}

std::optional<BalanceMove> BalancePlanner::Next(const PickBlock& pick, int64_t now_ms) {
  Settle(now_ms);
  const double mean = Mean();
  std::vector<const Server*> givers;
  for (const auto& [id, server] : servers_) {
    if (server.reported.takes_part && server.reported.total_bytes > 0) givers.push_back(&server);
  }
  std::sort(givers.begin(), givers.end(), [](const Server* a, const Server* b) {
    return std::pair(b->least(), b->reported.id) < std::pair(a->least(), a->reported.id);
  });
  int picks = 0;
  bool wished = false;
  bool exhausted = true;
  for (const Server* from : givers) {
    const std::optional<Wish> wish = MakeWish(*from, mean);
    if (!wish) continue;
    wished = true;
    if (from->dry_until_ms > now_ms) continue;
    if (picks++ == kMaxPicks) return std::nullopt;  // the others' turn comes
    const Pick picked = pick(*wish);
    if (picked.move) {
      Count(*picked.move, 1);
      ++running_;
      stuck_ = false;
      return picked.move;
    }
    if (picked.exhausted) servers_[wish->from].dry_until_ms = now_ms + kDryMs;
    exhausted = exhausted && picked.exhausted;
  }
  // All of them were asked, now or a moment ago; or none can give anything to anybody.
  stuck_ = exhausted && (wished || Outside());
  return std::nullopt;
}

void BalancePlanner::Finished(const BalanceMove& move, bool moved, int64_t now_ms) {
  --running_;
  if (moved) {
    settling_.push_back({now_ms + settle_ms_, move});
    stuck_ = false;
  } else {
    Count(move, -1);
  }
}

BalancePlanner::State BalancePlanner::state(int64_t now_ms) const {
  const bool settling = std::any_of(settling_.begin(), settling_.end(),
                                    [&](const Settling& s) { return s.until_ms > now_ms; });
  const bool outside = Outside();
  if (running_ > 0 || settling) return outside ? State::kMoving : State::kSettling;
  if (!outside) return State::kEven;
  return stuck_ ? State::kStuck : State::kMoving;
}

uint64_t BalancePlanner::left_bytes() const {
  const double mean = Mean();
  const double goal = BalanceGoal(threshold_);
  double over = 0;
  double under = 0;
  for (const auto& [id, server] : servers_) {
    if (!server.reported.takes_part) continue;
    const auto total = static_cast<double>(server.reported.total_bytes);
    over += std::max(server.least() - mean - goal, 0.0) * total;
    under += std::max(mean - goal - server.most(), 0.0) * total;
  }
  return static_cast<uint64_t>(std::max(over, under));
}

}  // namespace tercet
