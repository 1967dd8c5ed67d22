// The network between machines, and between clients and machines: seeded delay, loss, duplication,
// cuts in one or both directions.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "common/env/random.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/scenario.h"

namespace tercet::sim {

/// A machine's number, or a client's (from kFirstClient on).
using Place = int;
inline constexpr Place kFirstClient = 1000;

class Network {
 public:
  /// All must outlive the network.
  Network(const Scenario& scenario, EventQueue& queue, Random& random)
      : scenario_(scenario), queue_(queue), random_(random) {}

  /// `deliver` may be called never, later, or twice.
  void Send(Place from, Place to, std::function<void()> deliver);

  /// What is sent from `from` to `to` is lost; nests.
  void Cut(Place from, Place to) { ++cuts_[{from, to}]; }
  void Mend(Place from, Place to);
  /// What is under way between the two, either way, is lost.
  void Reset(Place a, Place b);
  /// Everything is lossy and slow for a while; nests.
  void SetBad(bool bad) { bad_ += bad ? 1 : -1; }
  /// From now on nothing is lost, late or twice.
  void MakeGood() { good_ = true; }

 private:
  using Link = std::pair<Place, Place>;
  struct LinkState {
    uint64_t generation = 0;
    SimTime newest_delivery = 0;
  };

  SimTime Delay(const Link& link);
  void Schedule(const Link& link, std::function<void()> deliver);

  const Scenario& scenario_;
  EventQueue& queue_;
  Random& random_;
  std::map<Link, int> cuts_;
  std::map<Link, LinkState> links_;
  int bad_ = 0;
  bool good_ = false;
};

}  // namespace tercet::sim
