// The replicated log on this machine's disk. The bytes are described in
// metaserver/journal/format.md.
//
// Invariants:
//  - Records have consecutive indexes; epochs never go back.
//  - What Append gave an index is in memory until Sync; what a Sync that returned OK covered is on
//    the platter and is there, unchanged, after any crash, until it is released or truncated.
//  - After a crash the journal holds a prefix of what was appended. Whether the records behind the
//    last Sync are among it is not known before; once Open returned, it is settled and durable.
//  - A batch (what one Sync writes into one segment) is written only after all before it is synced,
//    and a segment is started only after its predecessor is synced to its end. Recovery tells a
//    torn tail from damage by that (segment_scanner.h).
//  - Bytes of a former use of a recycled file are never taken for records: the salt differs.
//  - ResetTo takes effect in one step, when the segment that voids its predecessors gets its name.
//  - After a failed write or sync nothing is written any more: what the disk holds is settled by
//    the next Open.
//
// The class has no threads. Three may use it together: one that appends (Append, TruncateAfter),
// one that syncs (Sync), one that maintains (PrepareSpare, ReleaseBefore); each of these at most
// one at a time. ResetTo needs that none of the three is in a call. ReadRecords and the plain
// getters may be called from any.
//
// Memory: 12 bytes for each record that is held, and what membership records say.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/disk.h"
#include "common/env/random.h"
#include "metaserver/journal/node_identity.h"
#include "metaserver/journal/segment_files.h"
#include "metaserver/raft/consensus.h"
#include "metaserver/raft/raft_core.h"

namespace tercet {

struct JournalOptions {
  std::string folder;     // made when it is not there
  NodeIdentity identity;  // what is empty is taken from the folder, or made when the folder is new
  /// Of each segment file, from kMinSegmentBytes to kMaxSegmentBytes. Segments of another size stay
  /// readable.
  uint64_t segment_bytes = 64 << 20;
  /// Of one record's payload; at most what fits into a segment.
  uint64_t max_payload_bytes = 8 << 20;
};

struct JournalRange {
  JournalIndex first;    // the oldest record that is held; last + 1 when none is
  JournalIndex last;     // the newest appended record, durable or not
  JournalIndex durable;  // the newest synced record
  Epoch last_epoch;      // of the newest record, also when it is released; 0: there never was one
};

class Journal {
 public:
  static constexpr uint64_t kMinSegmentBytes = 16 << 10;
  static constexpr uint64_t kMaxSegmentBytes = 1 << 30;
  static constexpr size_t kMaxSpares = 2;

  /// Recovers the journal, or makes a new one in an empty folder. `disk` and `random` must outlive
  /// it. kBusy: another process has the folder. kWrongCluster, kFailedPrecondition: see
  /// NodeIdentity. kVersionTooNew: nothing was changed. kCorruption: something that was durable is
  /// gone or damaged; nothing was changed, the message says where.
  static Result<std::unique_ptr<Journal>> Open(Disk& disk, Random& random, JournalOptions options);
  ~Journal();

  const NodeIdentity& identity() const { return identity_; }
  JournalRange range() const;
  /// The newest segment is of a version that knew no metadata groups.
  bool older_than_groups() const;

  /// Buffers a record and returns its index. kNoSpace when it does not fit into the current segment
  /// and no spare is ready (PrepareSpare), kArgumentTooBig, kInvalidArgument when the epoch goes
  /// back; the failure of an earlier Sync. After an error nothing was appended.
  Result<JournalIndex> Append(Epoch epoch, std::string_view payload,
                              RecordKind kind = RecordKind::kData);
  /// How many of `records` could be appended now, from the first one, with a TruncateAfter before
  /// them: more need a spare.
  size_t CountThatFit(std::span<const CommittedRecord> records) const;
  /// Writes and syncs everything that was appended before the call. One write and one fdatasync
  /// unless a segment ends in it.
  Status Sync();

  /// Takes back all records behind `index`, durably. Everything must be synced, and `index` within
  /// [first - 1, last]. kNoSpace as Append.
  Status TruncateAfter(JournalIndex index);

  /// Begins anew behind (index, epoch): durably drops all records, appended ones too, as if 1 to
  /// `index` had been released. One step: a crash leaves the old journal or the new one. kNoSpace
  /// without room for a further segment: nothing was changed.
  Status ResetTo(JournalIndex index, Epoch epoch);

  /// Durable records from `from` on, in order, at least one (when there is one) and no more once
  /// their payloads exceed `max_bytes`. Empty behind the last; kNotFound when `from` was released;
  /// kCorruption.
  Result<std::vector<CommittedRecord>> ReadRecords(JournalIndex from, uint64_t max_bytes) const;
  /// The epoch of a record in [first - 1, last]; kNotFound for others, and for 0 with nothing
  /// before the first.
  Result<Epoch> EpochAt(JournalIndex index) const;
  /// What a RaftCore has to know of the log, with `base_membership` as MemberState has it: of
  /// memberships at or before its index nothing else is said. From memory. Everything must be
  /// synced. kCorruption when a membership record is malformed.
  Result<LogSummary> Summary(const Membership& base_membership,
                             JournalIndex base_membership_index) const;

  /// The oldest record that is left when all but `max_bytes` of segment files are released (the
  /// newest segment stays in any case): for ReleaseBefore.
  JournalIndex FirstWithin(uint64_t max_bytes) const;
  /// Makes sure that a segment file lies ready for when the current one is full: takes as long as
  /// writing one. kNoSpace when the disk has no room for it; may be tried again.
  Status PrepareSpare();
  bool has_spare() const;
  /// Gives up the segments that hold only records below `index`. May be called with any index; only
  /// durable records go, and the newest segment stays. The newest membership among them must be in
  /// the MemberState before.
  Status ReleaseBefore(JournalIndex index);

 private:
  struct Position {
    uint32_t segment;  // low half of its sequence: there are never 2^32 of them at a time
    uint32_t offset;
    uint32_t payload_bytes;
  };
  struct MembershipRecord {
    JournalIndex index;
    std::string payload;
  };
  struct Chunk {
    std::shared_ptr<Segment> segment;
    std::string
        spare_path;  // where the segment's file is until it is started; empty: it is started
    uint64_t offset;
    std::string bytes;
  };
  class Recovery;

  Journal(Disk& disk, Random& random, JournalOptions options);

  Status Failed(const Status& status);
  SegmentHeader NextSegmentHeader() const;
  Status AppendLocked(RecordType type, JournalIndex index, Epoch epoch, std::string_view payload,
                      Position* position);
  // What the memory knows of the records; with mutex_.
  void NoteAppended(const Position& position, Epoch epoch, RecordType type,
                    std::string_view payload);
  void NoteTruncated(JournalIndex index, Epoch epoch);
  void NoteReset(JournalIndex index, Epoch epoch);
  void NoteReleased(JournalIndex first);
  Epoch EpochAtLocked(JournalIndex index) const;
  const std::shared_ptr<Segment>& SegmentOf(const Position& position) const;
  uint64_t SequenceOf(const Position& position) const;
  Status WriteChunk(const Chunk& chunk);
  Status ReadRun(const Segment& segment, const std::vector<Position>& positions, JournalIndex first,
                 std::vector<CommittedRecord>* records) const;
  /// The next segment to release when everything before `index` may go; null when none may.
  std::shared_ptr<Segment> TakeReleasable(JournalIndex index);
  Status Release(const Segment& segment);
  void AddSpare(SpareFile spare);

  // Constant after construction (Open sets identity_, lock_).
  Random& random_;
  const JournalOptions options_;
  NodeIdentity identity_;
  std::unique_ptr<FileLock> lock_;

  // Used by the maintaining thread, and by the syncing one for StartSegment.
  SegmentFiles files_;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::deque<std::shared_ptr<Segment>> segments_;  // by sequence; the last one is appended to
  uint64_t started_ = 0;        // the newest segment that is on the disk under its name
  uint64_t append_offset_ = 0;  // in the last segment
  std::vector<Chunk> pending_;
  std::deque<Position> positions_;            // of records first_ .. last_
  std::deque<LogSummary::Run> runs_;          // of the same
  std::deque<MembershipRecord> memberships_;  // among the same
  uint64_t resets_ = 0;
  JournalIndex first_;
  JournalIndex last_;
  JournalIndex durable_;
  Epoch last_epoch_;
  Epoch base_epoch_;  // of the record before first_; 0: there never was one
  std::vector<SpareFile> spares_;
  Status failure_;
};

}  // namespace tercet
