#include "chunkserver/replication/data_plane_server.h"

#include <utility>

#include "chunkserver/replication/data_plane_context.h"
#include "chunkserver/replication/server_connection.h"
#include "common/rpc/socket_listener.h"

namespace tercet {

class DataPlaneServer::Impl {
 public:
  Impl(const DataPlaneOptions& options, BlockStore& store) : context(options, store) {}

  Status Listen() {
    SocketListenerOptions options;
    options.listen = context.options.listen;
    options.max_connections = context.options.max_connections;
    ASSIGN_OR_RETURN(listener,
                     SocketListener::Start(options, [this](int socket, const std::string& peer) {
                       return std::make_shared<ServerConnection>(context, socket, peer);
                     }));
    return Status::Ok();
  }

  DataPlaneContext context;
  std::unique_ptr<SocketListener> listener;
};

DataPlaneServer::DataPlaneServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

DataPlaneServer::~DataPlaneServer() { Stop(); }

Result<std::unique_ptr<DataPlaneServer>> DataPlaneServer::Start(DataPlaneOptions options,
                                                                BlockStore& store) {
  auto impl = std::make_unique<Impl>(options, store);
  RETURN_IF_ERROR(impl->Listen());
  return std::unique_ptr<DataPlaneServer>(new DataPlaneServer(std::move(impl)));
}

void DataPlaneServer::SetIdentity(const std::string& cluster_id, ServerId server_id) {
  impl_->context.downstream.SetIdentity(cluster_id, server_id);
  {
    std::lock_guard lock(impl_->context.identity_mutex);
    impl_->context.current_identity = {cluster_id, server_id};
    impl_->context.current_server_id.store(server_id.value(), std::memory_order_release);
  }
  impl_->context.gate.Open();
}

void DataPlaneServer::Suspend() { impl_->context.gate.Close(); }

uint16_t DataPlaneServer::port() const { return impl_->listener->port(); }

const DataPlaneCounters& DataPlaneServer::counters() const { return impl_->context.counters; }

void DataPlaneServer::Stop() {
  // First what connections' threads may be waiting for, then the threads, then what they leave
  // behind.
  impl_->context.gate.Abandon();
  impl_->context.buffers.Close();
  impl_->context.downstream.Stop();
  impl_->listener->Stop();
  impl_->context.syncs.Stop();
}

}  // namespace tercet
