// The way to one other member: a connection, and a thread that sends.
//
// A message goes out on the thread that has it as long as the connection takes it without waiting,
// so that a commit pays for no hand-over between threads. What the connection does not take at
// once, what has to be read from the journal, and connecting are left to the link's own thread. So
// a member that is gone, stopped or slow holds up nothing but its link.
//
// Messages may be lost, never torn: after an incomplete one the connection is closed.
//
// Lock order: the lock of the LinkSource before that of a link.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "common/base/status.h"
#include "common/rpc/thrift_client.h"
#include "metaserver/raft/raft_messages.h"

namespace tercet {

struct PeerLinkOptions {
  std::string cluster_id;
  uint64_t group_id = 0;
  MemberId self;
  std::string self_address;
  std::string version;
  std::string bind_host;  // source of the connection; empty: any
  MemberId peer;
  std::string address;  // of the peer
  /// For connecting, for Hello, and for each part of a message.
  std::chrono::milliseconds connect_timeout{300};
  std::chrono::milliseconds hello_timeout{500};
  std::chrono::milliseconds send_timeout{1000};
  std::chrono::milliseconds max_backoff{100};
};

/// Where the records for a member come from. Called without the link's lock, by one thread at a
/// time for each member.
class LinkSource {
 public:
  virtual ~LinkSource() = default;
  struct Next {
    std::optional<RaftMessage> message;
    bool must_wait = false;  // there is one, but it needs the disk
  };
  /// `may_wait`: the disk may be read.
  virtual Next NextFor(MemberId to, bool may_wait) = 0;
  virtual void LinkConnected(MemberId to) = 0;
  /// One message went out.
  virtual void CountSent() = 0;
  virtual void CountDropped() = 0;
};

/// Thread-safe.
class PeerLink {
 public:
  static constexpr size_t kMaxQueued = 64;  // messages; the oldest is dropped

  /// `source` must outlive the link.
  PeerLink(PeerLinkOptions options, LinkSource& source);
  /// Waits for the thread: up to a timeout of the options. No Kick may be in progress.
  ~PeerLink();

  /// Puts a message at the end of the queue; Kick sends it.
  void Enqueue(RaftMessage message);
  /// Sends what is queued and what the source has. Must not be called with the source's lock.
  void Kick();
  /// Nothing is sent any more. Returns at once.
  void Stop();

  const std::string& address() const { return options_.address; }
  bool connected() const;

 private:
  class Encoder;
  using Lock = std::unique_lock<std::mutex>;

  void Run();
  Result<std::unique_ptr<RpcConnection>> Connect();
  void SendAll(Lock& lock, bool may_wait);
  std::optional<RaftMessage> TakeQueued();
  std::string NextBytes(bool may_wait, bool* must_wait);
  /// How much of `bytes` went out; all of it, or less when !may_wait. kUnavailable.
  Result<size_t> Send(int socket, const std::string& bytes, bool may_wait);

  const PeerLinkOptions options_;
  LinkSource& source_;

  // Used by who has set sending_:
  const std::unique_ptr<Encoder> encoder_;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::deque<RaftMessage> queue_;
  std::unique_ptr<RpcConnection> connection_;  // closed by the thread, when nobody sends
  bool connected_ = false;
  bool sending_ = false;  // a thread sends
  bool pending_ = false;  // there may be more to send than the one who sends has seen
  std::string rest_;      // of a message that went out in part
  bool stop_ = false;
  std::condition_variable wakeup_;

  std::thread thread_;  // started last
};

}  // namespace tercet
