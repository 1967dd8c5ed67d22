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

  /// No single byte may take longer than this to go out or to come in. 0: no limit.
  void SetSendTimeout(std::chrono::milliseconds timeout);
  void SetReceiveTimeout(std::chrono::milliseconds timeout);

  /// Sends prelude, header and payload with as few system calls as possible. `prelude`'s lengths and
  /// header checksum are filled in from the arguments.
  Status Send(FramePrelude prelude, std::string_view header, std::span<const iovec> payload);
  /// Prelude and header, then `count` bytes of `file_descriptor` from `offset` by sendfile. When the
  /// file is shorter, zeros follow in the place of what is missing.
  Status SendFile(FramePrelude prelude, std::string_view header, int file_descriptor,
                  uint64_t offset, uint32_t count);

  /// Reads prelude and header (checksum verified); the payload must be read next, whole.
  /// kUnavailable with "closed" at an orderly end between frames.
  Result<FramePrelude> Receive(std::string* header);
  Status ReceivePayload(char* out, size_t size);
  Status SkipPayload(size_t size);

  /// Wakes both directions with an error, from any thread.
  void Shutdown();
  /// True when the peer closed or broke an idle connection (a check before reuse).
  bool LooksClosed() const;
  const std::string& peer_name() const { return peer_name_; }
  int socket() const { return socket_; }

 private:
  const int socket_;
  const std::string peer_name_;
};

}  // namespace tercet
