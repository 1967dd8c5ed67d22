// What a mount knows and buffers of one inode that is open or has unwritten data.
//
// Locks, in the order in which they are taken:
//  1. InodeState::write_mutex: one at a time changes the file's data (write, flush, truncate). Held
//  over
//     network calls, and by Flush on behalf of the threads that it lets write blocks in parallel.
//  2. InodeState::mutex: short, never held over a call to another machine.
//  3. All others (OpenInodes, Flusher, ReadAhead, MemoryBudget, WorkerPool, AttributeCache,
//  ServerDirectory,
//     the metadata client's): leaves; nothing else is taken under them. ReadAhead's is also not
//     held while a chunk is read.
// Reads take only the second: they never wait for a write on its way to the servers.
//
// Life of written data:
//  1. In `unsent`: in this process alone. Reads are served from here.
//  2. In `in_flight` of its block, until all replicas have acknowledged it. Reads are served from
//  here too.
//  3. On the replicas, not committed: `pending_end`, `pending_mtime`, reserved and trimmed blocks
//  are what a
//     commit has to tell. Own reads find the data through the block map; others do not see it.
//  4. Committed. A crash of the mount before loses the data; fsync and close wait for it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "fuse_client/core/block_map.h"
#include "fuse_client/core/write_buffer.h"
#include "tercet_thrift/metadata_types.h"

namespace tercet {

class BlockWriter;

struct InodeState {
  using Clock = std::chrono::steady_clock;

  InodeState(InodeId inode, std::shared_ptr<PieceBufferPool> pool);
  ~InodeState();
  InodeState(const InodeState&) = delete;
  InodeState& operator=(const InodeState&) = delete;

  /// Takes in what the metaserver says, unless something newer is known. `own_change`: it is the
  /// answer to a mutation of this mount. When somebody else changed the inode, cached block
  /// locations and read-ahead are dropped. Returns the attributes with this mount's own uncommitted
  /// writes.
  wire::Attributes Learn(const wire::Attributes& fresh, bool own_change);
  wire::Attributes Current() const;
  /// The size that reads on this mount see.
  uint64_t VisibleSizeLocked() const;
  /// Works pending_end out anew after data was dropped.
  void RecomputePendingEndLocked();
  /// There is data that is not on all replicas, or something to commit.
  bool IsDirty() const;
  bool IsDirtyLocked() const;
  uint64_t block_size() const { return block_size_.load(std::memory_order_relaxed); }

  /// Notes a lost write for all handles that are open now.
  void NoteError(const Status& status);
  /// The error since `*seen`, once; moves `*seen` on.
  Status TakeError(uint64_t* seen) const;
  uint64_t error_count() const;

  const InodeId id;
  const std::shared_ptr<PieceBufferPool> buffer_pool;

  /// Grows when the content that readers see may have changed: read-ahead from before is void.
  std::atomic<uint64_t> data_version{0};
  /// Grows when somebody else changed the inode: writers have to look whether their blocks are
  /// still its.
  std::atomic<uint64_t> foreign_changes{0};
  /// The Flusher has it in its list.
  std::atomic<bool> flush_registered{false};

  std::mutex write_mutex;
  // Guarded by write_mutex.
  std::map<uint64_t, std::unique_ptr<BlockWriter>> writers;  // by block index

  mutable std::mutex mutex;
  std::condition_variable allocated;
  // Guarded by mutex.
  wire::Attributes attributes;  // inode 0 until the first Learn
  BlockMap blocks;
  std::unique_ptr<WriteBuffer> unsent;  // there once the block size is known
  std::set<uint64_t> allocating;        // indexes for which a block was asked for in the background
  uint64_t pending_end = 0;             // highest end of an uncommitted write; 0: none
  uint64_t acknowledged_end = 0;        // of pending_end: what the replicas have
  std::optional<int64_t> pending_mtime;
  std::optional<Clock::time_point> dirty_since;
  /// The file may have data that is not on the disks and that none of `writers` knows of: written
  /// before this state was made, or on another mount. As of change_version others_version.
  bool others_unsynced = false;
  int64_t others_version = 0;
  // Modified with write_mutex and mutex, read with either. In order of submission.
  std::map<uint64_t, std::deque<Piece>> in_flight;  // by block index

 private:
  wire::Attributes OverlaidLocked() const;

  std::atomic<uint64_t> block_size_{0};
  // Guarded by mutex.
  Status error_;
  uint64_t error_count_ = 0;
};

using InodeStatePtr = std::shared_ptr<InodeState>;

}  // namespace tercet
