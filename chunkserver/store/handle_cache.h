// The replicas that are open, a bounded number of them.
//
// Invariant: at any time there is at most one handle of a block, so its lock excludes all other
// users of the block. A handle is dropped only while nobody but the cache refers to it.
#pragma once

#include <array>
#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "chunkserver/store/replica_file.h"
#include "common/base/ids.h"

namespace tercet {

class StoreDisk;

/// One block's lock, and its replica while it is open.
class BlockHandle {
 public:
  explicit BlockHandle(BlockId block) : block(block) {}

  const BlockId block;
  std::shared_mutex mutex;
  /// The name is durable: the replica's folder was synced after the file was made.
  std::atomic<bool> name_durable{false};

  // Guarded by mutex: both null while the replica is not open.
  StoreDisk* disk = nullptr;  // lives as long as the store
  std::unique_ptr<ReplicaFile> replica;
};

/// Thread-safe.
class HandleCache {
 public:
  /// Keeps up to about `max_handles`; more only while more are in use at once.
  explicit HandleCache(size_t max_handles);
  std::shared_ptr<BlockHandle> Get(BlockId block);
  size_t size() const;

 private:
  static constexpr size_t kShards = 16;
  using Recent = std::list<std::shared_ptr<BlockHandle>>;  // most recently used first
  struct Shard {
    mutable std::mutex mutex;
    Recent recent;                                         // guarded by mutex
    std::unordered_map<BlockId, Recent::iterator> places;  // guarded by mutex
  };

  const size_t max_per_shard_;
  std::array<Shard, kShards> shards_;
};

}  // namespace tercet
