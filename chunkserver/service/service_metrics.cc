#include "chunkserver/service/service_metrics.h"

#include "chunkserver/replication/data_plane_metrics.h"
#include "common/base/hex.h"

namespace tercet {

ServiceMetrics::ServiceMetrics(const Parts& parts)
    : parts_(parts), started_ns_(parts.clock.WallNanos()), scrub_shown_(parts.scrubber.Progress()) {
  for (ScrubProgress& shown : scrub_shown_) {
    shown.verified_bytes = shown.damaged_pages = shown.bad_replicas = shown.rounds = 0;
  }
  const StoreCounters& stored = parts_.store.counters();
  Mirror(stored.writes, "tercet_store_writes_total", "Writes to replicas on this server");
  Mirror(stored.written_bytes, "tercet_store_written_bytes_total", "Bytes written to replicas");
  Mirror(stored.reads, "tercet_store_reads_total", "Reads of replicas");
  Mirror(stored.read_bytes, "tercet_store_read_bytes_total", "Bytes of pages given to readers");
  Mirror(stored.syncs, "tercet_store_syncs_total", "Replicas made durable");
  Mirror(stored.corruptions, "tercet_store_corruptions_total",
         "Damaged pages, headers and intent slots found");
  Mirror(stored.replicas_created, "tercet_store_replicas_created_total", "Replicas made");
  Mirror(stored.replicas_trashed, "tercet_store_replicas_trashed_total",
         "Replicas moved to the trash");
  Mirror(stored.replicas_quarantined, "tercet_store_replicas_quarantined_total",
         "Replicas moved to the quarantine");
}

void ServiceMetrics::Mirror(const std::atomic<uint64_t>& source, const std::string& name,
                            const std::string& help) {
  counters_.push_back({.source = &source, .counter = &GetCounter(name, help)});
}

void ServiceMetrics::Update(bool registered) {
  for (MirroredCounter& mirrored : counters_) {
    const uint64_t now = mirrored.source->load(std::memory_order_relaxed);
    mirrored.counter->Increment(static_cast<double>(now - mirrored.shown));
    mirrored.shown = now;
  }
  ExportDataPlaneCounters(parts_.data_plane.counters(), &data_plane_shown_);
  GetGauge("tercet_chunkserver_registered", "1 while the server is registered and serves data")
      .Set(registered ? 1 : 0);
  UpdateDisks();
  UpdateScrub();
  UpdateEvacuation();
}

void ServiceMetrics::UpdateDisks() {
  for (const StoreDiskStatus& disk : parts_.store.Disks()) {
    const MetricLabels labels{{"disk", disk.path}, {"disk_uuid", HexOf(disk.disk_uuid)}};
    auto show = [&](const char* name, const char* help, uint64_t value) {
      GetGauge(name, help, labels).Set(static_cast<double>(value));
    };
    show("tercet_disk_total_bytes", "Size of the disk's file system", disk.total_bytes);
    show("tercet_disk_available_bytes", "What new replicas may still take", disk.available_bytes);
    show("tercet_disk_replicas", "Replicas on the disk", disk.replica_count);
    show("tercet_disk_replica_bytes", "Bytes of replicas, their headers and tables included",
         disk.replica_bytes);
    show("tercet_disk_trash_bytes", "Bytes of deleted replicas that are still there",
         disk.trash_bytes);
    show("tercet_disk_quarantine_bytes", "Bytes of replicas that no file has",
         disk.quarantine_bytes);
    show("tercet_disk_suspect_replicas",
         "Replicas that may lack writes since the machine crashed: not served", disk.suspect_count);
    show("tercet_disk_healthy", "0 after the disk was ejected", disk.healthy ? 1 : 0);
    show("tercet_disk_state", "0 in service, 1 draining, 2 ejected by command",
         static_cast<uint64_t>(disk.state));
  }
}

void ServiceMetrics::UpdateScrub() {
  const std::vector<ScrubProgress> all = parts_.scrubber.Progress();
  for (size_t i = 0; i < all.size(); ++i) {
    const ScrubProgress& now = all[i];
    ScrubProgress& shown = scrub_shown_[i];
    const MetricLabels labels{{"disk", now.disk_path}};
    auto add = [&](const char* name, const char* help, uint64_t value, uint64_t before) {
      GetCounter(name, help, labels).Increment(static_cast<double>(value - before));
    };
    add("tercet_scrub_verified_bytes_total", "Bytes of replicas read and verified",
        now.verified_bytes, shown.verified_bytes);
    add("tercet_scrub_damaged_pages_total", "Damaged pages that verification found",
        now.damaged_pages, shown.damaged_pages);
    add("tercet_scrub_findings_total", "Damaged replicas that verification found", now.bad_replicas,
        shown.bad_replicas);
    add("tercet_scrub_rounds_total", "Rounds of verification that were completed", now.rounds,
        shown.rounds);
    shown = now;
    // Before the first round is completed: since the round began, or this server started.
    int64_t since_ns = now.scrubbed_since_ns;
    if (since_ns == 0) since_ns = now.round_started_ns != 0 ? now.round_started_ns : started_ns_;
    GetGauge("tercet_scrub_age_seconds",
             "Since the round of verification that was completed last began; every replica older "
             "than that was verified since then",
             labels)
        .Set(static_cast<double>(parts_.clock.WallNanos() - since_ns) * 1e-9);
    GetGauge("tercet_scrub_round_ratio", "How much of the round under way is done, 0 to 1", labels)
        .Set(now.round_done);
  }
}

void ServiceMetrics::UpdateEvacuation() {
  std::map<std::string, EvacuationProgress> all;
  for (EvacuationProgress& now : parts_.evacuator.Progress()) {
    const MetricLabels labels{{"disk", now.disk_path}};
    const EvacuationProgress& shown = evacuation_shown_[now.disk_uuid];
    GetCounter("tercet_disk_drain_moved_bytes_total", "Bytes moved off draining disks", labels)
        .Increment(static_cast<double>(
            now.moved_bytes - (now.moved_bytes < shown.moved_bytes ? 0 : shown.moved_bytes)));
    GetGauge("tercet_disk_drain_left_replicas", "Replicas still on the draining disk", labels)
        .Set(static_cast<double>(now.left_replicas));
    GetGauge("tercet_disk_drain_blocked", "1 while the server's other disks have no room", labels)
        .Set(now.blocked.ok() ? 0 : 1);
    std::string uuid = now.disk_uuid;
    all.emplace(std::move(uuid), std::move(now));
  }
  for (const auto& [uuid, gone] : evacuation_shown_) {
    if (all.contains(uuid)) continue;
    const MetricLabels labels{{"disk", gone.disk_path}};
    GetGauge("tercet_disk_drain_left_replicas", "Replicas still on the draining disk", labels)
        .Set(0);
    GetGauge("tercet_disk_drain_blocked", "1 while the server's other disks have no room", labels)
        .Set(0);
  }
  evacuation_shown_ = std::move(all);
}

}  // namespace tercet
