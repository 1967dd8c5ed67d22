#include "metaserver/repair/chunk_commander.h"

#include <poll.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "common/base/crc32c.h"
#include "common/rpc/wire_status.h"
#include "metaserver/namespace/records.h"

namespace tercet {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kProtocolVersion = 1;
/// Of the one frame a command has.
constexpr std::chrono::milliseconds kSendTimeout{1000};
/// How often Await asks whether the commands are still wanted.
constexpr std::chrono::milliseconds kSlice{50};
constexpr uint64_t kHelloRequest = 1;
constexpr uint64_t kCommandRequest = 2;
/// A checksum of four bytes for each page of 4096.
constexpr uint32_t kMaxTableBytes = kMaxBlockSizeBytes / 4096 * 4;

}  // namespace

void ChunkCommander::SetClusterId(std::string cluster_id) {
  std::lock_guard lock(mutex_);
  cluster_id_ = std::move(cluster_id);
}

std::unique_ptr<ChunkCommand> ChunkCommander::Seal(const ChunkPeer& peer,
                                                   const wire::SealHeader& header,
                                                   CommandDeadlines deadlines) {
  return Send(peer, wire::FrameKind::SEAL, header, deadlines);
}

std::unique_ptr<ChunkCommand> ChunkCommander::Pull(const ChunkPeer& peer,
                                                   const wire::PullHeader& header,
                                                   CommandDeadlines deadlines) {
  return Send(peer, wire::FrameKind::PULL, header, deadlines);
}

std::unique_ptr<ChunkCommand> ChunkCommander::Table(const ChunkPeer& peer,
                                                    const wire::TableHeader& header,
                                                    CommandDeadlines deadlines) {
  return Send(peer, wire::FrameKind::TABLE, header, deadlines);
}

std::unique_ptr<ChunkCommand> ChunkCommander::Ping(const ChunkPeer& peer,
                                                   CommandDeadlines deadlines) {
  return Send(peer, wire::FrameKind::PING, wire::PingHeader(), deadlines);
}

template <typename Header>
std::unique_ptr<ChunkCommand> ChunkCommander::Send(const ChunkPeer& peer,
                                                   wire::FrameKind::type kind, const Header& header,
                                                   CommandDeadlines deadlines) {
  std::unique_ptr<ChunkCommand> command(new ChunkCommand());
  command->peer_ = peer;
  command->kind_ = kind;
  command->deadlines_ = deadlines;
  command->connection_ = TakeIdle(peer);
  command->greeted_ = command->connection_ != nullptr;
  std::string bytes;
  EncodeFrameHeader(header, &bytes);
  command->sent_ = command->last_sign_ = SteadyClock::now();
  const Status status = SendOn(command.get(), bytes);
  if (!status.ok()) Finish(command.get(), status);
  return command;
}

Status ChunkCommander::SendOn(ChunkCommand* command, std::string_view header) {
  if (command->connection_ == nullptr) RETURN_IF_ERROR(Connect(command));
  FramePrelude prelude;
  prelude.kind = static_cast<uint8_t>(command->kind_);
  prelude.request_id = kCommandRequest;
  return command->connection_->Send(prelude, header, {});
}

Status ChunkCommander::Connect(ChunkCommand* command) {
  const auto timeout = std::min(options_.connect_timeout, command->deadlines_.progress);
  ASSIGN_OR_RETURN(command->connection_, FrameConnection::Connect(command->peer_.address, timeout));
  command->connection_->SetSendTimeout(kSendTimeout);
  wire::HelloHeader hello;
  {
    std::lock_guard lock(mutex_);
    hello.cluster_id = cluster_id_;
  }
  hello.server_id = static_cast<int32_t>(command->peer_.server.value());
  hello.caller = options_.caller;
  hello.protocol_version = kProtocolVersion;
  std::string bytes;
  EncodeFrameHeader(hello, &bytes);
  FramePrelude prelude;
  prelude.kind = wire::FrameKind::HELLO;
  prelude.request_id = kHelloRequest;
  // The command goes out behind it at once: a server that refuses the greeting reads nothing more.
  return command->connection_->Send(prelude, bytes, {});
}

std::unique_ptr<FrameConnection> ChunkCommander::TakeIdle(const ChunkPeer& peer) {
  std::vector<Idle> closed;  // without the lock
  std::lock_guard lock(mutex_);
  const auto found = idle_.find(peer.server);
  if (found == idle_.end()) return nullptr;
  while (!found->second.empty()) {
    Idle idle = std::move(found->second.back());
    found->second.pop_back();
    const bool fresh = SteadyClock::now() - idle.since < options_.max_idle;
    if (fresh && idle.address == peer.address && !idle.connection->LooksClosed()) {
      return std::move(idle.connection);
    }
    closed.push_back(std::move(idle));
  }
  return nullptr;
}

void ChunkCommander::Finish(ChunkCommand* command, const Status& status) {
  command->done_ = true;
  std::unique_ptr<FrameConnection> connection = std::move(command->connection_);
  if (!status.ok()) {
    command->status_ =
        status.WithContext("chunk server " + std::to_string(command->peer_.server.value()) +
                           " at " + command->peer_.address.ToString());
    return;
  }
  std::lock_guard lock(mutex_);
  std::deque<Idle>& idle = idle_[command->peer_.server];
  if (idle.size() >= options_.max_idle_per_server) idle.pop_front();
  idle.push_back(Idle{std::move(connection), command->peer_.address, SteadyClock::now()});
}

void ChunkCommander::Cancel(ChunkCommand* command) {
  if (command->done_) return;
  command->done_ = true;
  command->status_ = Status(StatusCode::kCancelled, "nobody waits for it any more");
  command->connection_.reset();
}

void ChunkCommander::CheckDeadlines(ChunkCommand* command) {
  const auto now = SteadyClock::now();
  const bool silent = now - command->last_sign_ > command->deadlines_.progress;
  const bool late = now - command->sent_ > command->deadlines_.answer;
  if (!silent && !late) return;
  const auto limit = silent ? command->deadlines_.progress : command->deadlines_.answer;
  command->done_ = true;
  command->connection_.reset();
  command->status_ =
      Status(StatusCode::kDeadlineExceeded,
             "chunk server " + std::to_string(command->peer_.server.value()) + " gave no " +
                 (silent ? "sign" : "answer") + " for " + std::to_string(limit.count()) + " ms");
}

Status ChunkCommander::Receive(ChunkCommand* command) {
  // What has begun to come in comes to its end soon.
  command->connection_->SetReceiveTimeout(command->deadlines_.progress);
  std::string header;
  ASSIGN_OR_RETURN(const FramePrelude prelude, command->connection_->Receive(&header));
  const bool is_table = prelude.kind == wire::FrameKind::TABLE_RESPONSE &&
                        command->kind_ == wire::FrameKind::TABLE && command->greeted_;
  if (prelude.payload_bytes > (is_table ? kMaxTableBytes : 0)) {
    return Status(StatusCode::kCorruption, "an answer with a payload that does not belong there");
  }
  command->last_sign_ = SteadyClock::now();
  if (prelude.kind == wire::FrameKind::WORKING) return Status::Ok();
  if (!command->greeted_) {
    if (prelude.kind != wire::FrameKind::HELLO_RESPONSE) {
      return Status(StatusCode::kCorruption, "the answer to HELLO makes no sense");
    }
    wire::HelloResponseHeader hello;
    RETURN_IF_ERROR(DecodeFrameHeader(header, &hello));
    command->greeted_ = true;
    return FromWire(hello.status);
  }
  if (prelude.kind != command->kind_ + 1 || prelude.request_id != kCommandRequest) {
    return Status(StatusCode::kCorruption, "an answer that nobody asked for");
  }
  switch (command->kind_) {
    case wire::FrameKind::SEAL:
      RETURN_IF_ERROR(DecodeFrameHeader(header, &command->seal_));
      break;
    case wire::FrameKind::PULL:
      RETURN_IF_ERROR(DecodeFrameHeader(header, &command->pull_));
      break;
    case wire::FrameKind::TABLE:
      RETURN_IF_ERROR(ReceiveTable(command, header, prelude.payload_bytes));
      break;
    default: {
      wire::PingResponseHeader ping;
      RETURN_IF_ERROR(DecodeFrameHeader(header, &ping));
      RETURN_IF_ERROR(FromWire(ping.status));
    }
  }
  Finish(command, Status::Ok());
  return Status::Ok();
}

Status ChunkCommander::ReceiveTable(ChunkCommand* command, std::string_view header,
                                    uint32_t bytes) {
  RETURN_IF_ERROR(DecodeFrameHeader(header, &command->table_));
  std::string page_crcs(bytes, '\0');
  if (bytes > 0) {
    RETURN_IF_ERROR(command->connection_->ReceivePayload(page_crcs.data(), page_crcs.size()));
  }
  command->content_ = {command->table_.length, Crc32c(page_crcs)};
  return Status::Ok();
}

void ChunkCommander::Await(std::span<ChunkCommand* const> commands,
                           const std::function<bool()>& wanted) {
  bool finished = false;
  while (!finished) {
    std::vector<ChunkCommand*> open;
    std::vector<pollfd> sockets;
    bool buffered = false;
    for (ChunkCommand* command : commands) {
      if (command->done()) continue;
      open.push_back(command);
      sockets.push_back(pollfd{command->connection_->socket(), POLLIN, 0});
      buffered = buffered || command->connection_->HasBufferedInput();
    }
    if (open.empty()) return;
    if (!wanted()) {
      for (ChunkCommand* command : open) Cancel(command);
      return;
    }
    (void)poll(sockets.data(), sockets.size(), buffered ? 0 : static_cast<int>(kSlice.count()));
    for (size_t i = 0; i < open.size(); ++i) {
      ChunkCommand* command = open[i];
      if (sockets[i].revents != 0 || command->connection_->HasBufferedInput()) {
        const Status status = Receive(command);
        if (!status.ok()) Finish(command, status);
      }
      if (!command->done()) CheckDeadlines(command);
      finished = finished || command->done();
    }
  }
}

void ChunkCommander::AwaitAll(std::span<ChunkCommand* const> commands,
                              const std::function<bool()>& wanted) {
  const auto open = [&] {
    return std::any_of(commands.begin(), commands.end(),
                       [](const ChunkCommand* command) { return !command->done(); });
  };
  while (open()) Await(commands, wanted);
}

void ChunkCommander::CloseIdle() {
  std::map<ServerId, std::deque<Idle>> idle;
  std::lock_guard lock(mutex_);
  idle.swap(idle_);
}

}  // namespace tercet
