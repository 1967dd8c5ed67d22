// Verified reads of blocks, from whichever replica is good.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <set>
#include <span>
#include <tuple>

#include "common/base/status.h"
#include "fuse_client/core/block_io/block_target.h"
#include "fuse_client/core/block_io/data_connections.h"

namespace tercet {

struct BlockReaderOptions {
  /// A replica that sends nothing for so long is left for the next one.
  std::chrono::milliseconds progress_timeout{5'000};
};

/// A replica that could not serve a read.
struct BadReplica {
  BlockId block;
  Generation generation;
  ServerId server;
  /// kCorruption: its bytes fail their checksum, also when read under its lock; kStaleGeneration,
  /// kNotFound, kIo: what it said; kUnavailable, kDeadlineExceeded: it was not reached.
  Status reason;
};

struct BlockReaderCounters {
  std::atomic<uint64_t> requests{0};             // READ frames sent
  std::atomic<uint64_t> bytes{0};                // delivered to callers
  std::atomic<uint64_t> checksum_mismatches{0};  // first readings, before asking again verified
  std::atomic<uint64_t> bad_replicas{0};
};

/// Thread-safe. Reads of one BlockReader do not wait for each other.
class BlockReader {
 public:
  using BadReplicaCallback = std::function<void(const BadReplica&)>;

  /// `connections` must outlive the reader. `on_bad_replica` (may be empty) runs in the reading
  /// thread; a log line is written anyway.
  BlockReader(DataConnections* connections, BlockReaderOptions options = {},
              BadReplicaCallback on_bad_replica = {});

  /// Fills `out` with the block's bytes from `offset` on; what the replica lacks at its end reads
  /// as zeros. Asks the tail of the chain first, then the others, those that failed recently last.
  /// Every byte has been verified against the replica's checksums. With page-aligned `offset` and
  /// size the data is received straight into `out`; `out` holds anything after an error.
  ///
  /// When all replicas fail: kStaleGeneration if any says so (fetch the locations again), otherwise
  /// the most telling status, with each replica's failure in the message.
  Status Read(const BlockTarget& target, uint32_t offset, std::span<char> out);

  const BlockReaderCounters& counters() const { return counters_; }

 private:
  /// How one request and its answer went.
  struct Outcome {
    Status status;
    bool mismatch = false;           // the payload fails its checksum
    bool connection_usable = false;  // the answer was read to its end
  };

  Status ReadPart(const BlockTarget& target, uint32_t offset, std::span<char> out);
  Status ReadFrom(const BlockTarget& target, const ReplicaAddress& replica, uint32_t offset,
                  std::span<char> out);
  Outcome Ask(const BlockTarget& target, const ReplicaAddress& replica, uint32_t offset,
              std::span<char> out);
  Outcome Exchange(FrameConnection& connection, const BlockTarget& target, uint32_t offset,
                   std::span<char> out, bool verified);
  bool Avoid(const BlockTarget& target, ServerId server) const;
  void Report(const BlockTarget& target, ServerId server, const Status& reason);

  // Constant.
  DataConnections* const connections_;
  const BlockReaderOptions options_;
  const BadReplicaCallback on_bad_replica_;

  // Synchronizes itself.
  BlockReaderCounters counters_;
  std::atomic<bool> any_damaged_{false};

  mutable std::mutex mutex_;
  /// Replicas that were found damaged; bounded by kMaxDamaged. Guarded by mutex_.
  std::set<std::tuple<BlockId, Generation, ServerId>> damaged_;
};

}  // namespace tercet
