// The replicas that one chunk server keeps, over all its disks.
//
// Invariants:
//  - A replica is one file on one disk (chunkserver/store/format.md). A disk's index only says
//    which replicas there are; it can be rebuilt from the files at any time.
//  - Bytes whose checksum is not the stored one never leave Read(). PrepareRead() hands out the
//    stored checksums with the file, and whoever gets the bytes verifies them.
//  - A replica's generation is compared with the caller's on every access, and only grows, except
//    that a replica that left its chain may become an incomplete one (generation 0).
//  - A replica that may lack acknowledged writes since the machine crashed is suspect: neither read
//    nor written before Promote, or Seal with `accept_suspect` (activity_log.h).
//  - Nothing that was deleted is erased before the trash grace period, unless the disk needs the
//    space; what is quarantined is erased only after its retention.
//
// Where what is done: block_store.cc reads and writes, replica_lifecycle.cc takes replicas from one
// generation to the next, replica_mover.cc moves them between disks, store_upkeep.cc does what is
// to be done now and then, block_store_disks.cc opens and ejects disks, store_reports.cc lists.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "chunkserver/store/replica_format.h"
#include "common/base/ids.h"
#include "common/base/status.h"
#include "common/env/clock.h"
#include "common/env/disk.h"
#include "common/env/random.h"

namespace tercet {

class BadReplicaQueue;
class BlockHandle;
class DoomedReplicas;
class DoubtfulReplicas;
class HandleCache;
class IncompleteReplicas;
class ReplicaFile;
class StoreDisk;

/// One folder that replicas are kept in. It must exist.
struct StoreDiskOptions {
  std::string path;
  /// Where the LevelDB index is; empty: `path`/index. Unless BlockStoreOptions::index_io says
  /// otherwise LevelDB does its own I/O: with a simulated disk this has to name a real folder then.
  std::string index_path;
};

/// How the indexes get at their files.
enum class IndexIo {
  kSystem,       // LevelDB's own I/O
  kDisk,         // over the store's Disk
  kDiskInSteps,  // the same without a thread: the same calls do the same; one thread may use the
                 // store
};

struct BlockStoreOptions {
  std::vector<StoreDiskOptions> disks;
  /// Space of each disk that new replicas leave free: so many bytes, but on small disks no more
  /// than this part of the whole.
  uint64_t reserve_bytes = 256ull << 20;
  uint32_t reserve_max_percent = 5;
  /// How many replicas are kept open, each with its checksum table (up to 64 KiB) in memory.
  size_t max_open_replicas = 1024;
  /// Identifies the run of the operating system; empty: /proc/sys/kernel/random/boot_id.
  std::string boot_id;
  IndexIo index_io = IndexIo::kSystem;
  /// How often what was written is made durable and settled (activity_log.h).
  int64_t settle_interval_ms = 30'000;
  /// A copy that was begun and is not touched for so long goes to the trash.
  int64_t incomplete_retention_ms = 3'600'000;
  /// What is in the quarantine for so long is erased.
  int64_t quarantine_retention_ms = 30ll * 24 * 3'600'000;
  /// Told about every disk that was ejected, with the reason. Called from any thread, at most once
  /// per disk; must not call the store.
  std::function<void(const std::string& disk_path, const Status& why)> on_disk_failed;
};

/// What a disk is there for, by command. The numbers are those of wire::DiskState.
enum class StoreDiskState : int32_t {
  kInService = 0,
  /// Takes no new replicas; its own are served, and moved away by whoever calls MoveToDisk.
  kDraining = 1,
  /// Not used until the server starts again: its replicas count as lost, and only a start asks
  /// which of them are still wanted.
  kEjected = 2,
};

/// Why a replica is no good. The numbers are those of wire::BadReplicaReason.
enum class ReplicaFault : int32_t { kDamaged = 1, kMissing = 2, kSuspect = 3, kDoubtful = 4 };

/// A replica that was found to be bad.
struct BadReplicaFound {
  BlockId block;
  Generation generation;
  ReplicaFault fault = ReplicaFault::kDamaged;
  friend bool operator==(const BadReplicaFound&, const BadReplicaFound&) = default;
};

/// A replica as the index knows it.
struct ReplicaInfo {
  BlockId block;
  Generation generation;
  friend bool operator==(const ReplicaInfo&, const ReplicaInfo&) = default;
};

/// A replica in full.
struct ReplicaStat {
  Generation generation;
  uint32_t length = 0;    // highest byte written + 1
  std::string disk_path;  // of the disk
  std::string file_path;  // of the replica's file
};

/// The replicas whose block id >> kReplicaRangeBits equals `range` (common/base/replica_digest.h).
struct ReplicaRangeDigest {
  uint64_t range = 0;
  uint64_t replica_count = 0;
  uint64_t digest = 0;
};

struct StoreDiskStatus {
  std::string disk_uuid;  // 16 bytes
  std::string path;
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;  // to new replicas: the reserve is taken off
  uint64_t replica_count = 0;    // incomplete ones included
  bool healthy = true;           // false once it was ejected, by command as well
  StoreDiskState state = StoreDiskState::kInService;
  uint64_t replica_bytes = 0;  // headers and tables included
  uint64_t trash_bytes = 0;
  uint64_t quarantine_bytes = 0;
  uint64_t suspect_count = 0;
};

/// What Seal found and did.
struct SealResult {
  /// There is no complete replica here, and none was made. The other fields are unset.
  bool absent = false;
  /// 0 when the replica was made by this call.
  Generation before = Generation(0);
  uint32_t length = 0;
  /// CRC-32C over the page checksums (PageTable::page_crcs).
  uint32_t table_crc = 0;
  /// It may lack acknowledged writes. False when this call accepted it.
  bool suspect = false;
  /// With `verify` or `accept_suspect`.
  uint32_t damaged_pages = 0;
};

/// The page checksums of a replica.
struct PageTable {
  Generation generation;
  uint32_t length = 0;
  /// CRC-32C of each page up to the length, 4 bytes each, little-endian.
  std::string page_crcs;
};

/// What a copy starts from.
struct PullBase {
  PageTable table;
  /// One per page of the table: its bytes are not what the table says. Empty when the pages were
  /// not looked at.
  std::vector<bool> damaged;
};

/// What FindLostFiles did.
struct LostFilesFound {
  uint64_t lost = 0;
  BlockId last;           // the last replica that was looked for: go on behind it
  bool disk_end = false;  // there are none behind it
};

struct WriteArguments {
  BlockId block;
  Generation generation;
  uint32_t offset = 0;
  std::string_view data = {};
  /// CRC-32C of `data` cut at the block's page boundaries, 4 bytes each, little-endian: as many as
  /// pages are touched.
  std::string_view piece_crcs = {};
  /// The caller has compared `data` with `piece_crcs` already. Otherwise Write does (kCorruption).
  bool crcs_verified = false;
  /// Make the replica when there is none. One that exists is written to as it is.
  bool create = false;
  /// Let the disk begin with it at once. For long copies: otherwise the sync at their end is one
  /// burst that clients' syncs have to wait for.
  bool start_writeback = false;
};

/// Pages of a replica in a file, for sendfile.
struct ReadPlan {
  /// Keeps the file open and readable, even when the replica is deleted meanwhile.
  std::shared_ptr<File> file;
  uint64_t file_offset = 0;
  /// A multiple of kPageBytes: whole pages from the page of the wanted offset on, cut where the
  /// replica's data ends. 0: nothing there. The file may be shorter; what is missing reads as
  /// zeros.
  uint32_t length = 0;
  /// CRC-32C of each page, 4 bytes each, little-endian. They are those of one moment: a page that
  /// is being written while it is sent does not match, and has to be read again with Read().
  std::string page_crcs;
};

/// Pages of a replica in memory, verified. Same rules as ReadPlan.
struct VerifiedPages {
  std::string data;  // a multiple of kPageBytes
  std::string page_crcs;
};

/// Figures since the start; read with relaxed loads.
struct StoreCounters {
  std::atomic<uint64_t> writes{0};
  std::atomic<uint64_t> written_bytes{0};
  std::atomic<uint64_t> reads{0};
  std::atomic<uint64_t> read_bytes{0};
  std::atomic<uint64_t> syncs{0};
  std::atomic<uint64_t> corruptions{0};  // pages and headers found damaged
  std::atomic<uint64_t> replicas_created{0};
  std::atomic<uint64_t> replicas_trashed{0};
  std::atomic<uint64_t> replicas_quarantined{0};
};

/// Thread-safe. Accesses to one block exclude one another as readers and writers do.
///
/// What every access to a block may answer:
///   kNotFound         there is no replica here
///   kStaleGeneration  the replica has another generation; the message names both
///   kCorruption       the header, or a page that is needed, is damaged
///   kIo               its disk failed (and was ejected: it takes no new replicas from then on)
///   kUnavailable      the replica is suspect
/// kNotFound is also the answer when the replica is doomed (Doom), and when it is incomplete and
/// the caller does not ask for generation 0.
class BlockStore {
 public:
  /// Opens all disks: makes what is missing in an empty folder, takes the locks, opens or rebuilds
  /// the indexes. `disk`, `clock` and `random` must outlive the store. Errors name the folder and
  /// what to do:
  ///   kNotFound            the folder is not there
  ///   kAccessDenied        it cannot be written to
  ///   kBusy                another process uses it
  ///   kIdentityInUse       two folders hold the same disk identity (one is a copy)
  ///   kFailedPrecondition  the folders belong to different servers, or hold something else
  ///   kWrongCluster        the folders belong to different clusters
  ///   kVersionTooNew       written by a newer version
  /// A disk that fails with I/O errors is left out as long as another one works.
  static Result<std::unique_ptr<BlockStore>> Open(Disk& disk, Clock& clock, Random& random,
                                                  BlockStoreOptions options);
  /// Marks the indexes as clean. No access may be under way.
  ~BlockStore();
  BlockStore(const BlockStore&) = delete;
  BlockStore& operator=(const BlockStore&) = delete;

  // ---- identity ----

  /// 16 bytes, made when all folders were new.
  const std::string& server_uuid() const { return server_uuid_; }
  /// Empty until SetClusterId.
  std::string cluster_id() const;
  /// Writes the cluster's id into the disks' identity files, durably. kWrongCluster when they
  /// belong to another one.
  Status SetClusterId(const std::string& cluster_id);
  /// The highest epoch of a metaserver's command that was ever seen.
  Epoch highest_epoch() const { return Epoch(highest_epoch_.load(std::memory_order_acquire)); }
  /// Remembers `epoch`, durably when it is a new highest. kStaleEpoch when it is below the highest.
  Status ObserveEpoch(Epoch epoch);

  // ---- data ----

  /// Before a Write or Truncate that is also passed on to other servers: OK when the replica is
  /// here in this generation, or may be made. From then on a crash does not make this server forget
  /// that the replica may differ from the others': it is covered (activity_log.h). The caller sees
  /// to it that nothing changes the replica's generation until the Write or Truncate.
  Status BeginChange(BlockId block, Generation generation, bool may_create);

  /// Writes `data` at `offset`. After OK it survives a crash of the process; see Sync. Writes of
  /// one block are atomic to its readers; one beyond 1.7 MiB is done in pieces, each of them
  /// atomic. kInvalidArgument: beyond kMaxBlockBytes, or a wrong number of checksums. kNoSpace: no
  /// disk has room for a new replica, or this replica's disk is full.
  Status Write(const WriteArguments& arguments);

  /// The stored checksums and where the bytes are. Does not read or verify the bytes.
  Result<ReadPlan> PrepareRead(BlockId block, Generation generation, uint32_t offset,
                               uint32_t length);

  /// Reads and verifies under the block's lock.
  Result<VerifiedPages> Read(BlockId block, Generation generation, uint32_t offset,
                             uint32_t length);

  /// Lowers the length to `length`: what is behind reads as zeros. Does nothing when the replica is
  /// not longer.
  Status Truncate(BlockId block, Generation generation, uint32_t length);

  /// Everything that Write or Truncate answered OK before this call is on the platter, and the
  /// replica will be found after a power cut.
  Status Sync(BlockId block, Generation generation);

  Result<ReplicaStat> Stat(BlockId block);

  // ---- from one generation to the next (metaserver/repair/protocol.md) ----

  /// Raises the replica's generation to `to`, durably: from then on no older one is read or written
  /// here. OK also when it has `to` already. A suspect replica is sealed, but stays suspect.
  ///   create_if_absent  makes an empty replica where there is none
  ///   verify            compares all pages with their checksums and counts the damaged ones
  ///   accept_suspect    a suspect replica is one no longer; its damaged pages are taken for what
  ///                     they hold
  /// kStaleGeneration: the replica has a higher generation.
  Result<SealResult> Seal(BlockId block, Generation to, bool create_if_absent, bool verify,
                          bool accept_suspect);

  /// Of the replica with exactly this generation.
  Result<PageTable> Table(BlockId block, Generation generation);

  /// Makes ready what a copy of a replica of `source_generation` is to be written into, and tells
  /// what is there already. `finish` 0: the copy is a preparation, and is incomplete (generation
  /// 0). Otherwise the copy will be Promoted to `finish`. What is here:
  ///   nothing              a new, incomplete replica is made on a disk with room (kNoSpace)
  ///   an incomplete one    is used as it is
  ///   a damaged header     goes to the quarantine; as with nothing
  ///   generation == finish (sealed) is used as it is, but an empty one becomes incomplete
  ///   below source_generation (it left its chain) becomes incomplete
  ///   anything else        kConflict
  /// The answer's table.generation is what Write and Truncate have to be called with. Pages are
  /// compared with their checksums with `verify`, and when the replica was suspect.
  Result<PullBase> OpenPullBase(BlockId block, Generation source_generation, Generation finish,
                                uint32_t expected_length, bool verify);

  /// As Table, of what OpenPullBase made ready: also while it is suspect or incomplete. Not for
  /// other servers.
  Result<PageTable> BaseTable(BlockId block, Generation generation);

  /// The copy is whole: `from` (0, or `to` itself) becomes `to`, with its data, durably. The
  /// replica is not suspect, incomplete or doomed any more. kNotFound, kStaleGeneration: it is not
  /// `from`.
  Status Promote(BlockId block, Generation from, Generation to);

  /// Replicas of the block with generation `up_to` or below are refused as kNotFound from now on,
  /// until they are deleted or promoted beyond; so are new ones. Not remembered over a restart.
  void Doom(BlockId block, Generation up_to);
  /// Takes all Dooms back.
  void ForgetDooms();
  /// A Write with `create` of an absent block below `floor` is kNotFound from now on: there may
  /// have been a replica here that was lost. Only ever raised; not remembered over a restart. The
  /// store raises it itself when it loses a disk or finds a replica lost.
  void RaiseCreateFloor(BlockId floor);

  /// Compares pages [first_page, first_page + count) with the table, from the platter as far as
  /// possible, and returns the damaged ones, which are also reported (TakeBadReplicas).
  Result<std::vector<uint32_t>> VerifyPages(BlockId block, Generation generation,
                                            uint32_t first_page, uint32_t count);

  // ---- bad replicas ----

  /// Compares up to `max` replicas of a disk, those behind `after` by block id, with the names in
  /// its folders: what has no file any more leaves the index and is reported as missing. Reads no
  /// replica; lists the folders that these replicas are in. Errors as of ListDisk.
  Result<LostFilesFound> FindLostFiles(const std::string& disk_uuid, BlockId after, size_t max);

  /// A write to this replica ended in the middle: some member of its chain may have it, another
  /// not. Taken with the bad replicas once 10 s have passed and it still has this generation. Costs
  /// no disk access.
  void NoteDoubtful(BlockId block, Generation generation);
  /// Up to `max` of the bad replicas that were found, the oldest first; doubtful ones take no more
  /// than half of it. They are offered again until AcknowledgeBadReplicas.
  std::vector<BadReplicaFound> TakeBadReplicas(size_t max);
  /// These of TakeBadReplicas were reported. Replicas that stay bad come again when
  /// they are found again, at most once a minute.
  void AcknowledgeBadReplicas(const std::vector<BadReplicaFound>& reported);
  /// Suspect replicas behind `after` by block id, at most `max`.
  Result<std::vector<ReplicaInfo>> Suspects(BlockId after, size_t max) const;

  // ---- deletion ----

  /// Moves the replica to its disk's trash when its generation is `up_to` or below; OK also when
  /// there is none. kConflict when it has a higher generation. Durable after SyncDeletions.
  Status MoveToTrash(BlockId block, Generation up_to);
  /// Moves the replica out of the way when it has this generation; it is erased after the
  /// quarantine's retention. kNotFound when there is none, kConflict when it has another
  /// generation. Durable after SyncDeletions.
  Status Quarantine(BlockId block, Generation generation);
  /// Makes all moves up to now durable.
  Status SyncDeletions();
  /// Erases what is longer than `grace_ms` in the trash, and, from the oldest on, what keeps a disk
  /// from having room for some blocks beyond twice its reserve; and what is in the quarantine for
  /// longer than its retention. Returns how many files were erased.
  uint64_t PurgeTrash(int64_t grace_ms);

  // ---- disks ----

  /// kNotFound: no such disk. kFailedPrecondition: it was ejected and is wanted back. Not
  /// remembered over a restart.
  Status SetDiskState(const std::string& disk_uuid, StoreDiskState state);
  /// As SetDiskState with kEjected.
  Status EjectDisk(const std::string& disk_uuid);
  /// The complete replicas on a disk behind `after` by block id, at most `max`. kNotFound: no such
  /// disk; kIo: it is ejected.
  Result<std::vector<ReplicaInfo>> ListDisk(const std::string& disk_uuid, BlockId after,
                                            size_t max) const;
  /// Moves a block's replica to the disk, or when `disk_uuid` is empty to the one in service with
  /// the most room, other than its own; durable when it returns OK. Readers and writers wait only
  /// while the last pages are moved. OK also when it is there already. kNoSpace: no disk has room.
  Status MoveToDisk(BlockId block, const std::string& disk_uuid);
  /// Ejects disks whose folder lost its identity file, or has another disk's: unmounted, emptied or
  /// swapped. To be called now and then.
  void CheckDisks();
  /// What is to be done now and then, about each second: settles what was written
  /// (activity_log.h), moves incomplete replicas that nobody goes on with to the trash.
  void Maintain();

  // ---- reports ----

  /// All ranges that have complete replicas on healthy disks, in order. Costs no disk access.
  std::vector<ReplicaRangeDigest> RangeDigests() const;
  /// The complete replicas of one range on healthy disks, by block id.
  Result<std::vector<ReplicaInfo>> ListReplicas(uint64_t range) const;
  std::vector<StoreDiskStatus> Disks();
  const StoreCounters& counters() const { return counters_; }

 private:
  BlockStore(Disk& disk, Clock& clock, Random& random, BlockStoreOptions options);
  Status OpenDisks();
  Status AdoptIdentities();
  Status LoadEpoch();
  Status OpenIndexes();

  /// Checks offset, length and checksums of a write.
  static Status CheckArguments(const WriteArguments& arguments);
  /// Where the block's replica is, by the indexes: kNotFound, or kIo when its disk failed.
  struct Location;
  Result<Location> Locate(BlockId block);

  // These need the handle's lock, exclusively.

  Status OpenReplica(BlockHandle& handle);
  /// What is to be found out about a replica that was just opened.
  Status ExamineOpened(BlockHandle& handle, const Location& location);
  Status VerifyAfterCrash(BlockHandle& handle);
  void Close(BlockHandle& handle);
  /// With a look at the file itself, under the block's lock.
  Result<bool> ForgetIfLost(StoreDisk& disk, BlockId block);
  /// Makes the block's replica on the disk with the most room. `fill` writes its first bytes; the
  /// replica is empty without it.
  using Fill = std::function<Status(ReplicaFile&)>;
  Status CreateReplica(BlockHandle& handle, Generation generation, uint64_t wanted_bytes,
                       const Fill& fill);
  Status CreateOn(StoreDisk& disk, BlockHandle& handle, Generation generation, const Fill& fill);
  /// Sees to it that a change of the open replica will not be missed after a crash.
  Status CoverChange(BlockHandle& handle);
  /// Runs `change` on the open replica. After an error the replica is closed, so that the next
  /// access opens it anew and finishes or drops what was half done.
  template <typename Change>
  Status ApplyChange(BlockHandle& handle, Generation generation, Change&& change);
  /// Gives the open replica a generation, durably with `sync`; `trusted`: it is durable and sound,
  /// so not suspect any more. Closes it after an error.
  Status Regenerate(BlockHandle& handle, Generation to, bool trusted, bool sync);
  Status MoveAway(BlockHandle& handle, const Location& location, bool to_trash);
  /// `lost`: it should be here.
  Result<SealResult> SealAbsent(BlockHandle& handle, Generation to, bool create_if_absent,
                                bool lost);
  Result<SealResult> SealOpened(BlockHandle& handle, Generation to, bool verify,
                                bool accept_suspect);
  /// Finds or makes the replica that a copy goes into.
  Status PrepareBase(BlockHandle& handle, Generation source_generation, Generation finish,
                     uint32_t expected_length);
  /// Takes a copy that was not finished off the target again.
  static Status UndoTake(StoreDisk& target, BlockId block);
  Status FinishMove(BlockHandle& handle, StoreDisk& target, std::unique_ptr<ReplicaFile> copy);

  Result<PageTable> ReadTable(BlockId block, Generation generation, bool of_base);

  /// Runs `function` on the open replica, under the lock shared with other readers. `of_base`: a
  /// suspect one will do when it is the base of a copy.
  template <typename Function>
  Status WithReader(BlockId block, Generation generation, Function&& function,
                    bool of_base = false);
  Status CheckGeneration(const BlockHandle& handle, Generation wanted,
                         bool for_change = false) const;
  /// Puts the replica into the queue of bad ones when `status` is kCorruption.
  Status ReportDamage(const BlockHandle& handle, Status status);
  // For a move. Errors are noted: those of the replica on its disk, those of the copy on `target`.
  Status CopyPages(BlockId block, Generation generation, StoreDisk& target, ReplicaFile* copy);
  Status CopyDifferingPages(const BlockHandle& handle, StoreDisk& target, ReplicaFile* to);

  StoreDisk* FindDisk(const std::string& disk_uuid) const;
  /// Keeps the better one of each block's replicas where two disks have one.
  Status ResolveDuplicates();
  Status ResolveDuplicate(BlockId block);
  Status SettleDisk(StoreDisk& disk);

  /// Doubts that were due and are not void, at most `max`.
  std::vector<BadReplicaFound> TakeDoubts(size_t max);
  /// No replica of the block can have been lost here: a client's write may make one.
  bool MayBeNew(BlockId block) const;
  /// Writes them down when there are new ones, or far fewer. Needs upkeep_mutex_.
  void SaveDoubts();
  /// A replica of the block is, or is about to be, on one of the disks.
  void NoteHeld(BlockId block);

  std::vector<StoreDisk*> DisksByFreeSpace(uint64_t wanted_bytes);
  void MakeRoom(StoreDisk& disk);
  /// Counts damage and ejects the disk after I/O errors; returns `status`.
  Status Note(StoreDisk* disk, Status status);
  void Eject(StoreDisk& disk, const Status& why);

  // Constant after Open.
  Disk& disk_;
  Clock& clock_;
  Random& random_;
  const BlockStoreOptions options_;
  std::string server_uuid_;
  bool machine_crashed_ = false;  // before this start: what is not here may have been lost
  std::vector<std::unique_ptr<StoreDisk>> disks_;  // self-synchronised

  // Self-synchronised.
  std::unique_ptr<HandleCache> handles_;
  std::unique_ptr<BadReplicaQueue> bad_;
  std::unique_ptr<DoomedReplicas> doomed_;
  std::unique_ptr<DoubtfulReplicas> doubtful_;
  std::unique_ptr<IncompleteReplicas> incomplete_;
  StoreCounters counters_;
  std::atomic<uint64_t> create_floor_{0};
  std::atomic<uint64_t> highest_held_{0};  // block of which there was a replica since the start
  std::atomic<uint64_t> highest_epoch_{0};

  mutable std::mutex identity_mutex_;
  std::string cluster_id_;  // guarded by identity_mutex_; so are changes of highest_epoch_

  std::mutex upkeep_mutex_;
  // Guarded by upkeep_mutex_:
  int64_t next_settle_ms_ = 0;
  BlockId suspects_offered_to_;  // suspects up to this one were put into the queue of bad replicas
  bool suspects_offered_ = false;
  uint64_t saved_doubt_number_ = 0;  // the last one that is in the file
  size_t saved_doubts_ = 0;          // how many are there

  std::mutex state_mutex_;  // changes of disks' states exclude one another
};

}  // namespace tercet
