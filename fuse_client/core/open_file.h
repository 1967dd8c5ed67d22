// An open file of a mount.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "common/base/status.h"
#include "fuse_client/core/client_context.h"
#include "fuse_client/core/inode_state.h"
#include "fuse_client/core/read_ahead.h"

namespace tercet {

/// Thread-safe. Counts as a use of its inode until Release.
class OpenFile {
 public:
  /// Takes over one use of `inode`.
  OpenFile(std::shared_ptr<ClientContext> context, InodeStatePtr inode, bool writable);
  ~OpenFile();
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  const InodeStatePtr& inode() const { return inode_; }
  bool writable() const { return writable_; }
  ReadAhead& read_ahead() { return read_ahead_; }
  /// The error of a buffered write that this handle was not told of yet, once.
  Status TakeError();
  void Release();

 private:
  // Constant. The context lives until the last handle is gone.
  const std::shared_ptr<ClientContext> context_;
  const InodeStatePtr inode_;
  const bool writable_;

  ReadAhead read_ahead_;
  std::atomic<bool> released_{false};
  std::mutex mutex_;
  uint64_t seen_errors_;  // guarded by mutex_
};

}  // namespace tercet
