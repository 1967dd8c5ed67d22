// What is the matter with a block, as of the journal and the servers that are known to live: the
// examination that everything in repair begins with, and is repeated before anything is done.
//
// Pure functions of a view and of the judgement about the servers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/repairs.h"
#include "metaserver/placement/repair_planner.h"
#include "metaserver/placement/server_table.h"

namespace tercet {

/// What may be expected of a server.
enum class ServerVerdict : uint8_t {
  kServing,  // alive
  kLeaving,  // alive and draining
  kAway,     // silent for less than the repair delay, or in maintenance: expected back
  kGone,     // silent for longer
  kRemoved,  // for good, or unknown
};

struct ServerVerdicts {
  std::map<ServerId, ServerVerdict> servers;
  /// Alive by their heartbeats, but somebody could not reach them a moment ago.
  std::set<ServerId> suspected;

  ServerVerdict Of(ServerId server) const {
    const auto found = servers.find(server);
    return found == servers.end() ? ServerVerdict::kRemoved : found->second;
  }
  bool ExpectedBack(ServerId server) const {
    return Of(server) == ServerVerdict::kAway || suspected.contains(server);
  }
  bool Alive(ServerId server) const {
    const ServerVerdict verdict = Of(server);
    return verdict == ServerVerdict::kServing || verdict == ServerVerdict::kLeaving;
  }
};

/// `since_ms`: servers that were not heard of count as heard of then (monotonic).
ServerVerdicts JudgeServers(const ServerTable& table, int64_t now_ms, int64_t repair_delay_ms,
                            int64_t since_ms);

struct BlockSituation {
  OwnedBlock owned;
  std::optional<RepairRecord> repair;
  PlacementRule rule;
  uint64_t bytes = 0;  // at most so many does a replica hold
  bool sealed =
      false;  // an attempt was begun and not committed: the block is not served until one is
  bool misplaced = false;
  /// A member, one that is gone too, may differ from others in what nobody acknowledged, and nobody
  /// is expected back: those that are there can be compared.
  bool doubtful = false;
  // Members, each in one of these, in chain order.
  std::vector<ServerId> good;     // doubtful ones too
  std::vector<ServerId> bad;      // alive, with a replica that is damaged, missing or suspect
  std::vector<ServerId> away;     // not bad
  std::vector<ServerId> gone;     // or removed
  std::vector<ServerId> leaving;  // of the good ones
  /// Servers outside of the chain that hold a stale replica and are expected back: bringing them up
  /// to date costs less than a new copy, so they are waited for.
  std::vector<ServerId> returning;
  /// No good member is left, and all that could come back or are there have suspect or damaged
  /// replicas.
  bool only_bad_left = false;
  BlockHealth health;

  const FileBlockRecord& block() const { return owned.block; }
  /// What is to be done first; nothing: the block is as it should be. Sealed blocks and those of
  /// which only bad replicas are left come as kOneLeft.
  std::optional<RepairClass> Class() const;
  /// Nothing is done about it in this class yet: a member that is expected back would lose its
  /// place.
  bool MustWait(RepairClass repair_class) const {
    return !IsUrgent(repair_class) && !sealed && !away.empty();
  }
  bool IsBadFor(ServerId server, BadReplica reason) const;
};

/// Nothing when the block is gone, or reserved: then only its writer cares.
Result<std::optional<BlockSituation>> ExamineBlock(const View& view, const ServerTable& table,
                                                   const ServerVerdicts& verdicts, BlockId block);

/// Those of `servers` that are to delete their replica of the block, so that they must not get a
/// new one yet.
Result<std::vector<ServerId>> ServersThatDelete(const Tables& tables, BlockId block,
                                                std::span<const ServerId> servers);

/// How badly servers fit the rule: lower is better, 0 is as it should be. Members without required
/// labels count most, then pairs of members in one domain.
int PlacementPenalty(std::span<const ServerState> servers, const PlacementRule& rule);

/// Which of `members` had best leave when `to` (0: nobody) comes; by the penalty of what is left,
/// then the fuller server, then the one further upstream.
ServerId BestToLeave(const ServerTable& table, std::span<const ServerId> members, ServerId to,
                     const PlacementRule& rule);

}  // namespace tercet
