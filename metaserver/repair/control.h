// What administrators' calls and the engine that changes chains need of each other. The calls
// journal what is wanted (server states, limits, the balance row, repair rows) and tell the engine
// that there is something to look at; the engine derives everything from the journal, so a call
// that gets lost between the two costs a delay, never the work.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"

namespace tercet {

/// One class of the repair queue.
struct RepairClassReport {
  /// As RepairClassName gives it (metaserver/placement/repair_planner.h), or "waiting": servers
  /// that are away for less than the repair delay, blocks in backoff.
  std::string name;
  int64_t blocks = 0;
  int64_t oldest_ms = 0;  // how long the oldest waits
};

struct RepairReport {
  std::vector<RepairClassReport> queue;
  int running = 0;
  int64_t bytes_per_second = 0;  // over about ten seconds
  // Since this metaserver became active.
  int64_t repaired_blocks = 0;
  int64_t failed_attempts = 0;
  int64_t recoveries = 0;  // for writers
};

/// How the drain of one server goes.
struct DrainReport {
  /// Of copies that left it or replaced its replicas, over about ten seconds; 0: nothing moved.
  int64_t bytes_per_second = 0;
};

/// What is only in memory of a balance run; the rest is the journal's balance row.
struct BalanceRunReport {
  int64_t bytes_per_second = 0;
  /// What it allows itself per server at the moment; 0: no limit.
  int64_t limit_bytes_per_second = 0;
  /// To be moved until done, estimated.
  int64_t left_bytes = 0;
  /// Moved, but not in the balance row yet.
  int64_t unsaved_moved_bytes = 0;
  int64_t unsaved_moved_blocks = 0;
  /// Why it goes slowly just now, if it does.
  std::string note;
};

struct InventoryReport {
  std::vector<ServerId> done;     // compared all they hold since the inventory was started
  std::vector<ServerId> pending;  // alive, not done yet
};

/// A replica that a server holds and no file has; found in the servers' reports.
struct UnknownReplica {
  ServerId server;
  BlockId block;
};

/// Implemented by the repair engine. Thread-safe; no call blocks for longer than a look-up in
/// memory.
class RepairControl {
 public:
  virtual ~RepairControl() = default;

  virtual RepairReport Report() const = 0;
  virtual DrainReport Drain(ServerId server) const = 0;
  virtual BalanceRunReport Balance() const = 0;

  /// The repair rows of these blocks changed: they are to be looked at now.
  virtual void NoticeBlocks(const std::vector<BlockId>& blocks) = 0;
  /// Servers' or disks' states, the limits or the balance row changed.
  virtual void NoticeStates() = 0;
};

/// Implemented by the registry. Thread-safe.
class InventoryControl {
 public:
  virtual ~InventoryControl() = default;

  /// All live servers are asked to compare what they hold with the journal, at their next
  /// heartbeat. Returns the inventory's id. kNotActive.
  virtual Result<int64_t> StartInventory() = 0;
  /// kNotFound: unknown, or of an earlier activation.
  virtual Result<InventoryReport> GetInventory(int64_t inventory_id) const = 0;
  /// At most `max`, in order of servers and blocks: what was reported since this metaserver became
  /// active and is in quarantine there since.
  virtual std::vector<UnknownReplica> UnknownReplicas(size_t max) const = 0;
};

}  // namespace tercet
