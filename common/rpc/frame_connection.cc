#include "common/rpc/frame_connection.h"

#include <limits.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "common/base/crc32c.h"
#include "common/rpc/socket.h"

namespace tercet {
namespace {

constexpr size_t kZeroBytes = 64 << 10;
constexpr std::array<char, kZeroBytes> kZeros{};
/// Iovecs on the stack: prelude, header and a payload in a few pieces. More are allocated.
constexpr size_t kInlinePieces = 18;

iovec Piece(const char* data, size_t size) { return {const_cast<char*>(data), size}; }

/// Takes `sent` bytes off the front.
std::span<iovec> Advance(std::span<iovec> pieces, size_t sent) {
  while (!pieces.empty() && sent >= pieces.front().iov_len) {
    sent -= pieces.front().iov_len;
    pieces = pieces.subspan(1);
  }
  if (sent > 0) {
    iovec& first = pieces.front();
    first.iov_base = static_cast<char*>(first.iov_base) + sent;
    first.iov_len -= sent;
  }
  return pieces;
}

}  // namespace

Result<std::unique_ptr<FrameConnection>> FrameConnection::Connect(
    const HostPort& peer, std::chrono::milliseconds timeout) {
  ASSIGN_OR_RETURN(UniqueSocket socket, ConnectSocket(peer, timeout));
  return std::make_unique<FrameConnection>(socket.Release(), peer.ToString());
}

FrameConnection::FrameConnection(int socket, std::string peer_name)
    : socket_(socket),
      peer_name_(std::move(peer_name)),
      buffer_(std::make_unique_for_overwrite<char[]>(kReceiveBufferBytes)) {
  IgnoreSigpipe();
}

FrameConnection::~FrameConnection() { ::close(socket_); }

void FrameConnection::SetSendTimeout(std::chrono::milliseconds timeout) {
  if (timeout == send_timeout_) return;
  send_timeout_ = timeout;
  SetSocketTimeout(socket_, SO_SNDTIMEO, timeout);
}

void FrameConnection::DropUnsentOnClose() {
  const linger none{.l_onoff = 1, .l_linger = 0};
  // It may fail only when the connection is gone anyway.
  (void)::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

void FrameConnection::SetReceiveTimeout(std::chrono::milliseconds timeout) {
  if (timeout == receive_timeout_) return;
  receive_timeout_ = timeout;
  SetSocketTimeout(socket_, SO_RCVTIMEO, timeout);
}

Status FrameConnection::Error(int error, std::string_view action) const {
  return StatusFromSocketErrno(error, std::string(action) + " " + peer_name_);
}

/// One byte's wait to be sent.
struct FrameConnection::SendStall {
  int timeouts = 0;
  int unread_bytes = 0;  // at the last timeout
};

/// A send timeout has passed without progress: whether the peer gave a sign of life since the one
/// before.
bool FrameConnection::MayWaitOn(SendStall* stall) const {
  if (++stall->timeouts * send_timeout_ >= send_patience_) return false;
  int unread = 0;
  if (::ioctl(socket_, FIONREAD, &unread) != 0) return false;
  const bool grew = unread > stall->unread_bytes;
  stall->unread_bytes = unread;
  // At the first timeout it is not known yet since when the bytes have been there.
  return grew || stall->timeouts == 1;
}

Status FrameConnection::SendVector(std::span<iovec> pieces, int flags) {
  pieces = Advance(pieces, 0);
  SendStall stall;
  while (!pieces.empty()) {
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = std::min<size_t>(pieces.size(), IOV_MAX);
    const ssize_t sent = ::sendmsg(socket_, &message, MSG_NOSIGNAL | flags);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if ((errno == EAGAIN || errno == EWOULDBLOCK) && MayWaitOn(&stall)) continue;
      return Error(errno, "send to");
    }
    pieces = Advance(pieces, static_cast<size_t>(sent));
    stall = SendStall();
  }
  return Status::Ok();
}

Status FrameConnection::Send(FramePrelude prelude, std::string_view header,
                             std::span<const iovec> payload) {
  size_t payload_bytes = 0;
  for (const iovec& piece : payload) payload_bytes += piece.iov_len;
  if (header.size() > kMaxFrameHeaderBytes || payload_bytes > kMaxFramePayloadBytes) {
    return Status(StatusCode::kInvalidArgument,
                  "frame for " + peer_name_ + ": a header of " + std::to_string(header.size()) +
                      " and a payload of " + std::to_string(payload_bytes) +
                      " bytes: over the limits");
  }
  prelude.header_bytes = static_cast<uint32_t>(header.size());
  prelude.payload_bytes = static_cast<uint32_t>(payload_bytes);
  prelude.header_crc = Crc32c(header);
  char prelude_bytes[kFramePreludeBytes];
  prelude.Encode(prelude_bytes);

  std::array<iovec, kInlinePieces> inline_pieces;
  std::vector<iovec> more_pieces;
  std::span<iovec> pieces = inline_pieces;
  if (payload.size() + 2 > kInlinePieces) {
    more_pieces.resize(payload.size() + 2);
    pieces = more_pieces;
  }
  pieces[0] = Piece(prelude_bytes, kFramePreludeBytes);
  pieces[1] = Piece(header.data(), header.size());
  std::copy(payload.begin(), payload.end(), pieces.begin() + 2);
  return SendVector(pieces.first(payload.size() + 2), 0);
}

Status FrameConnection::SendZeros(size_t count) {
  while (count > 0) {
    iovec piece = Piece(kZeros.data(), std::min(count, kZeroBytes));
    count -= piece.iov_len;
    RETURN_IF_ERROR(SendVector({&piece, 1}, count > 0 ? MSG_MORE : 0));
  }
  return Status::Ok();
}

Status FrameConnection::SendFile(FramePrelude prelude, std::string_view header, int file_descriptor,
                                 uint64_t offset, uint32_t count) {
  if (header.size() > kMaxFrameHeaderBytes || count > kMaxFramePayloadBytes) {
    return Status(StatusCode::kInvalidArgument, "frame for " + peer_name_ + ": over the limits");
  }
  prelude.header_bytes = static_cast<uint32_t>(header.size());
  prelude.payload_bytes = count;
  prelude.header_crc = Crc32c(header);
  char prelude_bytes[kFramePreludeBytes];
  prelude.Encode(prelude_bytes);
  iovec head[2] = {Piece(prelude_bytes, kFramePreludeBytes), Piece(header.data(), header.size())};
  RETURN_IF_ERROR(SendVector(head, count > 0 ? MSG_MORE : 0));

  auto position = static_cast<off_t>(offset);
  while (count > 0) {
    const ssize_t sent = ::sendfile(socket_, file_descriptor, &position, count);
    if (sent == 0) return SendZeros(count);  // the file ends here
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EIO || errno == EINVAL || errno == EBADF) {
        return Status(StatusCode::kIo, "sendfile to " + peer_name_ +
                                           ": reading the file: " + std::string(::strerror(errno)));
      }
      return Error(errno, "sendfile to");
    }
    count -= static_cast<uint32_t>(sent);
  }
  return Status::Ok();
}

/// Makes at least `wanted` bytes available in the buffer, and whatever else has arrived.
Status FrameConnection::FillBuffer(size_t wanted) {
  const size_t have = buffer_end_ - buffer_begin_;
  if (have >= wanted) return Status::Ok();
  if (buffer_begin_ > 0) {
    std::memmove(buffer_.get(), buffer_.get() + buffer_begin_, have);
    buffer_begin_ = 0;
    buffer_end_ = have;
  }
  while (buffer_end_ < wanted) {
    const ssize_t got =
        ::recv(socket_, buffer_.get() + buffer_end_, kReceiveBufferBytes - buffer_end_, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error(errno, "receive from");
    if (got == 0) {
      return Status(StatusCode::kUnavailable,
                    peer_name_ + (buffer_end_ == 0 ? ": the connection was closed"
                                                   : ": the connection was closed in mid-frame"));
    }
    buffer_end_ += static_cast<size_t>(got);
  }
  return Status::Ok();
}

/// Takes what is buffered and receives the rest straight into place.
Status FrameConnection::ReceiveVector(std::span<iovec> pieces) {
  pieces = Advance(pieces, 0);
  while (!pieces.empty() && HasBufferedInput()) {
    const size_t count = std::min(pieces.front().iov_len, buffer_end_ - buffer_begin_);
    std::memcpy(pieces.front().iov_base, buffer_.get() + buffer_begin_, count);
    buffer_begin_ += count;
    pieces = Advance(pieces, count);
  }
  while (!pieces.empty()) {
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = std::min<size_t>(pieces.size(), IOV_MAX);
    // With MSG_WAITALL the kernel gathers the whole payload; a timeout after some progress ends the
    // call early with what came, and only one without any progress is an error.
    const ssize_t got = ::recvmsg(socket_, &message, MSG_WAITALL);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error(errno, "receive from");
    if (got == 0) {
      return Status(StatusCode::kUnavailable,
                    peer_name_ + ": the connection was closed in mid-frame");
    }
    pieces = Advance(pieces, static_cast<size_t>(got));
  }
  return Status::Ok();
}

Result<FramePrelude> FrameConnection::Receive(std::string* header) {
  if (payload_left_ > 0) {
    return Status(StatusCode::kInternal, "the payload of the last frame of " + peer_name_ +
                                             " was not read: " + std::to_string(payload_left_) +
                                             " bytes left");
  }
  RETURN_IF_ERROR(FillBuffer(kFramePreludeBytes));
  auto prelude = FramePrelude::Decode({buffer_.get() + buffer_begin_, kFramePreludeBytes});
  if (!prelude.ok()) return prelude.status().WithContext(peer_name_);
  buffer_begin_ += kFramePreludeBytes;
  header->resize(prelude->header_bytes);
  iovec header_piece = Piece(header->data(), header->size());
  RETURN_IF_ERROR(ReceiveVector({&header_piece, 1}));
  if (Crc32c(*header) != prelude->header_crc) {
    return Status(StatusCode::kCorruption,
                  peer_name_ + ": data-plane frame: the header fails its checksum");
  }
  payload_left_ = prelude->payload_bytes;
  return prelude;
}

Status FrameConnection::ReceivePayload(char* out, size_t size) {
  const iovec piece = Piece(out, size);
  return ReceivePayload({&piece, 1});
}

Status FrameConnection::ReceivePayload(std::span<const iovec> pieces) {
  size_t size = 0;
  for (const iovec& piece : pieces) size += piece.iov_len;
  if (size > payload_left_) {
    return Status(StatusCode::kInternal, "asked for " + std::to_string(size) +
                                             " payload bytes of " + peer_name_ + ", there are " +
                                             std::to_string(payload_left_));
  }
  std::array<iovec, kInlinePieces> inline_pieces;
  std::vector<iovec> more_pieces;
  std::span<iovec> writable = inline_pieces;
  if (pieces.size() > kInlinePieces) {
    more_pieces.resize(pieces.size());
    writable = more_pieces;
  }
  std::copy(pieces.begin(), pieces.end(), writable.begin());
  RETURN_IF_ERROR(ReceiveVector(writable.first(pieces.size())));
  payload_left_ -= static_cast<uint32_t>(size);
  return Status::Ok();
}

Status FrameConnection::SkipPayload(size_t size) {
  std::array<char, 16 << 10> scratch;
  while (size > 0) {
    const size_t count = std::min(size, scratch.size());
    RETURN_IF_ERROR(ReceivePayload(scratch.data(), count));
    size -= count;
  }
  return Status::Ok();
}

void FrameConnection::Shutdown() { ::shutdown(socket_, SHUT_RDWR); }

bool FrameConnection::LooksClosed() const {
  return HasBufferedInput() || IdleSocketLooksClosed(socket_);
}

}  // namespace tercet
