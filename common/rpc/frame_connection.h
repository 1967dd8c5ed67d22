// A TCP connection that carries data-plane frames. Blocking, with deadlines on progress.
#pragma once

#include <sys/uio.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "common/base/status.h"
#include "common/rpc/frame.h"
#include "common/rpc/host_port.h"

namespace tercet {

/// One end of a data-plane connection. Sending and receiving may run in two threads at once; each
/// direction belongs to one thread at a time. After an error the connection can only be closed.
class FrameConnection {
 public:
  /// TCP_NODELAY; kUnavailable or kDeadlineExceeded name the peer.
  static Result<std::unique_ptr<FrameConnection>> Connect(const HostPort& peer,
                                                          std::chrono::milliseconds timeout);
  /// Takes over an accepted socket.
  FrameConnection(int socket, std::string peer_name);
  ~FrameConnection();
  FrameConnection(const FrameConnection&) = delete;
  FrameConnection& operator=(const FrameConnection&) = delete;

  /// No single byte may take longer than this to go out or to come in. 0: no limit. Each belongs to
  /// its direction's thread; setting what is set already costs nothing.
  void SetSendTimeout(std::chrono::milliseconds timeout);
  void SetReceiveTimeout(std::chrono::milliseconds timeout);
  /// While bytes come in from the peer it works, though it may not take what is sent: a send that
  /// gets nowhere for two send timeouts then goes on waiting, up to `limit` for a byte. 0 (the
  /// default): the first send timeout is final. Only for connections that no other thread receives
  /// from meanwhile.
  void SetSendPatience(std::chrono::milliseconds limit) { send_patience_ = limit; }

  /// Sends prelude, header and payload with as few system calls as possible. `prelude`'s lengths
  /// and header checksum are filled in from the arguments.
  Status Send(FramePrelude prelude, std::string_view header, std::span<const iovec> payload);
  /// Prelude and header, then `count` bytes of `file_descriptor` from `offset` by sendfile. When
  /// the file is shorter, zeros follow in the place of what is missing. kIo when the file cannot be
  /// read.
  Status SendFile(FramePrelude prelude, std::string_view header, int file_descriptor,
                  uint64_t offset, uint32_t count);

  /// Reads prelude and header (checksum verified); the payload must be read next, whole.
  /// kUnavailable with "closed" at an orderly end between frames; kCorruption for bytes that are no
  /// frame.
  Result<FramePrelude> Receive(std::string* header);
  /// The payload may be read in pieces, some of them skipped. kInternal when it has fewer bytes
  /// left.
  Status ReceivePayload(char* out, size_t size);
  /// Into several places with one system call.
  Status ReceivePayload(std::span<const iovec> pieces);
  Status SkipPayload(size_t size);

  /// True when bytes of the next frame are already in the receive buffer: Receive will not wait for
  /// its beginning.
  bool HasBufferedInput() const { return buffer_begin_ != buffer_end_; }

  /// What the peer's machine does not have yet when this object ends is not sent any more (the
  /// connection is reset instead of closed).
  void DropUnsentOnClose();
  /// Wakes both directions with an error, from any thread.
  void Shutdown();
  /// True when the peer closed or broke an idle connection (a check before reuse).
  bool LooksClosed() const;
  const std::string& peer_name() const { return peer_name_; }
  int socket() const { return socket_; }

 private:
  /// How much is read ahead: a frame's prelude and header with a page of payload come in one system
  /// call, while of a large payload all but this much goes straight to its place.
  static constexpr size_t kReceiveBufferBytes = 4096 + 512;
  struct SendStall;

  Status SendVector(std::span<iovec> pieces, int flags);
  bool MayWaitOn(SendStall* stall) const;
  Status SendZeros(size_t count);
  Status FillBuffer(size_t wanted);
  Status ReceiveVector(std::span<iovec> pieces);
  Status Error(int error, std::string_view action) const;

  // Constant.
  const int socket_;
  const std::string peer_name_;

  // Of the sending thread.
  std::chrono::milliseconds send_timeout_{0};
  std::chrono::milliseconds send_patience_{0};

  // Of the receiving thread.
  std::chrono::milliseconds receive_timeout_{0};
  const std::unique_ptr<char[]> buffer_;
  size_t buffer_begin_ = 0;
  size_t buffer_end_ = 0;
  uint32_t payload_left_ = 0;
};

}  // namespace tercet
