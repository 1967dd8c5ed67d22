// A block as a reader or writer needs to know it.
#pragma once

#include <vector>

#include "common/base/ids.h"
#include "common/rpc/host_port.h"

namespace tercet {

/// Pages are the unit of checksums, within a block from its beginning on.
inline constexpr uint32_t kBlockPageBytes = 4096;

struct ReplicaAddress {
  ServerId server;
  HostPort address;
};

struct BlockTarget {
  BlockId id;
  Generation generation;
  /// In chain order: writes enter at the first, the last acknowledges.
  std::vector<ReplicaAddress> chain;
};

}  // namespace tercet
