// What clients get from this server just now: latencies and rates of the last one to two seconds.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace tercet {

/// Counts durations in buckets an eighth of an octave wide, in two halves of which one is filled
/// while the other one holds what came before. Thread-safe; Note costs one relaxed addition.
class RecentLatencies {
 public:
  void Note(int64_t nanos);
  /// Begins a new half and forgets the older one. By one thread at a time.
  void Rotate();
  /// The 99th percentile of both halves in microseconds, rounded up to a bucket's end; 0: nothing
  /// was noted.
  int64_t P99Micros() const;

 private:
  static constexpr int kSubBits = 3;
  static constexpr size_t kBuckets = size_t{32} << kSubBits;  // up to more than an hour
  using Half = std::array<std::atomic<uint32_t>, kBuckets>;

  static size_t BucketOf(uint64_t micros);
  static uint64_t EndOf(size_t bucket);

  std::array<Half, 2> halves_{};
  std::atomic<uint32_t> current_{0};
};

/// Thread-safe.
class LoadMeter {
 public:
  void NoteRead(int64_t now_nanos, int64_t nanos, uint64_t bytes) {
    Note(reads, now_nanos, nanos, bytes);
  }
  /// Truncations and syncs too.
  void NoteWrite(int64_t now_nanos, int64_t nanos, uint64_t bytes) {
    Note(writes, now_nanos, nanos, bytes);
  }

  /// To be called a few times per second, by one thread at a time.
  void Tick(int64_t now_nanos);

  int64_t bytes_per_second() const { return bytes_rate_.load(std::memory_order_relaxed); }
  int64_t requests_per_second() const { return requests_rate_.load(std::memory_order_relaxed); }
  int64_t last_request_nanos() const { return last_request_.load(std::memory_order_relaxed); }

  RecentLatencies reads;
  RecentLatencies writes;

 private:
  void Note(RecentLatencies& latencies, int64_t now_nanos, int64_t nanos, uint64_t bytes) {
    latencies.Note(nanos);
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
    requests_.fetch_add(1, std::memory_order_relaxed);
    last_request_.store(now_nanos, std::memory_order_relaxed);
  }

  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> requests_{0};
  std::atomic<int64_t> last_request_{0};
  std::atomic<int64_t> bytes_rate_{0};
  std::atomic<int64_t> requests_rate_{0};

  // Of the thread that ticks.
  int64_t rotated_nanos_ = 0;
  uint64_t bytes_before_ = 0;
  uint64_t requests_before_ = 0;
};

}  // namespace tercet
