#include "common/base/coding.h"

namespace tercet {

namespace {

template <typename T>
void StoreLittle(char* out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out[i] = static_cast<char>(value >> (8 * i));
}

template <typename T>
T LoadLittle(const char* in) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value | static_cast<T>(static_cast<unsigned char>(in[i])) << (8 * i));
  }
  return value;
}

template <typename T>
T LoadBig(const char* in) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value << 8 | static_cast<unsigned char>(in[i]));
  }
  return value;
}

template <typename T>
void AppendLittle(std::string* out, T value) {
  char buffer[sizeof(T)];
  StoreLittle(buffer, value);
  out->append(buffer, sizeof(buffer));
}

template <typename T>
void AppendBig(std::string* out, T value) {
  char buffer[sizeof(T)];
  for (size_t i = 0; i < sizeof(T); ++i) {
    buffer[sizeof(T) - 1 - i] = static_cast<char>(value >> (8 * i));
  }
  out->append(buffer, sizeof(buffer));
}

}  // namespace

void PutFixed8(std::string* out, uint8_t value) { out->push_back(static_cast<char>(value)); }
void PutFixed16(std::string* out, uint16_t value) { AppendLittle(out, value); }
void PutFixed32(std::string* out, uint32_t value) { AppendLittle(out, value); }
void PutFixed64(std::string* out, uint64_t value) { AppendLittle(out, value); }
void PutBigEndian32(std::string* out, uint32_t value) { AppendBig(out, value); }
void PutBigEndian64(std::string* out, uint64_t value) { AppendBig(out, value); }

void PutVarint64(std::string* out, uint64_t value) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

void PutLengthPrefixed(std::string* out, std::string_view value) {
  PutVarint64(out, value.size());
  out->append(value);
}

void EncodeFixed16(char* out, uint16_t value) { StoreLittle(out, value); }
void EncodeFixed32(char* out, uint32_t value) { StoreLittle(out, value); }
void EncodeFixed64(char* out, uint64_t value) { StoreLittle(out, value); }
uint16_t DecodeFixed16(const char* in) { return LoadLittle<uint16_t>(in); }
uint32_t DecodeFixed32(const char* in) { return LoadLittle<uint32_t>(in); }
uint64_t DecodeFixed64(const char* in) { return LoadLittle<uint64_t>(in); }
uint32_t DecodeBigEndian32(const char* in) { return LoadBig<uint32_t>(in); }
uint64_t DecodeBigEndian64(const char* in) { return LoadBig<uint64_t>(in); }

const char* Decoder::Take(size_t count) {
  if (failed_ || rest_.size() < count) {
    failed_ = true;
    return nullptr;
  }
  const char* start = rest_.data();
  rest_.remove_prefix(count);
  return start;
}

uint8_t Decoder::Fixed8() {
  const char* p = Take(1);
  return p ? static_cast<uint8_t>(*p) : 0;
}
uint16_t Decoder::Fixed16() {
  const char* p = Take(2);
  return p ? DecodeFixed16(p) : 0;
}
uint32_t Decoder::Fixed32() {
  const char* p = Take(4);
  return p ? DecodeFixed32(p) : 0;
}
uint64_t Decoder::Fixed64() {
  const char* p = Take(8);
  return p ? DecodeFixed64(p) : 0;
}
uint32_t Decoder::BigEndian32() {
  const char* p = Take(4);
  return p ? DecodeBigEndian32(p) : 0;
}
uint64_t Decoder::BigEndian64() {
  const char* p = Take(8);
  return p ? DecodeBigEndian64(p) : 0;
}

uint64_t Decoder::Varint64() {
  uint64_t value = 0;
  for (int shift = 0; shift < 70; shift += 7) {
    const char* p = Take(1);
    if (p == nullptr) return 0;
    const uint64_t byte = static_cast<unsigned char>(*p);
    if (shift == 63 && byte > 1) break;
    value |= (byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  failed_ = true;
  return 0;
}

std::string_view Decoder::Bytes(size_t count) {
  const char* p = Take(count);
  return p ? std::string_view(p, count) : std::string_view();
}

std::string_view Decoder::LengthPrefixed() {
  const uint64_t size = Varint64();
  if (failed_ || size > rest_.size()) {
    failed_ = true;
    return {};
  }
  return Bytes(static_cast<size_t>(size));
}

Status Decoder::Finish(std::string_view what) const {
  RETURN_IF_ERROR(FinishAllowingMore(what));
  if (!rest_.empty()) {
    return Status(StatusCode::kCorruption, std::string(what) + ": " +
                                               std::to_string(rest_.size()) + " bytes too many");
  }
  return Status::Ok();
}

Status Decoder::FinishAllowingMore(std::string_view what) const {
  if (failed_) return Status(StatusCode::kCorruption, std::string(what) + ": cut short or malformed");
  return Status::Ok();
}

}  // namespace tercet
