// Shows the figures of the store and the data plane as metrics.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "chunkserver/replication/counters.h"
#include "chunkserver/store/block_store.h"
#include "common/metrics/metrics.h"

namespace tercet {

/// Not thread-safe. The references must outlive it.
class ServiceMetrics {
 public:
  ServiceMetrics(BlockStore& store, const DataPlaneCounters& data_plane);
  /// Brings the metrics up to date.
  void Update();

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

  BlockStore& store_;
  const DataPlaneCounters& data_plane_;
  DataPlaneCounters data_plane_shown_;
  std::vector<MirroredCounter> counters_;
};

}  // namespace tercet
