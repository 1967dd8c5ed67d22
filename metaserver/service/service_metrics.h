// The metaserver's metrics. The general header (common/metrics/metrics.h) is used in the .cc only:
// its Counter is not the namespace's Counter.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "common/base/status.h"

namespace tercet {

/// Count, errors and latency of one operation. Thread-safe; make it once and keep it.
class OperationMetrics {
 public:
  explicit OperationMetrics(const std::string& operation);

  /// `code` is a StatusCode. What programs are answered (ENOENT, …) is counted apart from failures.
  void Observe(int32_t code, std::chrono::steady_clock::duration took);

 private:
  prometheus::Histogram& seconds_;
  prometheus::Counter& refusals_;
  prometheus::Counter& failures_;
};

/// Figures that a background thread brings up to date.
struct ServiceGauges {
  ServiceGauges();

  prometheus::Gauge& active;
  prometheus::Gauge& epoch;
  prometheus::Gauge& applied_index;
  prometheus::Gauge& sessions;
  prometheus::Gauge& servers_known;
  prometheus::Gauge& servers_alive;
  prometheus::Gauge& inodes;
  prometheus::Gauge& blocks;
  prometheus::Gauge& orphans;
  prometheus::Gauge& delete_tasks;
  prometheus::Gauge& missing_replicas;
  prometheus::Gauge& under_replicated_blocks;
  prometheus::Gauge& trash_files;
  prometheus::Gauge& scrub_age_seconds;
};

/// Blocks with so many replicas on live servers.
prometheus::Gauge& BlocksGauge(int replicas_live);

/// Events.
struct ServiceCounters {
  static ServiceCounters& Get();

  prometheus::Counter& sessions_expired;
  prometheus::Counter& orphans_reclaimed;
  prometheus::Counter& blocks_reclaimed;
  prometheus::Counter& delete_tasks_sent;
  prometheus::Counter& delete_tasks_confirmed;
  prometheus::Counter& replicas_quarantined;
  prometheus::Counter& identity_conflicts;
  prometheus::Counter& activations;

 private:
  ServiceCounters();
};

/// The journal's counters since the start of the process.
struct JournalFigures {
  uint64_t records = 0;
  uint64_t payload_bytes = 0;
  uint64_t syncs = 0;
  uint64_t sync_nanos = 0;
  uint64_t applies = 0;
  uint64_t apply_nanos = 0;
  uint64_t checkpoints = 0;
  uint64_t no_space_refusals = 0;
  uint64_t max_batch_records = 0;
};

/// Used by one thread.
class JournalMetrics {
 public:
  void Update(const JournalFigures& now);

 private:
  JournalFigures last_;
};

/// Serves /metrics while it lives.
class MetricsEndpoint {
 public:
  static Result<std::unique_ptr<MetricsEndpoint>> Start(const std::string& host, uint16_t port);
  ~MetricsEndpoint();

 private:
  struct Impl;
  explicit MetricsEndpoint(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace tercet
