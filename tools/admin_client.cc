#include "tools/admin_client.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

namespace tercet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kBetweenRounds{50};
/// Hints come from the metaservers' own members: never more than these.
constexpr size_t kMaxMetaservers = 16;

}  // namespace

Result<std::vector<HostPort>> MetaAddressesFrom(const std::string& option) {
  std::string text = option;
  if (text.empty()) {
    const char* environment = std::getenv("TERCET_META");
    if (environment != nullptr) text = environment;
  }
  if (text.empty()) {
    return Status(StatusCode::kInvalidArgument,
                  "which cluster? name its metaservers with --meta HOST:PORT[,HOST:PORT] or in "
                  "TERCET_META");
  }
  return ParseHostPorts(text);
}

AdminClient::AdminClient(std::vector<HostPort> metaservers, AdminOptions options)
    : metaservers_(std::move(metaservers)), options_(options) {}

Status AdminClient::GoRound(Repeat repeat, const std::function<Try(const HostPort&)>& ask) const {
  const auto end = Clock::now() + options_.patience;
  std::vector<HostPort> candidates = metaservers_;
  Status last(StatusCode::kUnavailable, "no metaserver was named");
  for (;;) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      const Try attempt = ask(candidates[i]);
      if (!attempt.transport.ok()) {
        last = attempt.transport;
        if (attempt.connected && repeat == Repeat::kWhenRefused) return last;
        continue;
      }
      const wire::ReplyInfo& info = *attempt.info;
      if (info.status.code == 0) return Status::Ok();
      last = FromWire(info.status);
      const bool elsewhere = last.code() == StatusCode::kNotActive ||
                             last.code() == StatusCode::kUnavailable ||
                             (last.code() == StatusCode::kBusy && repeat == Repeat::kAlsoWhenBusy);
      if (!elsewhere) return Status::Ok();
      Result<HostPort> hint = ParseHostPort(info.active_hint);
      if (hint.ok() && candidates.size() < kMaxMetaservers &&
          std::find(candidates.begin(), candidates.end(), *hint) == candidates.end()) {
        candidates.push_back(*hint);
      }
    }
    if (Clock::now() + kBetweenRounds >= end) return last;
    std::this_thread::sleep_for(kBetweenRounds);
  }
}

Result<wire::GetStatusResponse> AdminClient::GetStatus() const {
  return Call(&wire::AdminServiceClient::GetStatus, wire::GetStatusRequest(), Repeat::kAlways);
}

Result<wire::GetFileInfoResponse> AdminClient::GetFileInfo(
    const wire::GetFileInfoRequest& request) const {
  return Call(&wire::AdminServiceClient::GetFileInfo, request, Repeat::kAlways);
}

Result<wire::AddMemberResponse> AdminClient::AddMember(
    const wire::AddMemberRequest& request) const {
  return Call(&wire::AdminServiceClient::AddMember, request, Repeat::kAlsoWhenBusy);
}

Result<wire::RemoveMemberResponse> AdminClient::RemoveMember(
    const wire::RemoveMemberRequest& request) const {
  return Call(&wire::AdminServiceClient::RemoveMember, request, Repeat::kAlsoWhenBusy);
}

Result<wire::PromoteWitnessResponse> AdminClient::PromoteWitness(
    const wire::PromoteWitnessRequest& request) const {
  return Call(&wire::AdminServiceClient::PromoteWitness, request, Repeat::kAlsoWhenBusy);
}

Result<wire::TransferActiveResponse> AdminClient::TransferActive(
    const wire::TransferActiveRequest& request) const {
  return Call(&wire::AdminServiceClient::TransferActive, request, Repeat::kWhenRefused);
}

}  // namespace tercet
