#include "common/rpc/thrift_server.h"

#include <sys/socket.h>
#include <thrift/processor/TMultiplexedProcessor.h>
#include <thrift/transport/TTransportException.h>

#include "common/log/log.h"
#include "common/rpc/rpc_transport.h"
#include "common/rpc/socket.h"
#include "common/rpc/socket_listener.h"

namespace tercet {

using apache::thrift::TException;
using apache::thrift::TMultiplexedProcessor;
using apache::thrift::TProcessor;
using apache::thrift::protocol::TProtocol;
using apache::thrift::transport::TTransportException;

namespace {

/// A client that does not take its reply for so long is gone or stopped.
constexpr std::chrono::seconds kSendTimeout{60};

class RpcServedConnection : public ServedConnection {
 public:
  RpcServedConnection(int socket, std::string peer, std::shared_ptr<TProcessor> processor,
                      std::chrono::milliseconds idle_timeout)
      : peer_(std::move(peer)),
        processor_(std::move(processor)),
        socket_(std::make_shared<RpcSocket>(socket)),
        protocol_(MakeRpcProtocol(socket_)) {
    SetSocketTimeout(socket, SO_SNDTIMEO, kSendTimeout);
    SetSocketTimeout(socket, SO_RCVTIMEO, idle_timeout);
  }

  void Serve() override {
    try {
      while (processor_->process(protocol_, protocol_, nullptr)) {
      }
    } catch (const TTransportException& error) {
      // An end of the stream, a reset or a timeout is how connections usually end.
      if (error.getType() == TTransportException::CORRUPTED_DATA ||
          error.getType() == TTransportException::BAD_ARGS) {
        LOG_WARN("closing the connection of {}: {}", peer_, error.what());
      } else {
        LOG_DEBUG("the connection of {} ended: {}", peer_, error.what());
      }
    } catch (const std::exception& error) {
      LOG_WARN("closing the connection of {}: {}", peer_, error.what());
    }
  }

  void Shutdown() override { ::shutdown(socket_->getSocketFD(), SHUT_RD); }
  void Abort() override { ::shutdown(socket_->getSocketFD(), SHUT_RDWR); }

 private:
  const std::string peer_;
  const std::shared_ptr<TProcessor> processor_;
  const std::shared_ptr<RpcSocket> socket_;  // open until this object ends
  const std::shared_ptr<TProtocol> protocol_;
};

}  // namespace

struct ThriftServer::Impl {
  std::unique_ptr<SocketListener> listener;
};

ThriftServer::ThriftServer() : impl_(std::make_unique<Impl>()) {}
ThriftServer::~ThriftServer() = default;

Result<std::unique_ptr<ThriftServer>> ThriftServer::Start(ThriftServerOptions options,
                                                          Services services) {
  RedirectThriftOutput();
  auto processor = std::make_shared<TMultiplexedProcessor>();
  for (const auto& [name, service] : services) processor->registerProcessor(name, service);
  auto factory = [processor, idle = options.idle_timeout](int socket, const std::string& peer) {
    return std::make_shared<RpcServedConnection>(socket, peer, processor, idle);
  };
  SocketListenerOptions listener_options;
  listener_options.listen = options.listen;
  listener_options.max_connections = options.max_connections;
  listener_options.reserved = options.reserved;
  std::unique_ptr<ThriftServer> server(new ThriftServer);
  ASSIGN_OR_RETURN(server->impl_->listener, SocketListener::Start(listener_options, factory));
  return server;
}

uint16_t ThriftServer::port() const { return impl_->listener->port(); }

}  // namespace tercet
