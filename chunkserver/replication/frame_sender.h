// Ordered output of frames on one connection, by any number of threads, none of which waits for the
// peer.
//
// Invariants:
//  - Frames go out whole and in the order of Send; whoever finds the sender free sends its own
//    frame and what others queue meanwhile.
//  - Only when the socket takes no more does a thread of the sender's own continue (a wake-up costs
//    some 20 µs): it is started at the first need.
//  - After a failure nothing is sent any more, the queue is empty, and the socket is shut down,
//    which the connection's receiving thread notices.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "chunkserver/replication/buffer_pool.h"
#include "common/base/status.h"
#include "common/rpc/frame.h"
#include "tercet_thrift/data_plane_types.h"

struct iovec;

namespace tercet {

class FrameConnection;

/// A frame on its way out.
struct OutgoingFrame {
  std::string head;                        // prelude and header
  std::shared_ptr<PayloadBuffer> payload;  // null: none
  size_t payload_bytes = 0;

  size_t wire_bytes() const { return head.size() + payload_bytes; }
  /// The memory it holds while it is queued.
  size_t held_bytes() const { return head.size() + (payload ? payload->capacity() : 0); }
};

/// Prelude and header of a frame as one string. `header` is encoded already.
std::string EncodeFrameHead(wire::FrameKind::type kind, uint64_t request_id,
                            std::string_view header, size_t payload_bytes);

/// The same; `Header` is the generated struct that belongs to `kind`.
template <typename Header>
std::string EncodeFrameHead(wire::FrameKind::type kind, uint64_t request_id, const Header& header,
                            size_t payload_bytes) {
  std::string encoded;
  EncodeFrameHeader(header, &encoded);
  return EncodeFrameHead(kind, request_id, std::string_view(encoded), payload_bytes);
}

/// Thread-safe.
class FrameSender {
 public:
  /// A peer that takes no byte for `stall_timeout` has failed.
  explicit FrameSender(std::chrono::milliseconds stall_timeout);
  /// Close().
  ~FrameSender();
  FrameSender(const FrameSender&) = delete;
  FrameSender& operator=(const FrameSender&) = delete;

  /// Starts sending on `connection`, which must live until Close. Until then frames are queued.
  void Attach(FrameConnection* connection);

  /// Queues the frame, and sends if nobody else does. After a failure it does nothing.
  void Send(OutgoingFrame frame);
  /// The same when nothing is queued or being sent; otherwise the frame is dropped.
  void SendIfIdle(OutgoingFrame frame);

  /// Waits until less than `max_held_bytes` of memory are queued. When the peer has taken nothing
  /// for `stall_refusal` while the queue is full: kUnavailable at once. After a failure: its
  /// status.
  Status WaitForRoom(size_t max_held_bytes, std::chrono::milliseconds stall_refusal);

  /// Runs `function(connection)` between two frames while nothing else is sent, and returns its
  /// status after failing the sender with it if it is an error.
  template <typename Function>
  Status SendExclusively(Function&& function) {
    Status status = BeginExclusive();
    if (!status.ok()) return status;
    status = function(*connection_);
    EndExclusive(status);
    return status;
  }

  /// Drops what is queued and shuts the socket down. The first failure's status stays.
  void Fail(const Status& status);
  /// Fails as kCancelled and ends the sender's thread. No call may follow except Send and Fail.
  void Close();

  Status status() const;

 private:
  /// Returns true when the caller is to Drain.
  bool QueueLocked(OutgoingFrame frame);
  Status BeginExclusive();
  void EndExclusive(const Status& status);
  /// Sends from the queue until it is empty or the socket takes no more. The caller has made busy_
  /// true. Returns with busy_ false, or handed over to the sender's thread.
  void Drain();
  void HandOver();
  void RunThread();
  /// Sends all that is queued, waiting for the peer. On the sender's thread.
  void DrainWaiting();
  /// Takes `sent` bytes off the queue and gathers what comes next into `pieces`. Returns their
  /// number; 0: nothing left to do and busy_ is false.
  int Advance(size_t sent, iovec* pieces);
  void ClearLocked();
  void FailLocked(const Status& status);

  // Constant after construction.
  const std::chrono::milliseconds stall_timeout_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // room in the queue, not busy, failed
  std::condition_variable work_;     // for the sender's thread
  // Guarded by mutex_.
  FrameConnection* connection_ = nullptr;
  std::deque<OutgoingFrame> queue_;
  size_t front_sent_ = 0;  // bytes of the first frame that are out already
  size_t held_bytes_ = 0;
  std::chrono::steady_clock::time_point last_progress_;
  bool busy_ = false;         // some thread owns the socket's output
  bool handed_over_ = false;  // that thread is the sender's own
  bool stopping_ = false;
  size_t exclusive_waiters_ = 0;
  size_t room_waiters_ = 0;
  Status status_;
  std::thread thread_;
};

}  // namespace tercet
