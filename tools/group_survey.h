// The metadata group as all its members together see it: each is asked itself, so that there is an
// answer also when none is active.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "tercet_thrift/admin_types.h"

namespace tercet {

/// What one address said.
struct GroupAnswer {
  HostPort address;
  Status status;
  wire::GetGroupStatusResponse reply;  // if status is OK
};

/// One line: a member, or an address that is none.
struct SurveyedMember {
  int32_t id = 0;  // 0: no member of the group
  std::string address;
  bool witness = false;
  bool voter = false;
  bool answered = false;
  /// As GroupMember::role; "unreachable"; "empty" (a member that has lost its folder); "not a
  /// member", "removed", "other group", "other cluster".
  std::string role;
  int64_t epoch = 0;
  int64_t journal_index = -1;  // -1: unknown
  int64_t applied_index = -1;  // -1: unknown, or a witness
  int64_t lag_records = -1;    // behind the active's journal; -1: unknown
  int64_t last_contact_ms = -1;
  int64_t clock_skew_ms = 0;
  bool fetching = false;
  bool short_of_space = false;
  bool amnesia = false;
  std::string version;
  std::vector<std::string> notes;
};

struct GroupSurvey {
  std::string cluster_id;
  int64_t group_id = 0;
  int32_t active_id = 0;  // 0: none
  /// Why there is none and what to do; empty when there is one.
  std::string no_active_reason;
  int64_t commit_index = 0;
  int64_t first_index = 0;
  int64_t last_index = 0;
  int64_t lease_ms = -1;
  int64_t election_timeout_ms = 0;
  bool transferring = false;
  std::vector<SurveyedMember> members;

  const SurveyedMember* Find(int32_t id) const;
  const SurveyedMember* FindByAddress(const std::string& address) const;
  const SurveyedMember* active() const { return active_id == 0 ? nullptr : Find(active_id); }
};

/// Asks `metaservers` and, in a second round, the members they tell of; all at once, each for at
/// most `timeout`.
GroupSurvey SurveyGroup(const std::vector<HostPort>& metaservers,
                        std::chrono::milliseconds timeout = std::chrono::milliseconds(1'000));

/// The picture that the answers make.
GroupSurvey MergeAnswers(const std::vector<GroupAnswer>& answers);

/// OK when there is an active and every member is a voter that answers, is in touch with the
/// active, has the state and lags at most `max_lag` records; else kUnavailable with what is wrong.
Status CheckGroupWhole(const GroupSurvey& survey, int64_t max_lag = 1'000);

/// A member by id, "HOST:PORT" or, with `named_address` (what a development cluster knows under
/// that name), by name. kNotFound says what there is.
Result<int32_t> ResolveMember(const GroupSurvey& survey, const std::string& text,
                              const std::optional<std::string>& named_address = std::nullopt);

nlohmann::json SurveyJson(const GroupSurvey& survey);
std::string SurveyText(const GroupSurvey& survey);

}  // namespace tercet
