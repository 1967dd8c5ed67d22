// Conversions between the data plane's Thrift types and ours.
#pragma once

#include "common/rpc/wire_status.h"
#include "fuse_client/core/block_io/block_target.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet::block_io {

/// The servers behind the head, as the head's requests name them.
inline std::vector<wire::ChainHop> DownstreamOf(const BlockTarget& target) {
  std::vector<wire::ChainHop> hops;
  for (size_t i = 1; i < target.chain.size(); ++i) {
    wire::ChainHop& hop = hops.emplace_back();
    hop.server_id = static_cast<int32_t>(target.chain[i].server.value());
    hop.host = target.chain[i].address.host;
    hop.port = target.chain[i].address.port;
  }
  return hops;
}

}  // namespace tercet::block_io
