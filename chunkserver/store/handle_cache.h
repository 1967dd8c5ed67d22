// The replicas that are open, a bounded number of them.
//
// Invariant: at any time there is at most one handle of a block, so its lock excludes all other
// users of the block. A handle is dropped only while nobody but the cache refers to it.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "chunkserver/store/replica_file.h"
#include "chunkserver/store/replica_format.h"
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
  // While it is open:
  bool suspect = false;
  bool suspect_base = false;  // suspect, but a copy may write to it
  Generation doomed_up_to;    // not served up to this generation
  Era covered_in;             // its changes are covered in this era (activity_log.h)
  bool growth_noted = false;
  uint64_t changes = 0;  // since the handle was made
};

/// Thread-safe.
class HandleCache {
 public:
  /// Keeps up to about `max_handles`; more only while more are in use at once.
  explicit HandleCache(size_t max_handles);
  std::shared_ptr<BlockHandle> Get(BlockId block);
  /// Null when there is none at the moment.
  std::shared_ptr<BlockHandle> Find(BlockId block);
  /// Calls `visit` with each handle there is, without any lock.
  void ForEach(const std::function<void(BlockHandle&)>& visit);
  /// Returns when every user that had a handle's lock exclusively at the time of the call has
  /// given it up.
  void WaitForWriters();
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
