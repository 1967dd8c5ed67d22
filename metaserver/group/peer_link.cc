#include "metaserver/group/peer_link.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <thrift/protocol/TBinaryProtocol.h>
#include <thrift/protocol/TMultiplexedProtocol.h>
#include <thrift/transport/TBufferTransports.h>

#include <algorithm>
#include <cerrno>

#include "common/log/log.h"
#include "common/rpc/host_port.h"
#include "common/rpc/socket.h"
#include "common/rpc/wire_status.h"
#include "metaserver/group/group_wire.h"
#include "tercet_thrift/GroupService.h"

namespace tercet {

using apache::thrift::protocol::TBinaryProtocolT;
using apache::thrift::protocol::TMultiplexedProtocol;
using apache::thrift::transport::TFramedTransport;
using apache::thrift::transport::TMemoryBuffer;

namespace {

constexpr char kService[] = "group";
/// One thread that has something of its own to do sends no more than this for others.
constexpr int kMaxSentOnBehalf = 8;
constexpr std::chrono::milliseconds kFirstBackoff{10};

}  // namespace

/// Makes the bytes of a Deliver call.
class PeerLink::Encoder {
 public:
  Encoder()
      : buffer_(std::make_shared<TMemoryBuffer>(RpcConfiguration())),
        client_(std::make_shared<TMultiplexedProtocol>(
            std::make_shared<TBinaryProtocolT<TFramedTransport>>(
                std::make_shared<TFramedTransport>(buffer_)),
            kService)) {}

  std::string Encode(const wire::GroupMessage& message) {
    client_.Deliver(message);
    std::string bytes = buffer_->getBufferAsString();
    buffer_->resetBuffer();
    return bytes;
  }

 private:
  const std::shared_ptr<TMemoryBuffer> buffer_;
  wire::GroupServiceClient client_;
};

PeerLink::PeerLink(PeerLinkOptions options, LinkSource& source)
    : options_(std::move(options)), source_(source), encoder_(std::make_unique<Encoder>()) {
  thread_ = std::thread([this] { Run(); });
}

PeerLink::~PeerLink() {
  Stop();
  thread_.join();
}

void PeerLink::Stop() {
  std::lock_guard lock(mutex_);
  stop_ = true;
  if (connection_ != nullptr) ::shutdown(connection_->socket(), SHUT_RDWR);
  wakeup_.notify_all();
}

bool PeerLink::connected() const {
  std::lock_guard lock(mutex_);
  return connected_;
}

void PeerLink::Enqueue(RaftMessage message) {
  std::lock_guard lock(mutex_);
  if (queue_.size() >= kMaxQueued) {
    queue_.pop_front();
    source_.CountDropped();
  }
  queue_.push_back(std::move(message));
}

void PeerLink::Kick() {
  Lock lock(mutex_);
  pending_ = true;
  if (sending_) return;  // who sends looks once more
  if (!connected_ || !rest_.empty() || stop_) {
    wakeup_.notify_all();
    return;
  }
  SendAll(lock, /*may_wait=*/false);
}

// Needs that nobody sends; releases the lock in between.
void PeerLink::SendAll(Lock& lock, bool may_wait) {
  sending_ = true;
  bool leave_to_thread = false;
  for (int sent = 0; connected_ && !stop_; ++sent) {
    if (!may_wait && sent == kMaxSentOnBehalf) {
      leave_to_thread = true;
      break;
    }
    const int socket = connection_->socket();
    std::string bytes = std::move(rest_);
    rest_.clear();
    pending_ = false;
    lock.unlock();
    bool must_wait = false;
    if (bytes.empty()) bytes = NextBytes(may_wait, &must_wait);
    Result<size_t> done(size_t{0});
    if (!bytes.empty()) done = Send(socket, bytes, may_wait);
    lock.lock();
    if (!done.ok()) {
      LOG_DEBUG("the connection to member {} broke: {}", options_.peer, done.status());
      connected_ = false;
      break;
    }
    if (*done < bytes.size()) rest_ = bytes.substr(*done);
    if (must_wait || !rest_.empty()) {
      leave_to_thread = true;
      break;
    }
    if (bytes.empty() && !pending_) break;
  }
  sending_ = false;
  if (leave_to_thread) pending_ = true;
  if (leave_to_thread || !connected_ || stop_) wakeup_.notify_all();
}

std::optional<RaftMessage> PeerLink::TakeQueued() {
  std::lock_guard lock(mutex_);
  if (queue_.empty()) return std::nullopt;
  std::optional<RaftMessage> message = std::move(queue_.front());
  queue_.pop_front();
  return message;
}

std::string PeerLink::NextBytes(bool may_wait, bool* must_wait) {
  std::optional<RaftMessage> message = TakeQueued();
  if (!message) {
    LinkSource::Next next = source_.NextFor(options_.peer, may_wait);
    *must_wait = next.must_wait;
    message = std::move(next.message);
    if (!message) message = TakeQueued();  // the source may have put one there
  }
  if (!message) return {};
  source_.CountSent();
  return encoder_->Encode(ToWire(options_.group_id, std::move(*message)));
}

Result<size_t> PeerLink::Send(int socket, const std::string& bytes, bool may_wait) {
  // Without this, the first message to a process that was started anew would be lost.
  if (IdleSocketLooksClosed(socket)) {
    return Status(StatusCode::kUnavailable, "the peer closed the connection");
  }
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t sent = ::send(socket, bytes.data() + done, bytes.size() - done,
                                MSG_NOSIGNAL | (may_wait ? 0 : MSG_DONTWAIT));
    if (sent >= 0) {
      done += static_cast<size_t>(sent);
    } else if (errno == EAGAIN && !may_wait) {
      return done;
    } else if (errno != EINTR) {
      return StatusFromSocketErrno(errno, "send to " + options_.address);
    }
  }
  return done;
}

Result<std::unique_ptr<RpcConnection>> PeerLink::Connect() {
  ASSIGN_OR_RETURN(const HostPort peer, ParseHostPort(options_.address));
  ASSIGN_OR_RETURN(auto connection, RpcConnection::Connect(peer, kService, options_.connect_timeout,
                                                           options_.bind_host));
  // Of a peer that vanished, or is behind a cut, the connection ends soon: a new one is tried every
  // tenth of a second, while TCP itself would wait longer and longer.
  const auto user_timeout_ms = static_cast<unsigned>(options_.send_timeout.count());
  ::setsockopt(connection->socket(), IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms,
               sizeof(user_timeout_ms));
  connection->SetTimeout(options_.hello_timeout);
  wire::HelloRequest request;
  request.cluster_id = options_.cluster_id;
  request.group_id = static_cast<int64_t>(options_.group_id);
  request.from_member = static_cast<int32_t>(options_.self.value());
  request.to_member = static_cast<int32_t>(options_.peer.value());
  request.from_address = options_.self_address;
  request.version = options_.version;
  wire::HelloResponse response;
  try {
    wire::GroupServiceClient client(connection->protocol());
    client.Hello(response, request);
  } catch (...) {
    return StatusFromRpcException(peer, kService);
  }
  RETURN_IF_ERROR(FromWire(response.status));
  connection->SetTimeout(options_.send_timeout);
  return connection;
}

void PeerLink::Run() {
  std::chrono::milliseconds backoff = kFirstBackoff;
  std::string last_error;
  Lock lock(mutex_);
  while (!stop_) {
    if (!connected_ && !sending_) {
      rest_.clear();  // the rest of a message makes no sense on another connection
      connection_.reset();
      lock.unlock();
      Result<std::unique_ptr<RpcConnection>> connection = Connect();
      if (connection.ok()) {
        source_.LinkConnected(options_.peer);
        LOG_INFO("connected to member {} at {}", options_.peer, options_.address);
      } else if (connection.status().message() != last_error) {
        LOG_WARN("no connection to member {} at {}: {}", options_.peer, options_.address,
                 connection.status());
      }
      lock.lock();
      last_error = connection.status().message();
      if (!connection.ok()) {
        wakeup_.wait_for(lock, backoff, [&] { return stop_; });
        backoff = std::min(2 * backoff, options_.max_backoff);
        continue;
      }
      connection_ = std::move(connection).value();
      connected_ = true;
      pending_ = true;
      backoff = kFirstBackoff;
    }
    wakeup_.wait(lock, [&] { return stop_ || (!sending_ && (!connected_ || pending_)); });
    if (!stop_ && connected_ && !sending_) SendAll(lock, /*may_wait=*/true);
  }
  // A thread that sends on the socket is about to see that it is shut down.
  wakeup_.wait(lock, [&] { return !sending_; });
}

}  // namespace tercet
