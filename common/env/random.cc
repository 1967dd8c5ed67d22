#include "common/env/random.h"

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tercet {
namespace {

/// Random bytes of the kernel, fetched 512 at a time.
class KernelRandom final : public Random {
 public:
  uint64_t Next() override {
    std::lock_guard lock(mutex_);
    if (next_ == values_.size()) Refill();
    return values_[next_++];
  }

 private:
  void Refill() {
    auto* bytes = reinterpret_cast<char*>(values_.data());
    size_t done = 0;
    while (done < sizeof(values_)) {
      ssize_t count = ::getrandom(bytes + done, sizeof(values_) - done, 0);
      if (count > 0) {
        done += static_cast<size_t>(count);
      } else if (errno != EINTR) {
        // Identities drawn from anything weaker could collide; there is no way to go on.
        std::fprintf(stderr, "getrandom: %s\n", std::strerror(errno));
        std::abort();
      }
    }
    next_ = 0;
  }

  std::mutex mutex_;
  // Guarded by mutex_:
  std::array<uint64_t, 64> values_{};
  size_t next_ = values_.size();
};

}  // namespace

uint64_t Random::Below(uint64_t bound) {
  // Values under this threshold would make the low remainders likelier; draw again.
  const uint64_t threshold = -bound % bound;
  uint64_t value = Next();
  while (value < threshold) value = Next();
  return value % bound;
}

std::string Random::Bytes(size_t size) {
  std::string bytes(size, '\0');
  for (size_t offset = 0; offset < size; offset += sizeof(uint64_t)) {
    uint64_t value = Next();
    std::memcpy(bytes.data() + offset, &value, std::min(sizeof(value), size - offset));
  }
  return bytes;
}

Random& SystemRandom() {
  static KernelRandom* random = new KernelRandom;
  return *random;
}

uint64_t SeededRandom::Next() {
  std::lock_guard lock(mutex_);
  state_ += 0x9e3779b97f4a7c15u;
  uint64_t x = state_;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace tercet
