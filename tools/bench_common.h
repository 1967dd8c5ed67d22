// What the benchmarks share: latencies, progress, phases run by many threads, and how they print.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <thread>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "fuse_client/core/metadata_client.h"

namespace tercet {

/// Counts durations in buckets less than 2 % wide. Not thread-safe: one for each thread, then Add.
class LatencyHistogram {
 public:
  LatencyHistogram() : buckets_(kBuckets) {}
  void Record(int64_t nanos);
  void Add(const LatencyHistogram& other);
  uint64_t count() const { return count_; }
  int64_t max_nanos() const { return max_nanos_; }
  /// The upper bound of the bucket that holds the given share, 0 to 1, of the durations; exact
  /// for 1.
  int64_t Percentile(double share) const;

 private:
  static constexpr int kSubBits = 6;  // 64 buckets per power of two
  static constexpr size_t kBuckets = (64 - kSubBits) << kSubBits;
  static size_t BucketOf(uint64_t nanos);
  static uint64_t UpperBound(size_t bucket);

  std::vector<uint64_t> buckets_;
  uint64_t count_ = 0;
  int64_t max_nanos_ = 0;
};

/// What one phase of a benchmark came to.
struct BenchResult {
  std::string op;
  uint64_t count = 0;
  uint64_t bytes = 0;  // 0: the phase moves no data
  double seconds = 0;
  LatencyHistogram latencies;
};

nlohmann::json ResultsJson(const std::vector<BenchResult>& results);
std::string ResultsText(const std::vector<BenchResult>& results);
/// The end of a benchmark: prints what was measured, also before a failure, as text or as
/// `settings` with the results added, then the error if there is one. Returns the exit status.
int ReportBench(const Status& status, const std::vector<BenchResult>& results, bool json,
                nlohmann::json settings);

/// Writes to standard error how far a phase is, once it takes more than two seconds: each second on
/// a terminal, else every ten. Quiet when `enabled` is false.
class Progress {
 public:
  Progress(std::string what, uint64_t total, bool enabled);
  ~Progress();
  void Advance(uint64_t steps = 1) { done_.fetch_add(steps, std::memory_order_relaxed); }

 private:
  void Run();

  const std::string what_;
  const uint64_t total_;
  std::atomic<uint64_t> done_{0};
  std::mutex mutex_;
  std::condition_variable stop_changed_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;     // not started when quiet
};

/// One thread's part in a phase.
class BenchWorker {
 public:
  BenchWorker(size_t index, Progress& progress, std::atomic<bool>& failed)
      : index_(index), progress_(progress), failed_(failed) {}
  size_t index() const { return index_; }
  /// Times `function()`, which returns a Status, as one operation.
  template <typename Function>
  Status Measure(Function&& function) {
    const auto begin = std::chrono::steady_clock::now();
    Status status = function();
    if (status.ok()) Record(std::chrono::steady_clock::now() - begin);
    return status;
  }
  void Record(std::chrono::nanoseconds duration) {
    latencies_.Record(duration.count());
    progress_.Advance();
  }
  /// Another thread has failed: no use to go on.
  bool cancelled() const { return failed_.load(std::memory_order_relaxed); }
  const LatencyHistogram& latencies() const { return latencies_; }

 private:
  const size_t index_;
  Progress& progress_;
  std::atomic<bool>& failed_;
  LatencyHistogram latencies_;
};

/// Runs `body` in `threads` threads at once, until all have returned; the first failure is the
/// result. `expected`: how many operations there will be, for the progress.
Result<BenchResult> RunPhase(const std::string& op, size_t threads, uint64_t expected,
                             bool show_progress, const std::function<Status(BenchWorker&)>& body);

/// Splits "a,b,c"; kInvalidArgument when a part is not one of `known`.
Result<std::vector<std::string>> ParseOps(const std::string& text,
                                          const std::vector<std::string>& known);

/// Sessions at the metadata group, without any open files.
class BenchSessions {
 public:
  static Result<std::unique_ptr<BenchSessions>> Open(const std::vector<HostPort>& metaservers,
                                                     size_t count, const std::string& purpose);
  ~BenchSessions();
  /// The session for the thread of that index.
  MetadataClient& Of(size_t thread) { return *clients_[thread % clients_.size()]; }

 private:
  /// Nothing is ever held open.
  class NoOrphans;
  BenchSessions();

  std::unique_ptr<NoOrphans> orphans_;
  std::vector<std::unique_ptr<MetadataClient>> clients_;
};

/// The directory of that absolute path; what is missing of it is made when `create`.
Result<int64_t> ResolveDirectory(MetadataClient& client, const std::string& path, bool create);

/// The inode behind the name.
Result<wire::Attributes> LookupEntry(MetadataClient& client, int64_t parent,
                                     const std::string& name);
/// The directory of that name, made when it is not there.
Result<int64_t> EnsureDirectory(MetadataClient& client, int64_t parent, const std::string& name);

}  // namespace tercet
