#include "metaserver/placement/server_table.h"

#include <algorithm>

namespace tercet {
namespace {

struct Candidate {
  ServerId id;
  uint64_t weight;
};

bool Contains(std::span<const ServerId> ids, ServerId id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

/// The weight of a server for a block of `bytes`: the usable bytes of the disks that can take it.
uint64_t WeightFor(const ServerState& server, uint64_t bytes, const PlacementOptions& options) {
  uint64_t weight = 0;
  for (const DiskState& disk : server.disks) {
    const uint64_t usable = UsableBytes(disk, options);
    if (usable >= bytes) weight += usable;
  }
  return weight;
}

/// Draws one candidate with a probability proportional to its weight and takes it out.
ServerId Draw(std::vector<Candidate>* candidates, Random& random) {
  uint64_t total = 0;
  for (const Candidate& candidate : *candidates) total += candidate.weight;
  uint64_t point = random.Below(std::max<uint64_t>(total, 1));
  size_t chosen = 0;
  while (chosen + 1 < candidates->size() && point >= (*candidates)[chosen].weight) {
    point -= (*candidates)[chosen].weight;
    ++chosen;
  }
  const ServerId id = (*candidates)[chosen].id;
  (*candidates)[chosen] = candidates->back();
  candidates->pop_back();
  return id;
}

}  // namespace

uint64_t UsableBytes(const DiskState& disk, const PlacementOptions& options) {
  if (!disk.healthy) return 0;
  const uint64_t reserve = std::min(options.disk_reserve_bytes, disk.total_bytes / 20);
  return disk.available_bytes > reserve ? disk.available_bytes - reserve : 0;
}

Result<std::vector<ServerId>> ChooseReplicas(std::span<const ServerState* const> servers,
                                             int wanted, int minimum, uint64_t bytes,
                                             std::span<const ServerId> exclude,
                                             const PlacementOptions& options, Random& random) {
  if (minimum < 1 || wanted < minimum) {
    return Status(StatusCode::kInvalidArgument, "cannot choose between " + std::to_string(minimum) +
                                                    " and " + std::to_string(wanted) + " replicas");
  }
  std::vector<Candidate> candidates;
  size_t reachable = 0;
  for (const ServerState* server : servers) {
    if (Contains(exclude, server->id)) continue;
    ++reachable;
    const uint64_t weight = WeightFor(*server, bytes, options);
    if (weight > 0) candidates.push_back({server->id, weight});
  }
  if (reachable < static_cast<size_t>(minimum)) {
    return Status(StatusCode::kUnavailable,
                  "a new block needs " + std::to_string(minimum) + " chunk servers, but only " +
                      std::to_string(reachable) + " are alive (" + std::to_string(exclude.size()) +
                      " excluded by the writer)");
  }
  if (candidates.size() < static_cast<size_t>(minimum)) {
    return Status(StatusCode::kNoSpace,
                  "only " + std::to_string(candidates.size()) + " of " + std::to_string(reachable) +
                      " chunk servers have room for a block of " + std::to_string(bytes) +
                      " bytes, " + std::to_string(minimum) + " are needed");
  }
  std::vector<ServerId> chosen;
  while (chosen.size() < static_cast<size_t>(wanted) && !candidates.empty()) {
    chosen.push_back(Draw(&candidates, random));
  }
  // Drawing prefers large servers for the first places; the chain's order must not.
  for (size_t i = chosen.size(); i > 1; --i) std::swap(chosen[i - 1], chosen[random.Below(i)]);
  return chosen;
}

void ServerTable::AddKnown(ServerState server) {
  std::lock_guard lock(mutex_);
  ServerState& known = servers_[server.id];
  server.disks = std::move(known.disks);
  server.heard_incarnation = known.heard_incarnation;
  server.last_heartbeat_ms = known.last_heartbeat_ms;
  known = std::move(server);
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
  std::lock_guard lock(mutex_);
  const ServerId id = server.id;
  servers_.insert_or_assign(id, std::move(server));
}

bool ServerTable::Heartbeat(ServerId id, int64_t incarnation, std::vector<DiskState> disks) {
  std::lock_guard lock(mutex_);
  auto it = servers_.find(id);
  if (it == servers_.end() || it->second.incarnation != incarnation) return false;
  // One that was registered with another metaserver, and is heard of here for the first time, is
  // known well enough: only its own process has this incarnation.
  if (it->second.heard() && !IsAlive(it->second)) return false;
  it->second.disks = std::move(disks);
  it->second.heard_incarnation = incarnation;
  it->second.last_heartbeat_ms = clock_.MonotonicMillis();
  return true;
}

bool ServerTable::Hear(ServerId id, int64_t incarnation, std::vector<DiskState> disks) {
  std::lock_guard lock(mutex_);
  auto it = servers_.find(id);
  if (it == servers_.end()) return false;
  it->second.disks = std::move(disks);
  it->second.heard_incarnation = incarnation;
  it->second.last_heartbeat_ms = clock_.MonotonicMillis();
  return true;
}

std::optional<ServerState> ServerTable::Find(ServerId id) const {
  std::lock_guard lock(mutex_);
  auto it = servers_.find(id);
  if (it == servers_.end()) return std::nullopt;
  return it->second;
}

std::optional<ServerState> ServerTable::FindByUuid(std::string_view uuid) const {
  std::lock_guard lock(mutex_);
  for (const auto& [id, server] : servers_) {
    if (server.uuid == uuid) return server;
  }
  return std::nullopt;
}

std::vector<ServerState> ServerTable::All() const {
  std::lock_guard lock(mutex_);
  std::vector<ServerState> all;
  all.reserve(servers_.size());
  for (const auto& [id, server] : servers_) all.push_back(server);
  return all;
}

bool ServerTable::IsAlive(const ServerState& server) const {
  return server.heard() &&
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

ClusterSpace ServerTable::Space() const {
  std::lock_guard lock(mutex_);
  ClusterSpace space;
  for (const auto& [id, server] : servers_) {
    if (!IsAlive(server)) continue;
    for (const DiskState& disk : server.disks) {
      if (!disk.healthy) continue;
      space.total_bytes += disk.total_bytes;
      space.available_bytes += UsableBytes(disk, options_);
    }
  }
  return space;
}

Result<std::vector<ServerId>> ServerTable::Choose(int wanted, int minimum, uint64_t bytes,
                                                  std::span<const ServerId> exclude) {
  std::lock_guard lock(mutex_);
  std::vector<const ServerState*> alive;
  alive.reserve(servers_.size());
  size_t expected = 0;
  for (const auto& [id, server] : servers_) {
    if (IsAlive(server)) {
      alive.push_back(&server);
    } else if (!server.heard() && !Contains(exclude, id)) {
      ++expected;
    }
  }
  auto chosen = ChooseReplicas(alive, wanted, minimum, bytes, exclude, options_, random_);
  const bool short_of_servers = chosen.ok() ? chosen->size() < static_cast<size_t>(wanted)
                                            : chosen.code() == StatusCode::kNoSpace;
  if (expected > 0 && short_of_servers && clock_.MonotonicMillis() < expected_until_ms_) {
    return Status(StatusCode::kUnavailable, "the metaserver has just started and waits for " +
                                                std::to_string(expected) +
                                                " chunk servers to be heard of");
  }
  return chosen;
}

}  // namespace tercet
