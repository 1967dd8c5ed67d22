// Wire structs to bytes and back, for replies that are stored with the slot of their mutation:
// Thrift's compact protocol, whose optional and unknown fields let an older or newer metaserver
// read them.
#pragma once

#include <thrift/protocol/TCompactProtocol.h>
#include <thrift/transport/TBufferTransports.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tercet {

/// Thread-safe.
template <typename T>
std::string EncodeReply(const T& reply) {
  using apache::thrift::transport::TMemoryBuffer;
  // One buffer per thread: a reply is encoded under the proposer's lock.
  thread_local auto buffer = std::make_shared<TMemoryBuffer>();
  thread_local apache::thrift::protocol::TCompactProtocolT<TMemoryBuffer> protocol(buffer);
  buffer->resetBuffer();
  reply.write(&protocol);
  uint8_t* bytes = nullptr;
  uint32_t size = 0;
  buffer->getBuffer(&bytes, &size);
  return std::string(reinterpret_cast<const char*>(bytes), size);
}

/// kCorruption when the bytes are not a `T`. Thread-safe.
template <typename T>
Status DecodeReply(std::string_view bytes, T* reply) {
  using apache::thrift::transport::TMemoryBuffer;
  auto buffer =
      std::make_shared<TMemoryBuffer>(reinterpret_cast<uint8_t*>(const_cast<char*>(bytes.data())),
                                      static_cast<uint32_t>(bytes.size()), TMemoryBuffer::OBSERVE);
  // The limits keep a damaged length from being believed.
  apache::thrift::protocol::TCompactProtocolT<TMemoryBuffer> protocol(
      buffer, static_cast<int32_t>(bytes.size()), static_cast<int32_t>(bytes.size()));
  try {
    reply->read(&protocol);
  } catch (const std::exception& e) {
    return Status(StatusCode::kCorruption, std::string("a stored reply is damaged: ") + e.what());
  }
  return Status::Ok();
}

}  // namespace tercet
