#include "metaserver/service/service_metrics.h"

#include "common/metrics/metrics.h"

namespace tercet {
namespace {

prometheus::Gauge& MetaGauge(const std::string& name, const std::string& help) {
  return GetGauge("tercet_metaserver_" + name, help);
}
prometheus::Counter& MetaCounter(const std::string& name, const std::string& help,
                                 const MetricLabels& labels = {}) {
  return GetCounter("tercet_metaserver_" + name, help, labels);
}

}  // namespace

OperationMetrics::OperationMetrics(const std::string& operation)
    : seconds_(GetLatencyHistogram("tercet_metaserver_operation_seconds",
                                   "Time from request to reply", {{"operation", operation}})),
      refusals_(MetaCounter("operation_refusals_total",
                            "Replies with a file system error (ENOENT, EEXIST, ...)",
                            {{"operation", operation}})),
      failures_(MetaCounter("operation_failures_total",
                            "Replies with an error of the metaserver itself",
                            {{"operation", operation}})) {}

void OperationMetrics::Observe(int32_t code, std::chrono::steady_clock::duration took) {
  seconds_.Observe(std::chrono::duration<double>(took).count());
  if (code == 0) return;
  (code < static_cast<int32_t>(StatusCode::kIo) ? refusals_ : failures_).Increment();
}

ServiceGauges::ServiceGauges()
    : active(MetaGauge("active", "1 on the active metaserver")),
      epoch(MetaGauge("epoch", "Epoch of the journal")),
      applied_index(MetaGauge("applied_index", "Newest applied journal index")),
      sessions(MetaGauge("sessions", "Open sessions")),
      servers_known(MetaGauge("servers_known", "Chunk servers that registered and were not removed")),
      servers_alive(MetaGauge("servers_alive", "Chunk servers that send heartbeats")),
      inodes(MetaGauge("inodes", "Inodes, orphans included")),
      blocks(MetaGauge("blocks", "Blocks that hold data")),
      orphans(MetaGauge("orphans", "Files without a name whose space is not freed yet")),
      delete_tasks(MetaGauge("delete_tasks", "Replica deletions that are not confirmed yet")),
      missing_replicas(
          MetaGauge("missing_replicas", "Replicas that servers should have but did not report")),
      under_replicated_blocks(
          MetaGauge("under_replicated_blocks", "Blocks with a replica on a server that is dead")),
      trash_files(GetGauge("tercet_trash_files", "Deleted files that can be restored")),
      scrub_age_seconds(GetGauge("tercet_scrub_age_seconds",
                                 "Since the oldest completed verification of a disk began")) {}

prometheus::Gauge& BlocksGauge(int replicas_live) {
  return GetGauge("tercet_blocks", "Blocks that hold data, by replicas on live servers",
                  {{"replicas_live", std::to_string(replicas_live)}});
}

ServiceCounters::ServiceCounters()
    : sessions_expired(MetaCounter("sessions_expired_total", "Sessions that were not renewed")),
      orphans_reclaimed(MetaCounter("orphans_reclaimed_total", "Orphans whose space was freed")),
      blocks_reclaimed(MetaCounter("blocks_reclaimed_total",
                                   "Blocks of orphans and truncations "
                                   "that were removed")),
      delete_tasks_sent(MetaCounter("delete_tasks_sent_total",
                                    "Replica deletions sent to servers, repeats included")),
      delete_tasks_confirmed(
          MetaCounter("delete_tasks_confirmed_total", "Replica deletions confirmed by servers")),
      replicas_quarantined(MetaCounter("replicas_quarantined_total",
                                       "Reported replicas that the journal does not know")),
      identity_conflicts(
          MetaCounter("identity_conflicts_total",
                      "Registrations refused because a live server has the same identity")),
      activations(MetaCounter("activations_total",
                              "Times this metaserver became active: starts and failovers")) {}

ServiceCounters& ServiceCounters::Get() {
  static ServiceCounters* counters = new ServiceCounters;
  return *counters;
}

void JournalMetrics::Update(const JournalFigures& now) {
  const auto add = [](const char* name, const char* help, uint64_t before, uint64_t after,
                      double scale = 1) {
    MetaCounter(name, help).Increment(static_cast<double>(after - before) * scale);
  };
  constexpr double kNanos = 1e-9;
  add("journal_records_total", "Journaled records", last_.records, now.records);
  add("journal_payload_bytes_total", "Bytes of journaled records", last_.payload_bytes,
      now.payload_bytes);
  add("journal_syncs_total", "Syncs of the journal", last_.syncs, now.syncs);
  add("journal_sync_seconds_total", "Time spent in syncs", last_.sync_nanos, now.sync_nanos,
      kNanos);
  add("journal_applies_total", "Batches applied to the state", last_.applies, now.applies);
  add("journal_apply_seconds_total", "Time spent applying", last_.apply_nanos, now.apply_nanos,
      kNanos);
  add("journal_checkpoints_total", "Checkpoints", last_.checkpoints, now.checkpoints);
  add("journal_no_space_refusals_total", "Records refused for want of disk space",
      last_.no_space_refusals, now.no_space_refusals);
  MetaGauge("journal_max_batch_records", "Most records that shared one sync")
      .Set(static_cast<double>(now.max_batch_records));
  last_ = now;
}

struct MetricsEndpoint::Impl {
  std::unique_ptr<MetricsServer> server;
};

Result<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(const std::string& host,
                                                                uint16_t port) {
  auto impl = std::make_unique<Impl>();
  ASSIGN_OR_RETURN(impl->server, MetricsServer::Start(host, port));
  return std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(std::move(impl)));
}
MetricsEndpoint::MetricsEndpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MetricsEndpoint::~MetricsEndpoint() = default;

}  // namespace tercet
