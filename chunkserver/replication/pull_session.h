// One pull over frames: a connection to the source, ReplicaPull, and limits.
//
// Lifecycle: made → Run, in one thread → ended. Cancel may come at any time from any thread; Run
// then ends soon (after at most one access to the own disk). What a pull that did not end well
// leaves: replica_pull.h.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chunkserver/replication/counters.h"
#include "chunkserver/replication/pull_throttle.h"
#include "chunkserver/replication/replica_pull.h"
#include "chunkserver/store/block_store.h"
#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/rpc/frame_connection.h"
#include "common/rpc/socket.h"
#include "tercet_thrift/data_plane_types.h"

namespace tercet {

/// What PULL asks for.
struct PullJob {
  ReplicaPullOptions pull;
  wire::ChainHop source;
  wire::PullClass::type pull_class = wire::PullClass::REPAIR;

  bool preparing() const { return pull.finish == Generation(); }
};

struct PullOutcome {
  Status status;
  uint64_t copied_bytes = 0;
  uint32_t length = 0;
  ServerId failed_server;  // with an error
};

/// What all pulls of a server share. Its parts outlive the sessions.
struct PullEnvironment {
  BlockStore& store;
  DataPlaneCounters& counters;
  std::chrono::milliseconds progress_deadline;
  std::chrono::milliseconds disk_deadline;
  std::string cluster_id;
  ServerId self;
};

class PullSession {
 public:
  /// `throttle`: null when not limited; must outlive the session.
  PullSession(PullEnvironment environment, PullJob job, PullThrottle* throttle)
      : environment_(std::move(environment)),
        job_(std::move(job)),
        throttle_(throttle),
        pull_(environment_.store, job_.pull) {}
  PullSession(const PullSession&) = delete;
  PullSession& operator=(const PullSession&) = delete;

  /// Once. kCancelled after Cancel. Errors: as ReplicaPull's with this server as the failed one;
  /// those of the source, and of the connection to it, with the source.
  PullOutcome Run();
  void Cancel();

  /// Thread-safe. False while an access to the own disk takes longer than the deadline for that.
  bool DelayIsExplained(int64_t now_nanos) const;
  const PullJob& job() const { return job_; }

 private:
  /// A READ that was sent.
  struct Asked {
    PullRange range;
    uint64_t request_id = 0;
    bool verified = false;
  };

  // Errors of these have failed_ set to where they happened.
  Status RunSteps();
  Status Connect();
  Status Greet();
  Result<PageTable> FetchTable();
  Status CopyPages();
  /// Sends READs as far as window and limit allow.
  Status SyncNowAndThen();
  Status AskForMore();
  Status SendRead(const PullRange& range, bool verified);
  Status ReceiveOne();
  Status TakePages(const Asked& asked, const wire::ReadResponseHeader& response);

  template <typename Header>
  Status Send(wire::FrameKind::type kind, const Header& header, uint64_t* request_id);
  /// The next frame that is not WORKING.
  Result<FramePrelude> Receive(std::string* header);
  Status ReceivePayload(size_t size);
  Status AtSource(Status status);
  /// Runs an access to the own disk.
  template <typename Access>
  auto Locally(Access&& access);
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }

  // Constant after construction.
  const PullEnvironment environment_;
  const PullJob job_;
  PullThrottle* const throttle_;

  // Self-synchronised.
  SocketAborter aborter_;
  std::atomic<bool> cancelled_{false};
  std::atomic<int64_t> local_since_{0};  // monotonic ns; 0: no access to the own disk is under way

  // Of the thread that runs.
  ReplicaPull pull_;
  std::unique_ptr<FrameConnection> connection_;
  std::deque<Asked> asked_;
  uint64_t asked_bytes_ = 0;
  uint64_t synced_bytes_ = 0;      // of those copied
  std::optional<PullRange> next_;  // taken from pull_, not asked for yet
  uint64_t last_request_id_ = 0;
  std::vector<char> buffer_;
  ServerId failed_;
};

}  // namespace tercet
