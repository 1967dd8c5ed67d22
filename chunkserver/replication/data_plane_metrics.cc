#include "chunkserver/replication/data_plane_metrics.h"

#include <array>

namespace tercet {

namespace {

struct Exported {
  DataPlaneCounters::Count DataPlaneCounters::*field;
  const char* name;
  const char* help;
};

constexpr std::array kExported = {
    Exported{&DataPlaneCounters::connections_accepted, "tercet_data_plane_connections_total",
             "Connections accepted"},
    Exported{&DataPlaneCounters::connections_refused, "tercet_data_plane_refused_connections_total",
             "Connections refused: another cluster, server or version"},
    Exported{&DataPlaneCounters::bad_frames, "tercet_data_plane_bad_frames_total",
             "Connections closed because of bytes that are no valid frame"},
    Exported{&DataPlaneCounters::reads, "tercet_data_plane_reads_total", "Read requests"},
    Exported{&DataPlaneCounters::read_bytes, "tercet_data_plane_read_bytes_total",
             "Bytes sent to readers"},
    Exported{&DataPlaneCounters::verified_reads, "tercet_data_plane_verified_reads_total",
             "Reads verified by the server after a reader saw a wrong checksum"},
    Exported{&DataPlaneCounters::corrupt_reads, "tercet_data_plane_corrupt_reads_total",
             "Reads refused because the replica is damaged"},
    Exported{&DataPlaneCounters::writes, "tercet_data_plane_writes_total", "Write requests"},
    Exported{&DataPlaneCounters::write_bytes, "tercet_data_plane_write_bytes_total",
             "Bytes written to replicas"},
    Exported{&DataPlaneCounters::syncs, "tercet_data_plane_syncs_total",
             "Syncs of replicas to the disk"},
    Exported{&DataPlaneCounters::truncates, "tercet_data_plane_truncates_total",
             "Truncate requests"},
    Exported{&DataPlaneCounters::stale_generations, "tercet_data_plane_stale_generations_total",
             "Requests refused because of the block's generation"},
    Exported{&DataPlaneCounters::links_opened, "tercet_data_plane_links_opened_total",
             "Connections made to other chunk servers"},
    Exported{&DataPlaneCounters::downstream_failures, "tercet_data_plane_downstream_failures_total",
             "Connections to other chunk servers that failed with operations in flight"},
    Exported{&DataPlaneCounters::refused_for_stall, "tercet_data_plane_refused_for_stall_total",
             "Writes refused because the next server stands still"},
    Exported{&DataPlaneCounters::refused_while_down, "tercet_data_plane_refused_while_down_total",
             "Requests refused because the next server was lost and did not answer again yet"},
    Exported{&DataPlaneCounters::working_sent, "tercet_data_plane_working_sent_total",
             "Signs of life sent while answers were owed"},
    Exported{&DataPlaneCounters::seals, "tercet_data_plane_seals_total", "Replicas sealed"},
    Exported{&DataPlaneCounters::pulls_done, "tercet_data_plane_pulls_total",
             "Replicas copied from other servers, or made equal to theirs"},
    Exported{&DataPlaneCounters::pulls_failed, "tercet_data_plane_failed_pulls_total",
             "Pulls that failed or were given up"},
    Exported{&DataPlaneCounters::pulled_bytes, "tercet_data_plane_pulled_bytes_total",
             "Bytes copied from other servers"},
};

}  // namespace

DataPlaneLatencies::DataPlaneLatencies()
    : read(GetLatencyHistogram("tercet_data_plane_request_seconds",
                               "From a request's arrival to its answer", {{"kind", "read"}})),
      write(GetLatencyHistogram("tercet_data_plane_request_seconds",
                                "From a request's arrival to its answer", {{"kind", "write"}})),
      sync(GetLatencyHistogram("tercet_data_plane_request_seconds",
                               "From a request's arrival to its answer", {{"kind", "sync"}})) {}

void ExportDataPlaneCounters(const DataPlaneCounters& now, DataPlaneCounters* exported) {
  for (const Exported& entry : kExported) {
    const uint64_t value = (now.*entry.field).load(std::memory_order_relaxed);
    const uint64_t before = (exported->*entry.field).exchange(value, std::memory_order_relaxed);
    GetCounter(entry.name, entry.help).Increment(static_cast<double>(value - before));
  }
  GetGauge("tercet_data_plane_open_connections", "Connections open now")
      .Set(static_cast<double>(now.connections_open.load(std::memory_order_relaxed)));
  GetGauge("tercet_data_plane_running_pulls", "Pulls that are running now")
      .Set(static_cast<double>(now.pulls_running.load(std::memory_order_relaxed)));
}

}  // namespace tercet
