// Replicas that may differ from others of their block in what nobody acknowledged, until the active
// metaserver knows of them.
//
// A write that ends in the middle is nearly always recovered by its writer within seconds, which
// gives the block another generation: so a doubt waits before it is told.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "chunkserver/store/block_store.h"
#include "common/env/clock.h"

namespace tercet {

/// Thread-safe. At most one doubt per block: the one about its latest generation.
class DoubtfulReplicas {
 public:
  /// A doubt that is dropped may leave replicas unequal for good, so there is room for very many.
  static constexpr size_t kMaxDoubts = 1'000'000;
  static constexpr int64_t kDelayMs = 10'000;

  /// `clock` must outlive it.
  explicit DoubtfulReplicas(const Clock& clock) : clock_(clock) {}

  /// A doubt that is there already keeps its time, and comes once more when it is as old again: the
  /// active may compare the replicas before this change and clear the doubt after it. False when
  /// there is no room.
  bool Note(BlockId block, Generation generation);

  struct Due {
    uint64_t number = 0;  // of the doubt: later ones are greater
    ReplicaInfo replica;
  };
  /// Doubts behind `after` by number that are old enough, at most `max`, the oldest first. They
  /// stay.
  std::vector<Due> TakeDue(uint64_t after, size_t max);
  /// The active knows of the doubt: it goes, or waits for its turn as of when it was noted last.
  void Acknowledge(BlockId block, Generation generation);
  /// The doubt is void: the replica has another generation, or is gone.
  void Drop(BlockId block, Generation generation);
  /// All there are.
  std::vector<ReplicaInfo> List() const;
  /// Of the doubt that was added last.
  uint64_t last_number() const;
  size_t size() const;

 private:
  struct Doubt {
    ReplicaInfo replica;
    int64_t noted_ms = 0;
    int64_t last_ms = 0;  // when it was noted last
    bool being_told = false;
  };
  // These need mutex_.
  std::map<uint64_t, Doubt>::iterator Find(BlockId block, Generation generation);
  void Add(const ReplicaInfo& replica, int64_t noted_ms);
  void Erase(std::map<uint64_t, Doubt>::iterator doubt);

  const Clock& clock_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  uint64_t last_number_ = 0;
  std::map<uint64_t, Doubt> by_number_;
  std::unordered_map<BlockId, uint64_t> by_block_;
  bool overflow_logged_ = false;  // since it was empty
};

}  // namespace tercet
