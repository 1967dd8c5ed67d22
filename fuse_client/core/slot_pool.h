// The slots of a session: each carries one mutation at a time, with a sequence number that grows.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "common/base/status.h"

namespace tercet {

/// Thread-safe. Must outlive its leases.
class SlotPool {
 public:
  explicit SlotPool(int slot_count);

  /// A slot for one mutation and all its retries; given back by the destructor.
  class Lease {
   public:
    Lease(SlotPool* pool, int32_t slot, int64_t sequence)
        : pool_(pool), slot_(slot), sequence_(sequence) {}
    ~Lease() {
      if (pool_ != nullptr) pool_->Release(slot_);
    }
    Lease(Lease&& other) noexcept
        : pool_(other.pool_), slot_(other.slot_), sequence_(other.sequence_) {
      other.pool_ = nullptr;
    }
    Lease& operator=(Lease&&) = delete;
    int32_t slot() const { return slot_; }
    int64_t sequence() const { return sequence_; }

   private:
    SlotPool* pool_;
    const int32_t slot_;
    const int64_t sequence_;
  };

  /// Waits for a free slot; kCancelled after Stop.
  Result<Lease> Acquire();
  void Stop();

 private:
  void Release(int32_t slot);

  std::mutex mutex_;
  std::condition_variable freed_;
  // Guarded by mutex_.
  std::vector<int32_t> free_;
  int64_t next_sequence_ = 1;
  bool stopped_ = false;
};

}  // namespace tercet
