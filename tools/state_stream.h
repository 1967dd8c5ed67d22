// The rows of the namespace at one moment, fetched from a metaserver.
#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "common/rpc/thrift_client.h"
#include "tercet_thrift/AdminService.h"

namespace tercet {

/// Not thread-safe.
class StateStream {
 public:
  /// From that metaserver, as far as it has applied the journal.
  static Result<std::unique_ptr<StateStream>> OpenAt(const HostPort& metaserver);
  /// From the active: everything acknowledged until now is in it. kUnavailable when there is none.
  static Result<std::unique_ptr<StateStream>> OpenAtActive(
      const std::vector<HostPort>& metaservers);
  /// Tells the metaserver that it is of no more use.
  ~StateStream();

  const HostPort& metaserver() const { return pool_.peer(); }
  const wire::OpenStateSnapshotResponse& snapshot() const { return snapshot_; }
  /// The next rows (as in ReadStateSnapshotResponse), checked; empty at the end. kCorruption,
  /// kUnavailable: the snapshot is lost with its metaserver, begin anew.
  Result<std::string> Next();

 private:
  explicit StateStream(const HostPort& metaserver) : pool_(metaserver, "admin", 1) {}

  RpcClientPool<wire::AdminServiceClient> pool_;
  wire::OpenStateSnapshotResponse snapshot_;
  std::string after_key_;
  bool end_ = false;
};

}  // namespace tercet
