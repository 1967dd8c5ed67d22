// One mount as the kernel sees it: libfuse's session, its threads, and how it ends.
//
// Lifecycle: Create (mounts) → Serve (until unmounted or stopped by a signal) → destructor.
//  - `umount` detaches the mount: the kernel has written back what was dirty, the threads read
//    ENODEV and end.
//  - SIGTERM, SIGINT and SIGHUP unmount lazily; programs that still have files open keep them for a
//    grace period, then calls that wait for the cluster are interrupted and the threads end.
#pragma once

#include <csignal>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "fuse_client/core/file_system.h"
#include "fuse_client/fuse/mount_options.h"

namespace tercet {

/// Blocks the signals that end a mount, in the calling thread and those it starts from then on. To
/// be called before the first thread is started: Serve handles them.
void BlockStopSignals();

class FuseSession {
 public:
  /// Mounts at options.mount_point (already checked). `file_system` must outlive the session.
  static Result<std::unique_ptr<FuseSession>> Create(const MountOptions& options,
                                                     FileSystem* file_system);
  ~FuseSession();

  /// Serves requests until the mount is gone.
  Status Serve();

 private:
  FuseSession();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tercet
