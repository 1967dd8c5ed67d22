// The group's messages between their two forms: thrift/group.thrift and metaserver/raft.
#pragma once

#include <cstdint>

#include "common/base/status.h"
#include "metaserver/raft/raft_messages.h"
#include "tercet_thrift/group_types.h"

namespace tercet {

/// Takes the payloads out of `message`.
wire::GroupMessage ToWire(uint64_t group_id, RaftMessage message);

/// kInvalidArgument when there is not exactly one body or a number makes no sense: negative,
/// records that are not consecutive from previous_index + 1 or whose epochs go back, an unknown
/// kind. The group id is not looked at.
Result<RaftMessage> FromWire(const wire::GroupMessage& message);

}  // namespace tercet
