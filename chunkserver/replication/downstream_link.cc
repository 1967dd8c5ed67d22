#include "chunkserver/replication/downstream_link.h"

#include <utility>

#include "chunkserver/replication/data_plane_server.h"
#include "chunkserver/replication/working.h"
#include "common/log/log.h"
#include "common/rpc/frame.h"
#include "common/rpc/wire_status.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet {

namespace {

using SteadyClock = std::chrono::steady_clock;

template <typename Header>
Status DecodeOutcome(std::string_view bytes, Status* outcome, ServerId* failed_server) {
  Header header;
  RETURN_IF_ERROR(DecodeFrameHeader(bytes, &header));
  *outcome = FromWire(header.status);
  *failed_server = ServerId(static_cast<uint32_t>(header.failed_server_id));
  return Status::Ok();
}

}  // namespace

DownstreamLink::DownstreamLink(LinkOptions options, DataPlaneCounters& counters)
    : options_(std::move(options)),
      peer_text_(fmt::format("server {} at {}", options_.peer_id, options_.peer.ToString())),
      counters_(counters),
      // A peer with a slow disk takes nothing for a while; whether it lives is CheckDeadline's
      // matter.
      sender_(options_.answer_deadline),
      last_answer_(SteadyClock::now()),
      last_use_(last_answer_) {
  thread_ = std::thread([this] { Run(); });
}

DownstreamLink::~DownstreamLink() {
  Fail(Status(StatusCode::kCancelled, "the connection is no longer needed"));
  thread_.join();
  sender_.Close();
}

Status DownstreamLink::WaitForRoom() {
  Status status = sender_.WaitForRoom(options_.max_queued_bytes, options_.stall_refusal);
  if (!status.ok() && !failed()) {
    counters_.refused_for_stall.fetch_add(1, std::memory_order_relaxed);
  }
  return status.ok() ? status : status.WithContext(peer_text_);
}

void DownstreamLink::Submit(std::shared_ptr<ChainOperation> operation, std::string_view header,
                            std::shared_ptr<PayloadBuffer> payload, size_t payload_bytes) {
  uint64_t request_id = 0;
  Status failure;
  const wire::FrameKind::type kind = operation->kind();
  {
    std::lock_guard lock(mutex_);
    failure = failure_;
    if (failure.ok()) {
      request_id = ++last_request_id_;
      last_use_ = SteadyClock::now();
      pending_.emplace_hint(pending_.end(), request_id, Pending{std::move(operation), last_use_});
    }
  }
  if (!failure.ok()) return operation->FinishDownstream(failure, options_.peer_id);
  OutgoingFrame frame;
  frame.head = EncodeFrameHead(kind, request_id, header, payload_bytes);
  frame.payload = std::move(payload);
  frame.payload_bytes = payload_bytes;
  sender_.Send(std::move(frame));
}

void DownstreamLink::Run() {
  Status status = ConnectAndGreet();
  if (status.ok()) {
    counters_.links_opened.fetch_add(1, std::memory_order_relaxed);
    greeted_.store(true, std::memory_order_release);
    if (options_.on_change) options_.on_change();
    sender_.Attach(connection_.get());
    status = ReceiveAnswers();
  }
  // The sender may know better why the socket was closed.
  if (const Status sent = sender_.status(); !sent.ok()) status = sent;
  Fail(status);
  finished_.store(true, std::memory_order_release);
}

Status DownstreamLink::ConnectAndGreet() {
  auto connected = FrameConnection::Connect(options_.peer, options_.progress_deadline);
  if (!connected.ok()) return connected.status();
  FrameConnection* connection = connected->get();
  {
    std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(failure_);
    connection_ = std::move(connected).value();
  }
  connection->SetSendTimeout(options_.progress_deadline);
  connection->SetReceiveTimeout(options_.progress_deadline);
  wire::HelloHeader hello;
  hello.cluster_id = options_.cluster_id;
  hello.server_id = static_cast<int32_t>(options_.peer_id.value());
  hello.caller = options_.caller;
  hello.protocol_version = kDataPlaneProtocolVersion;
  hello.__set_link_name(options_.name);
  hello.__set_link_number(options_.number);
  std::string header;
  EncodeFrameHeader(hello, &header);
  FramePrelude prelude;
  prelude.kind = wire::FrameKind::HELLO;
  RETURN_IF_ERROR(connection->Send(prelude, header, {}));

  ASSIGN_OR_RETURN(const FramePrelude answer, connection->Receive(&header));
  if (answer.kind != wire::FrameKind::HELLO_RESPONSE || answer.payload_bytes != 0) {
    return Status(StatusCode::kCorruption, "the answer to HELLO makes no sense");
  }
  wire::HelloResponseHeader response;
  RETURN_IF_ERROR(DecodeFrameHeader(std::string_view(header), &response));
  RETURN_IF_ERROR(FromWire(response.status));
  // From here on CheckDeadline watches: a link may be idle as long as it owes nothing.
  connection->SetReceiveTimeout(std::chrono::milliseconds(0));
  return Status::Ok();
}

Status DownstreamLink::ReceiveAnswers() {
  std::string header;
  for (;;) {
    ASSIGN_OR_RETURN(const FramePrelude prelude, connection_->Receive(&header));
    if (prelude.kind == wire::FrameKind::WORKING) {
      RETURN_IF_ERROR(TakeWorking(prelude));
      continue;
    }
    Pending pending;
    {
      std::lock_guard lock(mutex_);
      const auto found = pending_.find(prelude.request_id);
      if (found == pending_.end()) {
        return failure_.ok() ? Status(StatusCode::kCorruption, "an answer that nobody asked for")
                             : failure_;
      }
      if (prelude.kind != found->second.operation->kind() + 1 || prelude.payload_bytes != 0) {
        return Status(StatusCode::kCorruption, "an answer of the wrong kind");
      }
      pending = std::move(found->second);
      pending_.erase(found);
      last_answer_ = SteadyClock::now();
    }
    Status outcome;
    ServerId failed_server;
    const Status decoded = DecodeAnswer(prelude, header, &outcome, &failed_server);
    if (!decoded.ok()) outcome = decoded.WithContext(peer_text_);
    if (!outcome.ok() && failed_server == ServerId()) failed_server = options_.peer_id;
    pending.operation->FinishDownstream(std::move(outcome), failed_server);
    RETURN_IF_ERROR(decoded);
  }
}

Status DownstreamLink::TakeWorking(const FramePrelude& prelude) {
  RETURN_IF_ERROR(CheckWorking(prelude));
  std::lock_guard lock(mutex_);
  last_answer_ = SteadyClock::now();
  return Status::Ok();
}

Status DownstreamLink::DecodeAnswer(const FramePrelude& prelude, std::string_view header,
                                    Status* outcome, ServerId* failed_server) {
  switch (prelude.kind) {
    case wire::FrameKind::WRITE_RESPONSE:
      return DecodeOutcome<wire::WriteResponseHeader>(header, outcome, failed_server);
    case wire::FrameKind::SYNC_RESPONSE:
      return DecodeOutcome<wire::SyncResponseHeader>(header, outcome, failed_server);
    case wire::FrameKind::TRUNCATE_RESPONSE:
      return DecodeOutcome<wire::TruncateResponseHeader>(header, outcome, failed_server);
    default:
      return Status(StatusCode::kCorruption, fmt::format("an answer of kind {}", prelude.kind));
  }
}

void DownstreamLink::CheckDeadline() {
  Status status;
  {
    std::lock_guard lock(mutex_);
    if (pending_.empty()) return;
    const Pending& oldest = pending_.begin()->second;
    const auto now = SteadyClock::now();
    const bool stalled = now - std::max(oldest.since, last_answer_) > options_.progress_deadline;
    const bool forgotten = now - oldest.since > options_.answer_deadline;
    if (!stalled && !forgotten) return;
    status = Status(
        StatusCode::kDeadlineExceeded,
        fmt::format("no {} for {} ms", stalled ? "sign of work" : "answer",
                    (stalled ? options_.progress_deadline : options_.answer_deadline).count()));
  }
  Fail(status);
}

void DownstreamLink::RestartDeadline() {
  std::lock_guard lock(mutex_);
  last_answer_ = SteadyClock::now();
}

void DownstreamLink::Fail(const Status& status) {
  std::map<uint64_t, Pending> pending;
  Status failure = status.WithContext(peer_text_);
  {
    std::lock_guard lock(mutex_);
    if (!failure_.ok()) return;
    failure_ = failure;
    const bool relied_on = !pending_.empty() || !greeted();
    let_down_.store(relied_on && status.code() != StatusCode::kCancelled,
                    std::memory_order_release);
    failed_.store(true, std::memory_order_release);
    pending.swap(pending_);
    if (connection_ != nullptr) connection_->Shutdown();
  }
  sender_.Fail(status);
  if (!pending.empty()) {
    counters_.downstream_failures.fetch_add(1, std::memory_order_relaxed);
    LOG_WARN_LIMITED("downstream connection failed: {} operations_in_flight={}", failure,
                     pending.size());
  }
  for (auto& [id, entry] : pending) {
    entry.operation->FinishDownstream(failure, options_.peer_id);
  }
  if (options_.on_change) options_.on_change();
}

Status DownstreamLink::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

std::chrono::nanoseconds DownstreamLink::IdleTime() const {
  std::lock_guard lock(mutex_);
  if (!pending_.empty()) return std::chrono::nanoseconds(0);
  return SteadyClock::now() - std::max(last_use_, last_answer_);
}

void DownstreamLink::Touch() {
  std::lock_guard lock(mutex_);
  last_use_ = SteadyClock::now();
}

}  // namespace tercet
