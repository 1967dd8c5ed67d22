// Which block's chain is to be changed next, and which servers may copy for it now. Pure: no I/O,
// threads or clocks; the repair manager (metaserver/repair) asks it under its own lock.
//
// Invariants:
//  - A more urgent class goes first; within a class the oldest, but a block whose servers are all
//    busy, or that waits after a failure, holds up nobody behind it. Nor does a class of which
//    nothing can be done now hold up the classes behind it, however many blocks it has.
//  - A server has at most `slots` copies coming in and `slots` going out at once; for urgent blocks
//    `urgent_slots`, for moves `move_slots`. So urgent ones find a free slot even where others took
//    all of theirs.
//  - A block is in the plan once, and worked upon once at a time.
//  - Bounded: beyond `max_entries` the least urgent, youngest entry is left out. The journal knows
//    it, so it is found again by a later scan. Each class keeps a share of the room, so that none
//    of which nothing can be done shuts out the others for ever. Lost blocks only count: they have
//    room of their own and take none from what can be repaired.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "common/base/ids.h"

namespace tercet {

/// Most urgent first.
enum class RepairClass : uint8_t {
  kLost = 0,          // no good replica is reachable: nothing can be done until one comes back
  kOneLeft = 1,       // one good replica, more are wanted
  kBelowMinimum = 2,  // fewer than min_replicas: writers wait
  kDamaged = 3,       // a bad replica on a live server
  kBelowWanted = 4,
  kDoubtful = 5,   // replicas may differ in what nobody acknowledged: to be compared
  kMisplaced = 6,  // the policy wants other servers or domains, and there are some
  kSurplus = 7,
  kDrain = 8,
  kBalance = 9,
};
inline constexpr int kRepairClasses = 10;
/// "one_left", …
std::string_view RepairClassName(RepairClass repair_class);
/// May use the slots that are kept for urgent work, and copies under the urgent pull class.
inline bool IsUrgent(RepairClass c) { return c <= RepairClass::kBelowMinimum; }
/// Limited as moves, not as repair, and yields to clients.
inline bool IsMove(RepairClass c) {
  return c == RepairClass::kMisplaced || c >= RepairClass::kDrain;
}

/// What is the matter with a block, counted by whoever looked at journal and servers.
struct BlockHealth {
  int wanted = 3;
  int minimum = 2;
  int members = 0;  // length of the chain
  int good = 0;     // members that are alive (or in maintenance and expected back) and not bad
  int bad = 0;      // members that are alive and whose replica is damaged, missing or suspect
  int leaving = 0;  // good members on draining servers or disks
  bool misplaced = false;
  int doubtful = 0;  // good members that may differ from the others in what nobody acknowledged
};
/// The most urgent thing that is to be done about it; nothing for a healthy block.
std::optional<RepairClass> ClassifyBlock(const BlockHealth& health);

struct RepairEntry {
  BlockId block;
  RepairClass repair_class = RepairClass::kBelowWanted;
  int64_t since_ms = 0;  // monotonic; when it was noticed
  /// Good members that a copy can be pulled from; empty: nothing is copied, or whoever assigns
  /// knows better.
  std::vector<ServerId> sources;
  /// Before all others of its class, whatever their age: the block is not served until it is done.
  bool first = false;
  /// Nothing can be done before servers that are expected back are there, or are given up: never
  /// taken, until an entry without this takes its place. Lost blocks are like that by themselves.
  bool blocked = false;
  // kBalance: the member to be replaced and the one that replaces it.
  ServerId move_from;
  ServerId move_to;
};

struct RepairPlannerOptions {
  int slots = 4;
  int urgent_slots = 6;
  int move_slots = 2;
  /// How many run at once, of moves and of all that are not urgent.
  int max_moves = 12;
  int max_not_urgent = 24;
  size_t max_entries = 200'000;  // but lost ones
  size_t max_lost = 200'000;
  int64_t first_backoff_ms = 1'000;
  int64_t max_backoff_ms = 60'000;
  /// After Outcome::kHopeless.
  int64_t hopeless_ms = 3'600'000;
  /// After Outcome::kNotNow.
  int64_t not_now_ms = 200;
};

/// Who copies for an entry. Both empty: nobody does (surplus).
struct RepairSlots {
  std::optional<ServerId> source;
  std::vector<ServerId> targets;
};

struct RepairJob {
  RepairEntry entry;
  RepairSlots slots;
};

class RepairPlanner {
 public:
  explicit RepairPlanner(RepairPlannerOptions options) : options_(options) {}

  /// Enters a block or brings its entry up to date: then it keeps its age and its backoff, unless
  /// it became more urgent. A running one is entered when it has finished. False when there is no
  /// room; then the block has no entry.
  bool Put(RepairEntry entry);
  /// It is whole again. A running one stays until it has finished.
  void Remove(BlockId block);
  bool Contains(BlockId block) const { return entries_.contains(block); }
  bool IsRunning(BlockId block) const;
  /// The class of an entry that does not run.
  std::optional<RepairClass> WaitsAs(BlockId block) const;
  /// Entries that are never taken, from a block on, in order: whoever entered them is to look
  /// whether their reason still holds.
  std::vector<BlockId> Blocked(BlockId from, size_t most) const;
  void Clear();

  /// Servers that are to copy for the entry: `can_send`, `can_receive` say who has a free slot.
  /// Nothing: not now.
  using SlotTest = std::function<bool(ServerId)>;
  using Assign = std::function<std::optional<RepairSlots>(
      const RepairEntry& entry, const SlotTest& can_send, const SlotTest& can_receive)>;
  /// The next job; its slots are taken until Finish. Calls `assign` at most kMaxAssigns times and
  /// looks at no more than kMaxLooks entries, of which each class may use up half of what is left,
  /// and leaves something for each class behind it.
  /// An entry that `assign` refuses is asked for again after `not_now_ms`.
  std::optional<RepairJob> Take(int64_t now_ms, const Assign& assign);
  static constexpr int kMaxAssigns = 32;
  static constexpr int kMaxLooks = 4096;

  enum class Outcome {
    kDone,      // nothing is left to do about the block
    kNotNow,    // somebody was busy; no failure
    kFailed,    // tried again after a pause that doubles
    kHopeless,  // nothing that is left can mend it: looked at again now and then
  };
  void Finish(BlockId block, Outcome outcome, int64_t now_ms);

  struct ClassCount {
    int64_t blocks = 0;
    int64_t running = 0;
    int64_t waiting = 0;          // in backoff, or blocked; not of the lost
    int64_t oldest_since_ms = 0;  // with blocks > 0
  };
  ClassCount Count(RepairClass repair_class) const;
  size_t size() const { return entries_.size(); }
  /// Entries were left out for want of room, and there is room again: what the journal knows is to
  /// be looked through. Says so once.
  bool TakeRoomAgain();
  int running() const { return running_; }
  /// When the next entry leaves its backoff; nothing: none waits.
  std::optional<int64_t> NextDue() const;
  /// Copies that come in at (go out of) a server now.
  int Incoming(ServerId server) const;
  int Outgoing(ServerId server) const;

 private:
  struct State {
    RepairEntry entry;
    int failures = 0;
    int64_t not_before_ms = -1;  // in waiting_ when >= 0
    bool running = false;
    RepairSlots slots;                  // while running
    std::optional<RepairEntry> update;  // Put while it was running
  };
  enum Rank : uint8_t { kFirst, kUsual, kBlocked };
  using Order = std::tuple<Rank, int64_t, BlockId>;  // rank, since, block
  static Order OrderOf(const RepairEntry& entry);

  std::set<Order>& ready(RepairClass c) { return ready_[static_cast<size_t>(c)]; }
  void Enqueue(State& state);
  void Dequeue(State& state);
  void Wait(State& state, int64_t until_ms);
  bool MakeRoom(const RepairEntry& entry);
  /// Leaves out an entry of the class that does not run and comes behind `behind`: the last one.
  bool Evict(size_t repair_class, Rank behind);
  size_t lost() const { return by_age_[static_cast<size_t>(RepairClass::kLost)].size(); }
  /// Entries that take room from each other.
  size_t Competing() const { return entries_.size() - lost(); }
  void WakeDue(int64_t now_ms);
  bool HasFreeSource(const RepairEntry& entry) const;
  int SlotsFor(RepairClass c) const {
    if (IsUrgent(c)) return options_.urgent_slots;
    return IsMove(c) ? options_.move_slots : options_.slots;
  }
  /// As many of the class run as may.
  bool IsFull(RepairClass repair_class) const;
  void Occupy(const RepairSlots& slots, int delta);

  const RepairPlannerOptions options_;
  std::map<BlockId, State> entries_;
  std::set<Order> ready_[kRepairClasses];
  std::set<Order> by_age_[kRepairClasses];  // all entries of the class, running ones included
  std::set<std::pair<int64_t, BlockId>> waiting_;  // not before, block
  std::set<BlockId> blocked_;
  int64_t class_running_[kRepairClasses] = {};
  int64_t class_waiting_[kRepairClasses] = {};
  std::map<ServerId, int> incoming_;
  std::map<ServerId, int> outgoing_;
  int running_ = 0;
  bool left_out_ = false;
};

}  // namespace tercet
