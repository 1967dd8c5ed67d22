// Which metaservers there are and which of them is active, as the heartbeats tell it, and calls to
// the active's registry.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "common/rpc/thrift_client.h"
#include "tercet_thrift/RegistryService.h"

namespace tercet {

/// Thread-safe. Metaservers are numbered from 0 in the order they became known.
class RegistryLink {
 public:
  using Client = wire::RegistryServiceClient;
  static constexpr size_t kMaxMetaservers = 16;

  RegistryLink(std::vector<HostPort> metaservers, std::chrono::milliseconds timeout);

  std::chrono::milliseconds timeout() const { return timeout_; }
  std::vector<HostPort> metaservers() const;
  struct Known {
    size_t number = 0;
    bool is_new = false;
  };
  /// The metaserver at an address that another one named; nullopt when it is no address, or there
  /// are too many already.
  std::optional<Known> Learn(const std::string& address);

  std::optional<size_t> active() const;
  void Follow(size_t metaserver);
  /// It does not serve (any more). True when it was the active.
  bool Leave(size_t metaserver);

  /// Calls `method` at the active, once. The answer's own status (in `response` then); kUnavailable
  /// when no active is known, it cannot be reached, or it does not serve.
  template <typename Response, typename Request>
  Status Call(void (Client::*method)(Response&, const Request&), const Request& request,
              Response* response) {
    return CallActive([&](Client& client) {
      *response = Response();
      (client.*method)(*response, request);
      return &response->info;
    });
  }

 private:
  using Pool = RpcClientPool<Client>;
  using Function = std::function<const wire::ReplyInfo*(Client&)>;

  Status CallActive(const Function& call);

  const std::chrono::milliseconds timeout_;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<std::shared_ptr<Pool>> pools_;  // grows by hints, to kMaxMetaservers
  std::optional<size_t> active_;
};

}  // namespace tercet
