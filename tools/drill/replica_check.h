// Compares what the chunk servers of a development cluster have on their disks: all replicas of a
// block must be the same bit by bit, of the generation that the journal says, and match their own
// checksums. Nothing may be written meanwhile.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "fuse_client/core/file_system.h"
#include "tools/admin_client.h"
#include "tools/dev_cluster.h"

namespace tercet {

/// Where one replica is.
struct ReplicaPlace {
  int32_t server_id = 0;
  std::string node;
  std::string path;  // of its file; empty: there is none
};
/// A block of the journal.
struct BlockPlaces {
  int64_t block_id = 0;
  int64_t generation = 0;
  int64_t block_index = 0;
  std::string file;  // its name
  std::vector<ReplicaPlace> replicas;
};

struct ReplicaCheckResult {
  uint64_t files = 0;
  uint64_t blocks = 0;
  uint64_t replicas = 0;
  uint64_t bytes = 0;      // of data, in all replicas
  uint64_t absent = 0;     // replicas that the journal places where there is none, or another one
  uint64_t damaged = 0;    // with pages that do not match their checksums
  uint64_t differing = 0;  // that match, but differ from the first of the block
  std::map<size_t, uint64_t> blocks_by_replicas;
  std::vector<std::string> findings;

  bool identical() const { return absent == 0 && damaged == 0 && differing == 0; }
};

/// The file of a block's replica below a disk's folder (chunkserver/store/format.md).
std::string ReplicaPath(const std::string& disk, int64_t block_id);

/// All committed blocks of the files below a directory.
Result<std::vector<BlockPlaces>> FindReplicas(const DevCluster& dev, const AdminClient& admin,
                                              FileSystem& file_system, InodeId directory,
                                              uint64_t* files);
/// Reads and compares them.
ReplicaCheckResult CompareReplicas(const std::vector<BlockPlaces>& blocks);

}  // namespace tercet
