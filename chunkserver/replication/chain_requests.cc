// The chain's part of ServerConnection: WRITE, TRUNCATE and SYNC. chain.md numbers the steps.
#include <poll.h>
#include <sys/socket.h>

#include <utility>

#include "chunkserver/replication/server_connection.h"
#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/env/clock.h"
#include "common/log/log.h"
#include "common/rpc/wire_status.h"

namespace tercet {

namespace {

constexpr size_t kMaxServersBehind = 15;
constexpr size_t kMaxHostBytes = 255;

/// Compares the payload with its checksums, cut at the block's page boundaries.
Status VerifyPieces(const wire::WriteHeader& write, std::string_view payload) {
  std::string_view crcs = write.piece_crcs;
  uint32_t in_page = static_cast<uint32_t>(write.offset) % kPageBytes;
  uint32_t page = static_cast<uint32_t>(write.offset) / kPageBytes;
  while (!payload.empty()) {
    const size_t piece = std::min<size_t>(kPageBytes - in_page, payload.size());
    if (Crc32c(payload.substr(0, piece)) != DecodeFixed32(crcs.data())) {
      return Status(StatusCode::kCorruption,
                    fmt::format("page {} of block {} was damaged on the way here: send it again",
                                page, write.block_id));
    }
    payload.remove_prefix(piece);
    crcs.remove_prefix(4);
    in_page = 0;
    ++page;
  }
  return Status::Ok();
}

/// Bounds of a write that can be told from its header.
Status CheckWriteBounds(const wire::WriteHeader& write, uint32_t payload_bytes) {
  if (write.generation <= 0) return NoSuchGeneration(write.block_id, write.generation);
  if (write.offset < 0 || payload_bytes == 0 ||
      static_cast<int64_t>(write.offset) + payload_bytes > kMaxBlockBytes) {
    return Status(
        StatusCode::kInvalidArgument,
        fmt::format("a write of {} bytes at {} is out of bounds", payload_bytes, write.offset));
  }
  const uint32_t in_page = static_cast<uint32_t>(write.offset) % kPageBytes;
  const size_t pages = PagesFor(in_page + payload_bytes);
  if (write.piece_crcs.size() != 4 * pages) {
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("a write to {} pages with {} bytes of checksums", pages,
                              write.piece_crcs.size()));
  }
  return Status::Ok();
}

template <typename Header>
std::string EncodeForNext(Header header) {
  if (header.downstream.empty()) return {};
  header.downstream.erase(header.downstream.begin());
  std::string encoded;
  EncodeFrameHeader(header, &encoded);
  return encoded;
}

template <typename Header>
std::string EncodeOutcome(wire::FrameKind::type kind, uint64_t request_id, const Status& status,
                          ServerId failed_server) {
  Header header;
  header.status = ToWire(status);
  header.failed_server_id = static_cast<int32_t>(failed_server.value());
  return EncodeFrameHead(kind, request_id, header, 0);
}

}  // namespace

Status ServerConnection::CheckChain(const std::vector<wire::ChainHop>& downstream) const {
  if (downstream.size() > kMaxServersBehind) {
    return Status(StatusCode::kInvalidArgument, "the chain is too long");
  }
  for (const wire::ChainHop& hop : downstream) {
    if (hop.server_id <= 0 || hop.host.empty() || hop.host.size() > kMaxHostBytes ||
        hop.port <= 0 || hop.port > 65535) {
      return Status(
          StatusCode::kInvalidArgument,
          fmt::format("the chain names server {} without a valid address", hop.server_id));
    }
    if (ServerId(static_cast<uint32_t>(hop.server_id)) == self_) {
      return Status(StatusCode::kInvalidArgument, "the chain comes back to this server");
    }
  }
  return Status::Ok();
}

Status ServerConnection::CheckReplica(BlockId block, Generation generation) const {
  ASSIGN_OR_RETURN(const ReplicaStat stat, context_.store.Stat(block));
  if (stat.generation == generation) return Status::Ok();
  return Status(StatusCode::kStaleGeneration, fmt::format("block {} has generation {} here, not {}",
                                                          block, stat.generation, generation));
}

Status ServerConnection::ReceiveWritePayload(const FramePrelude& prelude,
                                             const wire::WriteHeader& write, Status* verdict,
                                             std::shared_ptr<PayloadBuffer>* payload) {
  *verdict = CheckWriteBounds(write, prelude.payload_bytes);
  if (verdict->ok()) *verdict = CheckChain(write.downstream);
  if (!verdict->ok()) return connection_.SkipPayload(prelude.payload_bytes);
  awaits_memory_.store(true, std::memory_order_relaxed);
  *payload = context_.buffers.Acquire(prelude.payload_bytes, write.downstream.size(), &closing_);
  awaits_memory_.store(false, std::memory_order_relaxed);
  if (*payload == nullptr) return Status(StatusCode::kCancelled, "no memory for a payload");
  taken_nanos_ = RealClock().MonotonicNanos();
  busy_since_.store(taken_nanos_, std::memory_order_relaxed);
  RETURN_IF_ERROR(connection_.ReceivePayload((*payload)->data(), prelude.payload_bytes));
  *verdict = VerifyPieces(write, {(*payload)->data(), prelude.payload_bytes});
  return Status::Ok();
}

Status ServerConnection::HandleWrite(const FramePrelude& prelude, std::string_view header) {
  wire::WriteHeader write;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &write));
  Status verdict;
  ChainRequest request;
  RETURN_IF_ERROR(ReceiveWritePayload(prelude, write, &verdict, &request.payload));
  if (!verdict.ok()) {
    RespondChain(wire::FrameKind::WRITE, prelude.request_id, verdict, self_);
    return Status::Ok();
  }
  request.payload_bytes = prelude.payload_bytes;
  request.block = BlockId(static_cast<uint64_t>(write.block_id));
  request.generation = Generation(static_cast<uint64_t>(write.generation));
  request.may_create = write.create;
  request.forward_header = EncodeForNext(write);
  request.downstream = std::move(write.downstream);
  context_.counters.writes.fetch_add(1, std::memory_order_relaxed);
  context_.counters.write_bytes.fetch_add(prelude.payload_bytes, std::memory_order_relaxed);

  auto operation = BeginOperation(prelude, request);
  if (operation == nullptr) return Status(StatusCode::kCancelled, "closed by this server");
  Status status = ForwardAndApply(request, operation, [&] {
    WriteArguments arguments;
    arguments.block = request.block;
    arguments.generation = request.generation;
    arguments.offset = static_cast<uint32_t>(write.offset);
    arguments.data = {request.payload->data(), request.payload_bytes};
    arguments.piece_crcs = write.piece_crcs;
    arguments.crcs_verified = true;
    arguments.create = write.create;
    return context_.store.Write(arguments);
  });
  if (status.ok() && write.sync) {
    request.payload.reset();  // the memory is not needed while the disk is waited for
    SyncThenFinish(std::move(operation), request.block, request.generation);
  } else {
    operation->FinishLocal(std::move(status));
  }
  return Status::Ok();
}

Status ServerConnection::HandleTruncate(const FramePrelude& prelude, std::string_view header) {
  wire::TruncateHeader truncate;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &truncate));
  Status verdict = CheckChain(truncate.downstream);
  if (truncate.length < 0 || static_cast<uint32_t>(truncate.length) > kMaxBlockBytes) {
    verdict = Status(StatusCode::kInvalidArgument,
                     fmt::format("a block cannot be cut at {} bytes", truncate.length));
  }
  if (truncate.generation <= 0) {
    verdict = NoSuchGeneration(truncate.block_id, truncate.generation);
  }
  if (!verdict.ok()) {
    RespondChain(wire::FrameKind::TRUNCATE, prelude.request_id, verdict, self_);
    return Status::Ok();
  }
  ChainRequest request;
  request.block = BlockId(static_cast<uint64_t>(truncate.block_id));
  request.generation = Generation(static_cast<uint64_t>(truncate.generation));
  request.forward_header = EncodeForNext(truncate);
  request.downstream = std::move(truncate.downstream);
  context_.counters.truncates.fetch_add(1, std::memory_order_relaxed);

  auto operation = BeginOperation(prelude, request);
  if (operation == nullptr) return Status(StatusCode::kCancelled, "closed by this server");
  operation->FinishLocal(ForwardAndApply(request, operation, [&] {
    return context_.store.Truncate(request.block, request.generation,
                                   static_cast<uint32_t>(truncate.length));
  }));
  return Status::Ok();
}

Status ServerConnection::HandleSync(const FramePrelude& prelude, std::string_view header) {
  wire::SyncHeader sync;
  RETURN_IF_ERROR(DecodeFrameHeader(header, &sync));
  Status verdict = CheckChain(sync.downstream);
  if (sync.generation <= 0) verdict = NoSuchGeneration(sync.block_id, sync.generation);
  if (!verdict.ok()) {
    RespondChain(wire::FrameKind::SYNC, prelude.request_id, verdict, self_);
    return Status::Ok();
  }
  ChainRequest request;
  request.block = BlockId(static_cast<uint64_t>(sync.block_id));
  request.generation = Generation(static_cast<uint64_t>(sync.generation));
  request.changes = false;
  request.forward_header = EncodeForNext(sync);
  request.downstream = std::move(sync.downstream);

  auto operation = BeginOperation(prelude, request);
  if (operation == nullptr) return Status(StatusCode::kCancelled, "closed by this server");
  Status status = ForwardAndApply(request, operation, [] { return Status::Ok(); });
  if (status.ok()) {
    SyncThenFinish(std::move(operation), request.block, request.generation);
  } else {
    operation->FinishLocal(std::move(status));
  }
  return Status::Ok();
}

template <typename Local>
Status ServerConnection::ForwardAndApply(const ChainRequest& request,
                                         const std::shared_ptr<ChainOperation>& operation,
                                         Local&& local) {
  std::shared_ptr<DownstreamLink> link;
  if (!request.downstream.empty()) {
    const wire::ChainHop& next = request.downstream.front();
    auto found = context_.downstream.LinkFor(next, request.block, request.downstream.size() - 1);
    // Waiting comes before the block's lock, which must be held for no longer than the disk takes.
    Status room = found.ok() ? (*found)->WaitForRoom() : found.status();
    if (found.ok()) link = std::move(found).value();
    if (!room.ok()) {
      operation->AddDownstreamPart();
      operation->FinishDownstream(room, ServerId(static_cast<uint32_t>(next.server_id)));
      return Status::Ok();
    }
  }
  BlockOrder::Guard guard(context_.order, request.block);
  // Nobody waits for the answer. The sender may have gone on with another connection, whose frames
  // this one must not overwrite.
  if (PeerHasGone()) return Status(StatusCode::kCancelled, "the sender has gone");
  if (request.changes) {
    RETURN_IF_ERROR(
        context_.store.BeginChange(request.block, request.generation, request.may_create));
    operation->BeginChange();
  } else {
    RETURN_IF_ERROR(CheckReplica(request.block, request.generation));
  }
  if (link != nullptr) {
    operation->AddDownstreamPart();
    link->Submit(operation, request.forward_header, request.payload, request.payload_bytes);
  }
  return local();
}

bool ServerConnection::BeginPendingLocked(std::unique_lock<std::mutex>& lock) {
  if (pending_ >= context_.options.max_pending_per_connection) {
    pending_full_ = true;
    pending_changed_.wait(lock, [&] {
      return pending_ < context_.options.max_pending_per_connection ||
             closing_.load(std::memory_order_acquire);
    });
    pending_full_ = false;
  }
  if (closing_.load(std::memory_order_acquire)) return false;
  ++pending_;
  return true;
}

void ServerConnection::EndPendingLocked() {
  --pending_;
  if (pending_full_) pending_changed_.notify_all();
}

std::shared_ptr<ChainOperation> ServerConnection::BeginOperation(const FramePrelude& prelude,
                                                                 const ChainRequest& request) {
  auto operation = std::make_shared<ChainOperation>(
      shared_from_this(), static_cast<wire::FrameKind::type>(prelude.kind), request.block,
      request.generation, prelude.request_id, prelude.payload_bytes, self_, arrived_nanos_,
      taken_nanos_);
  std::unique_lock lock(pending_mutex_);
  if (!BeginPendingLocked(lock)) return nullptr;
  operation->older = newest_;
  (newest_ == nullptr ? oldest_ : newest_->newer) = operation.get();
  newest_ = operation.get();
  return operation;
}

void ServerConnection::SyncThenFinish(std::shared_ptr<ChainOperation> operation, BlockId block,
                                      Generation generation) {
  context_.counters.syncs.fetch_add(1, std::memory_order_relaxed);
  auto sync = [this, operation = std::move(operation), block, generation] {
    operation->FinishLocal(context_.store.Sync(block, generation));
  };
  // `this` lives as long as the operation does.
  if (IsAloneAndIdle()) {
    sync();
  } else {
    context_.syncs.Submit(std::move(sync));
  }
}

bool ServerConnection::IsAloneAndIdle() {
  {
    std::lock_guard lock(pending_mutex_);
    if (pending_ > 1) return false;
  }
  if (connection_.HasBufferedInput()) return false;
  char next;
  return ::recv(connection_.socket(), &next, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

bool ServerConnection::PeerHasGone() const {
  pollfd entry{connection_.socket(), POLLRDHUP, 0};
  return ::poll(&entry, 1, 0) > 0;  // errors and hang-ups are reported unasked
}

void ServerConnection::OperationDone(ChainOperation& operation) {
  const Status& status = operation.status();
  // Before the answer: whoever gets that may rely on it.
  if (operation.leaves_doubt()) {
    context_.store.NoteDoubtful(operation.block(), operation.generation());
  }
  RespondChain(operation.kind(), operation.request_id(), status, operation.failed_server());
  Histogram& latency = operation.kind() == wire::FrameKind::SYNC ? context_.latencies.sync
                                                                 : context_.latencies.write;
  const int64_t now = RealClock().MonotonicNanos();
  const int64_t nanos = now - operation.arrived_nanos();
  latency.Observe(static_cast<double>(nanos) * 1e-9);
  if (from_client_) context_.load.NoteWrite(now, nanos, operation.payload_bytes());
  std::lock_guard lock(pending_mutex_);
  (operation.older == nullptr ? oldest_ : operation.older->newer) = operation.newer;
  (operation.newer == nullptr ? newest_ : operation.newer->older) = operation.older;
  EndPendingLocked();
}

void ServerConnection::RespondChain(wire::FrameKind::type request_kind, uint64_t request_id,
                                    const Status& status, ServerId failed_server) {
  CountFailure(status);
  std::string head;
  switch (request_kind) {
    case wire::FrameKind::SYNC:
      head = EncodeOutcome<wire::SyncResponseHeader>(wire::FrameKind::SYNC_RESPONSE, request_id,
                                                     status, failed_server);
      break;
    case wire::FrameKind::TRUNCATE:
      head = EncodeOutcome<wire::TruncateResponseHeader>(wire::FrameKind::TRUNCATE_RESPONSE,
                                                         request_id, status, failed_server);
      break;
    default:
      head = EncodeOutcome<wire::WriteResponseHeader>(wire::FrameKind::WRITE_RESPONSE, request_id,
                                                      status, failed_server);
  }
  sender_.Send(OutgoingFrame{std::move(head), nullptr, 0});
}

}  // namespace tercet
