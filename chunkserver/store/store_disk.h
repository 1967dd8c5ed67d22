// One disk of a chunk server: a folder with
//   lock  identity  epoch  index/  blocks/XXX/BLOCK.blk  trash/  quarantine/
// (chunkserver/store/format.md).
//
// What a crash of the process between the steps of a change leaves, and why it does no harm:
//   create: file, first write, index row. Without the row: nothing was acknowledged; the file is
//   moved to
//           the quarantine when the block is made again.
//   delete: rename into the trash, index row. With the row left: the next access finds no file and
//           removes the row; the deletion is not confirmed and comes again.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "chunkserver/store/block_store.h"
#include "chunkserver/store/disk_identity.h"
#include "chunkserver/store/replica_index.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/env/disk.h"

namespace tercet {

/// "0123456789abcdef.blk".
std::string ReplicaFileName(BlockId block);
/// kInvalidArgument when the name is not one of a replica's file.
Result<BlockId> ParseReplicaFileName(std::string_view name);

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
  /// Opens or rebuilds the index; once, after the identity is there.
  Status OpenIndex(const std::string& boot_id);
  /// Marks the index as clean.
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
  /// The identity file can still be found: the folder was not unmounted or emptied under us.
  Status CheckPresent() const;

  ReplicaIndex& index() { return *index_; }
  const ReplicaIndex& index() const { return *index_; }
  bool has_index() const { return index_ != nullptr; }

  std::string FolderOf(BlockId block) const;
  std::string PathOf(BlockId block) const;
  Result<std::unique_ptr<File>> OpenReplica(BlockId block);
  /// The new, empty file. One that is there already is a left-over: it goes to the quarantine.
  Result<std::unique_ptr<File>> CreateReplicaFile(BlockId block);
  /// Takes back CreateReplicaFile.
  Status RemoveReplicaFile(BlockId block);

  enum class Destination { kTrash, kQuarantine };
  /// Moves the file and removes the row.
  Status MoveAway(ReplicaInfo replica, Destination destination);
  Status SyncDeletions();
  /// Erases what was put into the trash `grace_ms` ago or earlier, and, from the oldest on, as much
  /// as it takes until there is room for `wanted_bytes` and twice the reserve.
  Result<uint64_t> PurgeTrash(int64_t grace_ms, uint64_t wanted_bytes);

  /// What new replicas may still take, from a reading that is at most half a second old.
  uint64_t AvailableBytes();
  Result<DiskSpace> Space();
  /// Tells about space that was just used, until the next reading.
  void NoteWritten(uint64_t bytes) { written_since_.fetch_add(bytes, std::memory_order_relaxed); }

 private:
  StoreDisk(Disk& disk, Clock& clock, const StoreDiskOptions& options,
            const BlockStoreOptions& store_options);
  Status LoadIdentity();
  Status CheckEmptyOfOthers();
  Status RebuildIndex(const std::string& boot_id);
  Status ScanFolder(const std::string& folder, std::vector<ReplicaInfo>* found);
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
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<ReplicaIndex> index_;  // self-synchronised

  // Self-synchronised.
  std::atomic<bool> healthy_{true};
  std::vector<std::atomic<bool>> folder_exists_;
  std::atomic<uint64_t> written_since_{0};

  mutable std::mutex mutex_;
  DiskIdentity identity_;                   // guarded by mutex_
  std::set<std::string> unsynced_folders_;  // guarded by mutex_: renames in them may not be durable
  DiskSpace space_;                         // guarded by mutex_
  int64_t space_read_ms_ = -1;              // guarded by mutex_; -1: never
};

}  // namespace tercet
