#include "chunkserver/replication/load_meter.h"

#include <algorithm>
#include <bit>

namespace tercet {

namespace {

constexpr int64_t kRotateNanos = 1'000'000'000;

}  // namespace

// Values below 2^kSubBits have a bucket each; from there on each octave has 2^kSubBits of them.
size_t RecentLatencies::BucketOf(uint64_t micros) {
  constexpr uint64_t kSub = 1 << kSubBits;
  if (micros < kSub) return static_cast<size_t>(micros);
  const int octave = std::bit_width(micros) - 1 - kSubBits;
  const size_t bucket = (static_cast<size_t>(octave + 1) << kSubBits) +
                        static_cast<size_t>((micros >> octave) & (kSub - 1));
  return std::min(bucket, kBuckets - 1);
}

uint64_t RecentLatencies::EndOf(size_t bucket) {
  constexpr uint64_t kSub = 1 << kSubBits;
  if (bucket < kSub) return bucket;
  const int octave = static_cast<int>(bucket >> kSubBits) - 1;
  return ((kSub + (bucket & (kSub - 1)) + 1) << octave) - 1;
}

void RecentLatencies::Note(int64_t nanos) {
  const uint64_t micros = static_cast<uint64_t>(std::max<int64_t>(nanos, 0)) / 1000;
  Half& half = halves_[current_.load(std::memory_order_relaxed) & 1];
  half[BucketOf(micros)].fetch_add(1, std::memory_order_relaxed);
}

void RecentLatencies::Rotate() {
  const uint32_t next = current_.load(std::memory_order_relaxed) + 1;
  for (auto& count : halves_[next & 1]) count.store(0, std::memory_order_relaxed);
  current_.store(next, std::memory_order_relaxed);
}

int64_t RecentLatencies::P99Micros() const {
  uint64_t total = 0;
  for (const Half& half : halves_) {
    for (const auto& count : half) total += count.load(std::memory_order_relaxed);
  }
  if (total == 0) return 0;
  uint64_t above = total / 100;  // so many may be slower
  for (size_t bucket = kBuckets; bucket-- > 0;) {
    const uint64_t count = uint64_t{halves_[0][bucket].load(std::memory_order_relaxed)} +
                           halves_[1][bucket].load(std::memory_order_relaxed);
    if (count > above) return static_cast<int64_t>(std::max<uint64_t>(EndOf(bucket), 1));
    above -= count;
  }
  return 1;
}

void LoadMeter::Tick(int64_t now_nanos) {
  if (rotated_nanos_ == 0) rotated_nanos_ = now_nanos;
  const int64_t passed = now_nanos - rotated_nanos_;
  if (passed < kRotateNanos) return;
  rotated_nanos_ = now_nanos;
  const uint64_t bytes = bytes_.load(std::memory_order_relaxed);
  const uint64_t requests = requests_.load(std::memory_order_relaxed);
  const double seconds = static_cast<double>(passed) * 1e-9;
  bytes_rate_.store(static_cast<int64_t>(static_cast<double>(bytes - bytes_before_) / seconds),
                    std::memory_order_relaxed);
  requests_rate_.store(
      static_cast<int64_t>(static_cast<double>(requests - requests_before_) / seconds),
      std::memory_order_relaxed);
  bytes_before_ = bytes;
  requests_before_ = requests;
  reads.Rotate();
  writes.Rotate();
}

}  // namespace tercet
