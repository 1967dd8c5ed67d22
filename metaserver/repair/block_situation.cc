#include "metaserver/repair/block_situation.h"

#include <algorithm>
#include <string>
#include <tuple>

namespace tercet {

ServerVerdicts JudgeServers(const ServerTable& table, int64_t now_ms, int64_t repair_delay_ms,
                            int64_t since_ms) {
  ServerVerdicts verdicts;
  for (const ServerState& server : table.All()) {
    ServerVerdict verdict = ServerVerdict::kServing;
    const int64_t silent_ms = now_ms - std::max(server.last_heartbeat_ms, since_ms);
    if (server.service == ServiceState::kRemoved) {
      verdict = ServerVerdict::kRemoved;
    } else if (table.IsAlive(server)) {
      if (server.service == ServiceState::kDraining) verdict = ServerVerdict::kLeaving;
      if (server.suspected()) verdicts.suspected.insert(server.id);
    } else if (server.service == ServiceState::kMaintenance || silent_ms < repair_delay_ms) {
      verdict = ServerVerdict::kAway;
    } else {
      verdict = ServerVerdict::kGone;
    }
    verdicts.servers.emplace(server.id, verdict);
  }
  return verdicts;
}

bool BlockSituation::IsBadFor(ServerId server, BadReplica reason) const {
  return repair && std::any_of(repair->bad.begin(), repair->bad.end(), [&](const auto& bad) {
           return bad.server == server && bad.reason == reason;
         });
}

std::optional<RepairClass> BlockSituation::Class() const {
  if (only_bad_left || (sealed && !(good.empty() && bad.empty()))) return RepairClass::kOneLeft;
  return ClassifyBlock(health);
}

namespace {

void SortMembers(const ServerVerdicts& verdicts, BlockSituation* situation) {
  for (const ServerId server : situation->block().chain) {
    const bool noted =
        situation->repair && std::any_of(situation->repair->bad.begin(),
                                         situation->repair->bad.end(), [&](const auto& bad) {
                                           return bad.server == server &&
                                                  bad.reason != BadReplica::kDoubtful;
                                         });
    const ServerVerdict verdict = verdicts.Of(server);
    if (verdict == ServerVerdict::kGone || verdict == ServerVerdict::kRemoved) {
      situation->gone.push_back(server);
    } else if (noted) {
      situation->bad.push_back(server);
    } else if (verdict == ServerVerdict::kAway) {
      situation->away.push_back(server);
    } else {
      situation->good.push_back(server);
      if (verdict == ServerVerdict::kLeaving) situation->leaving.push_back(server);
    }
  }
}

}  // namespace

Result<std::optional<BlockSituation>> ExamineBlock(const View& view, const ServerTable& table,
                                                   const ServerVerdicts& verdicts, BlockId block) {
  const Tables tables(view);
  ASSIGN_OR_RETURN(auto owned, FindOwnedBlock(tables, block));
  if (!owned || owned->block.reserved) return std::optional<BlockSituation>();
  BlockSituation situation;
  situation.owned = std::move(*owned);
  ASSIGN_OR_RETURN(situation.repair, tables.FindRepair(block));
  ASSIGN_OR_RETURN(situation.rule, tables.GetPlacementRule(situation.owned.file.rule_id));
  const InodeRecord& file = situation.owned.file;
  const uint64_t start = situation.owned.index * file.block_size_bytes;
  situation.bytes = std::min<uint64_t>(file.block_size_bytes,
                                       file.size_bytes > start ? file.size_bytes - start : 0);
  situation.sealed = situation.repair && situation.repair->sealing.value() != 0;
  SortMembers(verdicts, &situation);

  BlockHealth& health = situation.health;
  health.wanted = file.replicas;
  health.minimum = std::min(file.min_replicas, file.replicas);
  health.members = static_cast<int>(situation.block().chain.size());
  health.good = static_cast<int>(situation.good.size());
  health.bad =
      static_cast<int>(std::count_if(situation.bad.begin(), situation.bad.end(),
                                     [&](ServerId server) { return verdicts.Alive(server); }));
  health.leaving = static_cast<int>(situation.leaving.size());
  if (situation.repair && situation.away.empty()) {
    health.doubtful = static_cast<int>(std::ranges::count(
        situation.repair->bad, BadReplica::kDoubtful, &RepairRecord::Bad::reason));
    situation.doubtful = health.doubtful > 0;
  }
  // Who is expected back counts, unless writers wait for more.
  for (const ServerId server : situation.block().stale) {
    if (verdicts.ExpectedBack(server)) situation.returning.push_back(server);
  }
  if (health.good >= health.minimum) {
    health.good += static_cast<int>(situation.away.size() + situation.returning.size());
  }
  // One that is only silent may hold the block as it should be.
  const bool all_known =
      std::all_of(situation.gone.begin(), situation.gone.end(),
                  [&](ServerId server) { return verdicts.Of(server) == ServerVerdict::kRemoved; });
  situation.only_bad_left = situation.good.empty() && situation.away.empty() && all_known &&
                            health.bad > 0 && health.bad == static_cast<int>(situation.bad.size());
  situation.misplaced = table.IsMisplaced(situation.block().chain, situation.rule, situation.bytes);
  health.misplaced = situation.misplaced;
  return std::optional<BlockSituation>(std::move(situation));
}

Result<std::vector<ServerId>> ServersThatDelete(const Tables& tables, BlockId block,
                                                std::span<const ServerId> servers) {
  std::vector<ServerId> found;
  for (const ServerId server : servers) {
    ASSIGN_OR_RETURN(const auto task, tables.FindDeleteTask(server, block));
    if (task && !task->hold) found.push_back(server);
  }
  return found;
}

int PlacementPenalty(std::span<const ServerState> servers, const PlacementRule& rule) {
  int penalty = 0;
  std::map<std::string, int> domains;
  for (const ServerState& server : servers) {
    if (!HasRequiredLabels(server, rule)) penalty += 1000;
    penalty += domains[DomainOf(server, rule)]++;
  }
  return penalty;
}

ServerId BestToLeave(const ServerTable& table, std::span<const ServerId> members, ServerId to,
                     const PlacementRule& rule) {
  std::vector<ServerState> states;
  for (const ServerId server : members) {
    auto state = table.Find(server);
    if (!state) return server;  // nobody knows it any more
    states.push_back(std::move(*state));
  }
  const auto newcomer = to.value() == 0 ? std::nullopt : table.Find(to);
  ServerId best;
  std::tuple<int, bool, double> best_rank;
  for (size_t i = 0; i < states.size(); ++i) {
    std::vector<ServerState> left = states;
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(i));
    if (newcomer) left.push_back(*newcomer);
    const double total = static_cast<double>(std::max<uint64_t>(states[i].total_bytes(), 1));
    const double filling = static_cast<double>(states[i].replica_bytes()) / total;
    const std::tuple<int, bool, double> rank{
        PlacementPenalty(left, rule), states[i].service == ServiceState::kInService, -filling};
    if (best.value() == 0 || rank < best_rank) {
      best = members[i];
      best_rank = rank;
    }
  }
  return best;
}

}  // namespace tercet
