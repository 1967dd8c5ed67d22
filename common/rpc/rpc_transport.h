// The Thrift transport that both ends of an RPC connection use. Internal to common/rpc.
#pragma once

#include <thrift/TConfiguration.h>
#include <thrift/protocol/TProtocol.h>
#include <thrift/transport/TBufferTransports.h>
#include <thrift/transport/TSocket.h>

#include <array>
#include <memory>
#include <string>

namespace tercet {

/// A TSocket over a connected socket that reads ahead a little, so that a small message (its length
/// and its body) costs one system call instead of two.
class RpcSocket : public apache::thrift::transport::TSocket {
 public:
  explicit RpcSocket(int socket);

  /// 0 at the end of the stream; TTransportException TIMED_OUT after SO_RCVTIMEO.
  uint32_t read(uint8_t* buffer, uint32_t size) override;

 private:
  uint32_t Receive(uint8_t* buffer, uint32_t size);

  std::array<uint8_t, 2048> ahead_;
  uint32_t begin_ = 0;
  uint32_t end_ = 0;
};

/// Framing with our limits: messages over kMaxRpcMessageBytes are neither read nor sent, and the
/// count of consumed bytes, which Thrift keeps for the life of a transport, starts anew with each
/// message.
class RpcFramedTransport : public apache::thrift::transport::TFramedTransport {
 public:
  explicit RpcFramedTransport(std::shared_ptr<RpcSocket> socket);

 protected:
  bool readFrame() override;
  void writeSlow(const uint8_t* buffer, uint32_t size) override;
};

/// The binary protocol over a socket, with limits on strings and containers.
std::shared_ptr<apache::thrift::protocol::TProtocol> MakeRpcProtocol(
    std::shared_ptr<RpcSocket> socket);

/// Sends what the Thrift library prints by itself to our log, at debug level.
void RedirectThriftOutput();

}  // namespace tercet
