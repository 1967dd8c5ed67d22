// Tells the metadata group which replicas readers found bad, in the background.
//
// Invariants:
//  - Nobody who reads waits for a report, and reports are hints: what cannot be kept or told is
//    dropped, and found again by the next reader.
//  - One call at a time, at most one per interval, of a bounded number of replicas. The same
//    replica is not reported again for a while.
//  - A missing or stale replica is reported only after it had time to settle: while a chain is
//    being changed its members answer so too. By then the block has another generation, and the
//    active takes no notice.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <tuple>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "fuse_client/core/block_io/block_reader.h"
#include "tercet_thrift/metadata_types.h"

namespace tercet {

struct BadReplicaReporterOptions {
  /// Between two calls.
  std::chrono::milliseconds interval{1'000};
  /// How long a missing or stale replica waits.
  std::chrono::milliseconds settle_time{2'000};
  /// A replica that was told is not told again for so long.
  std::chrono::milliseconds repeat_after{60'000};
  size_t max_kept = 4'096;
  size_t max_per_call = 256;
};

/// Thread-safe.
class BadReplicaReporter {
 public:
  using Replicas = std::vector<wire::BadReplicaReport>;
  /// Makes the call; runs in the reporter's thread.
  using Send = std::function<Status(Replicas)>;

  explicit BadReplicaReporter(Send send, BadReplicaReporterOptions options = {});
  ~BadReplicaReporter();

  /// Takes note of what a reader found, if it says something about the replica.
  void Note(const BadReplica& replica);
  /// Ends the thread; what was not told is dropped.
  void Stop();
  /// Replicas that were told successfully.
  uint64_t reported() const;

 private:
  using Clock = std::chrono::steady_clock;
  using Key = std::tuple<BlockId, Generation, ServerId>;
  struct Entry {
    wire::BadReplicaReason::type reason = wire::BadReplicaReason::DAMAGED;
    /// Not told yet: when it may be. Told: when it may be forgotten.
    Clock::time_point due;
    bool told = false;
  };

  void Loop();
  /// What is due, marked as told. `next`: when the next one is.
  Replicas TakeDueLocked(Clock::time_point now, Clock::time_point* next);

  const Send send_;
  const BadReplicaReporterOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  std::map<Key, Entry> entries_;  // at most options_.max_kept
  uint64_t reported_ = 0;
  bool news_ = false;
  bool stopping_ = false;
  std::thread thread_;  // constant until Stop
};

}  // namespace tercet
