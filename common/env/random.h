// Randomness as an interface: seeded in simulations, from the kernel otherwise.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

namespace tercet {

/// Thread-safe.
class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t Next() = 0;

  /// Uniform in [0, bound); bound > 0.
  uint64_t Below(uint64_t bound);
  /// `size` random bytes.
  std::string Bytes(size_t size);
};

/// getrandom(2), buffered. Never destroyed.
Random& SystemRandom();

/// splitmix64 (S. Vigna) from a seed: the same seed gives the same sequence.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}
  uint64_t Next() override;

 private:
  std::mutex mutex_;
  uint64_t state_;  // guarded by mutex_
};

}  // namespace tercet
