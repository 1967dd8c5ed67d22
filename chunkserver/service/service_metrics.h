// Shows the figures of the store, the data plane and the background work as metrics.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "chunkserver/replication/data_plane_server.h"
#include "chunkserver/scrub/evacuator.h"
#include "chunkserver/scrub/scrubber.h"
#include "chunkserver/store/block_store.h"
#include "common/env/clock.h"
#include "common/metrics/metrics.h"

namespace tercet {

/// Not thread-safe. The parts must outlive it.
class ServiceMetrics {
 public:
  struct Parts {
    BlockStore& store;
    const DataPlaneServer& data_plane;
    const Scrubber& scrubber;
    const Evacuator& evacuator;
    Clock& clock;
  };
  explicit ServiceMetrics(const Parts& parts);
  /// Brings the metrics up to date.
  void Update(bool registered);

 private:
  /// A total that is counted elsewhere.
  struct MirroredCounter {
    const std::atomic<uint64_t>* source;
    Counter* counter;
    uint64_t shown = 0;
  };
  void Mirror(const std::atomic<uint64_t>& source, const std::string& name,
              const std::string& help);
  void UpdateDisks();
  void UpdateScrub();
  void UpdateEvacuation();

  const Parts parts_;
  const int64_t started_ns_;  // nanoseconds since 1970
  DataPlaneCounters data_plane_shown_;
  std::vector<MirroredCounter> counters_;
  std::vector<ScrubProgress> scrub_shown_;                      // by disk
  std::map<std::string, EvacuationProgress> evacuation_shown_;  // by disk uuid
};

}  // namespace tercet
