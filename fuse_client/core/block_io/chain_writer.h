// Pipelined writes of one block down its chain.
//
// Invariants:
//  - Every write that was submitted is either acknowledged (it is on every replica of the chain) or
//    among the unacknowledged ones, with its buffer, in the order of submission. A failure loses
//    none.
//  - After a failure nothing more is sent: the caller takes the unacknowledged writes elsewhere.
//  - No more than the window is in flight.
//  - A chain that is stopped is found within the progress timeout after its last sign of life, also
//    by a writer that looks only then: WORKING frames and acknowledgements wait in the socket. One
//    that works but is slow is waited for longer, to the answer timeout.
//  - unsynced() is false only when every acknowledged byte is on the disk of every replica. A SYNC
//    frame, or a write with the sync flag, vouches for the writes that were acknowledged before it
//    was sent.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "fuse_client/core/block_io/block_target.h"
#include "fuse_client/core/block_io/data_connections.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet {

/// Bytes to write; they must not change until they are acknowledged. Page-aligned memory copies
/// fastest.
struct WriteData {
  std::shared_ptr<const char> bytes;
  uint32_t size = 0;
};

struct ChainWriterOptions {
  size_t window_frames = 16;
  size_t window_bytes = 8 << 20;
  /// Without an acknowledgement, a WORKING frame, or room to send, for so long the chain has
  /// failed.
  std::chrono::milliseconds progress_timeout{2'000};
  /// With WORKING frames alone for so long it has failed too.
  std::chrono::milliseconds answer_timeout{30'000};
  /// Writes of an earlier writer to this block may not be on the disks: unsynced() is true from the
  /// beginning, and Sync sends a SYNC frame.
  bool earlier_unsynced = false;
};

/// The most data that one Submit may carry.
inline constexpr uint32_t kMaxWriteBytes = 1 << 20;

/// Not thread-safe. Holds a connection to the head only while something is in flight.
class ChainWriter {
 public:
  struct Write {
    uint32_t offset = 0;
    WriteData data;
    bool create = false;
    bool sync = false;
  };

  /// `connections` must outlive the writer. `target.chain` must not be empty.
  ChainWriter(DataConnections* connections, BlockTarget target, ChainWriterOptions options = {});
  /// What is in flight is given up.
  ~ChainWriter();
  ChainWriter(const ChainWriter&) = delete;
  ChainWriter& operator=(const ChainWriter&) = delete;

  /// Sends one write, of 1 to kMaxWriteBytes bytes; when the window is full it waits for
  /// acknowledgements first. `create`: make the replicas if they are not there. `sync`: acknowledge
  /// it only when it is on the disks. kInvalidArgument leaves the writer as it was; any other error
  /// is a failure (see failure()), and this write is among the unacknowledged.
  Status Submit(uint32_t offset, WriteData data, bool create, bool sync);
  /// Takes in the acknowledgements that have arrived, without waiting. Fails when the chain's last
  /// sign of life is older than the progress timeout.
  Status Poll();
  /// Waits until everything submitted is acknowledged.
  Status Drain();
  /// Drains, and makes everything durable on all replicas: with a SYNC frame, unless a write with
  /// the sync flag has done it already.
  Status Sync();
  /// Drains, then cuts the block to `length` bytes on all replicas.
  Status Truncate(uint32_t length);

  /// True while something submitted or cut may not be on the disks of all replicas. Also after a
  /// failure.
  bool unsynced() const;
  /// Writes are numbered upwards by Submit: the number the next one gets at least, and that of the
  /// oldest one that is not acknowledged (next_number() when there is none).
  uint64_t next_number() const { return next_request_id_; }
  uint64_t oldest_unacknowledged() const {
    return in_flight_.empty() ? next_request_id_ : in_flight_.front().request_id;
  }
  size_t in_flight_frames() const { return in_flight_.size(); }
  size_t in_flight_bytes() const { return in_flight_bytes_; }

  /// OK, or why the writer ended: what a replica answered (kStaleGeneration, kNoSpace, …), or
  /// kUnavailable or kDeadlineExceeded.
  const Status& failure() const { return failure_; }
  /// With a failure: the server where it happened, as its predecessor in the chain saw it.
  ServerId failed_server() const { return failed_server_; }
  /// After a failure: the writes that are not known to be on all replicas, in order. Hands each out
  /// once.
  std::vector<Write> TakeUnacknowledged();

  const BlockTarget& target() const { return target_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct InFlight {
    uint64_t request_id = 0;
    Write write;
    /// Everything submitted before it was acknowledged when it was sent, so its sync covers that
    /// too.
    bool covers_earlier = false;
  };

  Status EnsureConnection();
  Status Send(const InFlight& entry);
  Status DrainKeepingConnection();
  void NoteWaitBegins();
  Status AwaitInput();
  Result<FramePrelude> ReceiveAnswer();
  Status ReceiveAcknowledgement();
  Status AwaitRoom(size_t size);
  Status TakeAcknowledgement(uint64_t request_id);
  void NoteDurability(const InFlight& entry);
  /// Sends a SYNC or TRUNCATE frame and waits for its answer; nothing else is in flight.
  template <typename Response, typename Request>
  Status Call(uint8_t kind, const Request& request);
  template <typename Response>
  Result<uint64_t> ReceiveResponse(uint8_t kind);
  void ReleaseConnection();
  void CloseConnection();
  Status Fail(Status status, ServerId server);

  // Constant.
  DataConnections* const connections_;
  const BlockTarget target_;
  const ChainWriterOptions options_;

  // Of the caller's thread.
  std::unique_ptr<FrameConnection> connection_;
  wire::WriteHeader header_;  // reused: its downstream is always this chain's
  std::string header_bytes_;
  std::string response_bytes_;
  std::deque<InFlight> in_flight_;  // in the order of submission
  size_t in_flight_bytes_ = 0;
  uint64_t next_request_id_ = 1;
  /// When anything came over the connection, and when an answer did; or when the first request was
  /// sent after a time with none under way.
  Clock::time_point last_progress_;
  Clock::time_point last_answer_;
  /// The last write or cut that is acknowledged and that no sync has covered; 0: none.
  uint64_t last_unsynced_id_ = 0;
  Status failure_;
  ServerId failed_server_;
};

}  // namespace tercet
