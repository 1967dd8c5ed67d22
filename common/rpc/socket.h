// TCP sockets as the rest of common/rpc needs them: connecting with a deadline, listening,
// timeouts.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"

namespace tercet {

/// Owns a file descriptor.
class UniqueSocket {
 public:
  UniqueSocket() = default;
  explicit UniqueSocket(int descriptor) : descriptor_(descriptor) {}
  ~UniqueSocket() { Close(); }
  UniqueSocket(UniqueSocket&& other) noexcept : descriptor_(other.Release()) {}
  UniqueSocket& operator=(UniqueSocket&& other) noexcept {
    if (this != &other) {
      Close();
      descriptor_ = other.Release();
    }
    return *this;
  }

  int get() const { return descriptor_; }
  int Release() { return std::exchange(descriptor_, -1); }
  void Close();

 private:
  int descriptor_ = -1;
};

/// Lets another thread end what one thread does with a socket, connecting included. Thread-safe.
class SocketAborter {
 public:
  /// Whoever waits for the attached socket, now or later, is woken and fails. Stays so.
  void Abort();
  bool aborted() const;

  /// By the socket's user: false when it is aborted already. Detach before the socket is closed.
  bool Attach(int socket);
  void Detach();

 private:
  mutable std::mutex mutex_;
  int socket_ = -1;       // guarded by mutex_
  bool aborted_ = false;  // guarded by mutex_
};

/// A connected, blocking socket with TCP_NODELAY. Tries each address of the host within `timeout`
/// (0: the system's own limit). `source_host`: the local address to connect from; empty: any.
/// Errors name the peer: kUnavailable, kDeadlineExceeded; kInvalidArgument for a source address
/// that is not one of this machine. With an `aborter` the socket is attached to it from before it
/// connects, and stays so.
Result<UniqueSocket> ConnectSocket(const HostPort& peer, std::chrono::milliseconds timeout,
                                   const std::string& source_host = {},
                                   SocketAborter* aborter = nullptr);

struct SocketAddress {
  sockaddr_storage storage;
  socklen_t size = 0;
};
/// The addresses of a host, at least one. May wait for the name service.
Result<std::vector<SocketAddress>> ResolvePeer(const HostPort& peer);

/// A non-blocking socket that connects while the caller goes on. When poll(2) says that it is
/// writable, ConnectOutcome tells how it went.
Result<UniqueSocket> StartConnect(const SocketAddress& address);
/// 0, or an errno.
int ConnectOutcome(int socket);

struct ListeningSocket {
  UniqueSocket socket;  // non-blocking
  uint16_t port = 0;
};
/// Errors name the address: kBusy when the port is in use, kInvalidArgument when the address is not
/// one of this machine. An empty host means all IPv4 addresses; port 0 takes any free port.
Result<ListeningSocket> ListenOn(const HostPort& address);

/// An address that is taken, but not listened on: connections are refused.
struct ReservedPort {
  HostPort address;  // as asked for
  UniqueSocket socket;
  uint16_t port = 0;
};
/// Errors as ListenOn.
Result<ReservedPort> ReservePort(const HostPort& address);
/// From now on, also when the result is closed, connections wait in the system's queue as long as
/// the reservation lives; may be repeated after that. Errors as above.
Result<ListeningSocket> ListenOn(const ReservedPort& reserved);

/// TCP_NODELAY, and keep-alive probes so that the connection of a machine that vanished ends.
void PrepareAcceptedSocket(int socket);

/// `option` is SO_SNDTIMEO or SO_RCVTIMEO; 0 means no limit.
void SetSocketTimeout(int socket, int option, std::chrono::milliseconds timeout);

/// "10.0.0.1:4711", or "unknown" for what is no internet address.
std::string AddressName(const sockaddr_storage& address);

/// A failed call on a connected socket: kDeadlineExceeded for a timeout, otherwise kUnavailable.
Status StatusFromSocketErrno(int error, std::string_view what);

/// True when an idle socket was closed or broken by its peer, or holds bytes nobody asked for.
bool IdleSocketLooksClosed(int socket);

/// Sets SIGPIPE to be ignored unless the program handles it: sendfile has no MSG_NOSIGNAL. Programs
/// started by this one inherit it. Thread-safe, cheap when repeated.
void IgnoreSigpipe();

}  // namespace tercet
