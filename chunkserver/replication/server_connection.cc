#include "chunkserver/replication/server_connection.h"

#include <poll.h>

#include <utility>

#include "common/env/clock.h"
#include "common/log/log.h"
#include "common/rpc/wire_status.h"

namespace tercet {

namespace {

constexpr size_t kMaxCallerBytes = 256;
constexpr size_t kMaxLinkNameBytes = 256;
constexpr int32_t kMaxReadBytes = 1 << 20;

}  // namespace

ServerConnection::ServerConnection(DataPlaneContext& context, int socket, const std::string& peer)
    : context_(context),
      caller_(peer),
      connection_(socket, peer),
      // Whoever does not take answers harms nobody else, and may have a slow disk to write them to.
      sender_(context.options.disk_deadline) {
  connection_.SetSendTimeout(context.options.disk_deadline);
  connection_.SetReceiveTimeout(context.options.progress_deadline);
  context_.counters.connections_accepted.fetch_add(1, std::memory_order_relaxed);
  context_.counters.connections_open.fetch_add(1, std::memory_order_relaxed);
}

ServerConnection::~ServerConnection() {
  context_.counters.connections_open.fetch_sub(1, std::memory_order_relaxed);
}

void ServerConnection::Shutdown() {
  closing_.store(true, std::memory_order_release);
  connection_.Shutdown();
  context_.buffers.WakeClosing();
  std::lock_guard lock(pending_mutex_);
  pending_changed_.notify_all();
}

void ServerConnection::Serve() {
  sender_.Attach(&connection_);
  Status status = ServeFrames();
  if (status.code() == StatusCode::kCorruption || status.code() == StatusCode::kVersionTooNew) {
    context_.counters.bad_frames.fetch_add(1, std::memory_order_relaxed);
    LOG_WARN_LIMITED("closing a data-plane connection: {} caller={}", status, caller_);
  } else {
    LOG_DEBUG("a data-plane connection ended: {} caller={}", status, caller_);
  }
  sender_.Close();  // operations that are still under way have nobody to tell
}

Status ServerConnection::WaitForInput() {
  if (connection_.HasBufferedInput()) return Status::Ok();
  pollfd entry{connection_.socket(), POLLIN, 0};
  while (::poll(&entry, 1, -1) < 0) {
    if (errno != EINTR) return StatusFromErrno(errno, "poll " + caller_);
  }
  return Status::Ok();
}

Status ServerConnection::Greet(bool* accepted) {
  std::string header;
  ASSIGN_OR_RETURN(const FramePrelude prelude, connection_.Receive(&header));
  if (prelude.kind != wire::FrameKind::HELLO || prelude.payload_bytes != 0) {
    return Status(StatusCode::kCorruption,
                  fmt::format("the first frame is of kind {}, not HELLO", prelude.kind));
  }
  wire::HelloHeader hello;
  RETURN_IF_ERROR(DecodeFrameHeader(std::string_view(header), &hello));
  from_client_ = !hello.caller.starts_with(kChunkServerCaller);
  if (!hello.caller.empty()) {
    caller_ =
        fmt::format("'{}' at {}", hello.caller.substr(0, kMaxCallerBytes), connection_.peer_name());
  }
  Status status = CheckHello(hello);
  if (status.ok() && hello.__isset.link_name) {
    if (hello.link_name.empty() || hello.link_name.size() > kMaxLinkNameBytes) {
      status = Status(StatusCode::kInvalidArgument, "a link's name has 1 to 256 bytes");
    } else {
      status = context_.links.Enter(hello.link_name, hello.link_number, this,
                                    context_.options.progress_deadline / 2);
      if (status.ok()) link_name_ = hello.link_name;
    }
  }
  wire::HelloResponseHeader response;
  response.status = ToWire(status);
  response.server_id = static_cast<int32_t>(self_.value());
  Respond(wire::FrameKind::HELLO_RESPONSE, prelude.request_id, response);
  if (!status.ok()) {
    context_.counters.connections_refused.fetch_add(1, std::memory_order_relaxed);
    LOG_WARN_LIMITED("refused a data-plane connection: {} caller={}", status, caller_);
  }
  *accepted = status.ok();
  return Status::Ok();
}

Status ServerConnection::CheckHello(const wire::HelloHeader& hello) {
  if (hello.protocol_version != kDataPlaneProtocolVersion) {
    return Status(StatusCode::kVersionTooNew,
                  fmt::format("this server speaks version {} of the data plane, the caller {}: run "
                              "the same version of Tercet on both",
                              kDataPlaneProtocolVersion, hello.protocol_version));
  }
  const DataPlaneContext::Identity identity = context_.identity();
  if (identity.server_id == ServerId() || !context_.gate.is_open()) {
    return Status(StatusCode::kUnavailable, "this chunk server has not registered yet: try again");
  }
  self_ = identity.server_id;
  if (hello.cluster_id != identity.cluster_id) {
    return Status(StatusCode::kWrongCluster,
                  "this chunk server belongs to another cluster: check the address");
  }
  if (hello.server_id != static_cast<int32_t>(identity.server_id.value())) {
    return Status(StatusCode::kUnavailable,
                  fmt::format("this is server {}, not {}: the address is out of date",
                              identity.server_id, hello.server_id));
  }
  return Status::Ok();
}

Status ServerConnection::ServeFrames() {
  bool accepted = false;
  RETURN_IF_ERROR(Greet(&accepted));
  if (!accepted) return Status(StatusCode::kCancelled, "refused");
  context_.watchdog.Add(shared_from_this());
  const Status status = ServeRequests();
  context_.watchdog.Remove(this);
  CancelPulls();
  if (!link_name_.empty()) context_.links.Leave(link_name_, this);
  return status;
}

Status ServerConnection::ServeRequests() {
  std::string header;
  for (;;) {
    busy_since_.store(0, std::memory_order_relaxed);
    RETURN_IF_ERROR(WaitForInput());
    ASSIGN_OR_RETURN(const FramePrelude prelude, connection_.Receive(&header));
    arrived_nanos_ = RealClock().MonotonicNanos();
    taken_nanos_ = arrived_nanos_;
    busy_since_.store(arrived_nanos_, std::memory_order_relaxed);
    // A newer connection may have taken over: what is buffered must not be applied any more.
    if (closing_.load(std::memory_order_acquire)) {
      return Status(StatusCode::kCancelled, "closed by this server");
    }
    RETURN_IF_ERROR(AwaitServing(static_cast<wire::FrameKind::type>(prelude.kind)));
    RETURN_IF_ERROR(Dispatch(prelude, header));
  }
}

Status ServerConnection::AwaitServing(wire::FrameKind::type kind) {
  switch (kind) {
    case wire::FrameKind::READ:
    case wire::FrameKind::WRITE:
    case wire::FrameKind::SYNC:
    case wire::FrameKind::TRUNCATE:
      break;
    default:
      return Status::Ok();  // not clients' data: the epoch and the generation guard it
  }
  if (!context_.gate.Pass(context_.options.progress_deadline / 2)) {
    return Status(StatusCode::kUnavailable, "this chunk server is registering again");
  }
  if (context_.current_server_id.load(std::memory_order_acquire) == self_.value()) {
    return Status::Ok();
  }
  return Status(StatusCode::kUnavailable, "this chunk server has another number now");
}

Status ServerConnection::Dispatch(const FramePrelude& prelude, std::string_view header) {
  if (prelude.payload_bytes != 0 && prelude.kind != wire::FrameKind::WRITE) {
    return Status(StatusCode::kCorruption,
                  fmt::format("a frame of kind {} with a payload", prelude.kind));
  }
  switch (prelude.kind) {
    case wire::FrameKind::READ:
      return HandleRead(prelude, header);
    case wire::FrameKind::WRITE:
      return HandleWrite(prelude, header);
    case wire::FrameKind::SYNC:
      return HandleSync(prelude, header);
    case wire::FrameKind::TRUNCATE:
      return HandleTruncate(prelude, header);
    case wire::FrameKind::STAT:
      return HandleStat(prelude, header);
    case wire::FrameKind::TABLE:
      return HandleTable(prelude, header);
    case wire::FrameKind::SEAL:
      return HandleSeal(prelude, header);
    case wire::FrameKind::PULL:
      return HandlePull(prelude, header);
    case wire::FrameKind::PING:
      return HandlePing(prelude, header);
    default:
      return Status(StatusCode::kCorruption,
                    fmt::format("a frame of kind {} at this place", prelude.kind));
  }
}

Status ServerConnection::HandleRead(const FramePrelude& prelude, std::string_view header) {
  wire::ReadHeader request;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &request));
  context_.counters.reads.fetch_add(1, std::memory_order_relaxed);
  if (request.offset < 0 || request.length <= 0 || request.length > kMaxReadBytes ||
      static_cast<int64_t>(request.offset) + request.length > kMaxBlockBytes) {
    return RefuseRead(prelude, Status(StatusCode::kInvalidArgument,
                                      fmt::format("a read of {} bytes at {} is out of bounds",
                                                  request.length, request.offset)));
  }
  if (request.generation <= 0) {
    return RefuseRead(prelude, NoSuchGeneration(request.block_id, request.generation));
  }
  if (request.verified) return ReadVerified(prelude, request);
  auto plan = context_.store.PrepareRead(BlockId(static_cast<uint64_t>(request.block_id)),
                                         Generation(static_cast<uint64_t>(request.generation)),
                                         static_cast<uint32_t>(request.offset),
                                         static_cast<uint32_t>(request.length));
  if (!plan.ok()) return RefuseRead(prelude, plan.status());
  if (plan->length > 0 && plan->file->descriptor() < 0) return ReadVerified(prelude, request);

  context_.counters.read_bytes.fetch_add(plan->length, std::memory_order_relaxed);
  wire::ReadResponseHeader response;
  response.page_crcs = std::move(plan->page_crcs);
  if (plan->length == 0) {
    Respond(wire::FrameKind::READ_RESPONSE, prelude.request_id, response);
  } else {
    std::string encoded;
    EncodeFrameHeader(response, &encoded);
    FramePrelude answer;
    answer.kind = wire::FrameKind::READ_RESPONSE;
    answer.request_id = prelude.request_id;
    const Status sent = sender_.SendExclusively([&](FrameConnection& connection) {
      return connection.SendFile(answer, encoded, plan->file->descriptor(), plan->file_offset,
                                 plan->length);
    });
    if (sent.code() == StatusCode::kIo) NoteUnreadable(request, sent);
    RETURN_IF_ERROR(sent);
  }
  NoteRead(plan->length);
  return Status::Ok();
}

void ServerConnection::NoteUnreadable(const wire::ReadHeader& request, const Status& status) {
  const auto pages = context_.store.Read(BlockId(static_cast<uint64_t>(request.block_id)),
                                         Generation(static_cast<uint64_t>(request.generation)),
                                         static_cast<uint32_t>(request.offset),
                                         static_cast<uint32_t>(request.length));
  LOG_WARN_LIMITED(
      "a read broke off, its connection as well: {} block={} offset={} length={} caller={}: read "
      "again: {}",
      status, request.block_id, request.offset, request.length, caller_, pages.status());
}

Status ServerConnection::ReadVerified(const FramePrelude& prelude,
                                      const wire::ReadHeader& request) {
  context_.counters.verified_reads.fetch_add(1, std::memory_order_relaxed);
  auto pages = context_.store.Read(BlockId(static_cast<uint64_t>(request.block_id)),
                                   Generation(static_cast<uint64_t>(request.generation)),
                                   static_cast<uint32_t>(request.offset),
                                   static_cast<uint32_t>(request.length));
  if (!pages.ok()) return RefuseRead(prelude, pages.status());
  context_.counters.read_bytes.fetch_add(pages->data.size(), std::memory_order_relaxed);
  wire::ReadResponseHeader response;
  response.page_crcs = std::move(pages->page_crcs);
  std::string encoded;
  EncodeFrameHeader(response, &encoded);
  FramePrelude answer;
  answer.kind = wire::FrameKind::READ_RESPONSE;
  answer.request_id = prelude.request_id;
  const iovec payload{pages->data.data(), pages->data.size()};
  RETURN_IF_ERROR(sender_.SendExclusively([&](FrameConnection& connection) {
    return connection.Send(answer, encoded, std::span(&payload, 1));
  }));
  NoteRead(pages->data.size());
  return Status::Ok();
}

void ServerConnection::NoteRead(size_t bytes) {
  const int64_t now = RealClock().MonotonicNanos();
  context_.latencies.read.Observe(static_cast<double>(now - arrived_nanos_) * 1e-9);
  if (from_client_) context_.load.NoteRead(now, now - arrived_nanos_, bytes);
}

Status ServerConnection::RefuseRead(const FramePrelude& prelude, const Status& status) {
  CountFailure(status);
  if (status.code() == StatusCode::kCorruption) {
    context_.counters.corrupt_reads.fetch_add(1, std::memory_order_relaxed);
    LOG_WARN_LIMITED("refused to return damaged data: {} caller={}", status, caller_);
  }
  wire::ReadResponseHeader response;
  response.status = ToWire(status);
  Respond(wire::FrameKind::READ_RESPONSE, prelude.request_id, response);
  return Status::Ok();
}

Status ServerConnection::HandleStat(const FramePrelude& prelude, std::string_view header) {
  wire::StatHeader request;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &request));
  wire::StatResponseHeader response;
  auto stat = context_.store.Stat(BlockId(static_cast<uint64_t>(request.block_id)));
  response.status = ToWire(stat.status());
  if (stat.ok()) {
    response.generation = static_cast<int64_t>(stat->generation.value());
    response.length = static_cast<int32_t>(stat->length);
    response.disk_path = stat->disk_path;
  }
  Respond(wire::FrameKind::STAT_RESPONSE, prelude.request_id, response);
  return Status::Ok();
}

void ServerConnection::CountFailure(const Status& status) {
  if (status.code() == StatusCode::kStaleGeneration) {
    context_.counters.stale_generations.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace tercet
