#include "fuse_client/core/metaserver_group.h"

#include <algorithm>

#include "common/log/log.h"

namespace tercet {
namespace {

constexpr size_t kMaxMetaservers = 16;
constexpr std::chrono::milliseconds kFirstWait{10};
constexpr std::chrono::milliseconds kLongestWait{500};
constexpr std::chrono::milliseconds kShortestTimeout{50};
constexpr std::chrono::milliseconds kLogAfter{1'000};
/// Hints followed without a wait between two waits: two metaservers may point at each other.
constexpr int kMaxHintsInARow = 3;

}  // namespace

struct MetaserverGroup::CallState {
  Clock::time_point start;
  std::optional<Clock::time_point> end;
  std::chrono::milliseconds wait{0};
  int hints_followed = 0;
  bool retry_at_once = false;
  Status failure;
};

MetaserverGroup::MetaserverGroup(std::vector<HostPort> metaservers,
                                 std::chrono::milliseconds call_timeout)
    : call_timeout_(call_timeout) {
  for (HostPort& address : metaservers) {
    pools_.push_back(std::make_shared<Pool>(std::move(address), "metadata"));
  }
}

Status MetaserverGroup::Call(const char* what, const Attempt& attempt,
                             std::optional<std::chrono::milliseconds> limit) {
  call_count_.fetch_add(1, std::memory_order_relaxed);
  CallState state;
  state.start = Clock::now();
  if (limit) state.end = state.start + *limit;
  for (;;) {
    size_t position = 0;
    std::shared_ptr<Pool> pool = Current(&position);
    if (pool == nullptr) return Status(StatusCode::kCancelled, "the mount is ending");
    auto timeout = call_timeout_;
    if (state.end) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(*state.end - Clock::now());
      timeout = std::clamp(left, kShortestTimeout, std::max(timeout, kShortestTimeout));
    }
    wire::ReplyInfo info;
    const Status transport = attempt(*pool, timeout, &info);
    if (!Classify(transport, info, position, &state)) {
      NoteAnswered();
      return FromWire(info.status);
    }
    retry_count_.fetch_add(1, std::memory_order_relaxed);
    if (state.retry_at_once) continue;
    NoteWaiting(what, state);
    if (!WaitBeforeRetry(&state)) return Status(StatusCode::kCancelled, "the mount is ending");
    if (state.end && Clock::now() >= *state.end) {
      const auto seconds = std::chrono::duration<double>(Clock::now() - state.start).count();
      LOG_ERROR("{}: gave up after {:.1f} s: {}", what, seconds, state.failure.ToString());
      return state.failure.WithContext(what);
    }
  }
}

bool MetaserverGroup::Classify(const Status& transport, const wire::ReplyInfo& info,
                               size_t position, CallState* state) {
  state->retry_at_once = false;
  if (!transport.ok()) {
    state->failure = transport;
    MoveOn(position);
    return true;
  }
  const Status status = FromWire(info.status);
  switch (status.code()) {
    case StatusCode::kNotActive:
      state->failure =
          Status(StatusCode::kUnavailable, "no active metaserver: " + status.message());
      if (info.__isset.active_hint && FollowHint(info.active_hint)) {
        state->retry_at_once = ++state->hints_followed <= kMaxHintsInARow;
      } else {
        MoveOn(position);
      }
      return true;
    case StatusCode::kUnavailable:
    case StatusCode::kDeadlineExceeded:
      state->failure = status;
      return true;
    default:
      return false;
  }
}

void MetaserverGroup::Interrupt() {
  std::lock_guard lock(mutex_);
  interrupted_ = true;
  interrupt_.notify_all();
}

std::shared_ptr<MetaserverGroup::Pool> MetaserverGroup::Current(size_t* position) {
  std::lock_guard lock(mutex_);
  if (interrupted_) return nullptr;
  *position = active_;
  return pools_[active_];
}

void MetaserverGroup::MoveOn(size_t from) {
  std::lock_guard lock(mutex_);
  // Another call may have found the active meanwhile.
  if (active_ == from) active_ = (active_ + 1) % pools_.size();
}

bool MetaserverGroup::FollowHint(const std::string& hint) {
  auto address = ParseHostPort(hint);
  if (!address.ok()) return false;
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < pools_.size(); ++i) {
    if (pools_[i]->peer() == *address) {
      active_ = i;
      return true;
    }
  }
  if (pools_.size() >= kMaxMetaservers) return false;
  pools_.push_back(std::make_shared<Pool>(*address, "metadata"));
  active_ = pools_.size() - 1;
  return true;
}

bool MetaserverGroup::WaitBeforeRetry(CallState* state) {
  state->hints_followed = 0;
  state->wait = state->wait.count() == 0 ? kFirstWait : std::min(state->wait * 2, kLongestWait);
  Clock::time_point until = Clock::now() + state->wait;
  if (state->end) until = std::min(until, *state->end);
  std::unique_lock lock(mutex_);
  return !interrupt_.wait_until(lock, until, [&] { return interrupted_; });
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

}  // namespace tercet
