// The plan that an administrator sees before balancing runs, and its token (format.md).
#include <algorithm>
#include <cmath>
#include <set>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "metaserver/placement/balance_planner.h"

namespace tercet {
namespace {

constexpr uint8_t kPlanVersion = 1;
constexpr std::string_view kPlanMagic = "TBAL";
constexpr size_t kMaxPlanServers = 100'000;
constexpr int64_t kMaxPlanAgeNs = int64_t{3600} * 1'000'000'000;
constexpr double kMaxDrift = 0.01;
/// Steps of the simulation, about.
constexpr uint64_t kSteps = 2000;
constexpr uint64_t kMaxSteps = 10 * kSteps;
constexpr uint64_t kLeastStep = 1 << 20;

std::string PointsText(double share) {
  const auto tenths = static_cast<int64_t>(std::lround(share * 1000));
  return std::to_string(tenths / 10) + "." + std::to_string(std::abs(tenths % 10)) + " %";
}

uint64_t IdentityOf(const ServerState& server) {
  std::string text;
  PutFixed8(&text, static_cast<uint8_t>(server.service));
  for (const auto& [key, value] : server.labels) {
    PutLengthPrefixed(&text, key);
    PutLengthPrefixed(&text, value);
  }
  std::set<std::pair<std::string, uint8_t>> disks;
  for (const DiskState& disk : server.disks) {
    disks.insert({disk.uuid, static_cast<uint8_t>(server.ServiceOf(disk))});
  }
  for (const auto& [uuid, state] : disks) {
    PutLengthPrefixed(&text, uuid);
    PutFixed8(&text, state);
  }
  return (uint64_t{Crc32c(text)} << 32) | Crc32c(text + "#");
}

/// Moves in steps of some megabytes what a run would move in blocks.
class Simulation {
 public:
  Simulation(std::vector<BalancePlan::Server>* servers, std::span<const BalanceServerState> states,
             std::span<const BalanceBlockSet> sets, double goal)
      : servers_(*servers), states_(states), goal_(goal) {
    uint64_t used = 0;
    uint64_t total = 0;
    for (const BalancePlan::Server& server : servers_) {
      if (!server.takes_part) continue;
      used += server.used_bytes;
      total += server.total_bytes;
    }
    mean_ = total == 0 ? 0 : static_cast<double>(used) / static_cast<double>(total);
    step_ = std::max(used / kSteps, kLeastStep);
    for (const BalanceBlockSet& set : sets) {
      for (ServerId server : set.servers) {
        Placed& placed = placed_[server];
        placed.blocks += set.blocks;
        placed.sets.push_back(&set);
      }
    }
  }

  double mean() const { return mean_; }

  /// Bytes moved in all.
  uint64_t Run() {
    uint64_t moved = 0;
    for (uint64_t steps = 0; steps < kMaxSteps; ++steps) {
      const uint64_t step = Step();
      if (step == 0) break;
      moved += step;
    }
    return moved;
  }

  bool Outside(size_t i, double by) const { return std::abs(Filling(i) - mean_) > by; }

 private:
  /// What is known of the blocks on a server.
  struct Placed {
    int64_t blocks = 0;
    std::vector<const BalanceBlockSet*> sets;
  };

  double Filling(size_t i) const {
    const BalancePlan::Server& server = servers_[i];
    return server.total_bytes == 0 ? 0
                                   : static_cast<double>(server.used_after_bytes) /
                                         static_cast<double>(server.total_bytes);
  }

  std::vector<size_t> ByFilling() const {
    std::vector<size_t> order;
    for (size_t i = 0; i < servers_.size(); ++i) {
      if (servers_[i].takes_part && servers_[i].total_bytes > 0) order.push_back(i);
    }
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return std::pair(Filling(a), servers_[a].id) < std::pair(Filling(b), servers_[b].id);
    });
    return order;
  }

  /// How much may go from one to the other in all, by the blocks that are on the first and not on
  /// the second; worked out once for each pair.
  uint64_t& Movable(size_t from, size_t to) {
    auto [it, is_new] = movable_.try_emplace({from, to}, 0);
    if (!is_new) return it->second;
    const ServerId from_id = servers_[from].id;
    const ServerId to_id = servers_[to].id;
    const Placed& placed = placed_[from_id];
    if (placed.blocks == 0) {
      it->second = servers_[from].used_bytes;
      return it->second;
    }
    int64_t blocks = 0;
    for (const BalanceBlockSet* set : placed.sets) {
      if (!std::binary_search(set->servers.begin(), set->servers.end(), to_id)) {
        blocks += set->blocks;
      }
    }
    const double share = static_cast<double>(blocks) / static_cast<double>(placed.blocks);
    it->second = static_cast<uint64_t>(share * static_cast<double>(servers_[from].used_bytes));
    return it->second;
  }

  uint64_t Step() {
    const std::vector<size_t> order = ByFilling();
    for (size_t high = order.size(); high-- > 1;) {
      const size_t from = order[high];
      for (size_t low = 0; low < high; ++low) {
        const size_t to = order[low];
        if (Filling(from) - mean_ <= goal_ && mean_ - Filling(to) <= goal_) break;
        const uint64_t bytes = StepBytes(from, to);
        if (bytes == 0) continue;
        Movable(from, to) -= bytes;
        servers_[from].used_after_bytes -= bytes;
        servers_[to].used_after_bytes += bytes;
        return bytes;
      }
    }
    return 0;
  }

  uint64_t StepBytes(size_t from, size_t to) {
    const double gap = Filling(from) - Filling(to);
    const double inverse = 1.0 / static_cast<double>(servers_[from].total_bytes) +
                           1.0 / static_cast<double>(servers_[to].total_bytes);
    const uint64_t taken = servers_[to].used_after_bytes > servers_[to].used_bytes
                               ? servers_[to].used_after_bytes - servers_[to].used_bytes
                               : 0;
    const uint64_t room = states_[to].usable_bytes > taken ? states_[to].usable_bytes - taken : 0;
    uint64_t bytes = std::min(step_, static_cast<uint64_t>(gap / inverse));
    bytes = std::min({bytes, room, Movable(from, to), servers_[from].used_after_bytes});
    // Smaller steps than that would take for ever.
    return bytes >= step_ / 16 ? bytes : 0;
  }

  std::vector<BalancePlan::Server>& servers_;
  const std::span<const BalanceServerState> states_;
  const double goal_;
  double mean_ = 0;
  uint64_t step_ = kLeastStep;
  std::map<ServerId, Placed> placed_;
  std::map<std::pair<size_t, size_t>, uint64_t> movable_;
};

Status PlanOutdated(const std::string& why) {
  return Status(StatusCode::kConflict,
                "the plan is older than the cluster's state: " + why + "; make a new one");
}

Status CheckServer(const BalancePlan::Server& planned, const BalanceServerState& now) {
  const std::string name = "chunk server " + std::to_string(planned.id.value());
  if (planned.takes_part != now.takes_part) {
    return PlanOutdated(name +
                        (now.takes_part ? " takes part now" : " does not take part any more"));
  }
  if (planned.identity != now.identity || planned.total_bytes != now.total_bytes) {
    return PlanOutdated(name + " has another state, other labels or other disks");
  }
  if (!planned.takes_part || planned.total_bytes == 0) return Status::Ok();
  const double before =
      static_cast<double>(planned.used_bytes) / static_cast<double>(planned.total_bytes);
  if (std::abs(before - now.filling()) <= kMaxDrift) return Status::Ok();
  return PlanOutdated(name + " is filled to " + PointsText(now.filling()) + ", in the plan to " +
                      PointsText(before));
}

}  // namespace

std::vector<BalanceServerState> BalanceStates(const ServerTable& table) {
  std::vector<BalanceServerState> states;
  for (const ServerState& server : table.All()) {
    if (server.service == ServiceState::kRemoved) continue;
    BalanceServerState state;
    state.id = server.id;
    state.total_bytes = server.total_bytes();
    state.used_bytes = server.replica_bytes();
    state.usable_bytes = UsableBytes(server, table.options());
    state.takes_part = server.takes_replicas() && table.IsAlive(server) && state.total_bytes > 0;
    state.identity = IdentityOf(server);
    states.push_back(state);
  }
  return states;
}

Result<BalancePlan> PlanBalance(std::span<const BalanceServerState> servers,
                                std::span<const BalanceBlockSet> sets, double threshold_points,
                                int64_t now_ns) {
  if (!(threshold_points >= kMinBalanceThreshold && threshold_points <= kMaxBalanceThreshold)) {
    return Status(StatusCode::kInvalidArgument,
                  "the threshold must be between 0.1 and 50 percentage points");
  }
  BalancePlan plan;
  plan.created_ns = now_ns;
  plan.threshold_points = threshold_points;
  for (const BalanceServerState& state : servers) {
    plan.servers.push_back({state.id, state.total_bytes, state.used_bytes, state.used_bytes,
                            state.identity, state.takes_part});
    if (!state.takes_part) {
      plan.notes.push_back("chunk server " + std::to_string(state.id.value()) +
                           " does not take part: it is not alive and in service");
    }
  }
  const double threshold = threshold_points / 100;
  Simulation simulation(&plan.servers, servers, sets, BalanceGoal(threshold));
  bool needed = false;
  for (size_t i = 0; i < plan.servers.size(); ++i) {
    needed = needed || (plan.servers[i].takes_part && simulation.Outside(i, threshold));
  }
  if (!needed) return plan;
  plan.bytes_to_move = simulation.Run();
  for (size_t i = 0; i < plan.servers.size(); ++i) {
    const BalancePlan::Server& server = plan.servers[i];
    if (!server.takes_part || !simulation.Outside(i, threshold)) continue;
    plan.notes.push_back(
        "chunk server " + std::to_string(server.id.value()) + " stays at " +
        PointsText(static_cast<double>(server.used_after_bytes) /
                   static_cast<double>(server.total_bytes)) +
        " (the mean is " + PointsText(simulation.mean()) +
        "): too few blocks may be moved, because other replicas of theirs are where there is room");
  }
  return plan;
}

std::string EncodeBalancePlan(const BalancePlan& plan) {
  std::string out(kPlanMagic);
  PutFixed8(&out, kPlanVersion);
  PutFixed64(&out, static_cast<uint64_t>(plan.created_ns));
  PutFixed32(&out, static_cast<uint32_t>(std::lround(plan.threshold_points * 1000)));
  PutVarint64(&out, plan.servers.size());
  for (const BalancePlan::Server& server : plan.servers) {
    PutFixed32(&out, server.id.value());
    PutFixed8(&out, server.takes_part ? 1 : 0);
    PutFixed64(&out, server.total_bytes);
    PutFixed64(&out, server.used_bytes);
    PutFixed64(&out, server.identity);
  }
  PutFixed32(&out, Crc32c(out));
  return out;
}

Result<BalancePlan> DecodeBalancePlan(std::string_view token) {
  const Status bad(StatusCode::kInvalidArgument, "this is no plan made by 'tercet balance plan'");
  if (token.size() < kPlanMagic.size() + 5 || !token.starts_with(kPlanMagic)) return bad;
  const std::string_view body = token.substr(0, token.size() - 4);
  if (Crc32c(body) != DecodeFixed32(token.data() + body.size())) return bad;
  Decoder in(body.substr(kPlanMagic.size()));
  if (in.Fixed8() != kPlanVersion) {
    return Status(StatusCode::kInvalidArgument, "the plan is of another version of Tercet");
  }
  BalancePlan plan;
  plan.created_ns = static_cast<int64_t>(in.Fixed64());
  plan.threshold_points = in.Fixed32() / 1000.0;
  const uint64_t count = in.Varint64();
  if (count > kMaxPlanServers) return bad;
  for (uint64_t i = 0; i < count && !in.failed(); ++i) {
    BalancePlan::Server server;
    server.id = ServerId(in.Fixed32());
    server.takes_part = in.Fixed8() != 0;
    server.total_bytes = in.Fixed64();
    server.used_bytes = in.Fixed64();
    server.identity = in.Fixed64();
    server.used_after_bytes = server.used_bytes;
    plan.servers.push_back(server);
  }
  if (!in.Finish("plan").ok()) return bad;
  if (!(plan.threshold_points >= kMinBalanceThreshold &&
        plan.threshold_points <= kMaxBalanceThreshold)) {
    return bad;
  }
  return plan;
}

Status CheckBalancePlan(const BalancePlan& plan, std::span<const BalanceServerState> servers,
                        int64_t now_ns) {
  if (now_ns - plan.created_ns > kMaxPlanAgeNs) {
    return PlanOutdated("it was made more than an hour ago");
  }
  std::map<ServerId, const BalanceServerState*> now;
  for (const BalanceServerState& server : servers) now[server.id] = &server;
  for (const BalancePlan::Server& planned : plan.servers) {
    auto it = now.find(planned.id);
    if (it == now.end()) {
      return PlanOutdated("chunk server " + std::to_string(planned.id.value()) +
                          " is not there any more");
    }
    RETURN_IF_ERROR(CheckServer(planned, *it->second));
    now.erase(it);
  }
  if (now.empty()) return Status::Ok();
  return PlanOutdated("chunk server " + std::to_string(now.begin()->first.value()) + " is new");
}

}  // namespace tercet
