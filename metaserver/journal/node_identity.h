// Whose folder this is: written once, checked at every start.
#pragma once

#include <string>

#include "common/base/status.h"
#include "common/env/disk.h"
#include "common/env/random.h"

namespace tercet {

struct NodeIdentity {
  std::string cluster_id;   // 16 bytes
  std::string server_uuid;  // 16 bytes
};

/// The identity in the file at `path`. kNotFound when there is none, kVersionTooNew, kCorruption.
Result<NodeIdentity> LoadIdentity(Disk& disk, const std::string& path);

/// Checks the file at `path` against `wanted`; empty fields take what the file says. Without a file
/// it is made, empty fields becoming random ids. Returns the identity that holds. kWrongCluster
/// when the folder belongs to another cluster, kFailedPrecondition when to another server.
Result<NodeIdentity> CheckOrCreateIdentity(Disk& disk, const std::string& path,
                                           const NodeIdentity& wanted, Random& random);

}  // namespace tercet
