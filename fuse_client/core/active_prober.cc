#include "fuse_client/core/active_prober.h"

#include <poll.h>
#include <sys/socket.h>
#include <thrift/protocol/TBinaryProtocol.h>
#include <thrift/protocol/TMultiplexedProtocol.h>
#include <thrift/transport/TBufferTransports.h>

#include <algorithm>
#include <cerrno>

#include "common/rpc/thrift_client.h"
#include "tercet_thrift/MetadataService.h"

namespace tercet {
namespace {

using apache::thrift::protocol::TBinaryProtocol;
using apache::thrift::protocol::TMultiplexedProtocol;
using apache::thrift::transport::TFramedTransport;
using apache::thrift::transport::TMemoryBuffer;

constexpr const char* kService = "metadata";
constexpr size_t kLengthBytes = 4;
constexpr size_t kMaxAnswerBytes = 64 << 10;
/// Names are looked up again after this time, in case a metaserver has moved.
constexpr std::chrono::seconds kResolveInterval{10};

std::string MakeQuestion() {
  auto buffer = std::make_shared<TMemoryBuffer>();
  auto framed = std::make_shared<TFramedTransport>(buffer);
  wire::MetadataServiceClient client(
      std::make_shared<TMultiplexedProtocol>(std::make_shared<TBinaryProtocol>(framed), kService));
  client.send_FindActive(wire::FindActiveRequest());
  return buffer->getBufferAsString();
}

/// `body` is a message without its length.
Status ParseAnswer(const HostPort& peer, std::string_view body, wire::ReplyInfo* info) {
  std::string copy(body);
  try {
    auto buffer = std::make_shared<TMemoryBuffer>(reinterpret_cast<uint8_t*>(copy.data()),
                                                  static_cast<uint32_t>(copy.size()),
                                                  TMemoryBuffer::OBSERVE, RpcConfiguration());
    wire::MetadataServiceClient client(std::make_shared<TBinaryProtocol>(buffer));
    wire::FindActiveResponse response;
    client.recv_FindActive(response);
    *info = std::move(response.info);
    return Status::Ok();
  } catch (...) {
    return StatusFromRpcException(peer, kService);
  }
}

uint32_t LengthOf(const std::string& message) {
  uint32_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length = length << 8 | static_cast<uint8_t>(message[i]);
  }
  return length;
}

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

ActiveProber::ActiveProber() : question_(MakeQuestion()) {}
ActiveProber::~ActiveProber() = default;

void ActiveProber::Add(HostPort address) {
  members_.emplace_back();
  members_.back().address = std::move(address);
}

void ActiveProber::Ask(size_t index) {
  Member& member = members_[index];
  if (member.phase != Phase::kIdle) return;
  const Clock::time_point now = Clock::now();
  member.asked = now;
  member.sent = 0;
  member.received.clear();
  if (member.socket.get() >= 0 && IdleSocketLooksClosed(member.socket.get())) {
    member.socket.Close();
  }
  if (member.socket.get() < 0) {
    if (Status connecting = Connect(member, now); !connecting.ok()) {
      Answer answer;
      answer.member = index;
      Fail(member, std::move(connecting), &answer);
      failed_.push_back(std::move(answer));
    }
    return;
  }
  member.phase = Phase::kSending;
  Answer answer;
  answer.member = index;
  if (Advance(member, &answer)) failed_.push_back(std::move(answer));
}

Status ActiveProber::Connect(Member& member, Clock::time_point now) {
  if (member.resolved.empty() || now - member.resolved_at > kResolveInterval) {
    ASSIGN_OR_RETURN(member.resolved, ResolvePeer(member.address));
    member.resolved_at = now;
  }
  // Each try takes the next address of the host.
  ASSIGN_OR_RETURN(member.socket,
                   StartConnect(member.resolved[member.next_address++ % member.resolved.size()]));
  member.phase = Phase::kConnecting;
  return Status::Ok();
}

bool ActiveProber::Fail(Member& member, Status why, Answer* answer) {
  member.socket.Close();
  member.phase = Phase::kIdle;
  answer->transport = std::move(why);
  return true;
}

bool ActiveProber::Send(Member& member, Answer* answer) {
  while (member.sent < question_.size()) {
    const ssize_t sent = ::send(member.socket.get(), question_.data() + member.sent,
                                question_.size() - member.sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && WouldBlock()) return false;
    if (sent < 0) return Fail(member, StatusFromSocketErrno(errno, "send"), answer);
    member.sent += static_cast<size_t>(sent);
  }
  member.phase = Phase::kReceiving;
  return false;
}

bool ActiveProber::Receive(Member& member, Answer* answer) {
  char bytes[2048];
  while (true) {
    const ssize_t got = ::recv(member.socket.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
    if (got < 0 && WouldBlock()) return false;
    if (got < 0) return Fail(member, StatusFromSocketErrno(errno, "receive"), answer);
    if (got == 0) {
      return Fail(member, Status(StatusCode::kUnavailable, "the connection was closed"), answer);
    }
    member.received.append(bytes, static_cast<size_t>(got));
    if (member.received.size() < kLengthBytes) continue;
    const size_t length = LengthOf(member.received);
    if (length > kMaxAnswerBytes || member.received.size() > kLengthBytes + length) {
      return Fail(member, Status(StatusCode::kCorruption, "the reply makes no sense"), answer);
    }
    if (member.received.size() < kLengthBytes + length) continue;
    Status parsed = ParseAnswer(
        member.address, std::string_view(member.received).substr(kLengthBytes), &answer->info);
    if (!parsed.ok()) return Fail(member, std::move(parsed), answer);
    member.phase = Phase::kIdle;
    return true;
  }
}

bool ActiveProber::Advance(Member& member, Answer* answer) {
  if (member.phase == Phase::kConnecting) {
    const int error = ConnectOutcome(member.socket.get());
    if (error != 0) {
      return Fail(member, StatusFromSocketErrno(error, "connect to " + member.address.ToString()),
                  answer);
    }
    member.phase = Phase::kSending;
  }
  if (member.phase == Phase::kSending && Send(member, answer)) return true;
  return member.phase == Phase::kReceiving && Receive(member, answer);
}

std::vector<ActiveProber::Answer> ActiveProber::Wait(int wake,
                                                     std::optional<Clock::time_point> until) {
  std::vector<Answer> answers;
  answers.swap(failed_);
  std::vector<pollfd> entries{{wake, POLLIN, 0}};
  std::vector<size_t> asked;
  if (!answers.empty()) until = Clock::now();
  for (size_t i = 0; i < members_.size(); ++i) {
    const Member& member = members_[i];
    if (member.phase == Phase::kIdle) continue;
    const short events = member.phase == Phase::kReceiving ? POLLIN : POLLOUT;
    entries.push_back({member.socket.get(), events, 0});
    asked.push_back(i);
    const Clock::time_point end = member.asked + kPatience;
    until = until ? std::min(*until, end) : end;
  }
  int wait_ms = -1;
  if (until) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*until - Clock::now());
    wait_ms = static_cast<int>(std::clamp<int64_t>(left.count(), 0, 60'000));
  }
  // A failure (EINTR) is as if nothing had come yet.
  if (::poll(entries.data(), entries.size(), wait_ms) < 0) return answers;
  const Clock::time_point now = Clock::now();
  for (size_t n = 0; n < asked.size(); ++n) {
    Member& member = members_[asked[n]];
    Answer answer;
    answer.member = asked[n];
    if (entries[n + 1].revents != 0) {
      if (Advance(member, &answer)) answers.push_back(std::move(answer));
    } else if (now - member.asked >= kPatience) {
      Fail(member, Status(StatusCode::kDeadlineExceeded, "no answer in time"), &answer);
      answers.push_back(std::move(answer));
    }
  }
  return answers;
}

void ActiveProber::Close() {
  for (Member& member : members_) {
    member.socket.Close();
    member.phase = Phase::kIdle;
  }
  failed_.clear();
}

}  // namespace tercet
