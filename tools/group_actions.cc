#include "tools/group_actions.h"

#include <fmt/format.h>

#include <thread>

#include "tools/admin_client.h"
#include "tools/output.h"

namespace tercet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPollInterval{20};
constexpr std::chrono::seconds kBetweenWords{2};
constexpr std::chrono::milliseconds kCallTimeout{5'000};

std::string HowFar(const SurveyedMember& member, const GroupSurvey& survey) {
  if (survey.active_id == 0) return "no active metaserver: " + survey.no_active_reason;
  if (!member.answered) return "does not answer";
  if (member.fetching) {
    return member.notes.empty() ? "is fetching the namespace" : member.notes.front();
  }
  return fmt::format("has {} of {} records{}", Grouped(std::max<int64_t>(member.journal_index, 0)),
                     Grouped(survey.last_index), member.voter ? "" : ", does not vote yet");
}

}  // namespace

Result<GroupSurvey> AwaitGroup(const std::vector<HostPort>& metaservers,
                               std::chrono::milliseconds timeout,
                               const std::function<Status(const GroupSurvey&)>& done) {
  const auto end = Clock::now() + timeout;
  for (;;) {
    GroupSurvey survey = SurveyGroup(metaservers);
    const Status status = done(survey);
    if (status.ok()) return survey;
    if (status.code() != StatusCode::kUnavailable) return status;
    if (Clock::now() >= end) return Status(StatusCode::kDeadlineExceeded, status.message());
    std::this_thread::sleep_for(kPollInterval);
  }
}

Result<GroupSurvey> SwitchOver(const std::vector<HostPort>& metaservers, int32_t target,
                               std::chrono::milliseconds timeout) {
  wire::TransferActiveRequest request;
  request.member_id = target;
  ASSIGN_OR_RETURN(const wire::TransferActiveResponse begun,
                   AdminClient(metaservers, {.timeout = kCallTimeout, .patience = timeout})
                       .TransferActive(request));
  const int32_t to = begun.target_id;
  int32_t other = 0;
  auto survey = AwaitGroup(metaservers, timeout, [&](const GroupSurvey& now) {
    if (now.active_id == to) return Status::Ok();
    other = now.active_id;
    return Status(StatusCode::kUnavailable, now.no_active_reason);
  });
  if (survey.ok() || other == 0) return survey;
  return Status(StatusCode::kUnavailable,
                fmt::format("member {} was to become active, but member {} is: see `tercet meta "
                            "list`",
                            to, other));
}

Result<GroupSurvey> AwaitVoter(const std::vector<HostPort>& metaservers, int32_t member,
                               std::chrono::milliseconds standstill,
                               const std::function<void(const std::string&)>& progress) {
  auto last_change = Clock::now();
  auto next_word = Clock::now() + kBetweenWords;
  std::string last;
  for (;;) {
    GroupSurvey survey = SurveyGroup(metaservers);
    const SurveyedMember* line = survey.Find(member);
    std::string words = "the group does not know it yet";
    if (line != nullptr) {
      if (survey.active_id != 0 && line->voter && line->answered && !line->fetching) return survey;
      words = HowFar(*line, survey);
    }
    const auto now = Clock::now();
    if (words != last) {
      last = words;
      last_change = now;
    } else if (now - last_change >= standstill) {
      return Status(StatusCode::kDeadlineExceeded,
                    fmt::format("member {} does not get on: {}", member, words));
    }
    if (now >= next_word) {
      progress(fmt::format("member {} {}", member, words));
      next_word = now + kBetweenWords;
    }
    std::this_thread::sleep_for(kPollInterval * 5);
  }
}

}  // namespace tercet
