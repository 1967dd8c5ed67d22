// What the parts of one mount share.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "common/base/status.h"
#include "fuse_client/core/attribute_cache.h"
#include "fuse_client/core/bad_replica_reporter.h"
#include "fuse_client/core/block_io/block_reader.h"
#include "fuse_client/core/block_io/block_target.h"
#include "fuse_client/core/block_io/data_connections.h"
#include "fuse_client/core/block_map.h"
#include "fuse_client/core/directory_stream.h"
#include "fuse_client/core/durable_versions.h"
#include "fuse_client/core/file_system.h"
#include "fuse_client/core/given_up_generations.h"
#include "fuse_client/core/memory_budget.h"
#include "fuse_client/core/metadata_client.h"
#include "fuse_client/core/open_inodes.h"
#include "fuse_client/core/worker_pool.h"

namespace tercet {

class Flusher;

/// Waits that the end of the mount cuts short. Thread-safe.
class StopSignal {
 public:
  /// False when it was stopped.
  bool WaitFor(std::chrono::milliseconds time);
  void Stop();
  bool stopped() const { return stopped_.load(); }

 private:
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

/// Time limits and growing waits of one operation's retries.
class RetryTimer {
 public:
  using Clock = std::chrono::steady_clock;
  /// nullopt: no limit.
  explicit RetryTimer(std::optional<std::chrono::milliseconds> limit)
      : start_(Clock::now()), limit_(limit) {}

  /// Waits for the next try; false when the time is up or the mount ends.
  bool Wait(StopSignal& signal);
  /// What is left of the limit, at least 1 ms; nullopt: no limit.
  std::optional<std::chrono::milliseconds> left() const;
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  const Clock::time_point start_;
  const std::optional<std::chrono::milliseconds> limit_;
  std::chrono::milliseconds wait_{0};
};

struct AtomicCounters {
  std::atomic<uint64_t> bytes_written{0};
  std::atomic<uint64_t> bytes_read{0};
  std::atomic<uint64_t> read_ahead_hits{0};
  std::atomic<uint64_t> commits{0};
  std::atomic<uint64_t> chain_recoveries{0};
  std::atomic<uint64_t> chain_changes{0};
};

/// The durations of the latest recoveries that nobody has taken yet. Thread-safe.
class RecoveryTimes {
 public:
  void Add(double seconds);
  std::vector<double> Take();

 private:
  static constexpr size_t kMaxKept = 1'024;
  std::mutex mutex_;
  std::vector<double> seconds_;  // guarded by mutex_
};

/// Made by FileSystem::Mount; lives until the last open file is gone. Threads end with Unmount.
struct ClientContext {
  explicit ClientContext(FileSystemOptions mount_options);
  ~ClientContext();

  /// Connects: to be called once before anything else.
  Status Start();
  /// How long reads and writes of one block are retried.
  std::optional<std::chrono::milliseconds> DataLimit() const;
  /// Addresses for `block`'s chain; kUnavailable when one is not known.
  Result<BlockTarget> TargetOf(const FileBlock& block) const;
  /// Attributes as this mount sees them: the newest known, with its own uncommitted writes.
  wire::Attributes Merge(const wire::Attributes& fresh, bool own_change);
  /// Ends all waits.
  void Interrupt();

  // Constant after Start; the objects are thread-safe. The order matters: what comes later uses
  // what comes before.
  const FileSystemOptions options;
  const std::shared_ptr<PieceBufferPool> buffers;
  AtomicCounters counters;
  RecoveryTimes recovery_times;
  StopSignal stop;
  ServerDirectory servers;
  AttributeCache attributes;
  MemoryBudget write_budget;
  MemoryBudget read_ahead_budget;
  OpenInodes inodes;
  DurableVersions durable_versions;
  GivenUpGenerations given_up_generations;
  OpenDirectories directories;
  std::unique_ptr<MetadataClient> metadata;
  std::unique_ptr<DataConnections> connections;
  std::unique_ptr<BadReplicaReporter> bad_replicas;
  std::unique_ptr<BlockReader> reader;
  WorkerPool read_pool;      // read-ahead, parallel parts of reads and flushes
  WorkerPool flush_pool;     // background flushes
  WorkerPool allocate_pool;  // its own: flushes wait for it
  std::unique_ptr<Flusher> flusher;
};

}  // namespace tercet
