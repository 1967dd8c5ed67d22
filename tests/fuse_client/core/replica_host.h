// What the fake metaserver needs of the fake chunk servers when it changes a chain.
#pragma once

#include <vector>

#include "common/base/ids.h"

namespace tercet {

class ReplicaHost {
 public:
  virtual ~ReplicaHost() = default;
  /// As to a PING.
  virtual bool Answers(ServerId server) = 0;
  /// Seals those of `members` that answer with generation `to` and makes them and `targets` equal
  /// to the first that has data; returns who is.
  virtual std::vector<ServerId> Reconfigure(BlockId block, Generation to,
                                            const std::vector<ServerId>& members,
                                            const std::vector<ServerId>& targets) = 0;
};

}  // namespace tercet
