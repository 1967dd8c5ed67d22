// Which replicas of a disk may lack writes when the machine crashes, at no cost for new replicas.
//
// Time is cut into *eras*. A replica's header says in which era it was made. At the end of an era,
// when nobody writes with it any more, everything is made durable at once; then the era is
// *settled*. So after a crash:
//  - a replica of an era that was not settled may lack anything;
//  - one of a settled era lacks nothing, unless it was written to since; before the first such
//    write it is *marked*, durably. The mark goes when a whole era without a write to the replica
//    is settled, so that a replica that is written to again and again is marked once.
//
// Invariants:
//  1. Data of a replica is changed only under its handle's lock, and only when Cover (or Enter)
//     returned the era that is current at that time.
//  2. `settled` in the file is never ahead of what is durable; a mark leaves the file only when
//  what
//     was written under it is durable. Neither of these two needs to reach the platter soon.
//  3. A mark is on the platter before the first write under it.
//  4. Eras are never used again: a start takes one above all in the file and in the headers.
//
// A round: BeginRound (the next era begins) → wait for every handle's lock once: whoever still
// wrote under the old era is done → make durable → FinishRound. A crash in between leaves the old
// state.
//
// Ranges of eras and marks also remember which replicas are suspect, over any number of restarts,
// until they are promoted (Cleared), and which are to be verified after a crash of the process.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "chunkserver/store/activity_record.h"

namespace tercet {

/// How the last run of the store ended.
enum class RunEnd { kClean, kProcessCrash, kMachineCrash };

/// Thread-safe. Calls about one block must exclude one another.
class ActivityLog {
 public:
  /// Replaces the file by `record`, durably, and goes on with it. `unsettled_before`: there may be
  /// writes from before this start that are not durable. `disk` must outlive it.
  static Result<std::unique_ptr<ActivityLog>> Start(Disk& disk, const std::string& path,
                                                    ActivityRecord record, bool unsettled_before);

  /// No lock: compared on every write with the era under which the block is covered.
  Era current() const { return Era(current_.load(std::memory_order_acquire)); }

  /// For a replica that is made now: the era for its header, under which it is covered.
  Era Enter(BlockId block);
  /// Before a change of a replica of `replica_era`: returns the era under which it is covered.
  /// Makes a durable mark when it is needed. After an error the disk is not to be used any more.
  Result<Era> Cover(BlockId block, Era replica_era);
  /// The replica's length is not what its row in the index says.
  void NoteGrown(BlockId block);

  bool IsSuspect(BlockId block, Era replica_era) const;
  bool NeedsVerification(BlockId block, Era replica_era) const;
  /// The replica was verified: a mark that asked for it does so no longer.
  Status Verified(BlockId block);
  /// An era for the header of a replica that is durable and sound; call Cleared when that header is
  /// durable as well.
  Era settled() const;
  Status Cleared(BlockId block);
  /// The replica was moved away, which may not be durable: a mark stays until the next round, but a
  /// new replica of the block is not suspect because of it.
  Status Deleted(BlockId block);
  /// Marked blocks that are to be verified, at most `max`.
  std::vector<BlockId> ToVerify(size_t max) const;

  /// What was written in an era.
  struct Round {
    Era era;
    bool all = false;                           // not all of it is in `written`
    std::unordered_map<BlockId, bool> written;  // → whether it has grown
  };
  /// Nothing when nothing was written since the last round.
  std::optional<Round> BeginRound();
  Status FinishRound(const Round& round);
  /// Whether a round is wanted now, not only in time: too many replicas are written to.
  bool overflowed() const;
  /// The round could not be finished: what it was about is part of the next one.
  void AbandonRound(Round round);
  /// No replica is suspect any more.
  Status ForgetSuspects();
  /// After a round, with nothing under way: everything is durable.
  Status CloseClean();

 private:
  struct Place {
    ActivityMark mark;
    Era written_in;
  };
  ActivityLog(ActivityRecord record, bool unsettled_before);

  // These need mutex_.
  void NoteWritten(BlockId block);
  Status WriteState();
  Status NoteSettled(Era era);  // takes mutex_
  Status WriteSectorOf(size_t place);
  Status Free(size_t place);

  std::unique_ptr<File> file_;  // constant after Start

  std::atomic<uint32_t> current_{0};  // changed under mutex_

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  ActivityState state_;
  std::vector<Place> places_;  // kMaxMarks, as in the file
  std::vector<size_t> free_;   // places without a mark
  std::unordered_map<BlockId, size_t> by_block_;
  std::unordered_map<BlockId, bool> written_;  // in the current era, at most kMaxWritten
  bool all_written_ = false;                   // more was written than written_ says
  bool all_marked_is_durable_ = false;
  Era all_marked_in_;  // the last era in which all_marked stood for a mark
};

}  // namespace tercet
