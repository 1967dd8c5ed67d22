// Counts for status and metrics that would need a scan of the state: blocks by number of live
// replicas, replicas and pending deletions per server.
//
// A background thread scans a snapshot from time to time and keeps, for each set of servers that
// holds some block, how many blocks it holds. Which servers are alive is looked up when somebody
// asks, so a dead server shows at once; only blocks that came or went since the last scan are
// missing. A small state is scanned again at each question, so that its answer is exact.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "metaserver/namespace/database.h"

namespace tercet {

/// What one scan found.
struct CensusFigures {
  /// Sorted server ids → committed blocks with exactly these replicas.
  std::map<std::vector<ServerId>, int64_t> blocks_by_servers;
  std::map<ServerId, int64_t> replicas;
  std::map<ServerId, int64_t> delete_tasks;
  int64_t rows = 0;
  JournalIndex index;        // the state that was scanned includes the journal up to here
  int64_t finished_ms = -1;  // monotonic; -1: there was no scan yet
  int64_t took_ms = 0;

  /// Blocks by number of replicas on servers of which `is_alive` holds.
  std::map<int, int64_t> BlocksByLiveReplicas(const std::function<bool(ServerId)>& is_alive) const;
};

/// Thread-safe.
class Census {
 public:
  /// A question scans by itself when the last scan met fewer rows.
  static constexpr int64_t kSmallRows = 20'000;
  /// Different sets of servers that are kept apart; blocks beyond are left out with a log line.
  static constexpr size_t kMaxSets = 200'000;

  /// `database` and `clock` must outlive the census.
  Census(Database& database, const Clock& clock) : database_(database), clock_(clock) {}

  /// The background's part: scans when the state changed and the last scan is long enough ago (at
  /// least `pause`, and 20 times of what it took). `stop` ends a scan early.
  Status Refresh(int64_t pause_ms, const std::function<bool()>& stop);

  /// The figures, at most some scans old.
  std::shared_ptr<const CensusFigures> Get();
  /// The figures of the last scan, whatever their age; empty ones before the first.
  std::shared_ptr<const CensusFigures> Last() const;

 private:
  Status Scan(const std::function<bool()>& stop);

  Database& database_;
  const Clock& clock_;
  std::mutex scan_mutex_;  // held over a scan
  mutable std::mutex mutex_;
  // Guarded by mutex_; never null.
  std::shared_ptr<const CensusFigures> figures_ = std::make_shared<CensusFigures>();
};

}  // namespace tercet
