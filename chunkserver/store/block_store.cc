#include "chunkserver/store/block_store.h"

#include <algorithm>

#include "chunkserver/store/store_internal.h"
#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/log/log.h"

namespace tercet {
namespace {

Status OtherGeneration(const ReplicaRow& row, const std::string& relation, Generation wanted) {
  return Status(StatusCode::kConflict, "block " + std::to_string(row.block.value()) +
                                           ": the replica here has generation " +
                                           std::to_string(row.generation.value()) + ", " +
                                           relation + " " + std::to_string(wanted.value()));
}

}  // namespace

BlockStore::BlockStore(Disk& disk, Clock& clock, Random& random, BlockStoreOptions options)
    : disk_(disk),
      clock_(clock),
      random_(random),
      options_(std::move(options)),
      handles_(std::make_unique<HandleCache>(options_.max_open_replicas)),
      bad_(std::make_unique<BadReplicaQueue>(clock)),
      doomed_(std::make_unique<DoomedReplicas>()),
      doubtful_(std::make_unique<DoubtfulReplicas>(clock)),
      incomplete_(std::make_unique<IncompleteReplicas>(clock)) {}

BlockStore::~BlockStore() {
  handles_.reset();
  SaveDoubts();
  for (auto& disk : disks_) disk->Close();
}

Status BlockStore::CheckArguments(const WriteArguments& arguments) {
  const uint64_t end = uint64_t{arguments.offset} + arguments.data.size();
  if (end > kMaxBlockBytes) {
    return Status(StatusCode::kInvalidArgument,
                  "write ends at " + std::to_string(end) + ", beyond the largest block");
  }
  const uint32_t first = arguments.offset / kPageBytes;
  const uint32_t pages = arguments.data.empty() ? 0 : PagesFor(static_cast<uint32_t>(end)) - first;
  if (arguments.piece_crcs.size() != size_t{pages} * 4) {
    return Status(StatusCode::kInvalidArgument,
                  "write touches " + std::to_string(pages) + " pages, but brings " +
                      std::to_string(arguments.piece_crcs.size()) + " bytes of checksums");
  }
  if (arguments.crcs_verified) return Status::Ok();
  size_t begin = 0;
  for (uint32_t i = 0; i < pages; ++i) {
    const size_t page_end = size_t{first + i + 1} * kPageBytes - arguments.offset;
    std::string_view piece = arguments.data.substr(begin, page_end - begin);
    if (Crc32c(piece) != DecodeFixed32(arguments.piece_crcs.data() + size_t{4} * i)) {
      return Status(StatusCode::kCorruption, "write: received bytes fail their checksum");
    }
    begin = page_end;
  }
  return Status::Ok();
}

Result<BlockStore::Location> BlockStore::Locate(BlockId block) {
  Status failed = Status::Ok();
  for (auto& disk : disks_) {
    if (!disk->has_index()) continue;
    auto row = disk->index().Find(block);
    if (row.ok() && disk->healthy()) return Location{disk.get(), *row};
    if (!row.ok() && row.code() == StatusCode::kNotFound) continue;
    if (!row.ok() && disk->healthy()) Eject(*disk, row.status());
    failed = Status(StatusCode::kIo, "block " + std::to_string(block.value()) +
                                         ": its disk has failed: " + disk->path());
  }
  if (!failed.ok()) return failed;
  return NoReplica(block);
}

namespace {

/// There is something in the replica's place that can never be opened: a folder, or a file without
/// the permissions. That is no failure of the disk, and does not pass.
bool IsInTheWay(StatusCode code) {
  return code == StatusCode::kIsDirectory || code == StatusCode::kAccessDenied ||
         code == StatusCode::kNotPermitted;
}

}  // namespace

Status BlockStore::OpenReplica(BlockHandle& handle) {
  ASSIGN_OR_RETURN(Location location, Locate(handle.block));
  StoreDisk& disk = *location.disk;
  auto file = disk.OpenReplica(handle.block);
  if (!file.ok() && file.code() == StatusCode::kNotFound) {
    if (Status present = disk.CheckPresent(); !present.ok()) return Note(&disk, present);
    // Removed behind our back, or a deletion that a crash cut short: the index must not go on
    // telling that it is there.
    LOG_WARN("a replica's file is gone: {}", disk.PathOf(handle.block));
    RaiseCreateFloor(handle.block.Next());
    if (location.row.generation != Generation(0)) {
      bad_->Add({handle.block, location.row.generation, ReplicaFault::kMissing});
    }
    RETURN_IF_ERROR(Note(&disk, disk.ForgetRow(location.row)));
    return NoReplica(handle.block);
  }
  if (!file.ok() && IsInTheWay(file.code())) {
    if (location.row.generation != Generation(0)) {
      bad_->Add({handle.block, location.row.generation, ReplicaFault::kDamaged});
    }
    return Note(&disk, Status(StatusCode::kCorruption,
                              "a replica cannot be opened: " + file.status().ToString()));
  }
  if (!file.ok()) return Note(&disk, file.status());
  auto replica = ReplicaFile::Open(std::move(file).value(), handle.block);
  if (!replica.ok()) {
    if (replica.code() == StatusCode::kCorruption) {
      bad_->Add({handle.block, location.row.generation, ReplicaFault::kDamaged});
    }
    return Note(&disk, replica.status().WithContext(disk.PathOf(handle.block)));
  }
  if ((*replica)->intent_was_damaged()) {
    counters_.corruptions.fetch_add(1, std::memory_order_relaxed);
    LOG_WARN("a replica's intent slot is damaged: {}", disk.PathOf(handle.block));
  }
  handle.disk = &disk;
  handle.replica = std::move(replica).value();
  handle.name_durable.store(false, std::memory_order_relaxed);
  Status examined = ExamineOpened(handle, location);
  if (!examined.ok()) Close(handle);
  return Note(&disk, examined);
}

Status BlockStore::ExamineOpened(BlockHandle& handle, const Location& location) {
  ActivityLog& activity = handle.disk->activity();
  const ReplicaFile& replica = *handle.replica;
  handle.covered_in = Era(0);
  handle.growth_noted = false;
  handle.doomed_up_to = doomed_->UpTo(handle.block);
  handle.suspect = activity.IsSuspect(handle.block, replica.era());
  handle.suspect_base = handle.suspect && incomplete_->IsSuspectBase(handle.block);
  ReplicaRow row = location.row;
  row.generation = replica.generation();
  row.era = replica.era();
  row.suspect = handle.suspect;
  row.changing = false;
  if (row != location.row) RETURN_IF_ERROR(handle.disk->index().Replace(location.row, row));
  if (handle.suspect || !activity.NeedsVerification(handle.block, replica.era())) {
    return Status::Ok();
  }
  return VerifyAfterCrash(handle);
}

Status BlockStore::VerifyAfterCrash(BlockHandle& handle) {
  ReplicaFile& replica = *handle.replica;
  ActivityLog& activity = handle.disk->activity();
  ASSIGN_OR_RETURN(std::vector<uint32_t> damaged,
                   replica.DamagedPages(replica.Pages(0, replica.length()), false));
  if (!damaged.empty()) {
    // The pages stay damaged by their checksums, and are refused as such; the others are sound.
    counters_.corruptions.fetch_add(damaged.size(), std::memory_order_relaxed);
    LOG_WARN("{} pages of a replica did not survive a crash: {}", damaged.size(),
             handle.disk->PathOf(handle.block));
    bad_->Add({handle.block, replica.generation(), ReplicaFault::kDamaged});
  }
  // Durable now, it goes into an era that needs no verification. Should the machine crash before
  // the header is durable, it is verified or suspect once more.
  RETURN_IF_ERROR(handle.disk->SyncReplica(handle.block, *replica.file(), false));
  ASSIGN_OR_RETURN(ReplicaRow row, handle.disk->index().Find(handle.block));
  ReplicaRow after = row;
  after.era = activity.settled();
  RETURN_IF_ERROR(handle.disk->ChangeReplica(replica, row, after, false));
  return activity.Verified(handle.block);
}

void BlockStore::Close(BlockHandle& handle) {
  handle.replica.reset();
  handle.disk = nullptr;
  handle.covered_in = Era(0);
}

Status BlockStore::CheckGeneration(const BlockHandle& handle, Generation wanted,
                                   bool for_change) const {
  const Generation own = handle.replica->generation();
  if (!handle.disk->healthy()) {
    return Status(StatusCode::kIo, "block " + std::to_string(handle.block.value()) +
                                       ": its disk has failed: " + handle.disk->path());
  }
  if (handle.suspect && !(for_change && handle.suspect_base)) {
    return Status(StatusCode::kUnavailable,
                  "block " + std::to_string(handle.block.value()) +
                      ": the replica here is suspect since the machine crashed");
  }
  // An incomplete copy may be gone on with although its predecessor was doomed.
  if (own <= handle.doomed_up_to && own != Generation(0)) return NoReplica(handle.block);
  if (own == wanted) return Status::Ok();
  if (own == Generation(0)) return NoReplica(handle.block);
  return StaleGeneration(handle.block, wanted, own);
}

Status BlockStore::ReportDamage(const BlockHandle& handle, Status status) {
  if (status.code() == StatusCode::kCorruption && handle.replica != nullptr) {
    bad_->Add({handle.block, handle.replica->generation(), ReplicaFault::kDamaged});
  }
  return status;
}

Result<ReadPlan> BlockStore::PrepareRead(BlockId block, Generation generation, uint32_t offset,
                                         uint32_t length) {
  ReadPlan plan;
  RETURN_IF_ERROR(WithReader(block, generation, [&](BlockHandle& handle) {
    const ReplicaFile::PageRange pages = handle.replica->Pages(offset, length);
    handle.replica->AppendCrcs(pages, &plan.page_crcs);
    plan.file = handle.replica->file();
    plan.file_offset = kDataOffset + uint64_t{pages.first} * kPageBytes;
    plan.length = pages.count * kPageBytes;
    return Status::Ok();
  }));
  counters_.reads.fetch_add(1, std::memory_order_relaxed);
  counters_.read_bytes.fetch_add(plan.length, std::memory_order_relaxed);
  return plan;
}

Result<VerifiedPages> BlockStore::Read(BlockId block, Generation generation, uint32_t offset,
                                       uint32_t length) {
  VerifiedPages result;
  RETURN_IF_ERROR(WithReader(block, generation, [&](BlockHandle& handle) {
    const ReplicaFile::PageRange pages = handle.replica->Pages(offset, length);
    handle.replica->AppendCrcs(pages, &result.page_crcs);
    return handle.replica->ReadVerified(pages, &result.data)
        .WithContext(handle.disk->PathOf(block));
  }));
  counters_.reads.fetch_add(1, std::memory_order_relaxed);
  counters_.read_bytes.fetch_add(result.data.size(), std::memory_order_relaxed);
  return result;
}

Result<ReplicaStat> BlockStore::Stat(BlockId block) {
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  std::unique_lock lock(handle->mutex);
  if (handle->replica == nullptr) RETURN_IF_ERROR(OpenReplica(*handle));
  const Generation own = handle->replica->generation();
  RETURN_IF_ERROR(CheckGeneration(*handle, own));
  if (own == Generation(0)) return NoReplica(block);
  return ReplicaStat{.generation = handle->replica->generation(),
                     .length = handle->replica->length(),
                     .disk_path = handle->disk->path(),
                     .file_path = handle->disk->PathOf(block)};
}

Status BlockStore::CoverChange(BlockHandle& handle) {
  ActivityLog& activity = handle.disk->activity();
  if (handle.covered_in == activity.current()) return Status::Ok();
  auto covered = activity.Cover(handle.block, handle.replica->era());
  if (!covered.ok()) return Status(StatusCode::kIo, covered.status().message());
  handle.covered_in = *covered;
  handle.growth_noted = false;
  return Status::Ok();
}

template <typename Change>
Status BlockStore::ApplyChange(BlockHandle& handle, Generation generation, Change&& change) {
  RETURN_IF_ERROR(CheckGeneration(handle, generation, true));
  StoreDisk* disk = handle.disk;
  RETURN_IF_ERROR(Note(disk, CoverChange(handle)));
  const uint32_t before = handle.replica->length();
  Status status = change(*handle.replica);
  ++handle.changes;
  if (const uint32_t after = handle.replica->length(); after != before) {
    disk->NoteLength(before, after);
    if (!handle.growth_noted) disk->activity().NoteGrown(handle.block);
    handle.growth_noted = true;
  }
  if (generation == Generation(0)) incomplete_->Touch(handle.block);
  if (status.ok()) return status;
  // kCorruption comes before anything was changed, or from a piece that was not begun.
  status = ReportDamage(handle, status);
  Close(handle);
  return Note(disk, status.WithContext(disk->PathOf(handle.block)));
}

bool BlockStore::MayBeNew(BlockId block) const {
  return block.value() >= create_floor_.load(std::memory_order_acquire);
}

Status BlockStore::BeginChange(BlockId block, Generation generation, bool may_create) {
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  std::unique_lock lock(handle->mutex);
  if (handle->replica == nullptr) {
    Status opened = OpenReplica(*handle);
    if (may_create && opened.code() == StatusCode::kNotFound && MayBeNew(block)) {
      return Status::Ok();
    }
    RETURN_IF_ERROR(opened);
  }
  RETURN_IF_ERROR(CheckGeneration(*handle, generation));
  StoreDisk* disk = handle->disk;
  return Note(disk, CoverChange(*handle));
}

Status BlockStore::Write(const WriteArguments& arguments) {
  RETURN_IF_ERROR(CheckArguments(arguments));
  std::shared_ptr<BlockHandle> handle = handles_->Get(arguments.block);
  std::unique_lock lock(handle->mutex);
  if (handle->replica == nullptr) {
    Status opened = OpenReplica(*handle);
    if (!opened.ok() && opened.code() == StatusCode::kNotFound && arguments.create) {
      if (!MayBeNew(arguments.block)) return opened;
      RETURN_IF_ERROR(CreateReplica(*handle, arguments.generation,
                                    kDataOffset + arguments.data.size(), [&](ReplicaFile& file) {
                                      return file.Write(arguments.offset, arguments.data,
                                                        arguments.piece_crcs);
                                    }));
      counters_.writes.fetch_add(1, std::memory_order_relaxed);
      counters_.written_bytes.fetch_add(arguments.data.size(), std::memory_order_relaxed);
      return Status::Ok();
    }
    RETURN_IF_ERROR(opened);
  }
  StoreDisk* disk = handle->disk;
  const uint64_t end = uint64_t{arguments.offset} + arguments.data.size();
  auto write = [&](ReplicaFile& replica) {
    if (end > replica.length() && !disk->HasRoomToGrow()) {
      return Status(StatusCode::kNoSpace, "the disk is full");
    }
    RETURN_IF_ERROR(replica.Write(arguments.offset, arguments.data, arguments.piece_crcs));
    if (arguments.start_writeback) replica.StartWriteback(arguments.offset, arguments.data.size());
    return Status::Ok();
  };
  Status status = ApplyChange(*handle, arguments.generation, write);
  if (status.code() == StatusCode::kNoSpace || status.code() == StatusCode::kQuotaExceeded) {
    MakeRoom(*disk);
    RETURN_IF_ERROR(OpenReplica(*handle));
    status = ApplyChange(*handle, arguments.generation, write);
  }
  RETURN_IF_ERROR(status);
  disk->NoteWritten(arguments.data.size());
  counters_.writes.fetch_add(1, std::memory_order_relaxed);
  counters_.written_bytes.fetch_add(arguments.data.size(), std::memory_order_relaxed);
  return Status::Ok();
}

Status BlockStore::CreateReplica(BlockHandle& handle, Generation generation, uint64_t wanted_bytes,
                                 const Fill& fill) {
  if (generation != Generation(0) && generation <= doomed_->UpTo(handle.block)) {
    return NoReplica(handle.block);
  }
  std::vector<StoreDisk*> candidates = DisksByFreeSpace(wanted_bytes);
  if (candidates.empty()) {
    for (auto& disk : disks_) MakeRoom(*disk);
    candidates = DisksByFreeSpace(wanted_bytes);
  }
  Status last(StatusCode::kNoSpace, "block " + std::to_string(handle.block.value()) +
                                        ": no disk of this server has room for a new replica");
  for (StoreDisk* disk : candidates) {
    Status created = CreateOn(*disk, handle, generation, fill);
    if (created.ok()) {
      counters_.replicas_created.fetch_add(1, std::memory_order_relaxed);
      if (generation == Generation(0)) incomplete_->Touch(handle.block);
      return created;
    }
    last = Note(disk, created);
  }
  return last;
}

Status BlockStore::CreateOn(StoreDisk& disk, BlockHandle& handle, Generation generation,
                            const Fill& fill) {
  NoteHeld(handle.block);
  ASSIGN_OR_RETURN(std::unique_ptr<File> file, disk.CreateReplicaFile(handle.block));
  const Era era = disk.activity().Enter(handle.block);
  auto replica =
      std::make_unique<ReplicaFile>(std::move(file), ReplicaHeader{.block = handle.block,
                                                                   .generation = generation,
                                                                   .length = 0,
                                                                   .created_ns = clock_.WallNanos(),
                                                                   .era = era});
  Status status = fill ? fill(*replica) : replica->Write(0, {}, {});
  if (status.ok()) {
    status = disk.index().Add(
        {.block = handle.block, .generation = generation, .era = era, .length = replica->length()});
  }
  if (!status.ok()) {
    // A file that cannot be removed either is a left-over: CreateReplicaFile and scans know them.
    if (Status removed = disk.RemoveReplicaFile(handle.block); !removed.ok()) {
      LOG_WARN("a half-made replica stays: {}", removed);
    }
    return status.WithContext(disk.PathOf(handle.block));
  }
  disk.NoteWritten(kDataOffset + replica->length());
  disk.NoteCreated(replica->length());
  handle.disk = &disk;
  handle.replica = std::move(replica);
  handle.name_durable.store(false, std::memory_order_relaxed);
  handle.suspect = false;
  handle.suspect_base = false;
  handle.doomed_up_to = doomed_->UpTo(handle.block);
  handle.covered_in = era;
  handle.growth_noted = false;
  return Status::Ok();
}

Status BlockStore::Truncate(BlockId block, Generation generation, uint32_t length) {
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  std::unique_lock lock(handle->mutex);
  if (handle->replica == nullptr) RETURN_IF_ERROR(OpenReplica(*handle));
  return ApplyChange(*handle, generation,
                     [length](ReplicaFile& replica) { return replica.Truncate(length); });
}

Status BlockStore::Sync(BlockId block, Generation generation) {
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  std::shared_ptr<File> file;
  StoreDisk* disk = nullptr;
  auto open = [&](BlockHandle& opened) {
    file = opened.replica->file();
    disk = opened.disk;
    return Status::Ok();
  };
  RETURN_IF_ERROR(WithReader(block, generation, open, /*of_base=*/true));
  // Without the lock: writes may go on meanwhile, the caller only asks for those before.
  const bool name_durable = handle->name_durable.load(std::memory_order_acquire);
  RETURN_IF_ERROR(Note(disk, disk->SyncReplica(block, *file, name_durable)));
  if (!name_durable) handle->name_durable.store(true, std::memory_order_release);
  counters_.syncs.fetch_add(1, std::memory_order_relaxed);
  return Status::Ok();
}

Status BlockStore::MoveAway(BlockHandle& handle, const Location& location, bool to_trash) {
  std::optional<uint32_t> length;
  if (handle.replica != nullptr && handle.disk == location.disk) length = handle.replica->length();
  Close(handle);
  RETURN_IF_ERROR(
      Note(location.disk, location.disk->MoveAway(location.row,
                                                  to_trash ? StoreDisk::Destination::kTrash
                                                           : StoreDisk::Destination::kQuarantine,
                                                  length)));
  bad_->Forget(handle.block);
  incomplete_->Forget(handle.block);
  doomed_->Deleted(handle.block);
  auto& counter = to_trash ? counters_.replicas_trashed : counters_.replicas_quarantined;
  counter.fetch_add(1, std::memory_order_relaxed);
  return Status::Ok();
}

Status BlockStore::MoveToTrash(BlockId block, Generation up_to) {
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  std::unique_lock lock(handle->mutex);
  auto location = Locate(block);
  if (!location.ok() && location.code() == StatusCode::kNotFound) {
    doomed_->Deleted(block);
    return Status::Ok();
  }
  RETURN_IF_ERROR(location.status());
  if (location->row.generation > up_to) return OtherGeneration(location->row, "above", up_to);
  return MoveAway(*handle, *location, true);
}

Status BlockStore::Quarantine(BlockId block, Generation generation) {
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  std::unique_lock lock(handle->mutex);
  ASSIGN_OR_RETURN(Location location, Locate(block));
  if (location.row.generation != generation) {
    return OtherGeneration(location.row, "not", generation);
  }
  return MoveAway(*handle, location, false);
}

}  // namespace tercet
