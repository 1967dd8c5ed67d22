#include "common/rpc/frame.h"

#include <thrift/protocol/TCompactProtocol.h>
#include <thrift/transport/TBufferTransports.h>

#include <cstring>
#include <memory>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet {
namespace {

using apache::thrift::protocol::TCompactProtocolT;
using apache::thrift::transport::TBufferBase;
using apache::thrift::transport::TTransportException;
using apache::thrift::transport::TVirtualTransport;

constexpr uint8_t kFrameVersion = 1;
/// A list of structs is allocated before its elements are read, so a few bytes could ask for much.
constexpr int kMaxHeaderListElements = 4096;

// Offsets within the prelude.
constexpr size_t kVersionOffset = 4;
constexpr size_t kKindOffset = 5;
constexpr size_t kReservedOffset = 6;
constexpr size_t kHeaderBytesOffset = 8;
constexpr size_t kPayloadBytesOffset = 12;
constexpr size_t kRequestIdOffset = 16;
constexpr size_t kHeaderCrcOffset = 24;
constexpr size_t kPreludeCrcOffset = 28;

/// Reads from bytes it does not own, writes into a buffer that it keeps. Thrift's TMemoryBuffer
/// allocates with each reset.
class HeaderTransport : public TVirtualTransport<HeaderTransport, TBufferBase> {
 public:
  HeaderTransport() : buffer_(1024, '\0') {}

  void StartReading(std::string_view bytes) {
    resetConsumedMessageSize();
    setReadBuffer(const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(bytes.data())),
                  static_cast<uint32_t>(bytes.size()));
  }
  size_t unread() const { return static_cast<size_t>(rBound_ - rBase_); }

  void StartWriting() { setWriteBuffer(Base(), static_cast<uint32_t>(buffer_.size())); }
  std::string_view written() { return {buffer_.data(), static_cast<size_t>(wBase_ - Base())}; }

 protected:
  uint32_t readSlow(uint8_t*, uint32_t) override {
    throw TTransportException(TTransportException::END_OF_FILE, "it ends too early");
  }
  const uint8_t* borrowSlow(uint8_t*, uint32_t*) override { return nullptr; }
  void writeSlow(const uint8_t* bytes, uint32_t size) override {
    const size_t used = written().size();
    buffer_.resize(2 * (buffer_.size() + size));
    setWriteBuffer(Base(), static_cast<uint32_t>(buffer_.size()));
    wBase_ += used;
    std::memcpy(wBase_, bytes, size);
    wBase_ += size;
  }

 private:
  uint8_t* Base() { return reinterpret_cast<uint8_t*>(buffer_.data()); }
  std::string buffer_;
};

struct Codec {
  std::shared_ptr<HeaderTransport> transport = std::make_shared<HeaderTransport>();
  TCompactProtocolT<HeaderTransport> protocol{transport, static_cast<int>(kMaxFrameHeaderBytes),
                                              kMaxHeaderListElements};
};

/// One per thread, made anew after an exception, which leaves the protocol's stack of fields
/// behind.
thread_local std::unique_ptr<Codec> t_codec;

Codec& ThreadCodec() {
  if (t_codec == nullptr) t_codec = std::make_unique<Codec>();
  return *t_codec;
}

Status Corruption(std::string message) {
  return Status(StatusCode::kCorruption, "data-plane frame: " + std::move(message));
}

}  // namespace

void FramePrelude::Encode(char out[kFramePreludeBytes]) const {
  EncodeFixed32(out, kFrameMagic);
  out[kVersionOffset] = static_cast<char>(kFrameVersion);
  out[kKindOffset] = static_cast<char>(kind);
  EncodeFixed16(out + kReservedOffset, 0);
  EncodeFixed32(out + kHeaderBytesOffset, header_bytes);
  EncodeFixed32(out + kPayloadBytesOffset, payload_bytes);
  EncodeFixed64(out + kRequestIdOffset, request_id);
  EncodeFixed32(out + kHeaderCrcOffset, header_crc);
  EncodeFixed32(out + kPreludeCrcOffset, Crc32c(out, kPreludeCrcOffset));
}

Result<FramePrelude> FramePrelude::Decode(std::string_view bytes) {
  if (bytes.size() < kFramePreludeBytes) {
    return Corruption("the prelude has " + std::to_string(bytes.size()) + " of " +
                      std::to_string(kFramePreludeBytes) + " bytes");
  }
  const char* in = bytes.data();
  if (DecodeFixed32(in) != kFrameMagic) {
    return Corruption("wrong magic: the peer does not speak Tercet's data plane");
  }
  if (DecodeFixed32(in + kPreludeCrcOffset) != Crc32c(in, kPreludeCrcOffset)) {
    return Corruption("the prelude fails its checksum");
  }
  const auto version = static_cast<uint8_t>(in[kVersionOffset]);
  if (version != kFrameVersion) {
    return Status(StatusCode::kVersionTooNew,
                  "data-plane frame of version " + std::to_string(version) +
                      "; this program knows version " + std::to_string(kFrameVersion));
  }
  FramePrelude prelude;
  prelude.kind = static_cast<uint8_t>(in[kKindOffset]);
  prelude.header_bytes = DecodeFixed32(in + kHeaderBytesOffset);
  prelude.payload_bytes = DecodeFixed32(in + kPayloadBytesOffset);
  prelude.request_id = DecodeFixed64(in + kRequestIdOffset);
  prelude.header_crc = DecodeFixed32(in + kHeaderCrcOffset);
  if (prelude.header_bytes > kMaxFrameHeaderBytes) {
    return Corruption("a header of " + std::to_string(prelude.header_bytes) +
                      " bytes is over the limit of " + std::to_string(kMaxFrameHeaderBytes));
  }
  if (prelude.payload_bytes > kMaxFramePayloadBytes) {
    return Corruption("a payload of " + std::to_string(prelude.payload_bytes) +
                      " bytes is over the limit of " + std::to_string(kMaxFramePayloadBytes));
  }
  return prelude;
}

template <typename T>
void EncodeFrameHeader(const T& header, std::string* out) {
  Codec& codec = ThreadCodec();
  codec.transport->StartWriting();
  header.write(&codec.protocol);
  out->assign(codec.transport->written());
}

template <typename T>
Status DecodeFrameHeader(std::string_view bytes, T* out) {
  Codec& codec = ThreadCodec();
  codec.transport->StartReading(bytes);
  std::string problem;
  try {
    // What the sender left out has its default, whatever the struct held before.
    *out = T();
    out->read(&codec.protocol);
    if (codec.transport->unread() == 0) return Status::Ok();
    problem = std::to_string(codec.transport->unread()) + " bytes too many";
  } catch (const std::exception& error) {
    problem = error.what();
  }
  t_codec.reset();
  return Corruption("the header makes no sense: " + problem);
}

#define TERCET_FRAME_HEADER(T)                                          \
  template void EncodeFrameHeader(const wire::T& header, std::string*); \
  template Status DecodeFrameHeader(std::string_view bytes, wire::T*)

TERCET_FRAME_HEADER(HelloHeader);
TERCET_FRAME_HEADER(HelloResponseHeader);
TERCET_FRAME_HEADER(ReadHeader);
TERCET_FRAME_HEADER(ReadResponseHeader);
TERCET_FRAME_HEADER(WriteHeader);
TERCET_FRAME_HEADER(WriteResponseHeader);
TERCET_FRAME_HEADER(SyncHeader);
TERCET_FRAME_HEADER(SyncResponseHeader);
TERCET_FRAME_HEADER(TruncateHeader);
TERCET_FRAME_HEADER(TruncateResponseHeader);
TERCET_FRAME_HEADER(StatHeader);
TERCET_FRAME_HEADER(StatResponseHeader);
TERCET_FRAME_HEADER(SealHeader);
TERCET_FRAME_HEADER(SealResponseHeader);
TERCET_FRAME_HEADER(TableHeader);
TERCET_FRAME_HEADER(TableResponseHeader);
TERCET_FRAME_HEADER(PullHeader);
TERCET_FRAME_HEADER(PullResponseHeader);
TERCET_FRAME_HEADER(PingHeader);
TERCET_FRAME_HEADER(PingResponseHeader);

#undef TERCET_FRAME_HEADER

}  // namespace tercet
