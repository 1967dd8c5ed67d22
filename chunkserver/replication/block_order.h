// One lock per block that is being written.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "common/base/ids.h"

namespace tercet {

/// While a thread holds a block's Guard, no other one can queue that block's frames for the next
/// server or apply them here: so both happen in one order. Blocks do not hinder each other: locks
/// are not shared between blocks, since one may be held for as long as a disk takes. Thread-safe;
/// holds only blocks in use.
class BlockOrder {
  struct Entry {
    std::mutex mutex;
    size_t users = 0;  // guarded by the shard's mutex
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<BlockId, std::unique_ptr<Entry>> entries;  // guarded by mutex
  };

 public:
  class Guard {
   public:
    Guard(BlockOrder& order, BlockId block) : shard_(order.ShardOf(block)), block_(block) {
      {
        std::lock_guard lock(shard_.mutex);
        auto& slot = shard_.entries[block];
        if (slot == nullptr) slot = std::make_unique<Entry>();
        entry_ = slot.get();
        ++entry_->users;
      }
      entry_->mutex.lock();
    }
    ~Guard() {
      entry_->mutex.unlock();
      std::lock_guard lock(shard_.mutex);
      if (--entry_->users == 0) shard_.entries.erase(block_);
    }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    Shard& shard_;
    const BlockId block_;
    Entry* entry_ = nullptr;  // stays while its users count this guard
  };

 private:
  Shard& ShardOf(BlockId block) { return shards_[block.value() % shards_.size()]; }
  std::array<Shard, 16> shards_;
};

}  // namespace tercet
