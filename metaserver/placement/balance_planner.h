// Evening out how full the servers are. Pure: no I/O, threads or clocks. Why it works as it does:
// docs/decisions/0022-balance.md.
//
// How full a server is: bytes of its replicas / bytes of its disks. Even: every server that takes
// part is within the threshold of the mean (all replicas / all disks).
//
// Invariants:
//  - A move goes from a fuller server to an emptier one and does not turn the two around, all that
//    is under way counted as done. So the sum of used² / total over the servers, counted like that,
//    falls with every move that begins: nothing goes round in circles, and the moves come to an
//    end.
//  - Moves happen only while some server is outside of the threshold, and only from or to such one.
//  - Reports come late, and nobody knows which of the newest moves they show. So a server that
//    gives counts as if they showed none of what left it and all of what came, one that takes the
//    other way round.
//  - The planner says from where to where; whoever picks the block keeps the rules (MoveKeepsRule),
//    and the move itself (metaserver/repair/protocol.md) never lowers the number of replicas.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/placement/server_table.h"

namespace tercet {

/// A server as balancing sees it.
struct BalanceServerState {
  ServerId id;
  uint64_t total_bytes = 0;   // of its disks in service
  uint64_t used_bytes = 0;    // of replicas on them
  uint64_t usable_bytes = 0;  // what new replicas may take
  /// Alive, in service and not suspected: others are left alone and do not count for the mean.
  bool takes_part = false;
  uint64_t identity = 0;  // hash of service state, labels and disks

  double filling() const {
    return total_bytes == 0 ? 0
                            : static_cast<double>(used_bytes) / static_cast<double>(total_bytes);
  }
};
/// How near to the mean a run brings the servers, for a threshold: somewhat nearer, so that what
/// clients write meanwhile does not call for the next run at once.
inline double BalanceGoal(double threshold) { return 0.8 * threshold; }

/// All servers of the table that were not removed, in order of their ids.
std::vector<BalanceServerState> BalanceStates(const ServerTable& table);

// ---- the plan that an administrator sees ----

/// Blocks with replicas on exactly these servers (sorted), for knowing what can be moved at all.
struct BalanceBlockSet {
  std::vector<ServerId> servers;
  int64_t blocks = 0;
};

struct BalancePlan {
  struct Server {
    ServerId id;
    uint64_t total_bytes = 0;
    uint64_t used_bytes = 0;
    uint64_t used_after_bytes = 0;  // not in the token
    uint64_t identity = 0;
    bool takes_part = false;
  };
  int64_t created_ns = 0;
  double threshold_points = 5.0;
  std::vector<Server> servers;
  uint64_t bytes_to_move = 0;      // not in the token
  std::vector<std::string> notes;  // not in the token; for people
};

inline constexpr double kMinBalanceThreshold = 0.1;
inline constexpr double kMaxBalanceThreshold = 50.0;

/// kInvalidArgument: the threshold is outside of kMin…kMaxBalanceThreshold percentage points.
/// `sets`: all blocks, as far as known; `rule` and `labels` of the servers as they concern most
/// blocks.
Result<BalancePlan> PlanBalance(std::span<const BalanceServerState> servers,
                                std::span<const BalanceBlockSet> sets, double threshold_points,
                                int64_t now_ns);

/// What is given to people to hand it back when the plan is to be carried out.
std::string EncodeBalancePlan(const BalancePlan& plan);
/// kInvalidArgument for what is no plan.
Result<BalancePlan> DecodeBalancePlan(std::string_view token);
/// OK when the cluster still is as the plan says: the same servers, states, labels and disks,
/// fillings within a percentage point, and the plan is at most an hour old. kConflict says what is
/// different.
Status CheckBalancePlan(const BalancePlan& plan, std::span<const BalanceServerState> servers,
                        int64_t now_ns);

// ---- carrying it out ----

struct BalanceMove {
  BlockId block;
  ServerId from;
  ServerId to;
  uint64_t bytes = 0;
};

/// One run of balancing, or what is left of one: it needs no memory of what was done before. Not
/// thread-safe.
class BalancePlanner {
 public:
  /// `settle_ms`: how long it may take until the servers' reports show what was moved.
  BalancePlanner(double threshold_points, int64_t settle_ms)
      : threshold_(threshold_points / 100), settle_ms_(settle_ms) {}

  /// The servers as they report themselves now.
  void Update(std::span<const BalanceServerState> servers, int64_t now_ms);

  /// A block with a replica on `from` that may go to one of `to` (the emptiest first): with at most
  /// max_bytes[i] bytes to to[i]. Nothing: none was found.
  struct Wish {
    ServerId from;
    std::vector<ServerId> to;
    std::vector<uint64_t> max_bytes;
  };
  struct Pick {
    std::optional<BalanceMove> move;
    /// Without a move: there are no more blocks on the giver to be looked at for now. Otherwise the
    /// next call goes on looking.
    bool exhausted = false;
  };
  using PickBlock = std::function<Pick(const Wish& wish)>;
  /// The next move, which runs until Finished. Nothing when no server is outside of the threshold,
  /// or no block was found. Calls `pick` at most kMaxPicks times.
  std::optional<BalanceMove> Next(const PickBlock& pick, int64_t now_ms);
  static constexpr int kMaxPicks = 8;

  void Finished(const BalanceMove& move, bool moved, int64_t now_ms);

  enum class State {
    kMoving,    // there is something to move
    kSettling,  // all would be even with what runs or was moved a moment ago
    kEven,
    kStuck,  // not even, but no block may be moved: all that could give were exhausted
  };
  State state(int64_t now_ms) const;
  /// All replicas / all disks.
  double mean() const { return Mean(); }
  /// To be moved until even, roughly.
  uint64_t left_bytes() const;
  int running() const { return running_; }

 private:
  struct Server {
    BalanceServerState reported;
    // Of moves that run, and of those whose end the reports may not show yet.
    uint64_t incoming = 0;
    uint64_t outgoing = 0;
    int64_t dry_until_ms = -1;  // no block was found on it a moment ago

    /// What it is filled to at least and at most, whatever of its moves the report shows.
    double least() const;
    double most() const;
  };
  struct Settling {
    int64_t until_ms = 0;
    BalanceMove move;
  };

  void Settle(int64_t now_ms);
  double Mean() const;
  std::optional<Wish> MakeWish(const Server& from, double mean) const;
  bool Outside() const;
  void Count(const BalanceMove& move, int sign);

  const double threshold_;
  const int64_t settle_ms_;
  std::map<ServerId, Server> servers_;
  std::deque<Settling> settling_;
  int running_ = 0;
  bool stuck_ = false;
};

}  // namespace tercet
