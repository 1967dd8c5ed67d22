// Work of the active that nobody waits for, in small steps: carries changes of policies down their
// directories, empties the trash of what its time is over for, ends maintenances, forgets the
// deletions of removed servers, looks for blocks that the servers' labels made misplaced.
//
// Everything that is to be done is in the journal, or looked for by each new active; a step that is
// lost is done by the next, here or on another active.
#pragma once

#include "common/base/status.h"
#include "common/env/clock.h"
#include "metaserver/placement/server_table.h"
#include "metaserver/repair/control.h"
#include "metaserver/service/placement_audit.h"
#include "metaserver/service/proposer.h"

namespace tercet {

/// Used by one thread.
class Housekeeper {
 public:
  /// All references must outlive the object.
  Housekeeper(Proposer& proposer, const ServerTable& servers, RepairControl& repair,
              const Clock& clock)
      : proposer_(proposer),
        repair_(repair),
        clock_(clock),
        audit_(proposer, servers, repair, clock) {}

  /// One step of each kind. True: there is more to do now. What fails is logged and tried again by
  /// the next call, and the others go on. kNotActive.
  Result<bool> Step();

 private:
  Result<bool> WalkPolicies(Epoch epoch);
  Result<bool> ExpireTrash(Epoch epoch);
  Result<bool> TendServers(Epoch epoch);

  Proposer& proposer_;
  RepairControl& repair_;
  const Clock& clock_;
  PlacementAudit audit_;
};

}  // namespace tercet
