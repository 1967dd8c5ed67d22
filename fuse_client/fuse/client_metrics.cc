#include "fuse_client/fuse/client_metrics.h"

#include <chrono>

#include "common/metrics/metrics.h"

namespace tercet {

ClientMetrics::ClientMetrics(FileSystem& file_system)
    : file_system_(file_system), thread_([this] { Run(); }) {}

ClientMetrics::~ClientMetrics() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stop_changed_.notify_all();
  thread_.join();
}

void ClientMetrics::Run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    Publish();
    stop_changed_.wait_for(lock, std::chrono::seconds(1), [this] { return stop_; });
  }
}

void ClientMetrics::Publish() {
  const FileSystemCounters now = file_system_.counters();
  const struct {
    const char* name;
    const char* help;
    uint64_t value;
  } kTotals[] = {
      {"tercet_client_metadata_calls_total", "Calls to metaservers", now.metadata_calls},
      {"tercet_client_metadata_retries_total", "Calls to metaservers that were repeated",
       now.metadata_retries},
      {"tercet_client_written_bytes_total", "Bytes that programs wrote", now.bytes_written},
      {"tercet_client_read_bytes_total", "Bytes that programs read past the page cache",
       now.bytes_read},
      {"tercet_client_read_ahead_hit_bytes_total", "Bytes read that read-ahead had ready",
       now.read_ahead_hits},
      {"tercet_client_commits_total", "Commits of written data", now.commits},
      {"tercet_client_chain_recoveries_total", "Writes that went on after their chain failed",
       now.chain_recoveries},
      {"tercet_client_chain_changes_total",
       "New chains or blocks that writers were given after failures", now.chain_changes},
      {"tercet_client_bad_replicas_reported_total", "Bad replicas that readers found and reported",
       now.bad_replicas_reported},
  };
  for (const auto& total : kTotals) {
    Counter& counter = GetCounter(total.name, total.help);
    const double behind = static_cast<double>(total.value) - counter.Value();
    if (behind > 0) counter.Increment(behind);
  }
  Histogram& recoveries =
      GetLatencyHistogram("tercet_client_chain_recovery_seconds",
                          "From the failure of a chain until writing went on with another one");
  for (const double seconds : file_system_.TakeRecoverySeconds()) recoveries.Observe(seconds);
  GetGauge("tercet_client_dirty_bytes", "Written data that is not on all replicas yet")
      .Set(static_cast<double>(now.dirty_bytes));
}

}  // namespace tercet
