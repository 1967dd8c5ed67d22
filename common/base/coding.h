// Fixed-width integers and length-prefixed strings in byte strings.
// Little-endian everywhere, except in database keys, which are big-endian so that they sort by number.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tercet {

void PutFixed8(std::string* out, uint8_t value);
void PutFixed16(std::string* out, uint16_t value);
void PutFixed32(std::string* out, uint32_t value);
void PutFixed64(std::string* out, uint64_t value);
/// LEB128, at most 10 bytes.
void PutVarint64(std::string* out, uint64_t value);
/// A varint length, then the bytes.
void PutLengthPrefixed(std::string* out, std::string_view value);
/// For database keys only.
void PutBigEndian32(std::string* out, uint32_t value);
void PutBigEndian64(std::string* out, uint64_t value);

void EncodeFixed16(char* out, uint16_t value);
void EncodeFixed32(char* out, uint32_t value);
void EncodeFixed64(char* out, uint64_t value);
uint16_t DecodeFixed16(const char* in);
uint32_t DecodeFixed32(const char* in);
uint64_t DecodeFixed64(const char* in);
uint32_t DecodeBigEndian32(const char* in);
uint64_t DecodeBigEndian64(const char* in);

/// Reads what the Put functions wrote, never past the end of the input. The first failed read
/// makes every later one fail too, so a caller may read a whole record and check once with
/// Finish(). The input must outlive the decoder and the string views it returns.
class Decoder {
 public:
  explicit Decoder(std::string_view input) : rest_(input) {}

  uint8_t Fixed8();
  uint16_t Fixed16();
  uint32_t Fixed32();
  uint64_t Fixed64();
  uint64_t Varint64();
  uint32_t BigEndian32();
  uint64_t BigEndian64();
  std::string_view LengthPrefixed();
  std::string_view Bytes(size_t count);

  bool failed() const { return failed_; }
  std::string_view rest() const { return rest_; }
  /// OK when nothing failed and all input was used; otherwise kCorruption naming `what`.
  Status Finish(std::string_view what) const;
  /// OK when nothing failed; bytes left over are allowed (fields a newer version appended).
  Status FinishAllowingMore(std::string_view what) const;

 private:
  const char* Take(size_t count);

  std::string_view rest_;
  bool failed_ = false;
};

}  // namespace tercet
