#include "chunkserver/replication/frame_sender.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>

#include "common/base/crc32c.h"
#include "common/rpc/frame_connection.h"

namespace tercet {

namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kMaxPieces = 64;
/// A thread that came to send its own frame sends at most about so much for others.
constexpr size_t kMaxInlineBytes = 2 << 20;

/// Bytes taken by the socket, 0 when it takes none just now, or an error.
Result<size_t> TrySend(const FrameConnection& connection, iovec* pieces, int count) {
  msghdr message{};
  message.msg_iov = pieces;
  message.msg_iovlen = static_cast<size_t>(count);
  for (;;) {
    const ssize_t sent = ::sendmsg(connection.socket(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<size_t>(sent);
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return size_t{0};
    return Status(StatusCode::kUnavailable,
                  StatusFromErrno(errno, "send to " + connection.peer_name()).message());
  }
}

}  // namespace

std::string EncodeFrameHead(wire::FrameKind::type kind, uint64_t request_id,
                            std::string_view header, size_t payload_bytes) {
  FramePrelude prelude;
  prelude.kind = static_cast<uint8_t>(kind);
  prelude.header_bytes = static_cast<uint32_t>(header.size());
  prelude.payload_bytes = static_cast<uint32_t>(payload_bytes);
  prelude.request_id = request_id;
  prelude.header_crc = Crc32c(header);
  std::string head;
  head.reserve(kFramePreludeBytes + header.size());
  head.resize(kFramePreludeBytes);
  prelude.Encode(head.data());
  head.append(header);
  return head;
}

FrameSender::FrameSender(std::chrono::milliseconds stall_timeout)
    : stall_timeout_(stall_timeout), last_progress_(SteadyClock::now()) {}

FrameSender::~FrameSender() { Close(); }

void FrameSender::Attach(FrameConnection* connection) {
  {
    std::lock_guard lock(mutex_);
    connection_ = connection;
    last_progress_ = SteadyClock::now();
    if (!status_.ok()) {
      connection_->Shutdown();
      return;
    }
    if (queue_.empty()) return;
    busy_ = true;
  }
  Drain();
}

bool FrameSender::QueueLocked(OutgoingFrame frame) {
  if (!status_.ok()) return false;
  if (queue_.empty()) last_progress_ = SteadyClock::now();
  held_bytes_ += frame.held_bytes();
  queue_.push_back(std::move(frame));
  if (busy_ || connection_ == nullptr) return false;
  busy_ = true;
  return true;
}

void FrameSender::Send(OutgoingFrame frame) {
  {
    std::lock_guard lock(mutex_);
    if (!QueueLocked(std::move(frame))) return;
  }
  Drain();
}

void FrameSender::SendIfIdle(OutgoingFrame frame) {
  {
    std::lock_guard lock(mutex_);
    if (busy_ || !queue_.empty() || connection_ == nullptr) return;
    if (!QueueLocked(std::move(frame))) return;
  }
  Drain();
}

int FrameSender::Advance(size_t sent, iovec* pieces) {
  std::lock_guard lock(mutex_);
  if (!status_.ok()) {
    ClearLocked();
    busy_ = false;
    changed_.notify_all();
    return 0;
  }
  if (sent > 0) {
    last_progress_ = SteadyClock::now();
    front_sent_ += sent;
    while (!queue_.empty() && front_sent_ >= queue_.front().wire_bytes()) {
      front_sent_ -= queue_.front().wire_bytes();
      held_bytes_ -= queue_.front().held_bytes();
      queue_.pop_front();
    }
    if (room_waiters_ > 0) changed_.notify_all();
  }
  if (queue_.empty() || (exclusive_waiters_ > 0 && front_sent_ == 0)) {
    busy_ = false;
    changed_.notify_all();
    return 0;
  }
  // The elements stay where they are while others push behind them; only the busy thread takes out.
  int count = 0;
  size_t skip = front_sent_;
  for (const OutgoingFrame& frame : queue_) {
    if (count + 2 > kMaxPieces) break;
    if (skip < frame.head.size()) {
      pieces[count++] = {const_cast<char*>(frame.head.data()) + skip, frame.head.size() - skip};
      skip = 0;
    } else {
      skip -= frame.head.size();
    }
    if (frame.payload_bytes > skip) {
      pieces[count++] = {const_cast<char*>(frame.payload->data()) + skip,
                         frame.payload_bytes - skip};
    }
    skip = 0;
  }
  return count;
}

void FrameSender::Drain() {
  iovec pieces[kMaxPieces];
  size_t total = 0;
  size_t sent = 0;
  for (;;) {
    const int count = Advance(sent, pieces);
    if (count == 0) return;
    if (total >= kMaxInlineBytes) return HandOver();
    auto result = TrySend(*connection_, pieces, count);
    if (!result.ok()) {
      Fail(result.status());
      sent = 0;
      continue;  // Advance cleans up
    }
    if (*result == 0) return HandOver();
    sent = *result;
    total += sent;
  }
}

void FrameSender::HandOver() {
  std::lock_guard lock(mutex_);
  if (stopping_) {  // Close waits for us and has failed the sender: nothing is left to send
    ClearLocked();
    busy_ = false;
    changed_.notify_all();
    return;
  }
  handed_over_ = true;
  if (!thread_.joinable()) thread_ = std::thread([this] { RunThread(); });
  work_.notify_one();
}

void FrameSender::RunThread() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      work_.wait(lock, [&] { return handed_over_ || stopping_; });
      if (!handed_over_) return;
      handed_over_ = false;
    }
    DrainWaiting();
  }
}

void FrameSender::DrainWaiting() {
  iovec pieces[kMaxPieces];
  size_t sent = 0;
  auto deadline = SteadyClock::now() + stall_timeout_;
  for (;;) {
    const int count = Advance(sent, pieces);
    if (count == 0) return;
    sent = 0;
    auto result = TrySend(*connection_, pieces, count);
    if (!result.ok()) {
      Fail(result.status());
      continue;
    }
    sent = *result;
    if (sent > 0) {
      deadline = SteadyClock::now() + stall_timeout_;
      continue;
    }
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - SteadyClock::now()).count();
    if (left <= 0) {
      Fail(Status(StatusCode::kDeadlineExceeded,
                  "send to " + connection_->peer_name() + ": nothing was taken for " +
                      std::to_string(stall_timeout_.count()) + " ms"));
      continue;
    }
    pollfd poll_entry{connection_->socket(), POLLOUT, 0};
    ::poll(&poll_entry, 1, static_cast<int>(left));
  }
}

Status FrameSender::WaitForRoom(size_t max_held_bytes, std::chrono::milliseconds stall_refusal) {
  std::unique_lock lock(mutex_);
  while (status_.ok() && held_bytes_ >= max_held_bytes) {
    const auto refuse_at = last_progress_ + stall_refusal;
    if (SteadyClock::now() >= refuse_at) {
      return Status(StatusCode::kUnavailable, "its queue is full and it has taken nothing for " +
                                                  std::to_string(stall_refusal.count()) + " ms");
    }
    ++room_waiters_;
    changed_.wait_until(lock, refuse_at);
    --room_waiters_;
  }
  return status_;
}

Status FrameSender::BeginExclusive() {
  std::unique_lock lock(mutex_);
  ++exclusive_waiters_;
  changed_.wait(lock, [&] { return !busy_ || !status_.ok(); });
  --exclusive_waiters_;
  if (!status_.ok()) return status_;
  busy_ = true;
  return Status::Ok();
}

void FrameSender::EndExclusive(const Status& status) {
  {
    std::lock_guard lock(mutex_);
    if (!status.ok()) FailLocked(status);
    if (queue_.empty() || !status_.ok()) {
      ClearLocked();
      busy_ = false;
      changed_.notify_all();
      return;
    }
  }
  Drain();
}

void FrameSender::ClearLocked() {
  queue_.clear();
  front_sent_ = 0;
  held_bytes_ = 0;
}

void FrameSender::FailLocked(const Status& status) {
  if (!status_.ok()) return;
  status_ = status;
  if (connection_ != nullptr) connection_->Shutdown();
  // A busy thread may be in a system call with the queue's memory; it cleans up itself.
  if (!busy_) ClearLocked();
  changed_.notify_all();
}

void FrameSender::Fail(const Status& status) {
  std::lock_guard lock(mutex_);
  FailLocked(status);
}

void FrameSender::Close() {
  std::thread thread;
  {
    std::unique_lock lock(mutex_);
    FailLocked(Status(StatusCode::kCancelled, "closed"));
    stopping_ = true;
    work_.notify_all();
    thread.swap(thread_);
  }
  if (thread.joinable()) thread.join();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !busy_; });
}

Status FrameSender::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

}  // namespace tercet
