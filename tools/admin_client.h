// Calls to the admin service: of whichever metaserver is active, or of one that is named.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "common/rpc/thrift_client.h"
#include "tercet_thrift/AdminService.h"

namespace tercet {

/// The metaservers named by --meta or, when that is empty, TERCET_META. kInvalidArgument says how
/// to name them.
Result<std::vector<HostPort>> MetaAddressesFrom(const std::string& option);

struct AdminOptions {
  /// Of one try.
  std::chrono::milliseconds timeout{5'000};
  /// The metaservers are asked in turn for so long while none is active (a failover may be going
  /// on); each of them once at least.
  std::chrono::milliseconds patience{0};
};

/// Thread-safe. Each call goes round the metaservers until the active answers, and follows hints to
/// ones that were not named.
///
/// It does not go through the client core's MetaserverGroup: that one is for mounts, waits for
/// minutes and logs; here a person waits, and the answer names what each address said.
class AdminClient {
 public:
  explicit AdminClient(std::vector<HostPort> metaservers, AdminOptions options = {});

  enum class Repeat {
    kAlways,        // a second call does no harm
    kWhenRefused,   // only when it was certainly not done
    kAlsoWhenBusy,  // as kAlways, and kBusy means: soon
  };

  /// What the active answered, be it a refusal (in `info.status`); a Status when none did.
  template <typename Response, typename Request>
  Result<Response> Exchange(void (wire::AdminServiceClient::*method)(Response&, const Request&),
                            const Request& request, Repeat repeat = Repeat::kAlways) const;
  /// The same; a refusal is its Status.
  template <typename Response, typename Request>
  Result<Response> Call(void (wire::AdminServiceClient::*method)(Response&, const Request&),
                        const Request& request, Repeat repeat = Repeat::kAlways) const;

  Result<wire::GetStatusResponse> GetStatus() const;
  Result<wire::GetFileInfoResponse> GetFileInfo(const wire::GetFileInfoRequest& request) const;
  Result<wire::AddMemberResponse> AddMember(const wire::AddMemberRequest& request) const;
  /// One that hands over first is asked for again at the new active.
  Result<wire::RemoveMemberResponse> RemoveMember(const wire::RemoveMemberRequest& request) const;
  Result<wire::PromoteWitnessResponse> PromoteWitness(
      const wire::PromoteWitnessRequest& request) const;
  /// Never asked twice when the first answer was lost.
  Result<wire::TransferActiveResponse> TransferActive(
      const wire::TransferActiveRequest& request) const;

 private:
  /// One call to one metaserver: the outcome of the exchange, and its answer's ReplyInfo.
  struct Try {
    Status transport;
    bool connected = false;
    const wire::ReplyInfo* info = nullptr;
  };
  /// Asks one after the other, until one gives a final answer (OK) or there is no hope (the
  /// Status).
  Status GoRound(Repeat repeat, const std::function<Try(const HostPort&)>& ask) const;

  const std::vector<HostPort> metaservers_;
  const AdminOptions options_;
};

/// One call to the named metaserver, whatever its role; the answer's status counts.
template <typename Response, typename Request>
Result<Response> AskMetaserver(const HostPort& address, std::chrono::milliseconds timeout,
                               void (wire::AdminServiceClient::*method)(Response&, const Request&),
                               const Request& request);

}  // namespace tercet

#include "common/rpc/wire_status.h"

template <typename Response, typename Request>
tercet::Result<Response> tercet::AdminClient::Exchange(
    void (wire::AdminServiceClient::*method)(Response&, const Request&), const Request& request,
    Repeat repeat) const {
  Response response;
  RETURN_IF_ERROR(GoRound(repeat, [&](const HostPort& address) {
    RpcClientPool<wire::AdminServiceClient> pool(address, "admin");
    response = Response();
    Try attempt{.transport = {}, .connected = false, .info = &response.info};
    attempt.transport = pool.Call(options_.timeout, [&](wire::AdminServiceClient& client) {
      attempt.connected = true;
      (client.*method)(response, request);
    });
    return attempt;
  }));
  return response;
}

template <typename Response, typename Request>
tercet::Result<Response> tercet::AdminClient::Call(
    void (wire::AdminServiceClient::*method)(Response&, const Request&), const Request& request,
    Repeat repeat) const {
  ASSIGN_OR_RETURN(Response response, Exchange(method, request, repeat));
  if (response.info.status.code == 0) return response;
  return FromWire(response.info.status);
}

template <typename Response, typename Request>
tercet::Result<Response> tercet::AskMetaserver(
    const HostPort& address, std::chrono::milliseconds timeout,
    void (wire::AdminServiceClient::*method)(Response&, const Request&), const Request& request) {
  RpcClientPool<wire::AdminServiceClient> pool(address, "admin");
  Response response;
  RETURN_IF_ERROR(pool.Call(
      timeout, [&](wire::AdminServiceClient& client) { (client.*method)(response, request); }));
  if (response.info.status.code == 0) return response;
  return FromWire(response.info.status);
}
