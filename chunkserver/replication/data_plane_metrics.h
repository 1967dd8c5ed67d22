// The data plane's figures in the process's metrics.
#pragma once

#include "chunkserver/replication/counters.h"
#include "common/metrics/metrics.h"

namespace tercet {

/// From the arrival of a request's header to its answer. Shared by all data planes of the process.
struct DataPlaneLatencies {
  DataPlaneLatencies();
  Histogram& read;   // up to the last byte in the socket
  Histogram& write;  // writes and truncations, the chain behind included
  Histogram& sync;
};

/// Adds what `now` has more than `exported` to the metrics tercet_data_plane_*, and remembers it in
/// `exported`, which begins as zeros. To be called every second or so, by one thread at a time.
void ExportDataPlaneCounters(const DataPlaneCounters& now, DataPlaneCounters* exported);

}  // namespace tercet
