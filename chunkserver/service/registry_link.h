// Calls to the registry of the active metaserver: finds it among the group's addresses and follows
// it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "common/rpc/thrift_client.h"
#include "tercet_thrift/RegistryService.h"

namespace tercet {

/// Thread-safe.
class RegistryLink {
 public:
  using Client = wire::RegistryServiceClient;

  RegistryLink(std::vector<HostPort> metaservers, std::chrono::milliseconds timeout);

  /// Calls `method` at the metaserver that was active last; when it cannot be reached or is not
  /// active, at the one it names and at all others, each once. Returns the answer's own status (in
  /// `response` then), or kUnavailable when none is active. Takes at most the timeout for each
  /// address.
  template <typename Response, typename Request>
  Status Call(void (Client::*method)(Response&, const Request&), const Request& request,
              Response* response) {
    return CallActive([&](Client& client) {
      *response = Response();
      (client.*method)(*response, request);
      return &response->info;
    });
  }

  /// The metaserver that answered last turned out to be deposed: the next call tries another first.
  void LeaveDeposed();

 private:
  using Pool = RpcClientPool<Client>;
  using Function = std::function<const wire::ReplyInfo*(Client&)>;

  Status CallActive(const Function& call);
  std::shared_ptr<Pool> Current(size_t* position);
  /// `from` did not serve: the next one is tried, or the one at `hint`.
  void MoveOn(size_t from, const std::string& hint);

  const std::chrono::milliseconds timeout_;

  std::mutex mutex_;
  std::vector<std::shared_ptr<Pool>> pools_;  // guarded by mutex_; grows by hints
  size_t active_ = 0;                         // guarded by mutex_
};

}  // namespace tercet
