#include "common/rpc/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <mutex>

namespace tercet {
namespace {

using Clock = std::chrono::steady_clock;
using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

constexpr int kListenBacklog = 1024;
constexpr int kKeepAliveIdleSeconds = 60;
constexpr int kKeepAliveIntervalSeconds = 10;
constexpr int kKeepAliveProbes = 6;

void SetIntOption(int socket, int level, int option, int value) {
  ::setsockopt(socket, level, option, &value, sizeof(value));
}

Result<AddressList> Resolve(const HostPort& address, bool for_listening) {
  addrinfo hints{};
  hints.ai_family = address.host.empty() ? AF_INET : AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (for_listening ? AI_PASSIVE : 0);
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address.port);
  const int error = ::getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(),
                                  port.c_str(), &hints, &found);
  if (error != 0) {
    return Status(
        for_listening ? StatusCode::kInvalidArgument : StatusCode::kUnavailable,
        "the host name of " + address.ToString() + " does not resolve: " + ::gai_strerror(error));
  }
  return AddressList(found, &freeaddrinfo);
}

/// A TCP connect to a free port of this machine may meet itself when the system picks the same port
/// as its source; the caller would then talk to itself.
bool ConnectedToItself(int socket) {
  sockaddr_storage local{};
  sockaddr_storage peer{};
  socklen_t local_size = sizeof(local);
  socklen_t peer_size = sizeof(peer);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&local), &local_size) != 0) return false;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0) return false;
  return AddressName(local) == AddressName(peer);
}

/// Waits for a connect in progress; the errno of its outcome, ETIMEDOUT when `deadline` comes
/// first.
int AwaitConnect(int socket, bool has_deadline, Clock::time_point deadline) {
  while (true) {
    int wait_ms = -1;
    if (has_deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
      if (left.count() <= 0) return ETIMEDOUT;
      wait_ms = static_cast<int>(left.count());
    }
    pollfd poll_entry{socket, POLLOUT, 0};
    const int ready = ::poll(&poll_entry, 1, wait_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return errno;
    if (ready == 0) return ETIMEDOUT;
    return ConnectOutcome(socket);
  }
}

/// Detaches unless it was dismissed. The aborter may be null.
class Attachment {
 public:
  Attachment(SocketAborter* aborter, int socket)
      : aborter_(aborter), attached_(aborter == nullptr || aborter->Attach(socket)) {}
  ~Attachment() {
    if (aborter_ != nullptr && attached_) aborter_->Detach();
  }
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;
  bool attached() const { return attached_; }
  void Dismiss() { aborter_ = nullptr; }

 private:
  SocketAborter* aborter_;
  const bool attached_;
};

/// Makes the socket's connections come from `source_host`, from any port of it.
Status BindSource(int socket, int family, const std::string& source_host, std::string_view what) {
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(source_host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    return Status(StatusCode::kInvalidArgument,
                  std::string(what) + " from " + source_host + ": " + ::gai_strerror(error));
  }
  const AddressList addresses(found, &freeaddrinfo);
  // The port is chosen by connect, so that few connections do not use up all ports.
  SetIntOption(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  if (::bind(socket, addresses->ai_addr, addresses->ai_addrlen) != 0) {
    return Status(StatusCode::kInvalidArgument,
                  std::string(what) + " from " + source_host + ": " + ::strerror(errno));
  }
  return Status::Ok();
}

Result<UniqueSocket> ConnectOne(const addrinfo& address, bool has_deadline,
                                Clock::time_point deadline, const std::string& source_host,
                                std::string_view what, SocketAborter* aborter) {
  UniqueSocket socket(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.get() < 0) return StatusFromErrno(errno, what);
  Attachment attachment(aborter, socket.get());  // ends before the socket does
  if (!attachment.attached()) return StatusFromSocketErrno(ECONNABORTED, what);
  if (!source_host.empty()) {
    RETURN_IF_ERROR(BindSource(socket.get(), address.ai_family, source_host, what));
  }
  int error = 0;
  if (::connect(socket.get(), address.ai_addr, address.ai_addrlen) != 0) {
    error = errno;
    if (error == EINPROGRESS || error == EINTR) {
      error = AwaitConnect(socket.get(), has_deadline, deadline);
    }
  }
  if (error == 0 && ConnectedToItself(socket.get())) error = ECONNREFUSED;
  if (error != 0) return StatusFromSocketErrno(error, what);
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) {
    return StatusFromErrno(errno, what);
  }
  SetIntOption(socket.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  attachment.Dismiss();
  return socket;
}

Status ListenStatus(int error, const HostPort& address) {
  const std::string what = "listen on " + address.ToString();
  if (error == EADDRINUSE) {
    return Status(StatusCode::kBusy, what + ": the port is in use by another process");
  }
  if (error == EADDRNOTAVAIL) {
    return Status(StatusCode::kInvalidArgument, what + ": not an address of this machine");
  }
  return StatusFromErrno(error, what);
}

}  // namespace

void UniqueSocket::Close() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

void SocketAborter::Abort() {
  std::lock_guard lock(mutex_);
  aborted_ = true;
  // A socket that is still connecting ends with ECONNRESET.
  if (socket_ >= 0) ::shutdown(socket_, SHUT_RDWR);
}

bool SocketAborter::aborted() const {
  std::lock_guard lock(mutex_);
  return aborted_;
}

bool SocketAborter::Attach(int socket) {
  std::lock_guard lock(mutex_);
  if (aborted_) return false;
  socket_ = socket;
  return true;
}

void SocketAborter::Detach() {
  std::lock_guard lock(mutex_);
  socket_ = -1;
}

Result<std::vector<SocketAddress>> ResolvePeer(const HostPort& peer) {
  ASSIGN_OR_RETURN(AddressList found, Resolve(peer, /*for_listening=*/false));
  std::vector<SocketAddress> addresses;
  for (const addrinfo* entry = found.get(); entry != nullptr; entry = entry->ai_next) {
    SocketAddress address;
    if (entry->ai_addrlen > sizeof(address.storage)) continue;
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.size = entry->ai_addrlen;
    addresses.push_back(address);
  }
  if (addresses.empty()) {
    return Status(StatusCode::kUnavailable, "connect to " + peer.ToString() + ": no address");
  }
  return addresses;
}

Result<UniqueSocket> StartConnect(const SocketAddress& address) {
  IgnoreSigpipe();
  const std::string what = "connect to " + AddressName(address.storage);
  UniqueSocket socket(
      ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.get() < 0) return StatusFromErrno(errno, what);
  const auto* target = reinterpret_cast<const sockaddr*>(&address.storage);
  if (::connect(socket.get(), target, address.size) != 0 && errno != EINPROGRESS &&
      errno != EINTR) {
    return StatusFromSocketErrno(errno, what);
  }
  SetIntOption(socket.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  return socket;
}

int ConnectOutcome(int socket) {
  int error = 0;
  socklen_t size = sizeof(error);
  if (::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  if (error == 0 && ConnectedToItself(socket)) return ECONNREFUSED;
  return error;
}

Result<UniqueSocket> ConnectSocket(const HostPort& peer, std::chrono::milliseconds timeout,
                                   const std::string& source_host, SocketAborter* aborter) {
  IgnoreSigpipe();
  const bool has_deadline = timeout.count() > 0;
  const Clock::time_point deadline = Clock::now() + timeout;
  ASSIGN_OR_RETURN(AddressList addresses, Resolve(peer, /*for_listening=*/false));
  const std::string what = "connect to " + peer.ToString();
  Status last(StatusCode::kUnavailable, what + ": no address");
  for (const addrinfo* entry = addresses.get(); entry != nullptr; entry = entry->ai_next) {
    auto socket = ConnectOne(*entry, has_deadline, deadline, source_host, what, aborter);
    if (socket.ok()) return socket;
    last = socket.status();
    if (last.code() == StatusCode::kDeadlineExceeded) break;
  }
  return last;
}

Result<ReservedPort> ReservePort(const HostPort& address) {
  IgnoreSigpipe();
  ASSIGN_OR_RETURN(AddressList addresses, Resolve(address, /*for_listening=*/true));
  const addrinfo& entry = *addresses;
  ReservedPort result;
  result.address = address;
  result.socket =
      UniqueSocket(::socket(entry.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int socket = result.socket.get();
  if (socket < 0) return ListenStatus(errno, address);
  // Connections of a predecessor that linger in TIME_WAIT must not keep a restart from binding.
  SetIntOption(socket, SOL_SOCKET, SO_REUSEADDR, 1);
  if (::bind(socket, entry.ai_addr, entry.ai_addrlen) != 0) return ListenStatus(errno, address);
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    return ListenStatus(errno, address);
  }
  result.port =
      ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                        : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
  return result;
}

Result<ListeningSocket> ListenOn(const ReservedPort& reserved) {
  ListeningSocket result;
  result.port = reserved.port;
  result.socket = UniqueSocket(::fcntl(reserved.socket.get(), F_DUPFD_CLOEXEC, 0));
  if (result.socket.get() < 0 || ::listen(result.socket.get(), kListenBacklog) != 0) {
    return ListenStatus(errno, reserved.address);
  }
  return result;
}

Result<ListeningSocket> ListenOn(const HostPort& address) {
  ASSIGN_OR_RETURN(const ReservedPort reserved, ReservePort(address));
  return ListenOn(reserved);
}

void PrepareAcceptedSocket(int socket) {
  SetIntOption(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  SetIntOption(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetIntOption(socket, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleSeconds);
  SetIntOption(socket, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalSeconds);
  SetIntOption(socket, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
}

void SetSocketTimeout(int socket, int option, std::chrono::milliseconds timeout) {
  timeval value{};
  value.tv_sec = timeout.count() / 1000;
  value.tv_usec = (timeout.count() % 1000) * 1000;
  ::setsockopt(socket, SOL_SOCKET, option, &value, sizeof(value));
}

std::string AddressName(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET) {
    const auto& ipv4 = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &ipv4.sin_addr, text, sizeof(text));
    return HostPort{text, ntohs(ipv4.sin_port)}.ToString();
  }
  if (address.ss_family == AF_INET6) {
    const auto& ipv6 = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &ipv6.sin6_addr, text, sizeof(text));
    return HostPort{text, ntohs(ipv6.sin6_port)}.ToString();
  }
  return "unknown";
}

Status StatusFromSocketErrno(int error, std::string_view what) {
  const bool timed_out = error == EAGAIN || error == EWOULDBLOCK || error == ETIMEDOUT;
  return Status(timed_out ? StatusCode::kDeadlineExceeded : StatusCode::kUnavailable,
                std::string(what) + ": " + (timed_out ? "no answer in time" : ::strerror(error)));
}

bool IdleSocketLooksClosed(int socket) {
  char byte;
  const ssize_t got = ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

void IgnoreSigpipe() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction current {};
    if (::sigaction(SIGPIPE, nullptr, &current) == 0 && current.sa_handler == SIG_DFL) {
      ::signal(SIGPIPE, SIG_IGN);
    }
  });
}

}  // namespace tercet
