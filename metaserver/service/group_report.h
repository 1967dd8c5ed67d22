// What a member of the metadata group knows of the group, in the form that people are shown.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "metaserver/group/group_member.h"
#include "tercet_thrift/admin_types.h"

namespace tercet {

/// Fills all of the response but info, cluster_id and version. `state_note` is of the answering
/// member itself: "fetching 1234 rows", or empty.
void DescribeGroup(const GroupStatus& status, std::chrono::milliseconds election_timeout,
                   const std::string& state_note, wire::GetGroupStatusResponse* response);

/// The same for GetStatus, of members whose role is known or can be told from their kind.
std::vector<wire::MetaserverStatus> DescribeMetaservers(const wire::GetGroupStatusResponse& group);

}  // namespace tercet
