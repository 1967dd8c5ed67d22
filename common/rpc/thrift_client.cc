#include "common/rpc/thrift_client.h"

#include <sys/socket.h>
#include <thrift/TApplicationException.h>
#include <thrift/protocol/TMultiplexedProtocol.h>
#include <thrift/protocol/TProtocolException.h>
#include <thrift/transport/TTransportException.h>

#include "common/rpc/rpc_transport.h"
#include "common/rpc/socket.h"

namespace tercet {

using apache::thrift::TApplicationException;
using apache::thrift::TException;
using apache::thrift::protocol::TMultiplexedProtocol;
using apache::thrift::protocol::TProtocol;
using apache::thrift::protocol::TProtocolException;
using apache::thrift::transport::TTransportException;

struct RpcConnection::Impl {
  std::shared_ptr<RpcSocket> socket;
  std::shared_ptr<TProtocol> protocol;
  std::chrono::milliseconds timeout{0};
};

RpcConnection::RpcConnection() : impl_(std::make_unique<Impl>()) {}
RpcConnection::~RpcConnection() = default;

Result<std::unique_ptr<RpcConnection>> RpcConnection::Connect(const HostPort& peer,
                                                              const std::string& service,
                                                              std::chrono::milliseconds timeout,
                                                              const std::string& source_host,
                                                              SocketAborter* aborter) {
  RedirectThriftOutput();
  ASSIGN_OR_RETURN(UniqueSocket socket, ConnectSocket(peer, timeout, source_host, aborter));
  try {
    std::unique_ptr<RpcConnection> connection(new RpcConnection);
    connection->impl_->socket = std::make_shared<RpcSocket>(socket.get());
    socket.Release();
    connection->impl_->protocol =
        std::make_shared<TMultiplexedProtocol>(MakeRpcProtocol(connection->impl_->socket), service);
    connection->SetTimeout(timeout);
    return connection;
  } catch (...) {
    if (aborter != nullptr) aborter->Detach();
    return StatusFromRpcException(peer, service);
  }
}

void RpcConnection::SetTimeout(std::chrono::milliseconds timeout) {
  if (timeout == impl_->timeout) return;
  impl_->timeout = timeout;
  SetSocketTimeout(impl_->socket->getSocketFD(), SO_SNDTIMEO, timeout);
  SetSocketTimeout(impl_->socket->getSocketFD(), SO_RCVTIMEO, timeout);
}

bool RpcConnection::LooksClosed() const {
  return IdleSocketLooksClosed(impl_->socket->getSocketFD());
}

std::shared_ptr<TProtocol> RpcConnection::protocol() const { return impl_->protocol; }

int RpcConnection::socket() const { return impl_->socket->getSocketFD(); }

Status StatusFromRpcException(const HostPort& peer, const std::string& service) {
  const std::string where = service + " at " + peer.ToString() + ": ";
  try {
    throw;
  } catch (const TTransportException& error) {
    switch (error.getType()) {
      case TTransportException::TIMED_OUT:
        return Status(StatusCode::kDeadlineExceeded, where + "no answer in time");
      case TTransportException::END_OF_FILE:
        return Status(StatusCode::kUnavailable, where + "the connection was closed");
      case TTransportException::BAD_ARGS:
        return Status(StatusCode::kInvalidArgument, where + error.what());
      case TTransportException::CORRUPTED_DATA:
        return Status(StatusCode::kCorruption, where + error.what());
      default:
        return Status(StatusCode::kUnavailable, where + error.what());
    }
  } catch (const TProtocolException& error) {
    return Status(StatusCode::kCorruption, where + "the reply makes no sense: " + error.what());
  } catch (const TApplicationException& error) {
    const bool unknown = error.getType() == TApplicationException::UNKNOWN_METHOD;
    return Status(unknown ? StatusCode::kNotSupported : StatusCode::kInternal,
                  where + error.what());
  } catch (const std::exception& error) {
    return Status(StatusCode::kInternal, where + error.what());
  } catch (...) {
    return Status(StatusCode::kInternal, where + "an unknown exception");
  }
}

}  // namespace tercet
