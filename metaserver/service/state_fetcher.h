// Fetches the namespace into a metaserver that lacks it (docs/decisions/0012-fetched-state.md).
//
// Steps; in brackets what a crash leaves:
//  1. a member that has the state opens a snapshot; its index is the base [an empty folder]
//  2. its rows are pulled in key order, a bounded piece at a time [goes on behind the last row that
//     was synced, with a new snapshot of any member]
//  3. the folder is marked as a state [the next start installs it, see metaserver.h]
//
// When the base has fallen out of this member's own journal, what was fetched is useless: the
// folder is emptied and the fetch begins anew. Everything else that fails is tried again, with
// pauses, at each member in turn.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/status.h"
#include "common/env/disk.h"
#include "common/rpc/thrift_client.h"
#include "metaserver/namespace/state_builder.h"
#include "tercet_thrift/AdminService.h"

namespace tercet {

/// Removes the folder and the files in it (it has no folders in it). OK when it is not there.
Status RemoveFlatFolder(Disk& disk, const std::string& path);

struct StateFetcherOptions {
  DatabaseOptions database;  // of the folder that is filled
  std::string cluster_id;    // 16 bytes
  uint64_t group_id = 0;
  /// Of each exchange of bytes with the serving member.
  std::chrono::milliseconds call_timeout{10'000};
  /// Between two attempts: doubles from the first to the second.
  std::chrono::milliseconds min_pause{100};
  std::chrono::milliseconds max_pause{3'000};
  int32_t read_bytes = 1 << 20;
};

/// Who may have the state, and from where on this member's own journal could go on behind it.
struct FetchSources {
  std::vector<std::string> addresses;  // "HOST:PORT", those to be asked first in front
  JournalIndex journal_first{1};
};

/// Thread-safe.
class StateFetcher {
 public:
  using SourcesFunction = std::function<FetchSources()>;

  /// Begins in a thread of its own. `sources` is called by it now and then; `disk` must outlive the
  /// object.
  StateFetcher(StateFetcherOptions options, Disk& disk, SourcesFunction sources);
  /// Ends it where it is.
  ~StateFetcher();

  /// The folder holds a state now.
  bool done() const { return done_.load(std::memory_order_acquire); }
  /// "fetching, 1234 rows", for people.
  std::string Progress() const;
  uint64_t rows() const { return rows_.load(std::memory_order_relaxed); }

 private:
  using AdminPool = RpcClientPool<wire::AdminServiceClient>;

  void Run();
  Status FetchOnce();
  Status FetchFrom(const std::string& address, JournalIndex journal_first);
  Status Pull(AdminPool& pool, int64_t snapshot_id);
  /// Opens the folder, emptied when what it holds cannot be gone on with.
  Status OpenBuilder(JournalIndex journal_first);
  Status TakeSnapshot(const wire::OpenStateSnapshotResponse& snapshot, JournalIndex journal_first);
  template <typename Function>
  Status Call(AdminPool& pool, Function&& call);
  bool Pause(std::chrono::milliseconds duration);

  const StateFetcherOptions options_;
  Disk& disk_;
  const SourcesFunction sources_;

  std::atomic<bool> done_{false};
  std::atomic<uint64_t> rows_{0};

  // Of the thread.
  std::unique_ptr<StateBuilder> builder_;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  bool stopping_ = false;
  bool ended_ = false;            // the thread's work
  AdminPool* calling_ = nullptr;  // whose call the destructor has to end
  std::condition_variable stop_wakeup_;

  std::thread thread_;  // started last
};

}  // namespace tercet
