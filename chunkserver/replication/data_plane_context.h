// What the connections of one data-plane server share.
#pragma once

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>

#include "chunkserver/replication/block_order.h"
#include "chunkserver/replication/buffer_pool.h"
#include "chunkserver/replication/counters.h"
#include "chunkserver/replication/data_plane_metrics.h"
#include "chunkserver/replication/data_plane_server.h"
#include "chunkserver/replication/downstream.h"
#include "chunkserver/replication/link_registry.h"
#include "chunkserver/replication/load_meter.h"
#include "chunkserver/replication/pull_manager.h"
#include "chunkserver/replication/serving_gate.h"
#include "chunkserver/replication/sync_pool.h"
#include "chunkserver/replication/watchdog.h"
#include "chunkserver/store/block_store.h"

namespace tercet {

/// Outlives all connections. Every part is thread-safe.
struct DataPlaneContext {
  DataPlaneContext(const DataPlaneOptions& given, BlockStore& block_store)
      : options(Checked(given)),
        store(block_store),
        buffers(given.buffer_bytes),
        downstream(options, counters),
        syncs(given.sync_threads, /*max_queued=*/1024),
        pulls(options, block_store, counters),
        watchdog(options.working_interval, [this](int64_t now_nanos) { load.Tick(now_nanos); }) {}

  static DataPlaneOptions Checked(DataPlaneOptions options) {
    options.working_interval = std::min(options.working_interval, options.progress_deadline / 4);
    return options;
  }

  struct Identity {
    std::string cluster_id;
    ServerId server_id;  // 0: not registered yet
  };
  Identity identity() const {
    std::lock_guard lock(identity_mutex);
    return current_identity;
  }

  const DataPlaneOptions options;
  BlockStore& store;
  DataPlaneCounters counters;
  DataPlaneLatencies latencies;
  BufferPool buffers;
  BlockOrder order;
  LinkRegistry links;
  ServingGate gate;
  Downstream downstream;
  SyncPool syncs;
  PullManager pulls;
  LoadMeter load;

  mutable std::mutex identity_mutex;
  Identity current_identity;  // guarded by identity_mutex
  /// Of current_identity, for a look at each request.
  std::atomic<uint32_t> current_server_id{0};

  Watchdog watchdog;  // last: its thread uses the others
};

}  // namespace tercet
