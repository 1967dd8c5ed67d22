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
  /// A replica that sends nothing for so long is left for the next one; WORKING frames count.
  std::chrono::milliseconds progress_timeout{1'000};
  /// One that sends WORKING frames alone for so long is left too: another may be faster.
  std::chrono::milliseconds answer_timeout{2'000};
  /// Both for the last replica that is left to try.
  std::chrono::milliseconds last_progress_timeout{5'000};
  std::chrono::milliseconds last_answer_timeout{30'000};
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
  /// as zeros. Asks the tail of the chain first, then the others, those last that failed recently
  /// or were found to have no good replica of this generation.
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
  /// How long a replica is waited for.
  struct Patience {
    std::chrono::milliseconds progress;
    std::chrono::milliseconds answer;
  };

  /// Each replica may be damaged in another place: what none has as a whole is read in halves, down
  /// to single pages. Ends with the first page that is damaged everywhere.
  Status ReadWhereWhole(const BlockTarget& target, uint32_t offset, std::span<char> out);
  Status ReadPart(const BlockTarget& target, uint32_t offset, std::span<char> out);
  Status ReadFrom(const BlockTarget& target, const ReplicaAddress& replica, uint32_t offset,
                  std::span<char> out, bool last);
  Outcome Ask(const BlockTarget& target, const ReplicaAddress& replica, uint32_t offset,
              std::span<char> out, Patience patience);
  Outcome Exchange(FrameConnection& connection, const BlockTarget& target, uint32_t offset,
                   std::span<char> out, bool verified, Patience patience);
  void NoteBad(const BlockTarget& target, ServerId server);
  bool Avoid(const BlockTarget& target, ServerId server) const;
  void Report(const BlockTarget& target, ServerId server, const Status& reason);

  // Constant.
  DataConnections* const connections_;
  const BlockReaderOptions options_;
  const BadReplicaCallback on_bad_replica_;

  // Synchronizes itself.
  BlockReaderCounters counters_;
  /// When bad_ has run out; steady clock.
  std::atomic<std::chrono::steady_clock::rep> bad_until_{0};

  mutable std::mutex mutex_;
  /// Replicas that are damaged, stale or missing: they stay so in this generation. Bounded by
  /// kMaxBad, and forgotten after a while without new ones. Guarded by mutex_.
  std::set<std::tuple<BlockId, Generation, ServerId>> bad_;
};

}  // namespace tercet
