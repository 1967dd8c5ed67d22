// What a disk's activity file and the headers of its replicas say after a start: which replicas are
// suspect, which are to be verified, and with what the new activity file begins. Pure.
//
// | last run ended by  | suspect                                     | to be verified at first use
// |
// |--------------------|---------------------------------------------|---------------------------------|
// | closing            | as before                                   | as before | | process crash
// | as before                                   | marked, or of an unsettled era  | | machine crash
// | as before; marked, or of an unsettled era   | as before                       | | machine
// crash, activity file lost | all                          |                                 |
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <unordered_map>

#include "chunkserver/store/activity_log.h"
#include "chunkserver/store/replica_index.h"

namespace tercet {

/// `activity`: what was found, nothing when it is missing or damaged. `index`: likewise.
RunEnd HowRunEnded(const std::optional<ActivityState>& activity,
                   const std::optional<IndexState>& index, const std::string& boot_id);

class DiskRecovery {
 public:
  DiskRecovery(std::optional<ActivityRecord> found, RunEnd end);

  /// Whether the replica with this header is suspect now.
  bool IsSuspect(BlockId block, Era era) const;
  /// Whether a write to the replica with this header may have ended in the middle because of the
  /// crash, and it is not suspect because of it; of none unless makes_doubtful(). Replicas of the
  /// era that was settled last count: a write of that era may have been under way still, waiting
  /// for other servers. (One to an older replica left a mark, which stays for a whole era more.)
  bool IsDoubtful(BlockId block, Era era) const;
  bool makes_doubtful() const { return end_ != RunEnd::kClean && found_.has_value(); }
  /// Tells about a replica that was found.
  void Saw(BlockId block, Era era);
  /// The era up to which everything was durable; rows of later ones may be out of date.
  Era settled() const;
  /// What the new activity file begins with. `exists`: whether there still is a replica of the
  /// block.
  ActivityRecord Next(const std::string& boot_id, const std::function<bool(BlockId)>& exists) const;

 private:
  bool IsNewlySuspect(BlockId block, Era era) const;
  /// Writes of the last run may not be settled.
  bool IsUnsettled(BlockId block, Era era) const;

  const std::optional<ActivityRecord> found_;
  const RunEnd end_;
  std::unordered_map<BlockId, ActivityMark> marks_;
  Era last_era_;                  // the highest in the file or in a header
  bool suspects_by_era_ = false;  // a replica that was seen is newly suspect because of its era
};

}  // namespace tercet
