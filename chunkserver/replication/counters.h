// What the data plane counts. The service exports it; the data plane itself knows no metrics
// library.
#pragma once

#include <atomic>
#include <cstdint>

namespace tercet {

/// Totals since the start of the process. Thread-safe; each value by itself, not as a snapshot.
struct DataPlaneCounters {
  using Count = std::atomic<uint64_t>;

  Count connections_accepted{0};
  Count connections_open{0};
  Count connections_refused{0};  // HELLO for another cluster, server or version
  Count bad_frames{0};           // connections closed because of bytes that are no valid frame

  Count reads{0};
  Count read_bytes{0};
  Count verified_reads{0};
  Count corrupt_reads{0};  // reads refused because a page or the header is damaged

  Count writes{0};
  Count write_bytes{0};
  Count syncs{0};  // SYNC frames and writes with the sync flag
  Count truncates{0};
  Count stale_generations{0};

  Count links_opened{0};
  Count downstream_failures{0};  // links that failed with operations in flight
  Count refused_for_stall{0};    // writes refused at once because their downstream stands still
  Count refused_while_down{0};   // requests refused at once because the next server was lost
  Count working_sent{0};         // WORKING frames

  Count seals{0};  // SEAL frames that were answered OK
  Count pulls_done{0};
  Count pulls_failed{0};
  Count pulls_running{0};
  Count pulled_bytes{0};
};

}  // namespace tercet
