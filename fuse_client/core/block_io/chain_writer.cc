#include "fuse_client/core/block_io/chain_writer.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cassert>
#include <optional>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "fuse_client/core/block_io/wire.h"

namespace tercet {
namespace {

/// Whoever looks late gets at least so long a wait: the process may have been paused itself.
constexpr std::chrono::milliseconds kShortestWait{50};

/// The checksums of `data`, cut at the block's page boundaries.
void PutPieceCrcs(uint32_t offset, const char* data, uint32_t size, std::string* out) {
  out->clear();
  while (size > 0) {
    const uint32_t piece = std::min(size, kBlockPageBytes - offset % kBlockPageBytes);
    PutFixed32(out, Crc32c(data, piece));
    offset += piece;
    data += piece;
    size -= piece;
  }
}

bool InputIsWaiting(const FrameConnection& connection) {
  if (connection.HasBufferedInput()) return true;
  pollfd entry{connection.socket(), POLLIN, 0};
  return ::poll(&entry, 1, 0) > 0;
}

}  // namespace

ChainWriter::ChainWriter(DataConnections* connections, BlockTarget target,
                         ChainWriterOptions options)
    : connections_(connections), target_(std::move(target)), options_(options) {
  assert(!target_.chain.empty());
  header_.block_id = static_cast<int64_t>(target_.id.value());
  header_.generation = static_cast<int64_t>(target_.generation.value());
  header_.downstream = block_io::DownstreamOf(target_);
  if (options_.earlier_unsynced) last_unsynced_id_ = next_request_id_++;
}

ChainWriter::~ChainWriter() { CloseConnection(); }

Status ChainWriter::Submit(uint32_t offset, WriteData data, bool create, bool sync) {
  if (data.size == 0 || data.size > kMaxWriteBytes || data.size > INT32_MAX - offset) {
    return Status(StatusCode::kInvalidArgument, "a write of " + std::to_string(data.size) +
                                                    " bytes at offset " + std::to_string(offset) +
                                                    " of a block");
  }
  if (failure_.ok()) {
    // Its error is in failure_, and is returned when this write is among the unacknowledged.
    [[maybe_unused]] const Status room = AwaitRoom(data.size);
  }
  InFlight entry;
  entry.request_id = next_request_id_++;
  entry.covers_earlier = std::all_of(in_flight_.begin(), in_flight_.end(),
                                     [](const InFlight& other) { return other.write.sync; });
  entry.write = {offset, std::move(data), create, sync};
  in_flight_bytes_ += entry.write.data.size;
  in_flight_.push_back(std::move(entry));
  RETURN_IF_ERROR(failure_);
  return Send(in_flight_.back());
}

/// Waits for acknowledgements until `size` more bytes fit into the window.
Status ChainWriter::AwaitRoom(size_t size) {
  while (!in_flight_.empty() && (in_flight_.size() >= options_.window_frames ||
                                 in_flight_bytes_ + size > options_.window_bytes)) {
    RETURN_IF_ERROR(ReceiveAcknowledgement());
  }
  return Status::Ok();
}

Status ChainWriter::EnsureConnection() {
  if (connection_ != nullptr) return Status::Ok();
  auto taken = connections_->Take(target_.chain.front());
  if (!taken.ok()) return Fail(taken.status(), target_.chain.front().server);
  connection_ = std::move(taken->connection);
  // Twice half of it: see SetSendPatience.
  connection_->SetSendTimeout(options_.progress_timeout / 2);
  connection_->SetSendPatience(options_.answer_timeout);
  connection_->SetReceiveTimeout(options_.progress_timeout);
  return Status::Ok();
}

/// A request is about to be sent while no other is under way.
void ChainWriter::NoteWaitBegins() {
  last_progress_ = Clock::now();
  last_answer_ = last_progress_;
}

Status ChainWriter::Send(const InFlight& entry) {
  RETURN_IF_ERROR(EnsureConnection());
  if (in_flight_.size() == 1) NoteWaitBegins();
  const WriteData& data = entry.write.data;
  header_.offset = static_cast<int32_t>(entry.write.offset);
  PutPieceCrcs(entry.write.offset, data.bytes.get(), data.size, &header_.piece_crcs);
  header_.create = entry.write.create;
  header_.sync = entry.write.sync;
  EncodeFrameHeader(header_, &header_bytes_);
  FramePrelude prelude;
  prelude.kind = wire::FrameKind::WRITE;
  prelude.request_id = entry.request_id;
  const iovec payload{const_cast<char*>(data.bytes.get()), data.size};
  if (Status sent = connection_->Send(prelude, header_bytes_, {&payload, 1}); !sent.ok()) {
    return Fail(std::move(sent), ServerId());
  }
  return Status::Ok();
}

/// Waits for the next frame, until the progress timeout after the last sign of life. That the
/// peer's kernel still takes what was sent, over a slow network, is one too: it is looked at
/// halfway and at the end.
Status ChainWriter::AwaitInput() {
  if (connection_->HasBufferedInput()) return Status::Ok();
  const auto timeout = std::chrono::duration_cast<Clock::duration>(options_.progress_timeout);
  pollfd entry{connection_->socket(), POLLIN, 0};
  std::optional<int> unsent;
  for (;;) {
    const auto until = last_progress_ + (unsent ? timeout : timeout / 2);
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    // After an interrupted or failed poll the socket's own timeout goes on, or its error comes up.
    if (::poll(&entry, 1, static_cast<int>(std::max(left, kShortestWait).count())) != 0) {
      return Status::Ok();
    }
    int unsent_now = 0;
    if (::ioctl(connection_->socket(), SIOCOUTQ, &unsent_now) != 0) unsent_now = 0;
    const auto now = Clock::now();
    if (unsent && unsent_now < *unsent && now - last_answer_ < options_.answer_timeout) {
      last_progress_ = now;
    }
    if (unsent && now - last_progress_ >= timeout) {
      return Fail(
          Status(StatusCode::kDeadlineExceeded, "no sign of life from " + connection_->peer_name()),
          ServerId());
    }
    unsent = unsent_now;
  }
}

/// The prelude of the next frame that is an answer; its header is in response_bytes_.
Result<FramePrelude> ChainWriter::ReceiveAnswer() {
  for (;;) {
    RETURN_IF_ERROR(AwaitInput());
    auto prelude = connection_->Receive(&response_bytes_);
    if (!prelude.ok()) return Fail(prelude.status(), ServerId());
    last_progress_ = Clock::now();
    if (prelude->kind != wire::FrameKind::WORKING || prelude->payload_bytes != 0) {
      last_answer_ = last_progress_;
      return prelude;
    }
    if (last_progress_ - last_answer_ > options_.answer_timeout) {
      return Fail(Status(StatusCode::kDeadlineExceeded,
                         connection_->peer_name() + " works, but does not come to an answer"),
                  ServerId());
    }
  }
}

/// The request id of the next response, of kind `kind`. An error that a replica reports is a
/// failure.
template <typename Response>
Result<uint64_t> ChainWriter::ReceiveResponse(uint8_t kind) {
  const auto prelude = ReceiveAnswer();
  if (!prelude.ok()) return prelude.status();
  if (prelude->kind != kind || prelude->payload_bytes != 0) {
    return Fail(
        Status(StatusCode::kCorruption, "an answer of kind " + std::to_string(prelude->kind) +
                                            ", not " + std::to_string(kind)),
        ServerId());
  }
  Response response;
  if (Status decoded = DecodeFrameHeader(response_bytes_, &response); !decoded.ok()) {
    return Fail(std::move(decoded), ServerId());
  }
  if (Status status = FromWire(response.status); !status.ok()) {
    ServerId culprit(static_cast<uint32_t>(response.failed_server_id));
    if (culprit == ServerId()) culprit = target_.chain.front().server;
    // Its predecessor found it dead or hung: the next block of this client need not find that out
    // by another wait. (Other errors are about this block.)
    if (status.code() == StatusCode::kUnavailable ||
        status.code() == StatusCode::kDeadlineExceeded) {
      connections_->NoteFailure(culprit);
    }
    return Fail(std::move(status), culprit);
  }
  return prelude->request_id;
}

Status ChainWriter::ReceiveAcknowledgement() {
  ASSIGN_OR_RETURN(const uint64_t request_id,
                   ReceiveResponse<wire::WriteResponseHeader>(wire::FrameKind::WRITE_RESPONSE));
  return TakeAcknowledgement(request_id);
}

Status ChainWriter::TakeAcknowledgement(uint64_t request_id) {
  auto found = std::find_if(in_flight_.begin(), in_flight_.end(),
                            [&](const InFlight& entry) { return entry.request_id == request_id; });
  if (found == in_flight_.end()) {
    return Fail(
        Status(StatusCode::kCorruption,
               "an answer to request " + std::to_string(request_id) + ", which is not under way"),
        ServerId());
  }
  NoteDurability(*found);
  in_flight_bytes_ -= found->write.data.size;
  in_flight_.erase(found);
  return Status::Ok();
}

void ChainWriter::NoteDurability(const InFlight& entry) {
  if (!entry.write.sync) {
    last_unsynced_id_ = std::max(last_unsynced_id_, entry.request_id);
  } else if (entry.covers_earlier && last_unsynced_id_ < entry.request_id) {
    last_unsynced_id_ = 0;
  }
}

Status ChainWriter::Poll() {
  RETURN_IF_ERROR(failure_);
  while (!in_flight_.empty() && InputIsWaiting(*connection_)) {
    RETURN_IF_ERROR(ReceiveAcknowledgement());
  }
  if (!in_flight_.empty() && Clock::now() - last_progress_ > options_.progress_timeout) {
    RETURN_IF_ERROR(AwaitInput());
  }
  ReleaseConnection();
  return Status::Ok();
}

Status ChainWriter::DrainKeepingConnection() {
  RETURN_IF_ERROR(failure_);
  while (!in_flight_.empty()) RETURN_IF_ERROR(ReceiveAcknowledgement());
  return Status::Ok();
}

Status ChainWriter::Drain() {
  RETURN_IF_ERROR(DrainKeepingConnection());
  ReleaseConnection();
  return Status::Ok();
}

template <typename Response, typename Request>
Status ChainWriter::Call(uint8_t kind, const Request& request) {
  RETURN_IF_ERROR(EnsureConnection());
  NoteWaitBegins();
  EncodeFrameHeader(request, &header_bytes_);
  FramePrelude prelude;
  prelude.kind = kind;
  prelude.request_id = next_request_id_++;
  if (Status sent = connection_->Send(prelude, header_bytes_, {}); !sent.ok()) {
    return Fail(std::move(sent), ServerId());
  }
  ASSIGN_OR_RETURN(const uint64_t answered,
                   ReceiveResponse<Response>(static_cast<uint8_t>(kind + 1)));
  if (answered != prelude.request_id) {
    return Fail(Status(StatusCode::kCorruption, "an answer to another request"), ServerId());
  }
  return Status::Ok();
}

Status ChainWriter::Sync() {
  RETURN_IF_ERROR(DrainKeepingConnection());
  if (last_unsynced_id_ != 0) {
    wire::SyncHeader request;
    request.block_id = header_.block_id;
    request.generation = header_.generation;
    request.downstream = header_.downstream;
    RETURN_IF_ERROR(Call<wire::SyncResponseHeader>(wire::FrameKind::SYNC, request));
    last_unsynced_id_ = 0;
  }
  ReleaseConnection();
  return Status::Ok();
}

Status ChainWriter::Truncate(uint32_t length) {
  if (length > INT32_MAX) {
    return Status(StatusCode::kInvalidArgument,
                  "a block cannot have " + std::to_string(length) + " bytes");
  }
  RETURN_IF_ERROR(DrainKeepingConnection());
  wire::TruncateHeader request;
  request.block_id = header_.block_id;
  request.generation = header_.generation;
  request.length = static_cast<int32_t>(length);
  request.downstream = header_.downstream;
  // Some replicas may have been cut when this fails: whatever comes of it is not durable.
  last_unsynced_id_ = next_request_id_;
  RETURN_IF_ERROR(Call<wire::TruncateResponseHeader>(wire::FrameKind::TRUNCATE, request));
  ReleaseConnection();
  return Status::Ok();
}

bool ChainWriter::unsynced() const { return last_unsynced_id_ != 0 || !in_flight_.empty(); }

std::vector<ChainWriter::Write> ChainWriter::TakeUnacknowledged() {
  std::vector<Write> writes;
  if (failure_.ok()) return writes;
  for (InFlight& entry : in_flight_) writes.push_back(std::move(entry.write));
  in_flight_.clear();
  in_flight_bytes_ = 0;
  return writes;
}

void ChainWriter::ReleaseConnection() {
  if (connection_ == nullptr || !in_flight_.empty()) return;
  connections_->Put(target_.chain.front(), std::move(connection_));
}

/// Frames that are under way would reach the head whenever the network lets them, long after what
/// is written next.
void ChainWriter::CloseConnection() {
  if (connection_ == nullptr) return;
  connection_->DropUnsentOnClose();
  connection_.reset();
}

/// Ends the writer. `server` is who failed according to the chain; none when it was the connection
/// to the head that failed, or what came over it.
Status ChainWriter::Fail(Status status, ServerId server) {
  CloseConnection();
  if (server == ServerId()) {
    server = target_.chain.front().server;
    connections_->NoteFailure(server);
  }
  failed_server_ = server;
  failure_ = status.WithContext("block " + std::to_string(target_.id.value()) + ", server " +
                                std::to_string(server.value()));
  return failure_;
}

}  // namespace tercet
