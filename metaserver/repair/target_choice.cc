#include "metaserver/repair/target_choice.h"

#include <algorithm>
#include <utility>

#include "metaserver/ops/repairs.h"
#include "metaserver/repair/block_situation.h"

namespace tercet {
namespace {

std::vector<ServerId> Together(std::vector<ServerId> some, std::span<const ServerId> more) {
  some.insert(some.end(), more.begin(), more.end());
  return some;
}

int PenaltyOf(const ServerTable& servers, std::span<const ServerId> members,
              const PlacementRule& rule) {
  std::vector<ServerState> states;
  for (const ServerId server : members) {
    if (auto state = servers.Find(server)) states.push_back(std::move(*state));
  }
  return PlacementPenalty(states, rule);
}

/// At most `wanted` servers without a replica.
std::vector<ServerId> ChooseFresh(ServerTable& servers, const BlockFacts& facts,
                                  std::span<const ServerId> keep, std::span<const ServerId> exclude,
                                  size_t wanted) {
  PlacementRequest request;
  request.wanted = static_cast<int>(wanted);
  request.minimum = 1;
  request.bytes = facts.bytes;
  request.exclude = exclude;
  request.keep = keep;
  request.rule = &facts.rule;
  auto chosen = servers.Choose(request);
  return chosen.ok() ? std::move(*chosen) : std::vector<ServerId>();
}

}  // namespace

TargetChoice ChooseTargets(ServerTable& servers, const BlockFacts& facts, const RepairEntry& entry,
                           const RepairPlanner::SlotTest& can_receive, int64_t now_ms) {
  const TargetChoice kBusy{{}, true};
  const bool may_wait = !IsUrgent(entry.repair_class) &&
                        (IsMove(entry.repair_class) || now_ms - entry.since_ms < kWaitForPlaceMs);
  std::vector<ServerId> heal;
  for (const ServerId server : facts.heal) {
    if (can_receive(server)) {
      heal.push_back(server);
    } else if (may_wait) {
      return kBusy;  // it would lose its place
    }
  }
  // A stale replica is the better part of a new one.
  std::vector<ServerId> chosen;
  const auto wanted = static_cast<size_t>(std::max(facts.new_ones, 0));
  for (const ServerId server : facts.stale) {
    if (chosen.size() == wanted) break;
    if (facts.avoid.contains(server) || ContainsServer(facts.chain, server)) continue;
    const auto state = servers.Find(server);
    if (!state || !servers.IsAlive(*state) || !state->takes_replicas() ||
        !HasRequiredLabels(*state, facts.rule)) {
      continue;
    }
    if (can_receive(server)) {
      chosen.push_back(server);
    } else if (may_wait) {
      return kBusy;
    }
  }
  if (chosen.size() < wanted) {
    const size_t missing = wanted - chosen.size();
    const std::vector<ServerId> keep = Together(facts.keep, chosen);
    std::vector<ServerId> exclude = Together(facts.chain, chosen);
    exclude.insert(exclude.end(), facts.avoid.begin(), facts.avoid.end());
    std::vector<ServerId> busy;
    for (const ServerId server : servers.Alive()) {
      if (!can_receive(server)) busy.push_back(server);
    }
    const std::vector<ServerId> fresh =
        ChooseFresh(servers, facts, keep, Together(exclude, busy), missing);
    const bool none = fresh.empty() && chosen.empty() && heal.empty();
    const bool any_place = facts.rule.domain.empty() && !fresh.empty();
    if (!busy.empty() && !any_place && (may_wait || none)) {
      const std::vector<ServerId> best =
          ChooseFresh(servers, facts, keep, exclude, std::max<size_t>(fresh.size(), 1));
      const bool better = PenaltyOf(servers, Together(keep, best), facts.rule) <
                          PenaltyOf(servers, Together(keep, fresh), facts.rule);
      if (!best.empty() && (fresh.empty() || better)) return kBusy;
    }
    chosen = Together(std::move(chosen), fresh);
  }
  TargetChoice choice{Together(std::move(heal), chosen), false};
  if (entry.repair_class == RepairClass::kMisplaced && !choice.targets.empty() &&
      !LeavesForBetter(servers, entry.sources, choice.targets.front(), facts.rule)) {
    choice.targets.clear();
  }
  return choice;
}

std::optional<ServerId> LeavesForBetter(const ServerTable& servers, std::span<const ServerId> good,
                                        ServerId to, const PlacementRule& rule) {
  const ServerId victim = BestToLeave(servers, good, to, rule);
  std::vector<ServerState> before;
  std::vector<ServerState> after;
  for (const ServerId server : good) {
    const auto state = servers.Find(server);
    if (!state) return std::nullopt;
    before.push_back(*state);
    if (server != victim) after.push_back(*state);
  }
  const auto newcomer = servers.Find(to);
  if (!newcomer) return std::nullopt;
  after.push_back(*newcomer);
  if (PlacementPenalty(after, rule) >= PlacementPenalty(before, rule)) return std::nullopt;
  return victim;
}

}  // namespace tercet
