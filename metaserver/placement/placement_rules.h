// Where replicas of a block may be: labels that servers must have, and failure domains. Pure.
//
// A domain is a label key ("rack"); its values are the places that fail together. Servers without
// the label count as one place of their own. With an empty domain each server is a place.
//
// A domain never keeps a replica from being made: with fewer places than replicas they are spread
// as evenly as possible. Required labels do: a server without them gets no replica.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "metaserver/ops/operation.h"
#include "metaserver/placement/server_state.h"

namespace tercet {

/// Keys and values: 1 to 64 bytes of letters, digits, '-', '_' and '.'.
bool IsLabelText(std::string_view text);

/// The server's place under the rule's domain.
std::string DomainOf(const ServerState& server, const PlacementRule& rule);
/// It has all labels that the rule requires.
bool HasRequiredLabels(const ServerState& server, const PlacementRule& rule);

/// Whether a chain of `members` can be made to fit the rule better with one of `usable` (servers
/// that take replicas) in place of a member: a member lacks required labels that a usable server
/// has, or a domain holds at least two members more than that of a usable server. `usable` may hold
/// members.
bool IsMisplaced(std::span<const ServerState* const> members,
                 std::span<const ServerState* const> usable, const PlacementRule& rule);

/// Whether replacing members[from] by `to` keeps the rule as well as it is kept now: `to` has the
/// required labels, and the domains are spread no worse. False also when `to` is a member.
bool MoveKeepsRule(std::span<const ServerState* const> members, size_t from, const ServerState& to,
                   const PlacementRule& rule);

/// A policy as it is about to be set.
struct PolicyWish {
  int replicas = 3;
  int min_replicas = 2;
  PlacementRule rule;
};
/// kInvalidArgument, and what to do about it: replicas or min_replicas out of bounds; malformed,
/// too many or unknown labels; more replicas than there are servers (that have the labels, in
/// different domains) in service among `servers`. With `force` the counts of servers do not matter,
/// nor whether a required label has the value anywhere.
Status CheckPolicy(const PolicyWish& wish, std::span<const ServerState> servers, bool force);

/// What the servers can do for a policy.
struct PolicyCapacity {
  size_t servers = 0;  // with the required labels
  size_t domains = 0;  // among them
};
PolicyCapacity CapacityFor(const PlacementRule& rule, std::span<const ServerState* const> servers);

}  // namespace tercet
