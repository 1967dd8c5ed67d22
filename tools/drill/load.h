// The load of a drill: threads that create, rename, change, write, read and remove files through a
// client of their own, and remember all they were told.
//
// Each answer is checked on the spot where it can be: an exclusive creation that finds the file
// there was done twice; a removal that does not find it, too; a read that does not see what was
// acknowledged is wrong. All else is checked at the end, by a fresh client.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "fuse_client/core/file_system.h"
#include "tools/drill/ledger.h"
#include "tools/drill/pause_log.h"

namespace tercet {

struct LoadOptions {
  std::vector<HostPort> metaservers;
  std::string directory;  // its name under the root; made, must not be there
  size_t threads = 4;
  bool with_data = true;  // also file data, with fsync
};

struct LoadCounts {
  uint64_t operations = 0;  // that succeeded
  uint64_t errors = 0;      // that failed
  uint64_t wrong = 0;       // with an answer that cannot be
};

/// What the check at the end found.
struct LoadVerdict {
  uint64_t files = 0;     // compared
  uint64_t doubtful = 0;  // left out: an operation on them failed
  uint64_t lost = 0;      // acknowledged and not there, or with older contents
  uint64_t extra = 0;     // there though removed or never made
  std::vector<std::string> findings;
};

/// Thread-safe.
class DrillLoad {
 public:
  static Result<std::unique_ptr<DrillLoad>> Start(const LoadOptions& options);
  ~DrillLoad();

  InodeId directory() const { return directory_; }
  /// Directories under the root whose names begin so, but for this load's own.
  Result<std::vector<std::string>> OthersLike(const std::string& prefix) const;
  LoadCounts counts() const;
  std::vector<std::string> findings() const;
  void ForgetBefore(PauseLog::Clock::time_point time);
  LoadPause PauseSince(PauseLog::Clock::time_point time) const;
  bool AllWentOnAfter(PauseLog::Clock::time_point time) const;

  /// Ends the threads, each after its current operation.
  void Stop();
  /// After Stop: compares everything with what was acknowledged, through a new client.
  Result<LoadVerdict> Verify() const;
  /// After Stop: removes the directory and all in it (the registers' files, too).
  Status CleanUp();

 private:
  struct Worker;
  explicit DrillLoad(const LoadOptions& options);
  static FileSystemOptions MountOptions(const LoadOptions& options);

  const LoadOptions options_;
  std::unique_ptr<FileSystem> file_system_;
  InodeId directory_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex findings_mutex_;
  std::vector<std::string> findings_;  // guarded by findings_mutex_
};

}  // namespace tercet
