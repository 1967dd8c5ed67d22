#include "common/rpc/rpc_transport.h"

#include <sys/socket.h>
#include <thrift/TOutput.h>
#include <thrift/protocol/TBinaryProtocol.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "common/log/log.h"
#include "common/rpc/thrift_client.h"

namespace tercet {

using apache::thrift::TConfiguration;
using apache::thrift::protocol::TBinaryProtocolT;
using apache::thrift::protocol::TProtocol;
using apache::thrift::transport::TFramedTransport;
using apache::thrift::transport::TSocket;
using apache::thrift::transport::TTransportException;

namespace {

constexpr int kRecursionLimit = 64;
/// A list of structs is allocated before its elements are read, so a few bytes could ask for much.
constexpr int kMaxContainerElements = 1 << 18;
constexpr uint32_t kInitialWriteBufferBytes = 2048;
/// A read buffer larger than this is given back after the message it was for.
constexpr uint32_t kKeptReadBufferBytes = 256 << 10;

}  // namespace

std::shared_ptr<TConfiguration> RpcConfiguration() {
  // Messages are bounded by the frame size; the message size has room for Thrift's own counting,
  // which counts some bytes twice.
  return std::make_shared<TConfiguration>(2 * kMaxRpcMessageBytes, kMaxRpcMessageBytes,
                                          kRecursionLimit);
}

RpcSocket::RpcSocket(int socket) : TSocket(socket, RpcConfiguration()) {}

uint32_t RpcSocket::Receive(uint8_t* buffer, uint32_t size) {
  while (true) {
    const ssize_t got = ::recv(getSocketFD(), buffer, size, 0);
    if (got >= 0) return static_cast<uint32_t>(got);
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ETIMEDOUT) {
      throw TTransportException(TTransportException::TIMED_OUT, "no answer in time");
    }
    throw TTransportException(TTransportException::NOT_OPEN, ::strerror(errno));
  }
}

uint32_t RpcSocket::read(uint8_t* buffer, uint32_t size) {
  if (begin_ == end_) {
    if (size >= ahead_.size()) return Receive(buffer, size);
    begin_ = end_ = 0;
    end_ = Receive(ahead_.data(), ahead_.size());
  }
  const uint32_t count = std::min(size, end_ - begin_);
  std::memcpy(buffer, ahead_.data() + begin_, count);
  begin_ += count;
  return count;
}

RpcFramedTransport::RpcFramedTransport(std::shared_ptr<RpcSocket> socket)
    : TFramedTransport(std::move(socket), kInitialWriteBufferBytes, kKeptReadBufferBytes,
                       RpcConfiguration()) {}

bool RpcFramedTransport::readFrame() {
  resetConsumedMessageSize();
  return TFramedTransport::readFrame();
}

void RpcFramedTransport::writeSlow(const uint8_t* buffer, uint32_t size) {
  const auto pending = static_cast<size_t>(wBase_ - wBuf_.get());
  if (pending + size > static_cast<size_t>(kMaxRpcMessageBytes)) {
    throw TTransportException(
        TTransportException::BAD_ARGS,
        "the message is longer than " + std::to_string(kMaxRpcMessageBytes) + " bytes, the limit");
  }
  TFramedTransport::writeSlow(buffer, size);
}

std::shared_ptr<TProtocol> MakeRpcProtocol(std::shared_ptr<RpcSocket> socket) {
  auto framed = std::make_shared<RpcFramedTransport>(std::move(socket));
  return std::make_shared<TBinaryProtocolT<TFramedTransport>>(
      framed, kMaxRpcMessageBytes, kMaxContainerElements, /*strict_read=*/true,
      /*strict_write=*/true);
}

void RedirectThriftOutput() {
  static std::once_flag once;
  std::call_once(once, [] {
    apache::thrift::GlobalOutput.setOutputFunction(
        [](const char* message) { LOG_DEBUG("thrift: {}", message); });
  });
}

}  // namespace tercet
