#include "fuse_client/core/metaserver_group.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "common/env/random.h"
#include "common/log/log.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxMetaservers = 16;
constexpr milliseconds kFirstWait{2};
constexpr milliseconds kLongestEarlyWait{32};
constexpr milliseconds kLongestWait{500};
constexpr milliseconds kShortestTimeout{50};
constexpr milliseconds kLogAfter{1'000};
/// Hints followed by one call without a search: two metaservers may point at each other.
constexpr int kMaxHintsInARow = 2;

/// How often the watcher looks at calls in progress.
constexpr milliseconds kLookInterval{50};
/// Of questions while a call is suspect: its active was paused, and its successor is yet to come.
constexpr milliseconds kSuspectInterval{25};
/// The suspect active itself has answered: it is only slow.
constexpr milliseconds kSlowInterval{250};

/// Between two rounds of questions, by how long the search has lasted.
milliseconds SearchInterval(int round, MetaserverGroup::Clock::duration lasted) {
  if (round < 5) return milliseconds(2 << round);
  if (lasted < std::chrono::seconds(5)) return milliseconds(40);
  if (lasted < std::chrono::seconds(30)) return milliseconds(200);
  return milliseconds(500);
}

/// Up to a quarter more, so that many clients do not ask at the same moments.
MetaserverGroup::Clock::duration WithJitter(milliseconds interval) {
  const auto quarter = static_cast<uint64_t>(interval.count()) * 250;
  return interval + std::chrono::microseconds(SystemRandom().Next() % (quarter + 1));
}

}  // namespace

struct MetaserverGroup::CallState {
  Clock::time_point start;
  std::optional<Clock::time_point> end;
  milliseconds wait{0};
  int hints_followed = 0;
  /// The failed attempt's route was not found to be wrong: time has to pass.
  bool same_route = false;
  Status failure;
};

/// The watcher's own.
struct MetaserverGroup::Watch {
  ActiveProber prober;
  bool searching = false;
  bool suspicious = false;
  size_t active = 0;
  int round = 0;
  Clock::time_point began;  // of the search or the suspicion
  Clock::time_point next_round;
  uint64_t calls_seen = 0;
  bool idle = false;
};

MetaserverGroup::MetaserverGroup(std::vector<HostPort> metaservers, milliseconds call_timeout)
    : call_timeout_(call_timeout), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  for (HostPort& address : metaservers) {
    pools_.push_back(std::make_shared<Pool>(std::move(address), "metadata"));
  }
  watcher_ = std::thread([this] { RunWatcher(); });
  pthread_setname_np(watcher_.native_handle(), "meta-watch");
}

MetaserverGroup::~MetaserverGroup() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  Kick();
  watcher_.join();
}

// ---- calls ----

Status MetaserverGroup::Call(const char* what, const Attempt& attempt,
                             std::optional<milliseconds> limit) {
  struct Outstanding {
    explicit Outstanding(MetaserverGroup* g) : group(g) {
      group->call_count_.fetch_add(1, std::memory_order_relaxed);
      // In this order in both threads: see SleepIfIdle.
      group->outstanding_.fetch_add(1);
      if (group->watcher_asleep_.load()) group->Kick();
    }
    ~Outstanding() { group->outstanding_.fetch_sub(1); }
    MetaserverGroup* const group;
  } outstanding(this);

  CallState state;
  state.start = Clock::now();
  if (limit) state.end = state.start + *limit;
  for (;;) {
    Route route;
    bool go_on = AwaitRoute(&state, &route);
    if (go_on) {
      auto timeout = call_timeout_;
      if (state.end) {
        const auto left = std::chrono::duration_cast<milliseconds>(*state.end - Clock::now());
        timeout = std::clamp(left, kShortestTimeout, std::max(timeout, kShortestTimeout));
      }
      wire::ReplyInfo info;
      const Status transport = attempt(*route.pool, timeout, &info);
      if (!MustRepeat(transport, info, route, &state)) {
        NoteAnswered();
        return FromWire(info.status);
      }
      retry_count_.fetch_add(1, std::memory_order_relaxed);
      NoteWaiting(what, state);
      go_on = WaitBeforeRepeating(route, &state);
    }
    if (go_on) continue;
    {
      std::lock_guard lock(mutex_);
      if (interrupted_) return Status(StatusCode::kCancelled, "the mount is ending");
    }
    const auto waited = Clock::now() - state.start;
    // Whoever has less patience than that knows what to do without an answer.
    if (waited >= kLogAfter) {
      LOG_ERROR("{}: gave up after {:.1f} s: {}", what,
                std::chrono::duration<double>(waited).count(), state.failure.ToString());
    }
    return state.failure.WithContext(what);
  }
}

bool MetaserverGroup::AwaitRoute(CallState* state, Route* route) {
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return interrupted_ || !searching_; };
  if (!ready()) {
    if (state->failure.ok()) {
      state->failure = Status(StatusCode::kUnavailable, "no metaserver is active");
    }
    if (!state->end) {
      route_changed_.wait(lock, ready);
    } else if (!route_changed_.wait_until(lock, *state->end, ready)) {
      return false;
    }
    state->hints_followed = 0;
  }
  if (interrupted_) return false;
  *route = Route{pools_[active_], active_, active_epoch_};
  return true;
}

bool MetaserverGroup::MustRepeat(const Status& transport, const wire::ReplyInfo& info,
                                 const Route& route, CallState* state) {
  if (!transport.ok()) {
    state->failure = transport;
    NoteFailure(route, state);
    return true;
  }
  if (info.status.code == static_cast<int32_t>(StatusCode::kNotActive)) {
    state->failure =
        Status(StatusCode::kUnavailable, "no metaserver is active: " + info.status.message);
    FollowHint(route, info, state);
    return true;
  }
  if (!PassesFence(info.epoch, route.member)) {
    state->failure =
        Status(StatusCode::kUnavailable, "the metaserver at " + route.pool->peer().ToString() +
                                             " was deposed: it answers under epoch " +
                                             std::to_string(info.epoch) + ", below " +
                                             std::to_string(fence_.load()));
    NoteFailure(route, state);
    return true;
  }
  const auto code = static_cast<StatusCode>(info.status.code);
  if (code == StatusCode::kUnavailable || code == StatusCode::kDeadlineExceeded) {
    state->failure = FromWire(info.status);
    state->same_route = true;
    return true;
  }
  return false;
}

bool MetaserverGroup::PassesFence(int64_t epoch, size_t member) {
  const int64_t fence = fence_.load(std::memory_order_acquire);
  if (epoch == fence) return true;
  if (epoch < fence) return epoch == 0;  // 0: the answer is not of any state
  std::lock_guard lock(mutex_);
  RaiseFenceLocked(epoch, member);
  return epoch >= fence_.load(std::memory_order_relaxed);
}

void MetaserverGroup::RaiseFenceLocked(int64_t epoch, size_t member) {
  if (epoch > fence_.load(std::memory_order_relaxed)) {
    fence_.store(epoch, std::memory_order_release);
  }
  if (member == active_) active_epoch_ = std::max(active_epoch_, epoch);
}

void MetaserverGroup::NoteFailure(const Route& route, CallState* state) {
  std::lock_guard lock(mutex_);
  // Somebody may have found another route meanwhile.
  state->same_route = route.member == active_ && route.epoch == active_epoch_;
  if (route.member != active_ || searching_) return;
  searching_ = true;
  Kick();
}

void MetaserverGroup::FollowHint(const Route& route, const wire::ReplyInfo& info,
                                 CallState* state) {
  {
    std::lock_guard lock(mutex_);
    const bool usable = info.__isset.active_hint && route.member == active_ && !searching_ &&
                        info.epoch >= fence_.load(std::memory_order_relaxed);
    const std::optional<size_t> hinted =
        usable ? MemberOfLocked(info.active_hint) : std::optional<size_t>();
    if (hinted && *hinted != route.member && ++state->hints_followed <= kMaxHintsInARow) {
      SetRouteLocked(*hinted, 0);
      state->same_route = false;
      return;
    }
  }
  NoteFailure(route, state);
}

std::optional<size_t> MetaserverGroup::MemberOfLocked(const std::string& text) {
  const auto address = ParseHostPort(text);
  if (!address.ok()) return std::nullopt;
  for (size_t i = 0; i < pools_.size(); ++i) {
    if (pools_[i]->peer() == *address) return i;
  }
  if (pools_.size() >= kMaxMetaservers) return std::nullopt;
  pools_.push_back(std::make_shared<Pool>(*address, "metadata"));
  return pools_.size() - 1;
}

void MetaserverGroup::SetRouteLocked(size_t member, int64_t epoch) {
  active_ = member;
  active_epoch_ = epoch;
  searching_ = false;
  route_changed_.notify_all();
}

bool MetaserverGroup::WaitBeforeRepeating(const Route& route, CallState* state) {
  const Clock::time_point now = Clock::now();
  std::unique_lock lock(mutex_);
  if (state->same_route) {
    // Short at first; then an eighth of what the call has waited already.
    const auto eighth = std::chrono::duration_cast<milliseconds>((now - state->start) / 8);
    state->wait = state->wait.count() == 0 ? kFirstWait : state->wait * 2;
    state->wait = std::min(state->wait, std::clamp(eighth, kLongestEarlyWait, kLongestWait));
    Clock::time_point until = now + state->wait;
    if (state->end) until = std::min(until, *state->end);
    const auto news = [&] {
      return interrupted_ ||
             (!searching_ && (active_ != route.member || active_epoch_ != route.epoch));
    };
    if (route_changed_.wait_until(lock, until, news)) state->hints_followed = 0;
  }
  return !interrupted_ && (!state->end || Clock::now() < *state->end);
}

void MetaserverGroup::Interrupt() {
  std::vector<std::shared_ptr<Pool>> pools;
  {
    std::lock_guard lock(mutex_);
    interrupted_ = true;
    pools = pools_;
    route_changed_.notify_all();
  }
  for (const auto& pool : pools) pool->AbortCalls();
}

void MetaserverGroup::NoteWaiting(const char* what, const CallState& state) {
  if (Clock::now() - state.start < kLogAfter) return;
  if (!outage_logged_.exchange(true)) {
    LOG_WARN("{} waits for the metadata group, retrying: {}", what, state.failure.ToString());
  }
}

void MetaserverGroup::NoteAnswered() {
  if (outage_logged_.load(std::memory_order_relaxed) && outage_logged_.exchange(false)) {
    LOG_INFO("the metadata group answers again");
  }
}

// ---- the watcher ----

void MetaserverGroup::Kick() {
  const uint64_t one = 1;
  // It can only fail when the watcher is about to wake anyway.
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
}

void MetaserverGroup::AbortCallsAtOthers(size_t member, Clock::duration age) {
  std::vector<std::shared_ptr<Pool>> pools;
  {
    std::lock_guard lock(mutex_);
    pools = pools_;
  }
  for (size_t i = 0; i < pools.size(); ++i) {
    if (i != member) pools[i]->AbortCalls(age);
  }
}

void MetaserverGroup::RunWatcher() {
  Watch watch;
  while (LookAround(&watch)) {
    const Clock::time_point now = Clock::now();
    std::optional<Clock::time_point> until = now + kLookInterval;
    if (watch.searching || watch.suspicious) {
      if (now >= watch.next_round) AskAll(&watch);
      until = watch.searching ? watch.next_round : std::min(*until, watch.next_round);
    } else {
      SleepIfIdle(&watch);
      if (watcher_asleep_.load(std::memory_order_relaxed) && wake_.get() >= 0) until.reset();
    }
    const auto answers = watch.prober.Wait(wake_.get(), until);
    watcher_asleep_.store(false);
    uint64_t kicks = 0;
    [[maybe_unused]] const ssize_t drained = ::read(wake_.get(), &kicks, sizeof(kicks));
    for (const ActiveProber::Answer& answer : answers) Learn(&watch, answer);
  }
}

bool MetaserverGroup::LookAround(Watch* watch) {
  std::vector<std::shared_ptr<Pool>> pools;
  bool searching = false;
  bool interrupted = false;
  {
    std::lock_guard lock(mutex_);
    if (ending_) return false;
    pools = pools_;
    interrupted = interrupted_;
    searching = searching_ && !interrupted_;
    watch->active = active_;
  }
  for (size_t i = watch->prober.member_count(); i < pools.size(); ++i) {
    watch->prober.Add(pools[i]->peer());
  }
  const Clock::time_point now = Clock::now();
  bool suspicious = false;
  if (interrupted) {
    // Those that began before they could see it.
    AbortCallsAtOthers(pools.size(), Clock::duration::zero());
  } else if (!searching) {
    // Who waits at a metaserver that is not active any more waits in vain.
    AbortCallsAtOthers(watch->active, kSuspectAfter);
    const auto oldest = pools[watch->active]->OldestCall();
    suspicious = oldest && now - *oldest >= kSuspectAfter;
  }
  if (searching != watch->searching || suspicious != watch->suspicious) {
    watch->round = 0;
    watch->began = now;
    watch->next_round = now;
  }
  watch->searching = searching;
  watch->suspicious = suspicious;
  if (searching && now - watch->began >= kLogAfter && !outage_logged_.exchange(true)) {
    LOG_WARN("no metaserver is active; calls wait for one: {}", outstanding_.load());
  }
  return true;
}

void MetaserverGroup::AskAll(Watch* watch) {
  const Clock::time_point now = Clock::now();
  for (size_t i = 0; i < watch->prober.member_count(); ++i) watch->prober.Ask(i);
  milliseconds interval = SearchInterval(watch->round++, now - watch->began);
  if (!watch->searching) interval = std::max(interval, kSuspectInterval);
  watch->next_round = now + WithJitter(interval);
}

void MetaserverGroup::Learn(Watch* watch, const ActiveProber::Answer& answer) {
  if (!answer.transport.ok()) return;
  const wire::ReplyInfo& info = answer.info;
  const bool serves = info.status.code == static_cast<int32_t>(StatusCode::kOk);
  bool left_another = false;
  {
    std::lock_guard lock(mutex_);
    // Deposed, but it does not know yet.
    if (info.epoch != 0 && info.epoch < fence_.load(std::memory_order_relaxed)) return;
    if (!serves) {
      // Whom it names is asked next, but not believed blindly.
      const size_t known = pools_.size();
      if (info.__isset.active_hint && MemberOfLocked(info.active_hint) && pools_.size() > known) {
        watch->next_round = Clock::now();
      }
      return;
    }
    if (!searching_ && answer.member == active_) {
      watch->next_round = std::max(watch->next_round, Clock::now() + kSlowInterval);
      RaiseFenceLocked(info.epoch, active_);
      return;
    }
    if (!searching_ && info.epoch <= active_epoch_) return;
    left_another = answer.member != active_;
    if (left_another) {
      LOG_INFO("calls go to the metaserver at {}, active under epoch {}; the one at {} {}",
               pools_[answer.member]->peer().ToString(), info.epoch,
               pools_[active_]->peer().ToString(),
               searching_ ? "does not serve" : "does not answer");
    }
    SetRouteLocked(answer.member, info.epoch);
    RaiseFenceLocked(info.epoch, answer.member);
  }
  if (left_another) AbortCallsAtOthers(answer.member, Clock::duration::zero());
}

void MetaserverGroup::SleepIfIdle(Watch* watch) {
  const uint64_t calls = call_count();
  const bool quiet = calls == watch->calls_seen;
  watch->calls_seen = calls;
  if (!quiet || outstanding_.load() != 0) return;
  watch->prober.Close();
  // A call that begins now either is seen here or sees the flag.
  watcher_asleep_.store(true);
  if (outstanding_.load() != 0) watcher_asleep_.store(false);
}

}  // namespace tercet
