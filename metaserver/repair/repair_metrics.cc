#include "metaserver/repair/repair_metrics.h"

#include <algorithm>

#include "common/metrics/metrics.h"

namespace tercet {

RepairCounters& RepairCounters::Get() {
  static RepairCounters counters;
  return counters;
}

RepairCounters::RepairCounters()
    : recoveries(GetCounter("tercet_recoveries_total", "Chains changed because a writer failed")),
      recovery_failures(
          GetCounter("tercet_recovery_failures_total",
                     "Writers that were told to try again, or that nothing can be done")),
      recovery_seconds(GetLatencyHistogram("tercet_recovery_seconds",
                                           "Time from a writer's request to its new chain")),
      repaired_blocks(GetCounter("tercet_repaired_blocks_total",
                                 "Blocks whose replicas were made again, healed or lessened")),
      repaired_bytes(GetCounter("tercet_repaired_bytes_total", "Bytes copied for repair")),
      moved_blocks(GetCounter("tercet_moved_blocks_total",
                              "Blocks moved by drains, balancing and changed policies")),
      moved_bytes(GetCounter("tercet_moved_bytes_total", "Bytes copied for moves")),
      failed_attempts(GetCounter("tercet_repair_failed_attempts_total",
                                 "Attempts to change a chain that failed")),
      equal_doubts(GetCounter("tercet_doubtful_blocks_equal_total",
                              "Blocks whose replicas were compared and are equal")),
      lost_pages(GetCounter("tercet_lost_pages_total",
                            "Pages of 4 KiB whose damage no other replica could mend")) {
  // Shown from the start, so that the first one is an increase.
  for (const int reason : {1, 2, 3, 4}) BadReplicaCounter(reason);
}

prometheus::Counter& BadReplicaCounter(int reason) {
  static constexpr std::array<const char*, 4> kNames = {"damaged", "missing", "suspect",
                                                        "doubtful"};
  const auto index = static_cast<size_t>(std::clamp(reason, 1, 4) - 1);
  return GetCounter("tercet_bad_replicas_total", "Bad replicas found, by reason",
                    {{"reason", kNames[index]}});
}

RepairGauges::RepairGauges()
    : running(GetGauge("tercet_repair_running", "Blocks whose chain is being changed now")),
      balance_state(
          GetGauge("tercet_balance_state", "0 none, 1 running, 2 paused, 3 done, 4 stopped")),
      balance_left_bytes(GetGauge("tercet_balance_left_bytes", "Still to be moved, estimated")),
      move_limit_bytes(GetGauge("tercet_move_limit_bytes_per_second",
                                "What each server may use for moves; 0: no limit")),
      drain_replicas_left(
          GetGauge("tercet_drain_replicas_left", "Replicas that are still on draining servers")) {
  for (int c = 0; c < kRepairClasses; ++c) {
    const std::string name(RepairClassName(static_cast<RepairClass>(c)));
    queue[static_cast<size_t>(c)] =
        &GetGauge("tercet_repair_queue_blocks", "Blocks that wait for repair", {{"class", name}});
    oldest_seconds[static_cast<size_t>(c)] =
        &GetGauge("tercet_repair_oldest_seconds", "How long the oldest of the queue waits",
                  {{"class", name}});
  }
}

void RepairGauges::Clear() {
  for (auto* gauge : queue) gauge->Set(0);
  for (auto* gauge : oldest_seconds) gauge->Set(0);
  for (auto* gauge : {&running, &balance_left_bytes, &move_limit_bytes, &drain_replicas_left}) {
    gauge->Set(0);
  }
}

}  // namespace tercet
