// Steps on a metadata group that take a while: begun with one call, then watched until they are
// done.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "tools/group_survey.h"

namespace tercet {

/// Surveys the group until `done` says OK, which is the result, or anything but kUnavailable, which
/// is returned. After `timeout`: kDeadlineExceeded with what was missing last.
Result<GroupSurvey> AwaitGroup(const std::vector<HostPort>& metaservers,
                               std::chrono::milliseconds timeout,
                               const std::function<Status(const GroupSurvey&)>& done);

/// Hands the active role to the member (0: the best standby) and waits until it serves. Its line is
/// in the survey that is returned.
Result<GroupSurvey> SwitchOver(const std::vector<HostPort>& metaservers, int32_t target,
                               std::chrono::milliseconds timeout);

/// Waits until the member votes and has its state; `progress` gets a line every other second.
/// kDeadlineExceeded when nothing moved for `standstill`.
Result<GroupSurvey> AwaitVoter(const std::vector<HostPort>& metaservers, int32_t member,
                               std::chrono::milliseconds standstill,
                               const std::function<void(const std::string&)>& progress);

}  // namespace tercet
