// Changes the data of files: buffering, sending, committing, truncating.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "common/base/status.h"
#include "fuse_client/core/block_writer.h"
#include "fuse_client/core/client_context.h"
#include "fuse_client/core/inode_state.h"

namespace tercet {

/// What Flush has to achieve. Each includes those before it.
enum class FlushGoal {
  kCommitted,    // on all replicas and committed
  kDurableData,  // on their disks too; a commit of the mtime alone may wait
  kDurable,
};

/// Thread-safe. The inodes given to it are in use (OpenInodes) for the time of the call.
class FileWriter {
 public:
  /// `context` must outlive it.
  explicit FileWriter(ClientContext* context) : context_(context) {}

  /// Buffers `data` and sends what became full. Waits when too much is buffered.
  Status Write(const InodeStatePtr& inode, uint64_t offset, std::string_view data);
  /// An error that loses data is also noted in the inode.
  Status Flush(const InodeStatePtr& inode, FlushGoal goal);
  /// Changes attributes with everything that has to do with buffered data: the size, the mtime.
  Result<wire::Attributes> SetAttributes(const InodeStatePtr& inode,
                                         wire::SetAttributesRequest request);
  /// Makes the file at least `size` bytes long.
  Status Extend(const InodeStatePtr& inode, uint64_t size);

 private:
  Status WritePart(const InodeStatePtr& inode, uint64_t offset, std::string_view data);
  void AllocateEarly(const InodeStatePtr& inode, uint64_t index);
  void QueueUnsentLocked(InodeState& inode);
  BlockWriter& WriterFor(InodeState& inode, uint64_t index);
  Status SendQueued(InodeState& inode);
  Status DrainAll(InodeState& inode, bool durable);
  Status MakeDurable(InodeState& inode);
  Status SyncOthers(InodeState& inode);
  void NoteDurable(InodeState& inode);
  Status Commit(InodeState& inode, bool mtime_may_wait);
  Status CommitOnce(InodeState& inode, bool mtime_may_wait, bool* more);
  Result<wire::Attributes> SetAttributesLocked(InodeState& inode,
                                               wire::SetAttributesRequest request);
  Status ResolveConflict(InodeState& inode);
  Status PruneWriters(InodeState& inode);
  Status PrepareTruncation(InodeState& inode, uint64_t size);
  void FinishTruncation(InodeState& inode, uint64_t size, bool done);

  ClientContext* const context_;
};

}  // namespace tercet
