#include "chunkserver/service/service_metrics.h"

#include "chunkserver/replication/data_plane_metrics.h"
#include "common/base/hex.h"

namespace tercet {

ServiceMetrics::ServiceMetrics(BlockStore& store, const DataPlaneCounters& data_plane)
    : store_(store), data_plane_(data_plane) {
  const StoreCounters& stored = store.counters();
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

void ServiceMetrics::Update() {
  for (MirroredCounter& mirrored : counters_) {
    const uint64_t now = mirrored.source->load(std::memory_order_relaxed);
    mirrored.counter->Increment(static_cast<double>(now - mirrored.shown));
    mirrored.shown = now;
  }
  ExportDataPlaneCounters(data_plane_, &data_plane_shown_);
  UpdateDisks();
}

void ServiceMetrics::UpdateDisks() {
  for (const StoreDiskStatus& disk : store_.Disks()) {
    const MetricLabels labels{{"disk", disk.path}, {"disk_uuid", HexOf(disk.disk_uuid)}};
    auto show = [&](const char* name, const char* help, uint64_t value) {
      GetGauge(name, help, labels).Set(static_cast<double>(value));
    };
    show("tercet_disk_total_bytes", "Size of the disk's file system", disk.total_bytes);
    show("tercet_disk_available_bytes", "What new replicas may still take", disk.available_bytes);
    show("tercet_disk_replicas", "Replicas on the disk", disk.replica_count);
    show("tercet_disk_healthy", "0 after the disk was ejected", disk.healthy ? 1 : 0);
  }
}

}  // namespace tercet
