// What the data plane counts. The service exports it; the data plane itself knows no metrics
// library.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace tercet {

/// Durations in power-of-two buckets: bucket i counts those of less than 2^i microseconds that are
/// in no lower bucket; the last one takes the rest. Thread-safe.
class LatencyCounters {
 public:
  static constexpr size_t kBuckets = 26;  // up to 2^25 µs, 33 s

  void Record(int64_t nanos) {
    const uint64_t micros = nanos < 0 ? 0 : static_cast<uint64_t>(nanos) / 1000;
    const size_t bucket = static_cast<size_t>(std::bit_width(micros));
    buckets_[bucket < kBuckets ? bucket : kBuckets - 1].fetch_add(1, std::memory_order_relaxed);
    sum_micros_.fetch_add(micros, std::memory_order_relaxed);
  }
  uint64_t bucket(size_t index) const { return buckets_[index].load(std::memory_order_relaxed); }
  uint64_t sum_micros() const { return sum_micros_.load(std::memory_order_relaxed); }

 private:
  std::array<std::atomic<uint64_t>, kBuckets> buckets_{};
  std::atomic<uint64_t> sum_micros_{0};
};

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
  Count local_write_failures{0};

  Count links_opened{0};
  Count downstream_failures{0};  // links that failed with operations in flight
  Count refused_for_stall{0};    // writes refused at once because their downstream stands still

  LatencyCounters read_latency;  // from the frame's arrival to its answer's last byte in the socket
  LatencyCounters write_latency;  // from the frame's arrival to the acknowledgement, chain included
  LatencyCounters sync_latency;
};

}  // namespace tercet
