// Metrics of the metadata group, as this member sees it (docs/operations.md names the ones to alert
// on).
#pragma once

#include <set>
#include <string>

#include "metaserver/group/group_member.h"

namespace tercet {

/// Used by one thread.
class GroupMetrics {
 public:
  /// `counters` are those since the member's start.
  void Update(const GroupStatus& status, const GroupMemberCounters& counters);

 private:
  void UpdatePeers(const GroupStatus& status);

  GroupMemberCounters last_;
  std::set<std::string> peers_;  // of which there are figures
};

}  // namespace tercet
