// Messages between servers, writers and the active metaserver: ordered connections that break, as
// TCP's do, and calls over them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "common/env/random.h"
#include "tests/sim/event_queue.h"

namespace tercet::sim {

/// Chunk servers are 1, 2, …; the active is kActivePlace, writers are kFirstWriter and up.
using Party = int;
inline constexpr Party kActiveParty = 100;
inline constexpr Party kFirstWriter = 200;

/// One connection: messages arrive in order, or not any more. What was sent before it broke may
/// arrive long afterwards: its receiver was paused, or its sender gave up for want of an answer.
struct Connection {
  Party from = 0;
  Party to = 0;
  uint64_t number = 0;     // grows
  bool abandoned = false;  // by its sender
  SimTime newest_delivery = 0;
};
using ConnectionPtr = std::shared_ptr<Connection>;

class BlockNetwork {
 public:
  BlockNetwork(EventQueue& queue, Random& random) : queue_(queue), random_(random) {}

  ConnectionPtr Connect(Party from, Party to) {
    auto connection = std::make_shared<Connection>();
    connection->from = from;
    connection->to = to;
    connection->number = ++connections_;
    return connection;
  }
  /// Delivers in order, or never. Delivery while the receiver is paused is the receiver's matter.
  void Send(const ConnectionPtr& connection, std::function<void()> deliver) {
    if (IsCut(connection->from, connection->to) || Lost()) {
      lost_.insert(connection->number);  // what comes behind it cannot arrive either
    }
    if (lost_.contains(connection->number)) return;
    const SimTime when = std::max(queue_.now() + Delay(), connection->newest_delivery + 1);
    connection->newest_delivery = when;
    queue_.At(when, std::move(deliver));
  }
  /// An answer: lost, or delivered some time later.
  void Answer(Party from, Party to, std::function<void()> deliver) {
    if (IsCut(from, to) || Lost()) return;
    queue_.After(Delay(), std::move(deliver));
  }

  void Cut(Party from, Party to) { cuts_.insert({from, to}); }
  void MendAll() { cuts_.clear(); }
  bool IsCut(Party from, Party to) const { return cuts_.contains({from, to}); }
  /// One message in so many is lost, one is very late; 0: none.
  void SetLoss(uint64_t one_in) { loss_ = one_in; }

 private:
  bool Lost() { return loss_ != 0 && random_.Below(loss_) == 0; }
  SimTime Delay() {
    const auto usual = static_cast<SimTime>(20'000 + random_.Below(300'000));
    if (loss_ != 0 && random_.Below(loss_) == 0) {
      return usual + static_cast<SimTime>(random_.Below(5 * kSecond));
    }
    return usual;
  }

  EventQueue& queue_;
  Random& random_;
  uint64_t connections_ = 0;
  uint64_t loss_ = 0;
  std::set<uint64_t> lost_;  // connections
  std::set<std::pair<Party, Party>> cuts_;
};

}  // namespace tercet::sim
