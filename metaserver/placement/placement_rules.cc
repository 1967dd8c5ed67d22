#include "metaserver/placement/placement_rules.h"

#include <algorithm>
#include <map>
#include <set>

#include "metaserver/namespace/records.h"

namespace tercet {
namespace {

/// How many members each place holds.
std::map<std::string, int> CountDomains(std::span<const ServerState* const> members,
                                        const PlacementRule& rule) {
  std::map<std::string, int> counts;
  for (const ServerState* member : members) ++counts[DomainOf(*member, rule)];
  return counts;
}

int CountOf(const std::map<std::string, int>& counts, const std::string& domain) {
  auto it = counts.find(domain);
  return it == counts.end() ? 0 : it->second;
}

bool IsMember(std::span<const ServerState* const> members, ServerId id) {
  return std::any_of(members.begin(), members.end(),
                     [&](const ServerState* member) { return member->id == id; });
}

std::string ListText(const std::set<std::string>& items) {
  std::string out;
  for (const std::string& item : items) out += (out.empty() ? "" : ", ") + item;
  return out;
}

Status Invalid(std::string message) {
  return Status(StatusCode::kInvalidArgument, std::move(message));
}

/// All keys, or the values of one key, that servers have.
std::set<std::string> LabelKeys(std::span<const ServerState> servers) {
  std::set<std::string> keys;
  for (const ServerState& server : servers) {
    if (server.service == ServiceState::kRemoved) continue;
    for (const auto& [key, value] : server.labels) keys.insert(key);
  }
  return keys;
}
std::set<std::string> LabelValues(std::span<const ServerState> servers, const std::string& key) {
  std::set<std::string> values;
  for (const ServerState& server : servers) {
    if (server.service == ServiceState::kRemoved) continue;
    auto it = server.labels.find(key);
    if (it != server.labels.end()) values.insert(it->second);
  }
  return values;
}

Status CheckKey(const std::string& key, std::span<const ServerState> servers) {
  if (!IsLabelText(key)) {
    return Invalid("'" + key + "' is no label: 1 to 64 letters, digits, '-', '_' and '.'");
  }
  const std::set<std::string> keys = LabelKeys(servers);
  if (keys.contains(key)) return Status::Ok();
  return Invalid("no chunk server has a label '" + key + "'; there " +
                 (keys.empty() ? "are no labels: set them with labels = {…} in the chunk servers' "
                                 "configuration"
                               : "are: " + ListText(keys)));
}

Status CheckLabels(const PolicyWish& wish, std::span<const ServerState> servers, bool force) {
  if (!wish.rule.domain.empty()) RETURN_IF_ERROR(CheckKey(wish.rule.domain, servers));
  if (wish.rule.require.size() > kMaxServerLabels) {
    return Invalid("a policy can require at most " + std::to_string(kMaxServerLabels) + " labels");
  }
  for (const auto& [key, value] : wish.rule.require) {
    RETURN_IF_ERROR(CheckKey(key, servers));
    if (!IsLabelText(value)) {
      return Invalid("'" + value +
                     "' is no value of a label: 1 to 64 letters, digits, '-', '_' "
                     "and '.'");
    }
    const std::set<std::string> values = LabelValues(servers, key);
    if (!force && !values.contains(value)) {
      return Invalid("no chunk server has the label " + key + "=" + value + "; values of '" + key +
                     "' are: " + ListText(values));
    }
  }
  return Status::Ok();
}

}  // namespace

bool IsLabelText(std::string_view text) {
  return !text.empty() && text.size() <= kMaxServerLabelBytes &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

std::string DomainOf(const ServerState& server, const PlacementRule& rule) {
  // '#' is in no label's value, and a server without the label is in the place "".
  if (rule.domain.empty()) return "#" + std::to_string(server.id.value());
  auto it = server.labels.find(rule.domain);
  return it == server.labels.end() ? std::string() : it->second;
}

bool HasRequiredLabels(const ServerState& server, const PlacementRule& rule) {
  return std::all_of(rule.require.begin(), rule.require.end(), [&](const auto& wanted) {
    auto it = server.labels.find(wanted.first);
    return it != server.labels.end() && it->second == wanted.second;
  });
}

bool IsMisplaced(std::span<const ServerState* const> members,
                 std::span<const ServerState* const> usable, const PlacementRule& rule) {
  if (rule.domain.empty() && rule.require.empty()) return false;
  const std::map<std::string, int> counts = CountDomains(members, rule);
  int most = 0;
  bool unfit = false;
  for (const ServerState* member : members) {
    most = std::max(most, CountOf(counts, DomainOf(*member, rule)));
    unfit = unfit || !HasRequiredLabels(*member, rule);
  }
  for (const ServerState* server : usable) {
    if (IsMember(members, server->id) || !HasRequiredLabels(*server, rule)) continue;
    if (unfit || CountOf(counts, DomainOf(*server, rule)) + 2 <= most) return true;
  }
  return false;
}

bool MoveKeepsRule(std::span<const ServerState* const> members, size_t from, const ServerState& to,
                   const PlacementRule& rule) {
  if (IsMember(members, to.id) || !HasRequiredLabels(to, rule)) return false;
  const std::string before = DomainOf(*members[from], rule);
  const std::string after = DomainOf(to, rule);
  if (before == after) return true;
  // The place that loses one must have held more than the one that gains had: then they are at
  // worst as uneven as before, the other way round.
  const std::map<std::string, int> counts = CountDomains(members, rule);
  return CountOf(counts, before) >= CountOf(counts, after) + 1;
}

PolicyCapacity CapacityFor(const PlacementRule& rule, std::span<const ServerState* const> servers) {
  PolicyCapacity capacity;
  std::set<std::string> domains;
  for (const ServerState* server : servers) {
    if (!HasRequiredLabels(*server, rule)) continue;
    ++capacity.servers;
    domains.insert(DomainOf(*server, rule));
  }
  capacity.domains = domains.size();
  return capacity;
}

Status CheckPolicy(const PolicyWish& wish, std::span<const ServerState> servers, bool force) {
  const auto most = static_cast<int>(kMaxChainLength);
  if (wish.replicas < 1 || wish.replicas > most) {
    return Invalid("replicas must be between 1 and " + std::to_string(most) + ", not " +
                   std::to_string(wish.replicas));
  }
  if (wish.min_replicas < 1 || wish.min_replicas > wish.replicas) {
    return Invalid("min_replicas must be between 1 and replicas (" + std::to_string(wish.replicas) +
                   "), not " + std::to_string(wish.min_replicas));
  }
  RETURN_IF_ERROR(CheckLabels(wish, servers, force));
  if (force) return Status::Ok();
  std::vector<const ServerState*> in_service;
  for (const ServerState& server : servers) {
    if (server.service == ServiceState::kInService) in_service.push_back(&server);
  }
  const PolicyCapacity capacity = CapacityFor(wish.rule, in_service);
  const auto wanted = static_cast<size_t>(wish.replicas);
  if (capacity.servers < wanted) {
    return Invalid(std::to_string(wish.replicas) +
                   " replicas need as many chunk servers, but only " +
                   std::to_string(capacity.servers) + " are in service" +
                   (wish.rule.require.empty() ? "" : " with the required labels") +
                   "; add servers first, or force it");
  }
  if (capacity.domains < wanted) {
    return Invalid(std::to_string(wish.replicas) +
                   " replicas in different places need as many values "
                   "of the label '" +
                   wish.rule.domain + "', but there are only " + std::to_string(capacity.domains) +
                   "; or force it");
  }
  return Status::Ok();
}

}  // namespace tercet
