// Snapshots of the state that are held open to be read row by row: for members that lack the state,
// for backups and dumps.
//
// A snapshot costs disk space while it lives (LevelDB keeps the rows that it sees), so there are
// few, and one that nobody reads for a minute is dropped. What it is dropped under in mid-read
// lives on until that call has returned.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/env/random.h"
#include "metaserver/namespace/database.h"
#include "metaserver/raft/membership.h"
#include "tercet_thrift/admin_types.h"

namespace tercet {

/// Thread-safe.
class StateSnapshots {
 public:
  static constexpr size_t kMaxOpen = 8;
  static constexpr std::chrono::milliseconds kIdleTimeout{60'000};
  static constexpr int32_t kMaxReadBytes = 4 << 20;

  /// The group's membership as of a journal index, with the index of its record.
  using MembershipFunction = std::function<std::pair<JournalIndex, Membership>(JournalIndex)>;

  /// All must outlive the object, which must go before the database does.
  StateSnapshots(const Database& database, const Clock& clock, Random& random, uint64_t group_id,
                 MembershipFunction membership_at);

  /// Fills all but `info`. kUnavailable when too many are open, or while the state is of no one
  /// moment yet; kFailedPrecondition when it was never formatted.
  Status Open(wire::OpenStateSnapshotResponse* response);
  /// kNotFound when there is no such snapshot (any more).
  Status Read(const wire::ReadStateSnapshotRequest& request,
              wire::ReadStateSnapshotResponse* response);
  /// Also of one that is not there.
  void Close(int64_t id);
  /// Drops what was idle for too long. To be called from time to time.
  void Expire();
  size_t open_count() const;

 private:
  struct Snapshot {
    std::shared_ptr<const View> view;
    int64_t used_ms;
  };
  void ExpireLocked();  // needs mutex_

  const Database& database_;
  const Clock& clock_;
  Random& random_;
  const uint64_t group_id_;
  const MembershipFunction membership_at_;

  mutable std::mutex mutex_;
  std::map<int64_t, Snapshot> snapshots_;  // guarded by mutex_
};

}  // namespace tercet
