// A connection to the next server of chains, shared by all operations that go there.
//
// Lifecycle: connecting (frames are queued) → greeted → failed. A link never recovers: when it
// fails, all operations it owes an answer for end with the failure, and Downstream makes a new one
// for later ones. A peer that owes answers has to send one, or WORKING, within the progress
// deadline.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "chunkserver/replication/counters.h"
#include "chunkserver/replication/frame_sender.h"
#include "chunkserver/replication/operation.h"
#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/rpc/frame_connection.h"
#include "common/rpc/host_port.h"

namespace tercet {

struct LinkOptions {
  HostPort peer;
  ServerId peer_id;
  std::string cluster_id;
  std::string caller;  // for the peer's log
  std::string name;    // see HelloHeader.link_name
  int64_t number = 0;  // see HelloHeader.link_number
  std::chrono::milliseconds progress_deadline{2000};
  /// No operation stays unanswered for longer, whatever the peer says.
  std::chrono::milliseconds answer_deadline{60'000};
  std::chrono::milliseconds stall_refusal{5000};
  size_t max_queued_bytes = 32 << 20;
  /// Called once when the link has been greeted, and once when it has failed, by any thread; must
  /// not wait.
  std::function<void()> on_change = {};
};

/// Thread-safe.
class DownstreamLink {
 public:
  /// Starts to connect in a thread of its own. `counters` must outlive the link.
  DownstreamLink(LinkOptions options, DataPlaneCounters& counters);
  /// Fails the link and waits for its thread (for a connection attempt: up to the deadline).
  ~DownstreamLink();
  DownstreamLink(const DownstreamLink&) = delete;
  DownstreamLink& operator=(const DownstreamLink&) = delete;

  /// Waits until the queue has room. An error means that the operation must not be submitted.
  Status WaitForRoom();

  /// Sends the frame and ends the operation's downstream part when its answer is there, or when the
  /// link fails. Frames go out in the order of the calls. `header` is encoded. Does not wait.
  void Submit(std::shared_ptr<ChainOperation> operation, std::string_view header,
              std::shared_ptr<PayloadBuffer> payload, size_t payload_bytes);

  /// Fails the link when the peer has owed an answer for too long. To be called now and then.
  void CheckDeadline();
  /// This process did not run for a while: the peer gets a new deadline.
  void RestartDeadline();
  void Fail(const Status& status);

  /// The peer has answered HELLO. Stays true.
  bool greeted() const { return greeted_.load(std::memory_order_acquire); }
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  /// The link failed while somebody relied on the peer: it was being connected, or owed answers.
  bool let_down() const { return let_down_.load(std::memory_order_acquire); }
  /// The thread has ended: destruction does not wait.
  bool finished() const { return finished_.load(std::memory_order_acquire); }
  /// How long there was nothing to do.
  std::chrono::nanoseconds IdleTime() const;
  /// Restarts IdleTime: somebody is about to submit.
  void Touch();
  const LinkOptions& options() const { return options_; }
  /// Why it failed; OK while it has not.
  Status failure() const;

 private:
  using SteadyTime = std::chrono::steady_clock::time_point;
  struct Pending {
    std::shared_ptr<ChainOperation> operation;
    SteadyTime since;
  };

  void Run();
  Status ConnectAndGreet();
  Status ReceiveAnswers();
  Status TakeWorking(const FramePrelude& prelude);
  Status DecodeAnswer(const FramePrelude& prelude, std::string_view header, Status* outcome,
                      ServerId* failed_server);

  // Constant after construction.
  const LinkOptions options_;
  const std::string peer_text_;  // "server 3 at host:port"
  DataPlaneCounters& counters_;

  // Self-synchronised.
  FrameSender sender_;
  std::atomic<bool> greeted_{false};
  std::atomic<bool> failed_{false};
  std::atomic<bool> let_down_{false};
  std::atomic<bool> finished_{false};

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::unique_ptr<FrameConnection> connection_;  // set once
  std::map<uint64_t, Pending> pending_;          // by request id, so the oldest comes first
  uint64_t last_request_id_ = 0;
  SteadyTime last_answer_;  // or WORKING
  SteadyTime last_use_;
  Status failure_;

  std::thread thread_;  // last: uses all the others
};

}  // namespace tercet
