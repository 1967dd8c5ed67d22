// One disk of a chunk server: a folder with
//   lock  identity  epoch  activity  index/  blocks/XXX/BLOCK.blk  trash/  quarantine/
// (chunkserver/store/format.md).
//
// What a crash of the process between the steps of a change leaves, and why it does no harm:
//   create: file, first write, index row. Without the row: nothing was acknowledged; the file is
//           moved to the quarantine when the block is made again.
//   delete: rename into the trash, index row. With the row left: the next access finds no file and
//           removes the row; the deletion is not confirmed and comes again.
//   change of the generation: row that says `changing`, header, row. A start asks the header of
//   each
//           row that is changing.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "chunkserver/store/activity_log.h"
#include "chunkserver/store/block_store.h"
#include "chunkserver/store/disk_identity.h"
#include "chunkserver/store/disk_recovery.h"
#include "chunkserver/store/replica_file.h"
#include "chunkserver/store/replica_index.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/env/disk.h"

namespace tercet {

/// "0123456789abcdef.blk".
std::string ReplicaFileName(BlockId block);
/// kInvalidArgument when the name is not one of a replica's file.
Result<BlockId> ParseReplicaFileName(std::string_view name);

/// Of the folder below blocks/ that the block's replica is in.
std::string ReplicaFolderName(BlockId block);
/// Whether there can be a folder of this name.
bool IsReplicaFolderName(const std::string& name);

/// A replica's name in the trash or the quarantine: block, generation and the second it was put
/// there.
struct RemovedName {
  BlockId block;
  Generation generation;
  int64_t removed_s = 0;  // since 1970-01-01 UTC
  std::string ToString() const;
};
Result<RemovedName> ParseRemovedName(std::string_view name);

/// Thread-safe, except that the changes to one block must exclude one another.
class StoreDisk {
 public:
  /// Takes the lock and reads the identity (absent in an empty folder). `disk` and `clock` must
  /// outlive it. Errors as those of BlockStore::Open.
  static Result<std::unique_ptr<StoreDisk>> Open(Disk& disk, Clock& clock,
                                                 const StoreDiskOptions& options,
                                                 const BlockStoreOptions& store_options);
  /// Opens or rebuilds the index, and begins a new activity file; once, after the identity is
  /// there.
  Status OpenIndex(const std::string& boot_id);
  /// Makes everything durable, and marks index and activity file as clean. No access may be under
  /// way.
  void Close();

  bool has_identity() const { return !identity().disk_uuid.empty(); }
  DiskIdentity identity() const {
    std::lock_guard lock(mutex_);
    return identity_;
  }
  /// Durably. Calls must exclude one another.
  Status WriteIdentity(const DiskIdentity& identity);
  /// 0 when there is none yet.
  Result<Epoch> ReadEpoch() const;
  Status WriteEpoch(Epoch epoch);

  const std::string& path() const { return path_; }
  bool healthy() const { return healthy_.load(std::memory_order_acquire); }
  /// True for the first caller.
  bool MarkUnhealthy() { return healthy_.exchange(false); }
  StoreDiskState state() const { return state_.load(std::memory_order_acquire); }
  /// What it is there for by command; does not eject it.
  void SetState(StoreDiskState state) { state_.store(state, std::memory_order_release); }
  bool takes_new_replicas() const { return healthy() && state() == StoreDiskState::kInService; }
  /// The identity file is still there and still this disk's: the folder was not unmounted, emptied
  /// or swapped under us.
  Status CheckPresent() const;

  ReplicaIndex& index() { return *index_; }
  const ReplicaIndex& index() const { return *index_; }
  /// Replicas of generation 0 that a start found.
  const std::vector<BlockId>& incomplete_at_start() const { return incomplete_at_start_; }
  /// What the file of doubts had, and what became doubtful because the process crashed: in the
  /// file, too, by now.
  const std::vector<ReplicaInfo>& doubts_at_start() const { return doubts_at_start_; }
  /// Replaces the file of doubts, durably.
  Status WriteDoubts(const std::vector<ReplicaInfo>& doubts);
  /// Of the run before this one.
  RunEnd run_end() const { return run_end_; }
  bool has_index() const { return index_ != nullptr; }
  /// There is one when there is an index.
  ActivityLog& activity() { return *activity_; }

  std::string FolderOf(BlockId block) const;
  std::string PathOf(BlockId block) const;
  /// The names in the block's folder; none when there is no folder.
  Result<std::vector<std::string>> NeighboursOf(BlockId block) const;
  Result<bool> HasFile(BlockId block) const;
  Result<std::unique_ptr<File>> OpenReplica(BlockId block);
  /// The new, empty file. One that is there already is a left-over: it goes to the quarantine.
  Result<std::unique_ptr<File>> CreateReplicaFile(BlockId block);
  /// Takes back CreateReplicaFile.
  Status RemoveReplicaFile(BlockId block);
  /// The same, and no power cut brings the file back.
  Status RemoveReplicaFileDurably(BlockId block);

  /// Gives an open replica the generation and the era of `after`, in its header and its row, which
  /// is `before` now. With `sync` durably; what was written to the replica before is then durable,
  /// too.
  Status ChangeReplica(ReplicaFile& replica, const ReplicaRow& before, const ReplicaRow& after,
                       bool sync);
  /// Its name and what was written is durable when it returns OK.
  Status SyncReplica(BlockId block, File& file, bool name_is_durable);

  enum class Destination { kTrash, kQuarantine };
  /// Moves the file and removes the row.
  /// `length`: the replica's when it is known, which saves looking.
  Status MoveAway(const ReplicaRow& row, Destination destination, std::optional<uint32_t> length);
  /// Removes the row of a replica whose file is gone; for good after SyncDeletions.
  Status ForgetRow(const ReplicaRow& row);
  /// Puts the row of a replica right that has grown. Its bytes are counted already.
  Status CorrectLength(BlockId block);
  Status SyncDeletions();
  /// Erases what was put into the trash `grace_ms` ago or earlier, and, from the oldest on, as much
  /// as it takes until there is room for `wanted_bytes` and twice the reserve.
  Result<uint64_t> PurgeTrash(int64_t grace_ms, uint64_t wanted_bytes);
  /// Erases what is in the quarantine for `retention_ms` or longer.
  Result<uint64_t> PurgeQuarantine(int64_t retention_ms);

  /// Makes durable what a round is about; afterwards the rows of grown replicas are put right.
  Status MakeDurable(const ActivityLog::Round& round);

  /// What new replicas may still take, from a reading that is at most half a second old.
  uint64_t AvailableBytes();
  Result<DiskSpace> Space();
  /// Tells about space that was just used, until the next reading.
  void NoteWritten(uint64_t bytes) { written_since_.fetch_add(bytes, std::memory_order_relaxed); }
  /// A little is kept free even from replicas that grow, for the index and the trash's folder.
  bool HasRoomToGrow() {
    return written_since_.load(std::memory_order_relaxed) <
               growth_bytes_.load(std::memory_order_relaxed) ||
           ReadRoomToGrow();
  }
  /// A replica changed its length.
  void NoteLength(uint32_t before, uint32_t after) {
    replica_bytes_.fetch_add(ReplicaBytes(after) - ReplicaBytes(before), std::memory_order_relaxed);
  }
  void NoteCreated(uint32_t length) {
    replica_bytes_.fetch_add(ReplicaBytes(length), std::memory_order_relaxed);
  }
  uint64_t replica_bytes() const { return replica_bytes_.load(std::memory_order_relaxed); }
  uint64_t trash_bytes() const { return trash_bytes_.load(std::memory_order_relaxed); }
  uint64_t quarantine_bytes() const { return quarantine_bytes_.load(std::memory_order_relaxed); }

 private:
  StoreDisk(Disk& disk, Clock& clock, const StoreDiskOptions& options,
            const BlockStoreOptions& store_options);
  Status LoadIdentity();
  Status CheckEmptyOfOthers();
  Status RebuildIndex(const IndexOptions& options, DiskRecovery* recovery);
  Status ScanFolder(const std::string& folder, DiskRecovery* recovery,
                    std::vector<ReplicaRow>* found);
  /// Adds what is in a file of a folder of replicas to `found`, unless it is to be put away.
  Status ScanFile(const std::string& folder_path, const std::string& name, BlockId block,
                  DiskRecovery* recovery, std::vector<ReplicaRow>* found);
  Result<ReplicaHeader> ReadHeader(const std::string& path) const;
  /// Puts a row right by its file's header, and the count of bytes by the row's length; a row
  /// without a file stays.
  Status RefreshRow(BlockId block);
  Status CountPutAway();
  Status CollectDoubts(const DiskRecovery& recovery);
  Result<std::vector<std::pair<RemovedName, std::string>>> PutAway(Destination destination) const;
  Status ReadSpace();  // needs mutex_
  std::atomic<uint64_t>& BytesIn(Destination destination) {
    return destination == Destination::kTrash ? trash_bytes_ : quarantine_bytes_;
  }
  Status Erase(Destination destination, const std::string& name);
  bool ReadRoomToGrow();
  Status EnsureFolder(const std::string& folder, size_t number);
  Status RenameAway(const std::string& from_folder, const std::string& from_name,
                    const RemovedName& to, Destination destination);
  uint64_t ReserveOf(const DiskSpace& space) const;
  std::string Inside(std::string_view name) const { return path_ + "/" + std::string(name); }

  // Constant after Open.
  Disk& disk_;
  Clock& clock_;
  const std::string path_;
  const std::string index_path_;
  const uint64_t reserve_bytes_;
  const uint32_t reserve_max_percent_;
  const IndexIo index_io_;
  std::unique_ptr<FileLock> lock_;
  RunEnd run_end_ = RunEnd::kClean;
  std::vector<BlockId> incomplete_at_start_;
  std::vector<ReplicaInfo> doubts_at_start_;
  std::unique_ptr<DiskFileSystem> file_system_;  // null where there is no such thing
  std::unique_ptr<ReplicaIndex> index_;          // self-synchronised
  std::unique_ptr<ActivityLog> activity_;        // self-synchronised

  // Self-synchronised.
  std::atomic<bool> healthy_{true};
  std::vector<std::atomic<bool>> folder_exists_;
  std::atomic<StoreDiskState> state_{StoreDiskState::kInService};
  std::atomic<uint64_t> written_since_{0};
  std::atomic<uint64_t> growth_bytes_{0};  // that may be written before space is looked at again
  std::atomic<uint64_t> replica_bytes_{0};
  std::atomic<uint64_t> trash_bytes_{0};
  std::atomic<uint64_t> quarantine_bytes_{0};

  mutable std::mutex mutex_;
  DiskIdentity identity_;                   // guarded by mutex_
  std::set<std::string> unsynced_folders_;  // guarded by mutex_: renames in them may not be durable
  DiskSpace space_;                         // guarded by mutex_
  int64_t space_read_ms_ = -1;              // guarded by mutex_; -1: never
};

}  // namespace tercet
