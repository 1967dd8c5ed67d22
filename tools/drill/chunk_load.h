// The data load of a drill of chunk servers: threads that write and read files all the time, and
// know of each byte what it must be.
//
//  - Streams: a new file, written from its beginning in pieces, some of them synced, closed, read
//    back, kept for a while, removed.
//  - Overwriters: a file of their own, in which random cells are overwritten and read back.
//  - Sharers: all of them one file, through different clients, where cells of different writers
//    share pages. After closing it each reads cells of the others: what was visible before must be
//    there.
//
// Everything that is kept is compared once more at the end, by a fresh client.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "fuse_client/core/file_system.h"
#include "tools/bench_common.h"
#include "tools/drill/cells.h"
#include "tools/drill/load.h"
#include "tools/drill/load_files.h"
#include "tools/drill/pause_log.h"

namespace tercet {

struct ChunkLoadOptions {
  std::vector<HostPort> metaservers;
  /// A mount of the cluster, through which most threads go; empty: clients of the drill's own.
  std::string mount;
  std::string directory;  // its name under the root; made, must not be there
  size_t streams = 2;
  size_t overwriters = 2;
  size_t sharers = 2;
  /// Of an overwritten or shared file, and the most that a stream writes into one.
  uint64_t file_bytes = 8 << 20;
  /// Between two operations of a thread: the load must not be what uses up the machine.
  std::chrono::milliseconds pace{5};
};

struct ChunkLoadCounts {
  uint64_t operations = 0;
  uint64_t errors = 0;
  uint64_t wrong_bytes = 0;
  uint64_t written_bytes = 0;
  uint64_t read_bytes = 0;
};

struct ChunkLoadLatencies {
  LatencyHistogram write;
  LatencyHistogram sync;  // and close
  LatencyHistogram read;
};

/// What the comparison at the end found.
struct ChunkLoadVerdict {
  uint64_t files = 0;
  uint64_t bytes = 0;
  uint64_t wrong_bytes = 0;
  uint64_t unreadable = 0;  // files
  uint64_t doubtful = 0;    // left out: an operation on them failed
  std::vector<std::string> findings;
};

/// Thread-safe.
class ChunkLoad {
 public:
  static Result<std::unique_ptr<ChunkLoad>> Start(const ChunkLoadOptions& options);
  ~ChunkLoad();

  InodeId directory() const { return directory_; }
  ChunkLoadCounts counts() const;
  std::vector<std::string> findings() const;
  void ForgetBefore(PauseLog::Clock::time_point time);
  LoadPause PauseSince(PauseLog::Clock::time_point time) const;

  /// Ends the threads, each after its current operation.
  void Stop();
  /// After Stop.
  ChunkLoadLatencies latencies() const;
  Result<ChunkLoadVerdict> Verify() const;
  /// A client that has nothing cached.
  Result<std::unique_ptr<FileSystem>> FreshClient() const;
  /// After Stop: removes the directory and all in it.
  Status CleanUp();

 private:
  struct Worker;
  struct Stream;
  struct Overwriter;
  struct Sharer;
  explicit ChunkLoad(const ChunkLoadOptions& options);
  Status MakeShared();
  LoadFiles* FilesFor(size_t index) const { return files_[index % files_.size()].get(); }
  void Note(const std::string& finding);

  const ChunkLoadOptions options_;
  std::vector<std::unique_ptr<FileSystem>> clients_;
  InodeId directory_;
  std::vector<std::unique_ptr<LoadFiles>> files_;
  std::shared_ptr<CellFile> shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<std::string> findings_;
  std::map<std::string, std::shared_ptr<CellFile>> kept_;
};

}  // namespace tercet
