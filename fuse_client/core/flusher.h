// Sends and commits written data in the background: when it gets old, or when buffers run out.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "common/base/ids.h"
#include "fuse_client/core/inode_state.h"

namespace tercet {

struct ClientContext;

/// Thread-safe. Each inode in its list counts as used (OpenInodes).
class Flusher {
 public:
  /// `context` must outlive it.
  explicit Flusher(ClientContext* context);
  ~Flusher();

  /// `inode`, which the caller uses, has something to flush.
  void NoteDirty(const InodeStatePtr& inode);
  /// Flushes everything soon: buffers are wanted.
  void FlushSoon();
  /// Flushes everything that is dirty now, in this thread and the pool's. The first error.
  Status FlushAll();
  /// Ends the thread. Nothing is flushed after it.
  void Stop();

 private:
  struct Entry {
    InodeStatePtr inode;
    bool busy = false;  // a task of the pool flushes it
  };
  void Loop();
  void SubmitDue(bool all);
  void FlushOne(const InodeStatePtr& inode);
  /// Takes clean inodes off the list.
  void DropClean();
  void Unuse(const InodeStatePtr& inode);

  ClientContext* const context_;
  std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  std::map<InodeId, Entry> dirty_;
  bool flush_soon_ = false;
  bool stopping_ = false;
  std::thread thread_;  // constant until Stop
};

}  // namespace tercet
