// Has blocks moved that their placement rule would have elsewhere since the servers changed: one
// got other labels, came (back), or was added. A change of a policy has a walk of its own
// (metaserver/ops/policy_walk.cc).
//
// A pass looks at all files, a step at a time, and puts a repair row for each block that is in the
// wrong place while there are servers for it. It begins
//  - when this metaserver has become active, and the servers had time to be heard of: so a pass
//    that another active did not finish, or never began, is made up for without being journaled;
//  - when a server's labels are others than before, or it takes replicas and did not before;
//  - an hour after the last one began: disks may have got room since.
// At most one in kMinPassInterval, and none while no policy names labels or a domain.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "metaserver/ops/misplaced_blocks.h"
#include "metaserver/placement/server_table.h"
#include "metaserver/repair/control.h"
#include "metaserver/service/proposer.h"

namespace tercet {

/// Used by one thread.
class PlacementAudit {
 public:
  static constexpr int64_t kMinPassIntervalMs = 10'000;
  static constexpr int64_t kMaxPassIntervalMs = 3'600'000;

  /// All references must outlive the object.
  PlacementAudit(Proposer& proposer, const ServerTable& servers, RepairControl& repair,
                 const Clock& clock)
      : proposer_(proposer), servers_(servers), repair_(repair), clock_(clock) {}

  /// One step of a pass, if there is to be one. True: there is more to do now.
  Result<bool> Step(Epoch epoch);

 private:
  /// What of a server decides about places.
  struct Seen {
    std::map<std::string, std::string> labels;
    bool usable = false;
    bool operator==(const Seen&) const = default;
  };

  /// True when something changed that may have made blocks misplaced.
  bool ServersChanged();
  Result<bool> Look(Epoch epoch);

  Proposer& proposer_;
  const ServerTable& servers_;
  RepairControl& repair_;
  const Clock& clock_;

  Epoch epoch_;  // that the rest belongs to
  std::map<ServerId, Seen> seen_;
  bool wanted_ = false;
  bool running_ = false;
  MisplacedPosition position_;
  int64_t began_ms_ = 0;  // the last pass
  int64_t found_ = 0;     // in this pass
};

}  // namespace tercet
