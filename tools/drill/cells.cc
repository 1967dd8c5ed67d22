#include "tools/drill/cells.h"

#include <algorithm>
#include <cstring>

namespace tercet {
namespace {

constexpr uint64_t kWord = sizeof(uint64_t);
static_assert(kCellBytes % kWord == 0);

/// The finishing steps of splitmix64 (Steele, Lea, Flood 2014).
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t WordOf(uint64_t base, uint64_t version, uint64_t index) {
  return version == 0 ? 0 : Mix(base + index * 0x9e3779b97f4a7c15);
}

uint64_t BaseOf(uint64_t seed, uint64_t cell, uint64_t version) {
  return Mix(seed ^ Mix(cell + 1) ^ Mix(version << 20));
}

}  // namespace

void FillCell(uint64_t file_seed, uint64_t cell, uint64_t version, std::span<char> out) {
  const uint64_t base = BaseOf(file_seed, cell, version);
  for (uint64_t i = 0; i * kWord < out.size(); ++i) {
    const uint64_t word = WordOf(base, version, i);
    std::memcpy(out.data() + i * kWord, &word, std::min<uint64_t>(kWord, out.size() - i * kWord));
  }
}

uint64_t WrongBytes(uint64_t file_seed, uint64_t cell, uint64_t lowest, uint64_t highest,
                    std::span<const char> data) {
  uint64_t wrong = 0;
  for (uint64_t at = 0; at < data.size(); at += kWord) {
    const uint64_t size = std::min<uint64_t>(kWord, data.size() - at);
    uint64_t best = size;
    for (uint64_t version = highest + 1; version-- > lowest && best > 0;) {
      const uint64_t word = WordOf(BaseOf(file_seed, cell, version), version, at / kWord);
      char bytes[kWord];
      std::memcpy(bytes, &word, kWord);
      uint64_t differing = 0;
      for (uint64_t i = 0; i < size; ++i) differing += bytes[i] != data[at + i] ? 1 : 0;
      best = std::min(best, differing);
    }
    wrong += best;
  }
  return wrong;
}

}  // namespace tercet
