#include "chunkserver/replication/pull_session.h"

#include <algorithm>
#include <utility>

#include "chunkserver/replication/data_plane_server.h"
#include "chunkserver/replication/working.h"
#include "common/env/clock.h"
#include "common/log/log.h"
#include "common/rpc/frame.h"
#include "common/rpc/wire_status.h"

namespace tercet {

namespace {

/// Of READs that are not answered; scattered pages make small ones.
constexpr uint64_t kWindowBytes = 4 << 20;
constexpr size_t kWindowRequests = 64;
/// What a limited copy writes between two syncs.
constexpr uint64_t kSyncBytes = 4 << 20;

}  // namespace

PullOutcome PullSession::Run() {
  PullOutcome outcome;
  outcome.status = RunSteps();
  connection_.reset();
  outcome.copied_bytes = pull_.copied_bytes();
  outcome.length = pull_.source_length();
  if (cancelled()) {
    // Whatever it looks like: a connection that broke because it was shut down, or even success,
    // which is not taken back.
    if (!outcome.status.ok())
      outcome.status = Status(StatusCode::kCancelled, "the pull was given up");
    failed_ = environment_.self;
  }
  if (!outcome.status.ok()) {
    outcome.failed_server = failed_ == ServerId() ? environment_.self : failed_;
  }
  return outcome;
}

void PullSession::Cancel() {
  cancelled_.store(true, std::memory_order_release);
  aborter_.Abort();
  if (throttle_ != nullptr) throttle_->Wake();
}

bool PullSession::DelayIsExplained(int64_t now_nanos) const {
  const int64_t since = local_since_.load(std::memory_order_relaxed);
  if (since == 0) return true;  // the source is watched by the connection's deadlines
  return now_nanos - since < std::chrono::nanoseconds(environment_.disk_deadline).count();
}

template <typename Access>
auto PullSession::Locally(Access&& access) {
  local_since_.store(RealClock().MonotonicNanos(), std::memory_order_relaxed);
  auto result = access();
  local_since_.store(0, std::memory_order_relaxed);
  return result;
}

Status PullSession::AtSource(Status status) {
  if (!status.ok()) failed_ = ServerId(static_cast<uint32_t>(job_.source.server_id));
  return status;
}

Status PullSession::RunSteps() {
  RETURN_IF_ERROR(AtSource(Connect()));
  const Status status = [&]() -> Status {
    RETURN_IF_ERROR(AtSource(Greet()));
    auto table = FetchTable();
    RETURN_IF_ERROR(AtSource(table.status()));
    RETURN_IF_ERROR(Locally([&] { return pull_.Start(*table); }));
    RETURN_IF_ERROR(CopyPages());
    if (cancelled()) return Status(StatusCode::kCancelled, "the pull was given up");
    return Locally([&] { return pull_.Finish(); });
  }();
  aborter_.Detach();
  return status;
}

Status PullSession::Connect() {
  const HostPort peer{job_.source.host, static_cast<uint16_t>(job_.source.port)};
  ASSIGN_OR_RETURN(UniqueSocket socket,
                   ConnectSocket(peer, environment_.progress_deadline, {}, &aborter_));
  connection_ = std::make_unique<FrameConnection>(
      socket.Release(), fmt::format("server {} at {}", job_.source.server_id, peer.ToString()));
  connection_->SetSendTimeout(environment_.progress_deadline);
  connection_->SetReceiveTimeout(environment_.progress_deadline);
  return Status::Ok();
}

template <typename Header>
Status PullSession::Send(wire::FrameKind::type kind, const Header& header, uint64_t* request_id) {
  std::string encoded;
  EncodeFrameHeader(header, &encoded);
  FramePrelude prelude;
  prelude.kind = static_cast<uint8_t>(kind);
  prelude.request_id = ++last_request_id_;
  *request_id = prelude.request_id;
  return connection_->Send(prelude, encoded, {});
}

Result<FramePrelude> PullSession::Receive(std::string* header) {
  for (;;) {
    ASSIGN_OR_RETURN(const FramePrelude prelude, connection_->Receive(header));
    if (prelude.kind != wire::FrameKind::WORKING) return prelude;
    RETURN_IF_ERROR(CheckWorking(prelude));
  }
}

Status PullSession::ReceivePayload(size_t size) {
  buffer_.resize(std::max(buffer_.size(), size));
  // A source that sends files as they are cannot say in the middle of one that its disk is slow.
  if (job_.preparing()) connection_->SetReceiveTimeout(environment_.disk_deadline);
  const Status status = connection_->ReceivePayload(buffer_.data(), size);
  connection_->SetReceiveTimeout(environment_.progress_deadline);
  return status;
}

Status PullSession::Greet() {
  wire::HelloHeader hello;
  hello.cluster_id = environment_.cluster_id;
  hello.server_id = job_.source.server_id;
  hello.caller = fmt::format("{}{} pull", kChunkServerCaller, environment_.self);
  hello.protocol_version = kDataPlaneProtocolVersion;
  uint64_t id = 0;
  RETURN_IF_ERROR(Send(wire::FrameKind::HELLO, hello, &id));
  std::string header;
  ASSIGN_OR_RETURN(const FramePrelude prelude, Receive(&header));
  if (prelude.kind != wire::FrameKind::HELLO_RESPONSE || prelude.payload_bytes != 0) {
    return Status(StatusCode::kCorruption, "the answer to HELLO makes no sense");
  }
  wire::HelloResponseHeader response;
  RETURN_IF_ERROR(DecodeFrameHeader(std::string_view(header), &response));
  return FromWire(response.status).WithContext(connection_->peer_name());
}

Result<PageTable> PullSession::FetchTable() {
  wire::TableHeader request;
  request.block_id = static_cast<int64_t>(job_.pull.block.value());
  request.generation = static_cast<int64_t>(job_.pull.source_generation.value());
  uint64_t id = 0;
  RETURN_IF_ERROR(Send(wire::FrameKind::TABLE, request, &id));
  std::string header;
  ASSIGN_OR_RETURN(const FramePrelude prelude, Receive(&header));
  if (prelude.kind != wire::FrameKind::TABLE_RESPONSE || prelude.request_id != id) {
    return Status(StatusCode::kCorruption, "the answer to TABLE makes no sense");
  }
  wire::TableResponseHeader response;
  RETURN_IF_ERROR(DecodeFrameHeader(std::string_view(header), &response));
  RETURN_IF_ERROR(ReceivePayload(prelude.payload_bytes));
  RETURN_IF_ERROR(FromWire(response.status).WithContext(connection_->peer_name()));
  if (response.length < 0) return Status(StatusCode::kCorruption, "a table of a negative length");
  PageTable table;
  table.generation = job_.pull.source_generation;
  table.length = static_cast<uint32_t>(response.length);
  table.page_crcs.assign(buffer_.data(), prelude.payload_bytes);
  return table;
}

Status PullSession::CopyPages() {
  for (;;) {
    RETURN_IF_ERROR(AskForMore());
    if (asked_.empty()) return Status::Ok();
    RETURN_IF_ERROR(ReceiveOne());
    RETURN_IF_ERROR(SyncNowAndThen());
  }
}

/// A copy that is limited is so for the sake of clients: then the disk gets it in small portions,
/// too, because their syncs wait for the one that is under way.
Status PullSession::SyncNowAndThen() {
  if (throttle_ == nullptr || !job_.preparing() ||
      pull_.copied_bytes() - synced_bytes_ < kSyncBytes || !throttle_->limited()) {
    return Status::Ok();
  }
  synced_bytes_ = pull_.copied_bytes();
  return Locally([&] { return pull_.SyncApplied(); });
}

Status PullSession::AskForMore() {
  while (asked_bytes_ < kWindowBytes && asked_.size() < kWindowRequests) {
    if (!next_) next_ = pull_.NextRange();
    if (!next_) return Status::Ok();
    if (throttle_ != nullptr) {
      // While answers are under way they are taken off the source's hands instead.
      const auto outcome =
          throttle_->Take(next_->length, asked_.empty(), [&] { return cancelled(); });
      if (outcome == PullThrottle::Outcome::kCancelled) {
        return Status(StatusCode::kCancelled, "the pull was given up");
      }
      if (outcome == PullThrottle::Outcome::kNotYet) return Status::Ok();
    }
    // A sealed source sends what it has verified itself: damage is noticed where it is, and while
    // its disk is slow it can say so.
    RETURN_IF_ERROR(SendRead(*next_, /*verified=*/!job_.preparing()));
    next_.reset();
  }
  return Status::Ok();
}

Status PullSession::SendRead(const PullRange& range, bool verified) {
  wire::ReadHeader read;
  read.block_id = static_cast<int64_t>(job_.pull.block.value());
  read.generation = static_cast<int64_t>(job_.pull.source_generation.value());
  read.offset = static_cast<int32_t>(range.offset);
  read.length = static_cast<int32_t>(range.length);
  read.verified = verified;
  Asked asked{range, 0, verified};
  RETURN_IF_ERROR(AtSource(Send(wire::FrameKind::READ, read, &asked.request_id)));
  asked_.push_back(asked);
  asked_bytes_ += range.length;
  return Status::Ok();
}

Status PullSession::ReceiveOne() {
  std::string header;
  auto prelude = Receive(&header);
  RETURN_IF_ERROR(AtSource(prelude.status()));
  const auto found = std::find_if(asked_.begin(), asked_.end(), [&](const Asked& asked) {
    return asked.request_id == prelude->request_id;
  });
  if (prelude->kind != wire::FrameKind::READ_RESPONSE || found == asked_.end()) {
    return AtSource(Status(StatusCode::kCorruption, "an answer that nobody asked for"));
  }
  const Asked asked = *found;
  asked_.erase(found);
  asked_bytes_ -= asked.range.length;
  wire::ReadResponseHeader response;
  RETURN_IF_ERROR(AtSource(DecodeFrameHeader(std::string_view(header), &response)));
  RETURN_IF_ERROR(AtSource(ReceivePayload(prelude->payload_bytes)));
  RETURN_IF_ERROR(AtSource(FromWire(response.status).WithContext(connection_->peer_name())));
  if (cancelled()) return Status(StatusCode::kCancelled, "the pull was given up");
  const std::string_view pages(buffer_.data(), prelude->payload_bytes);
  const uint64_t before = pull_.copied_bytes();
  const Status applied =
      Locally([&] { return pull_.Apply(asked.range, pages, response.page_crcs); });
  environment_.counters.pulled_bytes.fetch_add(pull_.copied_bytes() - before,
                                               std::memory_order_relaxed);
  if (applied.code() != StatusCode::kCorruption) return applied;
  // Perhaps it was being written there just then; the source looks itself, under the block's lock.
  if (!asked.verified) return SendRead(asked.range, true);
  return AtSource(applied.WithContext(connection_->peer_name()));
}

}  // namespace tercet
