// True time of a simulation, which only the events move: no thread, no real clock.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace tercet::sim {

/// Nanoseconds since the simulation began.
using SimTime = int64_t;

inline constexpr SimTime kMillisecond = 1'000'000;
inline constexpr SimTime kSecond = 1000 * kMillisecond;

/// Events of the same moment happen in the order in which they were put in, so that a seed replays.
class EventQueue {
 public:
  SimTime now() const { return now_; }

  /// `when` in the past means now.
  void At(SimTime when, std::function<void()> action) {
    events_.push_back({std::max(when, now_), next_order_++, std::move(action)});
    std::push_heap(events_.begin(), events_.end(), Later);
  }
  void After(SimTime delay, std::function<void()> action) { At(now_ + delay, std::move(action)); }

  /// Lets the next event happen; false when there is none up to `limit`.
  bool RunNext(SimTime limit) {
    if (events_.empty() || events_.front().when > limit) return false;
    std::pop_heap(events_.begin(), events_.end(), Later);
    Event event = std::move(events_.back());
    events_.pop_back();
    now_ = event.when;
    event.action();
    return true;
  }

 private:
  struct Event {
    SimTime when;
    uint64_t order;
    std::function<void()> action;
  };
  static bool Later(const Event& a, const Event& b) {
    return a.when != b.when ? a.when > b.when : a.order > b.order;
  }

  SimTime now_ = 0;
  uint64_t next_order_ = 0;
  std::vector<Event> events_;  // a heap
};

}  // namespace tercet::sim
