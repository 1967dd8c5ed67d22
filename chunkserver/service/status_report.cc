#include "chunkserver/service/status_report.h"

#include <utility>

namespace tercet {

std::vector<wire::DiskReport> StatusReport::Disks() const {
  const std::vector<ScrubProgress> scrubs = scrubber_.Progress();
  const std::vector<EvacuationProgress> evacuations = evacuator_.Progress();
  std::vector<wire::DiskReport> reports;
  for (const StoreDiskStatus& disk : store_.Disks()) {
    wire::DiskReport report;
    report.disk_uuid = disk.disk_uuid;
    report.path = disk.path;
    report.total_bytes = static_cast<int64_t>(disk.total_bytes);
    report.available_bytes = static_cast<int64_t>(disk.available_bytes);
    report.replica_count = static_cast<int64_t>(disk.replica_count);
    report.healthy = disk.healthy;
    report.state = static_cast<int32_t>(disk.state);
    report.trash_bytes = static_cast<int64_t>(disk.trash_bytes);
    report.quarantine_bytes = static_cast<int64_t>(disk.quarantine_bytes);
    report.replica_bytes = static_cast<int64_t>(disk.replica_bytes);
    for (const ScrubProgress& scrub : scrubs) {
      if (scrub.disk_uuid == disk.disk_uuid) report.scrubbed_since_ns = scrub.scrubbed_since_ns;
    }
    for (const EvacuationProgress& evacuation : evacuations) {
      if (evacuation.disk_uuid != disk.disk_uuid) continue;
      report.no_room = evacuation.blocked.code() == StatusCode::kNoSpace && disk.replica_count > 0;
    }
    reports.push_back(std::move(report));
  }
  return reports;
}

wire::ServerLoad StatusReport::Load() const {
  const DataPlaneLoad load = data_plane_.Load();
  wire::ServerLoad report;
  report.read_p99_us = load.read_p99_us;
  report.write_p99_us = load.write_p99_us;
  report.client_bytes_per_second = load.client_bytes_per_second;
  report.client_requests_per_second = load.client_requests_per_second;
  report.pulled_bytes = load.pulled_bytes;
  report.pulls_running = load.pulls_running;
  for (const ScrubProgress& scrub : scrubber_.Progress()) {
    report.scrubbed_bytes += static_cast<int64_t>(scrub.verified_bytes);
  }
  return report;
}

std::vector<wire::BadReplica> ReportOf(const std::vector<BadReplicaFound>& found) {
  std::vector<wire::BadReplica> reports;
  reports.reserve(found.size());
  for (const BadReplicaFound& bad : found) {
    wire::BadReplica report;
    report.block_id = static_cast<int64_t>(bad.block.value());
    report.generation = static_cast<int64_t>(bad.generation.value());
    report.reason = static_cast<wire::BadReplicaReason::type>(bad.fault);
    reports.push_back(report);
  }
  return reports;
}

}  // namespace tercet
