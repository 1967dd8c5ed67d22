// The verification of one disk, step by step.
//
// Rounds. A round goes through the disk's replicas in the order of their block ids and compares
// every page with its checksum. Rounds begin one period after another, or when the one before is
// done if that is later. What is found goes to the store's bad replicas
// (BlockStore::TakeBadReplicas), and from there to the active metaserver.
//
// Beside the rounds, every hour, the names in the disk's folders are compared with the index, a
// thousand replicas each second: so a file that was removed is missed before somebody reads it.
// That begins anew with each start, and goes on when nothing is to be verified.
//
// Position and begin of the round are written to the disk every minute, at the end of a round and
// when the server stops; a crash repeats up to a minute of work.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>

#include "chunkserver/scrub/scrub_state.h"
#include "chunkserver/store/block_store.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/env/disk.h"

namespace tercet {

/// How far the verification of a disk is.
struct ScrubProgress {
  std::string disk_uuid;
  std::string disk_path;
  /// When the round that was completed last began, nanoseconds since 1970; 0: none was.
  int64_t scrubbed_since_ns = 0;
  /// The same of the round under way; 0: none is.
  int64_t round_started_ns = 0;
  double round_done = 0;  // of the round under way, 0 to 1
  // Since the start of the process.
  uint64_t verified_bytes = 0;
  uint64_t damaged_pages = 0;
  uint64_t bad_replicas = 0;
  uint64_t rounds = 0;
};

/// Step and Save are for one thread at a time; progress is thread-safe.
class DiskScrub {
 public:
  static constexpr std::chrono::seconds kSaveInterval{60};
  /// From the end of one comparison of names to the begin of the next.
  static constexpr std::chrono::hours kLookInterval{1};

  /// `status` is the disk's, from BlockStore::Disks. The references must outlive it.
  DiskScrub(BlockStore& store, Disk& disk, Clock& clock, const StoreDiskStatus& status);

  /// Looks for lost files and verifies up to kScrubStepBytes, both if that is due, and returns how
  /// long to wait before the next call. A `period` of zero: never verify.
  std::chrono::nanoseconds Step(std::chrono::milliseconds period, bool clients_active);
  /// Writes position and round to the disk.
  void Save();

  ScrubProgress progress() const;

 private:
  struct Current {
    ReplicaInfo replica;
    uint32_t pages = 0;
    uint32_t next_page = 0;
    uint32_t damaged = 0;
  };

  void Load();
  std::string StatePath() const { return disk_path_ + "/scrub"; }
  /// Reads how much there is on the disk, at most once a second. False when it is not in use.
  bool Measure();
  void LookForLostFiles();
  /// Whether a round is under way. `wait`: until one is due.
  bool EnterRound(std::chrono::milliseconds period, std::chrono::nanoseconds* wait);
  void CompleteRound();
  /// Makes a replica the current one. False when there is none behind the position; an error when
  /// that is not known.
  Result<bool> NextReplica();
  void VerifySome();
  /// Reads pages of the current replica without holding its lock, and compares them with the
  /// checksums of a moment before. False when they are not known to be right: a writer may have
  /// been at work.
  bool LookRight(uint32_t first_page, uint32_t count);
  void FinishCurrent();
  void NoteDamage(uint32_t first_page, uint32_t count, const std::string& what);
  void Charge(uint64_t cost, uint64_t bytes);

  // Constant after construction.
  BlockStore& store_;
  Disk& disk_;
  Clock& clock_;
  const std::string disk_uuid_;
  const std::string disk_path_;

  // Of the stepping thread.
  bool loaded_ = false;
  std::deque<ReplicaInfo> ahead_;  // behind the position, in order
  std::optional<Current> current_;
  std::string buffer_;
  bool healthy_ = false;
  int64_t measured_ms_ = -1;
  int64_t saved_ms_ = 0;
  BlockId looked_to_;  // up to this one the names were compared
  int64_t next_look_ms_ = 0;
  int64_t last_step_nanos_ = 0;  // monotonic
  uint64_t last_cost_ = 0;

  mutable std::mutex mutex_;
  ScrubState state_;        // guarded by mutex_; changed by the stepping thread only
  ScrubProgress progress_;  // guarded by mutex_
  // What is on the disk; guarded by mutex_, changed by the stepping thread only.
  uint64_t replica_bytes_ = 0;
  uint64_t replica_count_ = 0;
};

}  // namespace tercet
