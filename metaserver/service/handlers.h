// The Thrift services of a metaserver: each method hands on to its operation. Those that need the
// namespace have a twin for members without one (witnesses, metaservers that wait to be added or
// fetch it), which answers kNotActive. Every method answers in every mode.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "common/env/clock.h"
#include "metaserver/group/group_member.h"
#include "metaserver/placement/server_table.h"
#include "metaserver/repair/block_recovery.h"
#include "metaserver/repair/control.h"
#include "metaserver/service/census.h"
#include "metaserver/service/proposer.h"
#include "metaserver/service/registry.h"
#include "metaserver/service/sessions.h"
#include "metaserver/service/state_fetcher.h"
#include "metaserver/service/state_snapshots.h"
#include "tercet_thrift/AdminService.h"
#include "tercet_thrift/MetadataService.h"
#include "tercet_thrift/RegistryService.h"

namespace tercet {

/// What the handlers work with on a metaserver that has the namespace; everything outlives them.
struct HandlerParts {
  Proposer& proposer;
  Sessions& sessions;
  Registry& registry;
  ServerTable& servers;
  Census& census;
  const Clock& clock;
  /// Null where no repair engine runs: then changes are journaled, and found by one that starts
  /// later.
  RepairControl* repair = nullptr;
  /// Null: inventories are refused.
  InventoryControl* inventory = nullptr;
  /// Null: writers are told to wait.
  BlockRecovery* recovery = nullptr;
};

/// What the admin handler works with; what is null is not there in the mode that the metaserver is
/// in. Everything outlives the handler.
struct AdminParts {
  explicit AdminParts(const Clock& the_clock) : clock(the_clock) {}

  const HandlerParts* state = nullptr;
  GroupMember* member = nullptr;
  StateSnapshots* snapshots = nullptr;
  const StateFetcher* fetcher = nullptr;
  const Clock& clock;
  std::string address;     // "HOST:PORT" of this metaserver
  std::string cluster_id;  // 16 bytes, or empty before it is known
  std::string version;
  std::chrono::milliseconds election_timeout{400};
  int64_t started_ms = 0;  // monotonic
};

// One object serves all connections; thread-safe.
std::shared_ptr<wire::MetadataServiceIf> MakeMetadataHandler(const HandlerParts& parts);
std::shared_ptr<wire::RegistryServiceIf> MakeRegistryHandler(const HandlerParts& parts);
std::shared_ptr<wire::AdminServiceIf> MakeAdminHandler(const AdminParts& parts);

/// `consensus` knows the epoch and the active; null: nobody does.
std::shared_ptr<wire::MetadataServiceIf> MakeStatelessMetadataHandler(const Consensus* consensus);
std::shared_ptr<wire::RegistryServiceIf> MakeStatelessRegistryHandler(const Consensus* consensus);

/// kNotActive with what `consensus` (null: nobody) knows of epoch and active.
void RefuseNotActive(const Consensus* consensus, wire::ReplyInfo* info);

}  // namespace tercet
