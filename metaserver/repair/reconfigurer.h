// Carries out attempts to change a block's chain (protocol.md): drives a Reconfiguration over the
// journal and over commands to chunk servers.
//
// Invariants:
//  - At most one attempt per block runs in this process: whoever runs one holds the block's lock.
//    That is for speed; what makes attempts safe are their generations.
//  - No lock is held that other blocks' attempts need.
//  - Every attempt ends: by its commands' deadlines, or a moment after this is not the active any
//    more.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "metaserver/placement/server_table.h"
#include "metaserver/repair/chunk_commander.h"
#include "metaserver/repair/reconfiguration.h"
#include "metaserver/repair/repair_journal.h"

namespace tercet {

/// Blocks that somebody is working upon. Thread-safe.
class BlockLocks {
 public:
  /// Held while it lives.
  class Hold {
   public:
    Hold(BlockLocks* locks, BlockId block) : locks_(locks), block_(block) {}
    Hold(Hold&& other) noexcept
        : locks_(std::exchange(other.locks_, nullptr)), block_(other.block_) {}
    Hold& operator=(Hold&&) = delete;
    ~Hold() {
      if (locks_ != nullptr) locks_->Release(block_);
    }

   private:
    BlockLocks* locks_;  // outlives all holds
    BlockId block_;
  };

  /// Nothing when it is not free within `wait`.
  std::optional<Hold> Acquire(BlockId block, std::chrono::milliseconds wait);

 private:
  void Release(BlockId block);

  std::mutex mutex_;
  std::condition_variable released_;
  std::set<BlockId> held_;  // guarded by mutex_
};

struct ReconfigurerOptions {
  CommandDeadlines seal{std::chrono::milliseconds(1000), std::chrono::milliseconds(5000)};
  /// Verifying reads the whole block.
  CommandDeadlines verifying_seal{std::chrono::milliseconds(2000),
                                  std::chrono::milliseconds(60'000)};
  /// Together with the record that follows, less than it takes a doubt to be reported
  /// (EvaluateClearDoubts).
  CommandDeadlines table{std::chrono::milliseconds(1000), std::chrono::milliseconds(3000)};
  CommandDeadlines pull{std::chrono::milliseconds(2000), std::chrono::milliseconds(120'000)};
  /// Of a bulk copy, which may be throttled.
  CommandDeadlines prepare{std::chrono::milliseconds(2000), std::chrono::milliseconds(1'800'000)};
};

struct ReconfigurationResult {
  Status status;
  Generation generation;        // of a committed attempt
  std::vector<ServerId> chain;  // of a committed attempt
  std::map<ServerId, Status> failed;
  bool only_suspects = false;
  /// Reconfiguration::newer.
  Generation newer;
  /// Members may be sealed, so that the block is neither read nor written until an attempt is
  /// committed.
  bool begun = false;
  int64_t copied_bytes = 0;
  uint32_t lost_pages = 0;
  std::chrono::milliseconds took{0};
};

/// Thread-safe.
class Reconfigurer {
 public:
  /// All references must outlive the object.
  Reconfigurer(ReconfigurerOptions options, RepairJournal& journal, const ServerTable& servers,
               ChunkCommander& commander)
      : options_(options), journal_(journal), servers_(servers), commander_(commander) {}

  /// Called when a chain was journaled without a server that was in it. Must not block; to be set
  /// before the first attempt.
  using OnDropped = std::function<void(BlockId, Generation, ServerId)>;
  void SetOnDropped(OnDropped on_dropped) { on_dropped_ = std::move(on_dropped); }

  /// One attempt, in the caller's thread; another one when a replica turns out to have a higher
  /// generation than the journal knows. The caller holds the block's lock.
  ReconfigurationResult Run(Epoch epoch, const ReconfigurationGoal& goal,
                            wire::PullClass::type pull_class, const std::string& why);

  struct Prepared {
    int64_t copied_bytes = 0;
    /// Of those who could not: where it failed, and how.
    std::map<ServerId, std::pair<Status, ServerId>> failed;
  };
  /// Has `targets` copy the bulk of a block from `source`, which has `generation`, side by side.
  /// Needs no lock on the block: it may be written to meanwhile.
  Prepared Prepare(Epoch epoch, BlockId block, ServerId source, Generation generation,
                   const std::vector<ServerId>& targets, wire::PullClass::type pull_class);

  /// Whether `servers` have equal content in this generation. Needs no lock on the block.
  Comparison Compare(Epoch epoch, BlockId block, Generation generation,
                     const std::vector<ServerId>& servers);

  /// Which of `servers` answer within `wait`. Servers that refuse or are unknown cost no time.
  std::set<ServerId> Ping(const std::vector<ServerId>& servers, std::chrono::milliseconds wait,
                          Epoch epoch);

  /// Commands under way are given up, and attempts end. For good.
  void Stop() { stopping_.store(true, std::memory_order_relaxed); }

  BlockLocks& locks() { return locks_; }

 private:
  class Attempt;

  Result<ChunkPeer> Peer(ServerId server) const;
  void TellOfLoss(const ReconfigurationGoal& goal, const ReconfigurationResult& result);
  /// Attempts under `epoch` still have a meaning.
  bool Wanted(Epoch epoch) const {
    return !stopping_.load(std::memory_order_relaxed) && journal_.Serves(epoch);
  }

  const ReconfigurerOptions options_;
  RepairJournal& journal_;
  const ServerTable& servers_;
  ChunkCommander& commander_;
  OnDropped on_dropped_;
  std::atomic<bool> stopping_{false};
  BlockLocks locks_;

  std::mutex told_mutex_;
  /// How many pages of a block were said to be lost: attempts upon it find them again. Guarded by
  /// told_mutex_; at most kMaxTold.
  std::map<BlockId, uint32_t> told_;
};

}  // namespace tercet
