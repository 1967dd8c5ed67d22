// Tells the active what replicas there are: digests of all ranges, and details where it asks for
// them.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

#include "chunkserver/service/registry_link.h"
#include "chunkserver/store/block_store.h"

namespace tercet {

/// Thread-safe. Reports from a thread of its own: at each Trigger, and after every interval.
class DigestReporter {
 public:
  /// `store` and `link` must outlive the reporter. Nothing is sent before SetServer.
  DigestReporter(BlockStore& store, RegistryLink& link, std::chrono::milliseconds interval);
  ~DigestReporter();

  void SetServer(int32_t server_id, int64_t incarnation);
  /// An inventory is wanted now: a report, after the index was compared with the files.
  void Trigger();
  uint64_t reports_sent() const { return reports_sent_.load(std::memory_order_relaxed); }

 private:
  struct Sender {
    int32_t server_id = 0;
    int64_t incarnation = 0;
  };
  void Run();
  /// Replicas whose files are gone are not reported as there.
  void FindLost();
  uint64_t FindLostOn(const StoreDiskStatus& disk);
  Status Report(const Sender& sender);
  Status ReportRange(const Sender& sender, int64_t range);
  /// Of the `reported` replicas of a range those that the journal does not know.
  Status QuarantineUnknown(const std::vector<ReplicaInfo>& reported,
                           const std::vector<int64_t>& unknown);
  bool stopping() const;

  BlockStore& store_;
  RegistryLink& link_;
  const std::chrono::milliseconds interval_;
  std::atomic<uint64_t> reports_sent_{0};

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  std::optional<Sender> sender_;
  bool triggered_ = false;
  bool inventory_wanted_ = false;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace tercet
