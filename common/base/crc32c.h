// CRC-32C (Castagnoli, reflected, as in RFC 3720), through ISA-L.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tercet {

/// The CRC-32C of `size` bytes: Crc32c("123456789") == 0xe3069283. Thread-safe.
uint32_t Crc32c(const void* data, size_t size);
inline uint32_t Crc32c(std::string_view data) { return Crc32c(data.data(), data.size()); }

/// Continues: Crc32cExtend(Crc32c(a), b) == Crc32c(a + b).
uint32_t Crc32cExtend(uint32_t crc, const void* data, size_t size);

/// The CRC of a byte string followed by `zero_count` zero bytes, given the string's CRC.
uint32_t Crc32cExtendZeros(uint32_t crc, size_t zero_count);

}  // namespace tercet
