// Bytes per second over about the last ten seconds.
#pragma once

#include <array>
#include <cstdint>

namespace tercet {

/// Not thread-safe.
class RateMeter {
 public:
  void Add(int64_t now_ms, int64_t bytes) {
    Slot& slot = slots_[Index(now_ms)];
    if (slot.second != now_ms / 1000) slot = {now_ms / 1000, 0};
    slot.bytes += bytes;
  }
  int64_t PerSecond(int64_t now_ms) const {
    int64_t sum = 0;
    for (const Slot& slot : slots_) {
      if (slot.second > now_ms / 1000 - kSeconds) sum += slot.bytes;
    }
    return sum / kSeconds;
  }

 private:
  static constexpr int64_t kSeconds = 10;
  struct Slot {
    int64_t second = -kSeconds;
    int64_t bytes = 0;
  };
  static size_t Index(int64_t now_ms) { return static_cast<size_t>(now_ms / 1000 % kSeconds); }
  std::array<Slot, kSeconds> slots_;
};

}  // namespace tercet
