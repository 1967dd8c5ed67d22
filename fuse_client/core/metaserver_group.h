// Calls to the active of a metadata group: finds it, follows it, retries.
//
// How the active is found. Calls go to the metaserver that was last known to be active (the route).
// A call that fails there begins a search, unless somebody has found another route meanwhile, and
// waits for its result; calls that begin during a search wait too. The search is the watcher's, one
// thread per group: it asks all metaservers FindActive, at first every few milliseconds, later at
// longer intervals, so that a group without an active is asked the same few questions however many
// calls wait. The watcher also looks at calls in progress: when one has waited for kSuspectAfter it
// asks the others whether one of them serves under a higher epoch (the active may be paused, or cut
// off from here); if so the route changes and the calls at the old one are ended, which makes their
// callers repeat them at the new one. It sleeps while there are no calls.
//
// Invariants:
//  - An attempt is repeated only after an outcome that a repetition cannot spoil: no or an unclear
//    answer (mutations carry slot and sequence for that), kNotActive, kUnavailable, or an answer
//    under an epoch below the fence.
//  - The fence is the highest epoch under which a metaserver was seen to serve; it never goes down.
//    What a metaserver answers under a lower one may be stale, so it does not count. Epochs that
//    are only heard of (from a metaserver that does not serve) do not move the fence: a member that
//    was thrown out of the group may know a higher one that nobody ever served under.
//  - A call is not repeated faster than its waits, which double from 2 ms, except right after a
//    change of the route or of its epoch.
//  - Each call ends at its deadline or with Interrupt.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"
#include "common/rpc/socket.h"
#include "common/rpc/thrift_client.h"
#include "common/rpc/wire_status.h"
#include "fuse_client/core/active_prober.h"
#include "tercet_thrift/MetadataService.h"

namespace tercet {

/// Thread-safe.
class MetaserverGroup {
 public:
  using Pool = RpcClientPool<wire::MetadataServiceClient>;
  using Clock = std::chrono::steady_clock;
  /// Makes the call once, with the timeout, and fills in the `info` of the response.
  using Attempt = std::function<Status(Pool&, std::chrono::milliseconds, wire::ReplyInfo*)>;

  /// A call without an answer for so long makes the watcher ask the other metaservers.
  static constexpr std::chrono::milliseconds kSuspectAfter{150};

  /// At least one address.
  MetaserverGroup(std::vector<HostPort> metaservers, std::chrono::milliseconds call_timeout);
  ~MetaserverGroup();

  /// Repeats `attempt` until it has an answer; the answer's status is the result. After `limit`
  /// (nullopt: no limit) the last failure is returned and logged; after Interrupt kCancelled.
  Status Call(const char* what, const Attempt& attempt,
              std::optional<std::chrono::milliseconds> limit);
  /// Ends all calls, now and later.
  void Interrupt();

  uint64_t call_count() const { return call_count_.load(std::memory_order_relaxed); }
  uint64_t retry_count() const { return retry_count_.load(std::memory_order_relaxed); }

 private:
  struct CallState;
  struct Watch;
  /// Where an attempt goes, and under which epoch that one was seen to serve (0: not yet).
  struct Route {
    std::shared_ptr<Pool> pool;
    size_t member = 0;
    int64_t epoch = 0;
  };

  /// Waits for a search to end. False when the call's time is up or it was interrupted.
  bool AwaitRoute(CallState* state, Route* route);
  /// Whether to repeat the attempt (then state->failure says why) rather than to take its answer.
  bool MustRepeat(const Status& transport, const wire::ReplyInfo& info, const Route& route,
                  CallState* state);
  /// An answer under `epoch` came from `member`. False: a higher one is known to have served.
  bool PassesFence(int64_t epoch, size_t member);
  void RaiseFenceLocked(int64_t epoch, size_t member);
  /// `route` did not serve.
  void NoteFailure(const Route& route, CallState* state);
  void FollowHint(const Route& route, const wire::ReplyInfo& info, CallState* state);
  /// The member of that address, added if there is room; nullopt when it is none.
  std::optional<size_t> MemberOfLocked(const std::string& address);
  void SetRouteLocked(size_t member, int64_t epoch);
  bool WaitBeforeRepeating(const Route& route, CallState* state);
  void NoteWaiting(const char* what, const CallState& state);
  void NoteAnswered();
  void AbortCallsAtOthers(size_t member, Clock::duration age);

  void Kick();
  void RunWatcher();
  /// Looks what there is to do; false when the watcher has to end.
  bool LookAround(Watch* watch);
  void AskAll(Watch* watch);
  void Learn(Watch* watch, const ActiveProber::Answer& answer);
  void SleepIfIdle(Watch* watch);

  const std::chrono::milliseconds call_timeout_;
  const UniqueSocket wake_;  // an eventfd that wakes the watcher
  std::atomic<uint64_t> call_count_{0};
  std::atomic<uint64_t> retry_count_{0};
  std::atomic<bool> outage_logged_{false};
  std::atomic<int64_t> outstanding_{0};  // calls in progress or waiting
  std::atomic<bool> watcher_asleep_{false};
  std::atomic<int64_t> fence_{0};  // raised under mutex_

  std::mutex mutex_;
  std::condition_variable route_changed_;
  // Guarded by mutex_.
  std::vector<std::shared_ptr<Pool>> pools_;  // grows by hints, to kMaxMetaservers
  size_t active_ = 0;
  int64_t active_epoch_ = 0;  // under which active_ was seen to serve; 0: not yet
  bool searching_ = false;
  bool interrupted_ = false;
  bool ending_ = false;

  std::thread watcher_;
};

}  // namespace tercet
