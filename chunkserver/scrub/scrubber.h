// Reads and verifies all replicas of a server in the background, so that damage is found while
// there are good replicas left to heal it from.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "chunkserver/scrub/disk_scrub.h"
#include "chunkserver/scrub/step_thread.h"
#include "chunkserver/store/block_store.h"
#include "common/env/clock.h"
#include "common/env/disk.h"

namespace tercet {

struct ScrubberOptions {
  /// All replicas are verified within so long; zero: never.
  std::chrono::milliseconds period{14ll * 24 * 3'600'000};
  /// Whether clients use the server just now. Thread-safe.
  std::function<bool()> clients_active;
};

/// Thread-safe. One thread for each disk, with idle priority.
class Scrubber {
 public:
  /// The references must outlive it.
  Scrubber(BlockStore& store, Disk& disk, Clock& clock, ScrubberOptions options);
  /// Ends after the steps under way and writes down how far they are.
  ~Scrubber();

  /// In force at once, also for rounds under way.
  void SetPeriod(std::chrono::milliseconds period);

  /// One for each disk, in the order of BlockStore::Disks.
  std::vector<ScrubProgress> Progress() const;

 private:
  // Constant after construction.
  const std::function<bool()> clients_active_;
  std::vector<std::unique_ptr<DiskScrub>> scrubs_;

  std::atomic<std::chrono::milliseconds> period_;
  std::vector<std::unique_ptr<StepThread>> threads_;  // constant after construction
};

}  // namespace tercet
