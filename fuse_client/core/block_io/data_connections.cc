#include "fuse_client/core/block_io/data_connections.h"

#include <algorithm>

#include "fuse_client/core/block_io/wire.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet {

DataConnections::DataConnections(DataConnectionOptions options, Clock* clock)
    : options_(std::move(options)), clock_(clock) {}

Result<DataConnections::Taken> DataConnections::Take(const ReplicaAddress& replica) {
  while (true) {
    std::unique_ptr<FrameConnection> idle;
    {
      std::lock_guard lock(mutex_);
      auto found = servers_.find(replica.server);
      if (found == servers_.end() || found->second.idle.empty() ||
          found->second.address != replica.address) {
        break;
      }
      idle = std::move(found->second.idle.back());
      found->second.idle.pop_back();
    }
    if (!idle->LooksClosed()) return Taken{std::move(idle), true};
  }
  return TakeNew(replica);
}

Result<DataConnections::Taken> DataConnections::TakeNew(const ReplicaAddress& replica) {
  auto connection = Open(replica);
  if (!connection.ok()) {
    NoteFailure(replica.server);
    return connection.status();
  }
  return Taken{std::move(connection).value(), false};
}

Result<std::unique_ptr<FrameConnection>> DataConnections::Open(const ReplicaAddress& replica) {
  ASSIGN_OR_RETURN(std::unique_ptr<FrameConnection> connection,
                   FrameConnection::Connect(replica.address, options_.connect_timeout));
  connection->SetSendTimeout(options_.connect_timeout);
  connection->SetReceiveTimeout(options_.connect_timeout);
  RETURN_IF_ERROR(Greet(*connection, replica));
  return connection;
}

Status DataConnections::Greet(FrameConnection& connection, const ReplicaAddress& replica) {
  wire::HelloHeader hello;
  hello.cluster_id = options_.cluster_id;
  hello.server_id = static_cast<int32_t>(replica.server.value());
  hello.caller = options_.caller;
  std::string header;
  EncodeFrameHeader(hello, &header);
  FramePrelude prelude;
  prelude.kind = wire::FrameKind::HELLO;
  RETURN_IF_ERROR(connection.Send(prelude, header, {}));
  ASSIGN_OR_RETURN(const FramePrelude answer, connection.Receive(&header));
  if (answer.kind != wire::FrameKind::HELLO_RESPONSE || answer.payload_bytes != 0) {
    return Status(StatusCode::kCorruption, connection.peer_name() + " did not answer to HELLO");
  }
  wire::HelloResponseHeader response;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &response));
  RETURN_IF_ERROR(FromWire(response.status).WithContext(connection.peer_name()));
  if (response.server_id != hello.server_id) {
    return Status(StatusCode::kUnavailable, connection.peer_name() + " is chunk server " +
                                                std::to_string(response.server_id) + ", not " +
                                                std::to_string(hello.server_id));
  }
  return Status::Ok();
}

void DataConnections::Put(const ReplicaAddress& replica,
                          std::unique_ptr<FrameConnection> connection) {
  // Connections are closed outside the lock.
  std::vector<std::unique_ptr<FrameConnection>> dropped;
  std::lock_guard lock(mutex_);
  Server& server = servers_[replica.server];
  server.failed_until_ns = 0;
  server.retry_after = std::chrono::milliseconds(0);
  if (server.address != replica.address) {
    dropped.swap(server.idle);
    server.address = replica.address;
  }
  if (server.idle.size() < options_.max_idle_per_server) {
    server.idle.push_back(std::move(connection));
  } else {
    dropped.push_back(std::move(connection));
  }
}

void DataConnections::NoteFailure(ServerId id) {
  std::vector<std::unique_ptr<FrameConnection>> dropped;
  const int64_t now = clock_->MonotonicNanos();
  std::lock_guard lock(mutex_);
  Server& server = servers_[id];
  dropped.swap(server.idle);
  // Several users that meet the same failure count once.
  if (now < server.failed_until_ns) return;
  server.retry_after = server.retry_after.count() == 0
                           ? options_.retry_after
                           : std::min(2 * server.retry_after, options_.max_retry_after);
  server.failed_until_ns = now + std::chrono::nanoseconds(server.retry_after).count();
  any_failed_until_ns_ = std::max(any_failed_until_ns_.load(), server.failed_until_ns);
  failures_.fetch_add(1, std::memory_order_release);
}

bool DataConnections::AnyRecentlyFailed() const {
  const int64_t until = any_failed_until_ns_.load(std::memory_order_relaxed);
  return until != 0 && clock_->MonotonicNanos() < until;
}

bool DataConnections::RecentlyFailed(ServerId id) const {
  if (!AnyRecentlyFailed()) return false;
  std::lock_guard lock(mutex_);
  auto found = servers_.find(id);
  return found != servers_.end() && found->second.failed_until_ns != 0 &&
         clock_->MonotonicNanos() < found->second.failed_until_ns;
}

size_t DataConnections::idle_count(ServerId id) const {
  std::lock_guard lock(mutex_);
  auto found = servers_.find(id);
  return found == servers_.end() ? 0 : found->second.idle.size();
}

}  // namespace tercet
