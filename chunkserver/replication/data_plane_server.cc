#include "chunkserver/replication/data_plane_server.h"

#include <algorithm>
#include <utility>

#include "chunkserver/replication/data_plane_context.h"
#include "chunkserver/replication/server_connection.h"
#include "common/rpc/socket_listener.h"
#include "tercet_thrift/registry_types.h"

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

void DataPlaneServer::SetLimits(const wire::BackgroundLimits& limits) {
  impl_->context.pulls.SetRates(
      static_cast<uint64_t>(std::max<int64_t>(limits.repair_bytes_per_second, 0)),
      static_cast<uint64_t>(std::max<int64_t>(limits.move_bytes_per_second, 0)));
}

DataPlaneLoad DataPlaneServer::Load() const {
  const LoadMeter& meter = impl_->context.load;
  const DataPlaneCounters& counters = impl_->context.counters;
  DataPlaneLoad load;
  load.read_p99_us = meter.reads.P99Micros();
  load.write_p99_us = meter.writes.P99Micros();
  load.client_bytes_per_second = meter.bytes_per_second();
  load.client_requests_per_second = meter.requests_per_second();
  load.pulled_bytes = static_cast<int64_t>(counters.pulled_bytes.load(std::memory_order_relaxed));
  load.pulls_running = static_cast<int32_t>(counters.pulls_running.load(std::memory_order_relaxed));
  load.last_client_request_nanos = meter.last_request_nanos();
  return load;
}

uint16_t DataPlaneServer::port() const { return impl_->listener->port(); }

const DataPlaneCounters& DataPlaneServer::counters() const { return impl_->context.counters; }

void DataPlaneServer::Stop() {
  // First what connections' threads may be waiting for, then the threads, then what they leave
  // behind.
  impl_->context.gate.Abandon();
  impl_->context.buffers.Close();
  impl_->context.downstream.Stop();
  impl_->context.pulls.Stop();
  impl_->listener->Stop();
  impl_->context.syncs.Stop();
  impl_->context.watchdog.Stop();
}

}  // namespace tercet
