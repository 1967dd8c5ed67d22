// Metrics of repair. The general header (common/metrics/metrics.h) is used in the .cc only: its
// Counter is not the namespace's Counter.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include <array>
#include <cstdint>
#include <string>

#include "metaserver/placement/repair_planner.h"

namespace tercet {

/// Events.
struct RepairCounters {
  static RepairCounters& Get();

  prometheus::Counter& recoveries;
  prometheus::Counter& recovery_failures;
  prometheus::Histogram& recovery_seconds;
  prometheus::Counter& repaired_blocks;
  prometheus::Counter& repaired_bytes;
  prometheus::Counter& moved_blocks;
  prometheus::Counter& moved_bytes;
  prometheus::Counter& failed_attempts;
  prometheus::Counter& equal_doubts;
  prometheus::Counter& lost_pages;

 private:
  RepairCounters();
};

/// Bad replicas as they were reported, by reason.
prometheus::Counter& BadReplicaCounter(int reason);

/// Figures that the scanning thread brings up to date. 0 on a standby.
struct RepairGauges {
  RepairGauges();
  void Clear();

  std::array<prometheus::Gauge*, kRepairClasses> queue;           // blocks
  std::array<prometheus::Gauge*, kRepairClasses> oldest_seconds;  // how long the oldest waits
  prometheus::Gauge& running;
  prometheus::Gauge& balance_state;  // wire::BalanceState
  prometheus::Gauge& balance_left_bytes;
  prometheus::Gauge& move_limit_bytes;  // per server and second; 0: none
  prometheus::Gauge& drain_replicas_left;
};

}  // namespace tercet
