#include "metaserver/placement/server_table.h"

#include <algorithm>
#include <limits>
#include <string>

namespace tercet {
namespace {

struct Candidate {
  const ServerState* server;
  uint64_t weight;
  size_t place;  // in Places
};

/// How many replicas each place of a rule's domain holds. Without a domain all servers are alike as
/// long as none holds two: then there is one place that never fills.
class Places {
 public:
  explicit Places(const PlacementRule& rule) : rule_(rule), held_(1, 0) {}

  size_t Of(const ServerState& server) {
    if (rule_.domain.empty()) return 0;
    const auto [it, is_new] = indexes_.try_emplace(DomainOf(server, rule_), held_.size());
    if (is_new) held_.push_back(0);
    return it->second;
  }
  void Add(size_t place) {
    if (!rule_.domain.empty()) ++held_[place];
  }
  int held(size_t place) const { return held_[place]; }

 private:
  const PlacementRule& rule_;
  std::map<std::string, size_t> indexes_;
  std::vector<int> held_;
};

/// Servers whose writes take more than so many times as long as usual get fewer replicas.
constexpr uint64_t kSlowFactor = 2;
/// In 256ths: what is left of the weight of the slowest.
constexpr uint64_t kFullShare = 256;
constexpr uint64_t kLeastShare = 64;

bool Contains(std::span<const ServerId> ids, ServerId id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

/// The median of the servers' p99 of writes; 0 when fewer than two have clients.
uint64_t UsualLatency(std::span<const ServerState* const> servers) {
  std::vector<uint64_t> latencies;
  for (const ServerState* server : servers) {
    if (server->load.write_p99_us > 0) latencies.push_back(server->load.write_p99_us);
  }
  if (latencies.size() < 2) return 0;
  auto middle = latencies.begin() + static_cast<std::ptrdiff_t>((latencies.size() - 1) / 2);
  std::nth_element(latencies.begin(), middle, latencies.end());
  return *middle;
}

/// The weight of a server for a block of `bytes`: the usable bytes of the disks that can take it,
/// less when it is much slower than the others. 0: it cannot take it.
uint64_t WeightFor(const ServerState& server, uint64_t bytes, uint64_t usual_us,
                   const PlacementOptions& options) {
  uint64_t weight = 0;
  for (const DiskState& disk : server.disks) {
    if (server.ServiceOf(disk) != DiskCommandState::kInService) continue;
    const uint64_t usable = UsableBytes(disk, options);
    if (usable >= bytes) weight += usable;
  }
  const uint64_t own_us = server.load.write_p99_us;
  if (weight == 0 || usual_us == 0 || own_us <= kSlowFactor * usual_us) return weight;
  const uint64_t share = std::max(kFullShare * kSlowFactor * usual_us / own_us, kLeastShare);
  return std::max<uint64_t>(weight / kFullShare * share, 1);
}

/// Draws one of the candidates whose place holds the fewest replicas, with a probability
/// proportional to its weight, and takes it out.
ServerId Draw(std::vector<Candidate>* candidates, Places* places, Random& random) {
  int fewest = std::numeric_limits<int>::max();
  for (const Candidate& candidate : *candidates) {
    fewest = std::min(fewest, places->held(candidate.place));
  }
  uint64_t total = 0;
  for (const Candidate& candidate : *candidates) {
    if (places->held(candidate.place) == fewest) total += candidate.weight;
  }
  uint64_t point = random.Below(std::max<uint64_t>(total, 1));
  size_t chosen = candidates->size();
  for (size_t i = 0; i < candidates->size(); ++i) {
    const Candidate& candidate = (*candidates)[i];
    if (places->held(candidate.place) != fewest) continue;
    chosen = i;
    if (point < candidate.weight) break;
    point -= candidate.weight;
  }
  const ServerId id = (*candidates)[chosen].server->id;
  places->Add((*candidates)[chosen].place);
  (*candidates)[chosen] = candidates->back();
  candidates->pop_back();
  return id;
}

/// Who may be asked at all, room aside.
struct Reachable {
  std::vector<const ServerState*> servers;
  size_t out_of_service = 0;
  size_t excluded = 0;
  size_t unfit = 0;
};

Reachable FindReachable(std::span<const ServerState* const> servers,
                        const PlacementRequest& request, const PlacementRule& rule) {
  Reachable reachable;
  for (const ServerState* server : servers) {
    if (Contains(request.keep, server->id)) continue;
    if (Contains(request.exclude, server->id)) {
      ++reachable.excluded;
    } else if (!server->takes_replicas()) {
      ++reachable.out_of_service;
    } else if (!HasRequiredLabels(*server, rule)) {
      ++reachable.unfit;
    } else {
      reachable.servers.push_back(server);
    }
  }
  return reachable;
}

Status TooFew(const Reachable& reachable, const PlacementRequest& request) {
  std::string message = "a block needs " + std::to_string(request.minimum) + " new replicas, but " +
                        "only " + std::to_string(reachable.servers.size()) +
                        " chunk servers that may take one are alive";
  if (reachable.excluded > 0) message += "; excluded: " + std::to_string(reachable.excluded);
  if (reachable.out_of_service > 0) {
    message +=
        "; drained, in maintenance or out of reach: " + std::to_string(reachable.out_of_service);
  }
  if (reachable.unfit > 0) {
    message += "; without the labels that the policy requires: " + std::to_string(reachable.unfit);
  }
  return Status(StatusCode::kUnavailable, message);
}

}  // namespace

Result<std::vector<ServerId>> ChooseReplicas(std::span<const ServerState* const> servers,
                                             const PlacementRequest& request,
                                             const PlacementOptions& options, Random& random) {
  if (request.minimum < 1 || request.wanted < request.minimum) {
    return Status(StatusCode::kInvalidArgument, "cannot choose between " +
                                                    std::to_string(request.minimum) + " and " +
                                                    std::to_string(request.wanted) + " replicas");
  }
  static const PlacementRule kNoRule;
  const PlacementRule& rule = request.rule != nullptr ? *request.rule : kNoRule;
  const auto minimum = static_cast<size_t>(request.minimum);
  const Reachable reachable = FindReachable(servers, request, rule);
  if (reachable.servers.size() < minimum) return TooFew(reachable, request);

  Places places(rule);
  for (const ServerState* server : servers) {
    if (Contains(request.keep, server->id)) places.Add(places.Of(*server));
  }
  const uint64_t usual_us = UsualLatency(servers);
  std::vector<Candidate> candidates;
  candidates.reserve(reachable.servers.size());
  std::vector<Candidate> nearly_full;
  for (const ServerState* server : reachable.servers) {
    const uint64_t weight = WeightFor(*server, request.bytes, usual_us, options);
    if (weight > 0) {
      candidates.push_back({server, weight, places.Of(*server)});
    } else if (request.least_bytes > 0) {
      const uint64_t least = WeightFor(*server, request.least_bytes, usual_us, options);
      if (least > 0) nearly_full.push_back({server, least, places.Of(*server)});
    }
  }
  if (candidates.size() < static_cast<size_t>(request.wanted)) {
    candidates.insert(candidates.end(), nearly_full.begin(), nearly_full.end());
  }
  if (candidates.size() < minimum) {
    return Status(StatusCode::kNoSpace, "only " + std::to_string(candidates.size()) + " of " +
                                            std::to_string(reachable.servers.size()) +
                                            " chunk servers have room for a block of " +
                                            std::to_string(request.bytes) + " bytes, " +
                                            std::to_string(request.minimum) + " are needed");
  }
  std::vector<ServerId> chosen;
  while (chosen.size() < static_cast<size_t>(request.wanted) && !candidates.empty()) {
    chosen.push_back(Draw(&candidates, &places, random));
  }
  // Drawing prefers large servers for the first places; the chain's order must not.
  for (size_t i = chosen.size(); i > 1; --i) std::swap(chosen[i - 1], chosen[random.Below(i)]);
  return chosen;
}

void ServerTable::AddKnown(ServerState server) {
  std::lock_guard lock(mutex_);
  ServerState& known = servers_[server.id];
  server.disks = std::move(known.disks);
  server.load = known.load;
  server.heard_incarnation = known.heard_incarnation;
  server.last_heartbeat_ms = known.last_heartbeat_ms;
  server.suspected_ms = known.suspected_ms;
  server.disk_commands = std::move(known.disk_commands);
  known = std::move(server);
}

void ServerTable::SetDiskCommands(ServerId id, std::map<std::string, DiskCommandState> commands) {
  std::lock_guard lock(mutex_);
  auto it = servers_.find(id);
  if (it != servers_.end()) it->second.disk_commands = std::move(commands);
}

void ServerTable::ExpectKnown(int64_t duration_ms) {
  std::lock_guard lock(mutex_);
  expected_until_ms_ = clock_.MonotonicMillis() + duration_ms;
}

void ServerTable::BecomeActive() {
  const int64_t now_ms = clock_.MonotonicMillis();
  const bool had_time = now_ms - listening_since_ms_ >= options_.death_timeout_ms;
  std::lock_guard lock(mutex_);
  // When nobody was heard of at all, the servers may not know this metaserver yet.
  const bool heard_some = std::any_of(servers_.begin(), servers_.end(),
                                      [&](const auto& entry) { return IsAlive(entry.second); });
  expected_until_ms_ = had_time && heard_some ? 0 : now_ms + options_.death_timeout_ms;
}

void ServerTable::Register(ServerState server) {
  server.last_heartbeat_ms = clock_.MonotonicMillis();
  server.heard_incarnation = server.incarnation;
  server.suspected_ms = -1;
  std::lock_guard lock(mutex_);
  ServerState& known = servers_[server.id];
  server.service = known.service;
  server.service_since_ns = known.service_since_ns;
  server.service_until_ns = known.service_until_ns;
  server.drain_replicas_at_start = known.drain_replicas_at_start;
  server.disk_commands = std::move(known.disk_commands);
  known = std::move(server);
}

void ServerTable::Note(ServerState& server, int64_t incarnation, std::vector<DiskState> disks,
                       const ServerLoad& load) {
  const int64_t now_ms = clock_.MonotonicMillis();
  server.disks = std::move(disks);
  server.load = load;
  server.heard_incarnation = incarnation;
  server.last_heartbeat_ms = now_ms;
  if (server.suspected() && now_ms - server.suspected_ms >= options_.suspicion_ms) {
    server.suspected_ms = -1;
  }
}

bool ServerTable::Heartbeat(ServerId id, int64_t incarnation, std::vector<DiskState> disks,
                            const ServerLoad& load) {
  std::lock_guard lock(mutex_);
  auto it = servers_.find(id);
  if (it == servers_.end() || it->second.incarnation != incarnation) return false;
  // It hears why when it registers, and serves nothing from now on.
  if (it->second.service == ServiceState::kRemoved) return false;
  // One that was registered with another metaserver, and is heard of here for the first time, is
  // known well enough: only its own process has this incarnation.
  if (it->second.heard() && !IsAlive(it->second)) return false;
  Note(it->second, incarnation, std::move(disks), load);
  return true;
}

bool ServerTable::Hear(ServerId id, int64_t incarnation, std::vector<DiskState> disks,
                       const ServerLoad& load) {
  std::lock_guard lock(mutex_);
  auto it = servers_.find(id);
  if (it == servers_.end()) return false;
  Note(it->second, incarnation, std::move(disks), load);
  return true;
}

void ServerTable::Suspect(ServerId id) {
  std::lock_guard lock(mutex_);
  auto it = servers_.find(id);
  if (it != servers_.end()) it->second.suspected_ms = clock_.MonotonicMillis();
}

void ServerTable::EndMaintenances() const {
  const int64_t now_ns = clock_.WallNanos();
  for (auto& [id, server] : servers_) server.EndMaintenance(now_ns);
}

std::vector<const ServerState*> ServerTable::AliveServers() const {
  std::vector<const ServerState*> alive;
  alive.reserve(servers_.size());
  for (const auto& [id, server] : servers_) {
    if (IsAlive(server)) alive.push_back(&server);
  }
  return alive;
}

std::optional<ServerState> ServerTable::Find(ServerId id) const {
  std::lock_guard lock(mutex_);
  auto it = servers_.find(id);
  if (it == servers_.end()) return std::nullopt;
  it->second.EndMaintenance(clock_.WallNanos());
  return it->second;
}

std::optional<ServerState> ServerTable::FindByUuid(std::string_view uuid) const {
  std::lock_guard lock(mutex_);
  EndMaintenances();
  for (const auto& [id, server] : servers_) {
    if (server.uuid == uuid) return server;
  }
  return std::nullopt;
}

std::vector<ServerState> ServerTable::All() const {
  std::lock_guard lock(mutex_);
  EndMaintenances();
  std::vector<ServerState> all;
  all.reserve(servers_.size());
  for (const auto& [id, server] : servers_) all.push_back(server);
  return all;
}

bool ServerTable::IsAlive(const ServerState& server) const {
  return server.heard() && server.service != ServiceState::kRemoved &&
         clock_.MonotonicMillis() - server.last_heartbeat_ms < options_.death_timeout_ms;
}

bool ServerTable::IsAlive(ServerId id) const {
  std::lock_guard lock(mutex_);
  auto it = servers_.find(id);
  return it != servers_.end() && IsAlive(it->second);
}

std::vector<ServerId> ServerTable::Alive() const {
  std::lock_guard lock(mutex_);
  std::vector<ServerId> alive;
  for (const auto& [id, server] : servers_) {
    if (IsAlive(server)) alive.push_back(id);
  }
  return alive;
}

bool ServerTable::WaitsForKnown() const {
  std::lock_guard lock(mutex_);
  if (clock_.MonotonicMillis() >= expected_until_ms_) return false;
  EndMaintenances();
  return std::any_of(servers_.begin(), servers_.end(), [](const auto& entry) {
    return entry.second.service == ServiceState::kInService && !entry.second.heard();
  });
}

ClusterSpace ServerTable::Space() const {
  std::lock_guard lock(mutex_);
  ClusterSpace space;
  for (const ServerState* server : AliveServers()) {
    for (const DiskState& disk : server->disks) {
      if (!disk.healthy || server->ServiceOf(disk) == DiskCommandState::kEjected) continue;
      space.total_bytes += disk.total_bytes;
    }
    // Draining servers and disks hold data, but take none.
    if (server->service == ServiceState::kInService) {
      space.available_bytes += UsableBytes(*server, options_);
    }
  }
  return space;
}

Result<std::vector<ServerId>> ServerTable::Choose(const PlacementRequest& request) {
  std::lock_guard lock(mutex_);
  EndMaintenances();
  const std::vector<const ServerState*> alive = AliveServers();
  size_t expected = 0;
  for (const auto& [id, server] : servers_) {
    const bool could_take = server.takes_replicas() && !Contains(request.exclude, id) &&
                            !Contains(request.keep, id) &&
                            (request.rule == nullptr || HasRequiredLabels(server, *request.rule));
    if (!IsAlive(server) && !server.heard() && could_take) ++expected;
  }
  // Servers that are kept count for their places even while they are dead.
  std::vector<const ServerState*> servers = alive;
  for (ServerId kept : request.keep) {
    auto it = servers_.find(kept);
    if (it != servers_.end() && !IsAlive(it->second)) servers.push_back(&it->second);
  }
  auto chosen = ChooseReplicas(servers, request, options_, random_);
  const bool short_of_servers = chosen.ok() ? chosen->size() < static_cast<size_t>(request.wanted)
                                            : chosen.code() == StatusCode::kNoSpace;
  if (expected > 0 && short_of_servers && clock_.MonotonicMillis() < expected_until_ms_) {
    return Status(StatusCode::kUnavailable, "the metaserver has just started and waits for " +
                                                std::to_string(expected) +
                                                " chunk servers to be heard of");
  }
  return chosen;
}

bool ServerTable::IsMisplaced(std::span<const ServerId> chain, const PlacementRule& rule,
                              uint64_t bytes) const {
  if (rule.empty()) return false;
  std::lock_guard lock(mutex_);
  EndMaintenances();
  std::vector<const ServerState*> members;
  for (ServerId id : chain) {
    auto it = servers_.find(id);
    if (it == servers_.end()) return false;
    members.push_back(&it->second);
  }
  std::vector<const ServerState*> usable;
  for (const ServerState* server : AliveServers()) {
    if (server->takes_replicas() && WeightFor(*server, bytes, 0, options_) > 0) {
      usable.push_back(server);
    }
  }
  return tercet::IsMisplaced(members, usable, rule);
}

Status ServerTable::CheckPolicy(const PolicyWish& wish, bool force) const {
  return tercet::CheckPolicy(wish, All(), force);
}

}  // namespace tercet
