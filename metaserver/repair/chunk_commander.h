// Commands of the active to chunk servers (SEAL, PULL, TABLE, PING of thrift/data_plane.thrift)
// over data-plane connections.
//
// A command's life: sent (HELLO with it, on a new connection) → answered, or failed. It fails when
// the server gives no sign for the progress deadline (an answer, or WORKING), when it has no answer
// by the answer deadline, or when nobody wants it any more; then its connection is closed, which
// cancels a PULL. A command is never sent again.
//
// Connections that answered are kept for the next command to the same server.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/rpc/frame_connection.h"
#include "common/rpc/host_port.h"
#include "metaserver/repair/replica_comparison.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet {

/// Where a command goes.
struct ChunkPeer {
  ServerId server;
  HostPort address;
};

struct CommandDeadlines {
  /// Without a sign of the server.
  std::chrono::milliseconds progress{1000};
  /// Without an answer, whatever signs there are.
  std::chrono::milliseconds answer{5000};
};

/// One command under way. Belongs to one thread.
class ChunkCommand {
 public:
  ~ChunkCommand() = default;
  ChunkCommand(const ChunkCommand&) = delete;
  ChunkCommand& operator=(const ChunkCommand&) = delete;

  ServerId server() const { return peer_.server; }
  bool done() const { return done_; }
  /// Of a finished one: why there is no answer. The server's own refusal is in the answer.
  const Status& status() const { return status_; }
  // The answer of a finished one with an OK status, of the kind that was sent.
  const wire::SealResponseHeader& seal() const { return seal_; }
  const wire::PullResponseHeader& pull() const { return pull_; }
  const wire::TableResponseHeader& table() const { return table_; }
  /// Of a table that was given.
  const ReplicaContent& content() const { return content_; }

 private:
  friend class ChunkCommander;
  using SteadyTime = std::chrono::steady_clock::time_point;
  ChunkCommand() = default;

  ChunkPeer peer_;
  wire::FrameKind::type kind_ = wire::FrameKind::PING;
  CommandDeadlines deadlines_;
  std::unique_ptr<FrameConnection> connection_;
  bool greeted_ = false;
  bool done_ = false;
  SteadyTime sent_;
  SteadyTime last_sign_;
  Status status_;
  wire::SealResponseHeader seal_;
  wire::PullResponseHeader pull_;
  wire::TableResponseHeader table_;
  ReplicaContent content_;
};

struct ChunkCommanderOptions {
  std::string caller = "metaserver";
  std::chrono::milliseconds connect_timeout{1000};
  size_t max_idle_per_server = 16;
  std::chrono::milliseconds max_idle{30'000};
};

/// Thread-safe.
class ChunkCommander {
 public:
  explicit ChunkCommander(ChunkCommanderOptions options) : options_(std::move(options)) {}

  /// 16 bytes. To be set before the first command.
  void SetClusterId(std::string cluster_id);

  /// Sends a command; waits for a new connection at most. One that could not be sent is done, with
  /// the failure.
  std::unique_ptr<ChunkCommand> Seal(const ChunkPeer& peer, const wire::SealHeader& header,
                                     CommandDeadlines deadlines);
  std::unique_ptr<ChunkCommand> Pull(const ChunkPeer& peer, const wire::PullHeader& header,
                                     CommandDeadlines deadlines);
  std::unique_ptr<ChunkCommand> Table(const ChunkPeer& peer, const wire::TableHeader& header,
                                      CommandDeadlines deadlines);
  std::unique_ptr<ChunkCommand> Ping(const ChunkPeer& peer, CommandDeadlines deadlines);

  /// Waits until one of `commands` that was not done is, or all are. `wanted` is asked several
  /// times a second: when it says no, all fail with kCancelled.
  void Await(std::span<ChunkCommand* const> commands, const std::function<bool()>& wanted);
  /// Until all are done.
  void AwaitAll(std::span<ChunkCommand* const> commands, const std::function<bool()>& wanted);
  /// Gives up a command: its connection is closed.
  static void Cancel(ChunkCommand* command);
  void CloseIdle();

 private:
  struct Idle {
    std::unique_ptr<FrameConnection> connection;
    HostPort address;
    std::chrono::steady_clock::time_point since;
  };

  template <typename Header>
  std::unique_ptr<ChunkCommand> Send(const ChunkPeer& peer, wire::FrameKind::type kind,
                                     const Header& header, CommandDeadlines deadlines);
  Status SendOn(ChunkCommand* command, std::string_view header);
  Status Connect(ChunkCommand* command);
  std::unique_ptr<FrameConnection> TakeIdle(const ChunkPeer& peer);
  /// Reads one frame, which is there or on its way.
  Status Receive(ChunkCommand* command);
  static Status ReceiveTable(ChunkCommand* command, std::string_view header, uint32_t bytes);
  void Finish(ChunkCommand* command, const Status& status);
  static void CheckDeadlines(ChunkCommand* command);

  const ChunkCommanderOptions options_;
  std::mutex mutex_;
  // Guarded by mutex_.
  std::string cluster_id_;
  std::map<ServerId, std::deque<Idle>> idle_;
};

}  // namespace tercet
