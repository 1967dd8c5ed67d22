// A client of a chunk server's data plane that asks for one thing at a time.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/rpc/frame.h"
#include "common/rpc/frame_connection.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet {

/// Not thread-safe.
class DataClient {
 public:
  /// Connects and greets: the answer's status, or why there was none.
  static Result<std::unique_ptr<DataClient>> Connect(
      uint16_t port, int server_id = 3, const std::string& cluster_id = "cluster-one-----") {
    std::unique_ptr<DataClient> client(new DataClient());
    ASSIGN_OR_RETURN(client->connection_,
                     FrameConnection::Connect({"127.0.0.1", port}, std::chrono::seconds(20)));
    client->connection_->SetReceiveTimeout(std::chrono::seconds(20));
    wire::HelloHeader hello;
    hello.cluster_id = cluster_id;
    hello.server_id = server_id;
    hello.caller = "test";
    wire::HelloResponseHeader response;
    RETURN_IF_ERROR(client->Send(wire::FrameKind::HELLO, hello));
    RETURN_IF_ERROR(client->Receive(&response));
    if (response.status.code != 0) return StatusOf(response.status);
    return client;
  }

  Status SendRead(BlockId block, Generation generation = Generation(1)) {
    wire::ReadHeader read;
    read.block_id = static_cast<int64_t>(block.value());
    read.generation = static_cast<int64_t>(generation.value());
    read.length = 4096;
    return Send(wire::FrameKind::READ, read);
  }
  /// kUnavailable when the connection has ended.
  Status ReceiveRead() {
    wire::ReadResponseHeader response;
    RETURN_IF_ERROR(Receive(&response));
    return StatusOf(response.status);
  }
  Status Read(BlockId block, Generation generation = Generation(1)) {
    RETURN_IF_ERROR(SendRead(block, generation));
    return ReceiveRead();
  }
  int socket() const { return connection_->socket(); }

 private:
  static Status StatusOf(const wire::WireStatus& status) {
    return Status(static_cast<StatusCode>(status.code), status.message);
  }
  template <typename Header>
  Status Send(wire::FrameKind::type kind, const Header& header) {
    std::string encoded;
    EncodeFrameHeader(header, &encoded);
    FramePrelude prelude;
    prelude.kind = kind;
    return connection_->Send(prelude, encoded, {});
  }
  template <typename Header>
  Status Receive(Header* header) {
    for (;;) {
      std::string encoded;
      ASSIGN_OR_RETURN(const FramePrelude prelude, connection_->Receive(&encoded));
      RETURN_IF_ERROR(connection_->SkipPayload(prelude.payload_bytes));
      if (prelude.kind != wire::FrameKind::WORKING) return DecodeFrameHeader(encoded, header);
    }
  }

  std::unique_ptr<FrameConnection> connection_;
};

}  // namespace tercet
