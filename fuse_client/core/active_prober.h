// Asks metaservers whether they are active: all at the same time, from one thread, without ever
// waiting for one of them. A metaserver that is paused or cut off keeps its question open and
// delays nobody else's.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "common/rpc/socket.h"
#include "tercet_thrift/metadata_types.h"

namespace tercet {

/// Not thread-safe.
class ActiveProber {
 public:
  using Clock = std::chrono::steady_clock;

  struct Answer {
    size_t member = 0;
    /// Not OK: it could not be asked, or did not answer for kPatience. Else `info` counts.
    Status transport;
    wire::ReplyInfo info;
  };
  /// After so long without an answer the connection is given up: the next question uses a new one.
  static constexpr std::chrono::milliseconds kPatience{1'000};

  ActiveProber();
  ~ActiveProber();

  size_t member_count() const { return members_.size(); }
  /// Members are numbered from 0 in the order they are added.
  void Add(HostPort address);
  /// Asks a member; nothing is done while a question to it is open.
  void Ask(size_t member);
  /// Answers that have come. Waits for one until `until` (nullopt: without end), or until `wake`, a
  /// descriptor, is readable. Failures to ask are answers too.
  std::vector<Answer> Wait(int wake, std::optional<Clock::time_point> until);
  /// Drops open questions and closes all connections.
  void Close();

 private:
  enum class Phase { kIdle, kConnecting, kSending, kReceiving };
  struct Member {
    HostPort address;
    Phase phase = Phase::kIdle;
    UniqueSocket socket;  // kept while idle
    std::vector<SocketAddress> resolved;
    Clock::time_point resolved_at;
    size_t next_address = 0;
    Clock::time_point asked;
    size_t sent = 0;
    std::string received;
  };

  Status Connect(Member& member, Clock::time_point now);
  /// Goes on as far as is possible without waiting. True when `answer` is complete.
  bool Advance(Member& member, Answer* answer);
  bool Send(Member& member, Answer* answer);
  bool Receive(Member& member, Answer* answer);
  bool Fail(Member& member, Status why, Answer* answer);

  const std::string question_;  // a framed FindActive
  std::vector<Member> members_;
  std::vector<Answer> failed_;  // those that could not be asked, for the next Wait
};

}  // namespace tercet
