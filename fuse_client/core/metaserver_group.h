// Calls to the active of a metadata group: finds it, follows it, retries.
//
// Invariants:
//  - An attempt is repeated only after an outcome that a repetition cannot spoil: no or an unclear
//  answer
//    (mutations carry slot and sequence for that), kNotActive, or kUnavailable.
//  - Waits double from 10 ms to 500 ms; each call ends at its deadline or with Interrupt.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "common/rpc/thrift_client.h"
#include "common/rpc/wire_status.h"
#include "tercet_thrift/MetadataService.h"

namespace tercet {

/// Thread-safe.
class MetaserverGroup {
 public:
  using Pool = RpcClientPool<wire::MetadataServiceClient>;
  using Clock = std::chrono::steady_clock;
  /// Makes the call once, with the timeout, and fills in the `info` of the response.
  using Attempt = std::function<Status(Pool&, std::chrono::milliseconds, wire::ReplyInfo*)>;

  MetaserverGroup(std::vector<HostPort> metaservers, std::chrono::milliseconds call_timeout);

  /// Repeats `attempt` until it has an answer; the answer's status is the result. After `limit`
  /// (nullopt: no limit) the last failure is returned and logged; after Interrupt kCancelled.
  Status Call(const char* what, const Attempt& attempt,
              std::optional<std::chrono::milliseconds> limit);
  /// Ends all calls that wait, now and later.
  void Interrupt();

  uint64_t call_count() const { return call_count_.load(std::memory_order_relaxed); }
  uint64_t retry_count() const { return retry_count_.load(std::memory_order_relaxed); }

 private:
  struct CallState;
  std::shared_ptr<Pool> Current(size_t* position);
  void MoveOn(size_t from);
  bool FollowHint(const std::string& hint);
  bool Classify(const Status& transport, const wire::ReplyInfo& info, size_t position,
                CallState* state);
  bool WaitBeforeRetry(CallState* state);
  void NoteWaiting(const char* what, const CallState& state);
  void NoteAnswered();

  const std::chrono::milliseconds call_timeout_;
  std::atomic<uint64_t> call_count_{0};
  std::atomic<uint64_t> retry_count_{0};
  std::atomic<bool> outage_logged_{false};

  std::mutex mutex_;
  std::condition_variable interrupt_;
  // Guarded by mutex_.
  std::vector<std::shared_ptr<Pool>> pools_;  // grows by hints, to kMaxMetaservers
  size_t active_ = 0;
  bool interrupted_ = false;
};

}  // namespace tercet
