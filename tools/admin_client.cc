#include "tools/admin_client.h"

#include <algorithm>
#include <cstdlib>

#include "common/rpc/thrift_client.h"
#include "common/rpc/wire_status.h"

namespace tercet {

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

AdminClient::AdminClient(std::vector<HostPort> metaservers, std::chrono::milliseconds timeout)
    : metaservers_(std::move(metaservers)), timeout_(timeout) {}

template <typename Response>
Result<Response> AdminClient::Call(
    const std::function<void(wire::AdminServiceClient&, Response&)>& call) const {
  std::vector<HostPort> candidates = metaservers_;
  Status last(StatusCode::kUnavailable, "no metaserver was named");
  for (size_t i = 0; i < candidates.size(); ++i) {
    RpcClientPool<wire::AdminServiceClient> pool(candidates[i], "admin");
    Response response;
    last = pool.Call(timeout_, [&](wire::AdminServiceClient& client) { call(client, response); });
    if (!last.ok()) continue;
    const wire::ReplyInfo& info = response.info;
    if (info.status.code == 0) return response;
    last = FromWire(info.status);
    if (last.code() != StatusCode::kNotActive && last.code() != StatusCode::kUnavailable) {
      return last;
    }
    // A hint leads to a metaserver that was not named; it is tried once.
    Result<HostPort> hint = ParseHostPort(info.active_hint);
    if (hint.ok() && candidates.size() <= metaservers_.size() &&
        std::find(candidates.begin(), candidates.end(), *hint) == candidates.end()) {
      candidates.push_back(*hint);
    }
  }
  return last;
}

Result<wire::GetStatusResponse> AdminClient::GetStatus() {
  return Call<wire::GetStatusResponse>(
      [](wire::AdminServiceClient& client, wire::GetStatusResponse& response) {
        client.GetStatus(response, wire::GetStatusRequest());
      });
}

Result<wire::GetFileInfoResponse> AdminClient::GetFileInfo(
    const wire::GetFileInfoRequest& request) {
  return Call<wire::GetFileInfoResponse>(
      [&](wire::AdminServiceClient& client, wire::GetFileInfoResponse& response) {
        client.GetFileInfo(response, request);
      });
}

}  // namespace tercet
