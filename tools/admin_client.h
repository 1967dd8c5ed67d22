// Calls to the admin service of whichever metaserver is active.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "tercet_thrift/AdminService.h"

namespace tercet {

/// The metaservers named by --meta or, when that is empty, TERCET_META. kInvalidArgument says how
/// to name them.
Result<std::vector<HostPort>> MetaAddressesFrom(const std::string& option);

/// Thread-safe. Each call tries every metaserver once, follows a hint to the active once, and has
/// an answer or a failure after at most `timeout` per try.
class AdminClient {
 public:
  explicit AdminClient(std::vector<HostPort> metaservers,
                       std::chrono::milliseconds timeout = std::chrono::seconds(5));

  Result<wire::GetStatusResponse> GetStatus();
  Result<wire::GetFileInfoResponse> GetFileInfo(const wire::GetFileInfoRequest& request);

 private:
  template <typename Response>
  Result<Response> Call(
      const std::function<void(wire::AdminServiceClient&, Response&)>& call) const;

  const std::vector<HostPort> metaservers_;
  const std::chrono::milliseconds timeout_;
};

}  // namespace tercet
