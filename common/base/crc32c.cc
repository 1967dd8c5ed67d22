#include "common/base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <limits>

namespace tercet {

uint32_t Crc32cExtend(uint32_t crc, const void* data, size_t size) {
  // crc32_iscsi takes an int length and leaves both inversions to the caller.
  constexpr size_t kMaxPiece = std::numeric_limits<int>::max() & ~size_t{4095};
  auto* bytes = static_cast<unsigned char*>(const_cast<void*>(data));
  uint32_t state = ~crc;
  while (size > 0) {
    const size_t piece = std::min(size, kMaxPiece);
    state = crc32_iscsi(bytes, static_cast<int>(piece), state);
    bytes += piece;
    size -= piece;
  }
  return ~state;
}

uint32_t Crc32c(const void* data, size_t size) { return Crc32cExtend(0, data, size); }

uint32_t Crc32cExtendZeros(uint32_t crc, size_t zero_count) {
  static constexpr char kZeros[4096] = {};
  while (zero_count > 0) {
    const size_t piece = std::min(zero_count, sizeof(kZeros));
    crc = Crc32cExtend(crc, kZeros, piece);
    zero_count -= piece;
  }
  return crc;
}

}  // namespace tercet
