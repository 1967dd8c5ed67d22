#include "chunkserver/store/block_store.h"

#include <algorithm>
#include <map>

#include "chunkserver/store/disk_identity.h"
#include "chunkserver/store/handle_cache.h"
#include "chunkserver/store/replica_file.h"
#include "chunkserver/store/store_disk.h"
#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/log/log.h"

namespace tercet {
namespace {

/// How often a reader looks again when the replica was closed between opening and reading.
constexpr int kMaxOpenAttempts = 8;

Status NoReplica(BlockId block) {
  return Status(StatusCode::kNotFound,
                "block " + std::to_string(block.value()) + ": no replica here");
}

}  // namespace

BlockStore::BlockStore(Disk& disk, Clock& clock, Random& random, BlockStoreOptions options)
    : disk_(disk),
      clock_(clock),
      random_(random),
      options_(std::move(options)),
      handles_(std::make_unique<HandleCache>(options_.max_open_replicas)) {}

BlockStore::~BlockStore() {
  handles_.reset();
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
    auto generation = disk->index().Find(block);
    if (generation.ok() && disk->healthy()) return Location{disk.get(), *generation};
    if (!generation.ok() && generation.code() == StatusCode::kNotFound) continue;
    if (!generation.ok() && disk->healthy()) Eject(*disk, generation.status());
    failed = Status(StatusCode::kIo, "block " + std::to_string(block.value()) +
                                         ": its disk has failed: " + disk->path());
    if (generation.ok()) return failed;
  }
  if (!failed.ok()) return failed;
  return NoReplica(block);
}

Status BlockStore::OpenReplica(BlockHandle& handle) {
  ASSIGN_OR_RETURN(Location location, Locate(handle.block));
  StoreDisk& disk = *location.disk;
  auto file = disk.OpenReplica(handle.block);
  if (!file.ok() && file.code() == StatusCode::kNotFound) {
    if (Status present = disk.CheckPresent(); !present.ok()) return Note(&disk, present);
    // Removed behind our back, or a deletion that a crash cut short: the index must not go on
    // telling that it is there.
    LOG_WARN("a replica's file is gone: {}", disk.PathOf(handle.block));
    RETURN_IF_ERROR(Note(&disk, disk.index().Remove({handle.block, location.generation})));
    return NoReplica(handle.block);
  }
  if (!file.ok()) return Note(&disk, file.status());
  auto replica = ReplicaFile::Open(std::move(file).value(), handle.block);
  if (!replica.ok()) return Note(&disk, replica.status().WithContext(disk.PathOf(handle.block)));
  if ((*replica)->intent_was_damaged()) {
    counters_.corruptions.fetch_add(1, std::memory_order_relaxed);
    LOG_WARN("a replica's intent slot is damaged: {}", disk.PathOf(handle.block));
  }
  handle.disk = &disk;
  handle.replica = std::move(replica).value();
  handle.name_durable.store(false, std::memory_order_relaxed);
  return Status::Ok();
}

Status BlockStore::CheckGeneration(const BlockHandle& handle, Generation wanted) const {
  const Generation own = handle.replica->generation();
  if (!handle.disk->healthy()) {
    return Status(StatusCode::kIo, "block " + std::to_string(handle.block.value()) +
                                       ": its disk has failed: " + handle.disk->path());
  }
  if (own == wanted) return Status::Ok();
  return Status(StatusCode::kStaleGeneration, "block " + std::to_string(handle.block.value()) +
                                                  ": generation " + std::to_string(wanted.value()) +
                                                  " was asked for, the replica here has " +
                                                  std::to_string(own.value()));
}

template <typename Function>
Status BlockStore::WithReader(BlockId block, Generation generation, Function&& function) {
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  for (int attempt = 0; attempt < kMaxOpenAttempts; ++attempt) {
    {
      std::shared_lock lock(handle->mutex);
      if (handle->replica != nullptr) {
        RETURN_IF_ERROR(CheckGeneration(*handle, generation));
        return Note(handle->disk, function(*handle));
      }
    }
    std::unique_lock lock(handle->mutex);
    if (handle->replica == nullptr) RETURN_IF_ERROR(OpenReplica(*handle));
  }
  return Status(StatusCode::kUnavailable,
                "block " + std::to_string(block.value()) + " keeps being closed: try again");
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
  RETURN_IF_ERROR(CheckGeneration(*handle, handle->replica->generation()));
  return ReplicaStat{.generation = handle->replica->generation(),
                     .length = handle->replica->length(),
                     .disk_path = handle->disk->path(),
                     .file_path = handle->disk->PathOf(block)};
}

template <typename Change>
Status BlockStore::ApplyChange(BlockHandle& handle, Generation generation, Change&& change) {
  RETURN_IF_ERROR(CheckGeneration(handle, generation));
  Status status = change(*handle.replica);
  // kCorruption comes before anything was changed, or from a piece that was not begun.
  if (status.ok()) return status;
  StoreDisk* disk = handle.disk;
  handle.replica.reset();
  handle.disk = nullptr;
  return Note(disk, status.WithContext(disk->PathOf(handle.block)));
}

Status BlockStore::Write(const WriteArguments& arguments) {
  RETURN_IF_ERROR(CheckArguments(arguments));
  std::shared_ptr<BlockHandle> handle = handles_->Get(arguments.block);
  std::unique_lock lock(handle->mutex);
  if (handle->replica == nullptr) {
    Status opened = OpenReplica(*handle);
    if (!opened.ok() && opened.code() == StatusCode::kNotFound && arguments.create) {
      RETURN_IF_ERROR(CreateReplica(*handle, arguments));
      counters_.writes.fetch_add(1, std::memory_order_relaxed);
      counters_.written_bytes.fetch_add(arguments.data.size(), std::memory_order_relaxed);
      return Status::Ok();
    }
    RETURN_IF_ERROR(opened);
  }
  StoreDisk* disk = handle->disk;
  auto write = [&](ReplicaFile& replica) {
    return replica.Write(arguments.offset, arguments.data, arguments.piece_crcs);
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

Status BlockStore::CreateReplica(BlockHandle& handle, const WriteArguments& arguments) {
  const uint64_t wanted_bytes = kDataOffset + arguments.data.size();
  std::vector<StoreDisk*> candidates = DisksByFreeSpace(wanted_bytes);
  if (candidates.empty()) {
    for (auto& disk : disks_) MakeRoom(*disk);
    candidates = DisksByFreeSpace(wanted_bytes);
  }
  Status last(StatusCode::kNoSpace, "block " + std::to_string(handle.block.value()) +
                                        ": no disk of this server has room for a new replica");
  for (StoreDisk* disk : candidates) {
    Status created = CreateOn(*disk, handle, arguments);
    if (created.ok()) {
      counters_.replicas_created.fetch_add(1, std::memory_order_relaxed);
      return created;
    }
    last = Note(disk, created);
  }
  return last;
}

Status BlockStore::CreateOn(StoreDisk& disk, BlockHandle& handle, const WriteArguments& arguments) {
  ASSIGN_OR_RETURN(std::unique_ptr<File> file, disk.CreateReplicaFile(handle.block));
  auto replica = std::make_unique<ReplicaFile>(std::move(file),
                                               ReplicaHeader{.block = handle.block,
                                                             .generation = arguments.generation,
                                                             .length = 0,
                                                             .created_ns = clock_.WallNanos()});
  Status status = replica->Write(arguments.offset, arguments.data, arguments.piece_crcs);
  if (status.ok()) status = disk.index().Add({handle.block, arguments.generation});
  if (!status.ok()) {
    // A file that cannot be removed either is a left-over: CreateReplicaFile and scans know them.
    if (Status removed = disk.RemoveReplicaFile(handle.block); !removed.ok()) {
      LOG_WARN("a half-made replica stays: {}", removed);
    }
    return status.WithContext(disk.PathOf(handle.block));
  }
  disk.NoteWritten(kDataOffset + arguments.data.size());
  handle.disk = &disk;
  handle.replica = std::move(replica);
  handle.name_durable.store(false, std::memory_order_relaxed);
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
  RETURN_IF_ERROR(WithReader(block, generation, [&](BlockHandle& open) {
    file = open.replica->file();
    disk = open.disk;
    return Status::Ok();
  }));
  // Without the lock: writes may go on meanwhile, the caller only asks for those before.
  Status synced = file->Sync();
  if (synced.ok() && !handle->name_durable.load(std::memory_order_acquire)) {
    synced = disk_.SyncDirectory(disk->FolderOf(block));
    if (synced.ok()) handle->name_durable.store(true, std::memory_order_release);
  }
  if (!synced.ok()) {
    // What was not written is lost, and a later sync would not say so: the disk is not to be
    // trusted.
    Status failed(StatusCode::kIo, synced.message());
    Eject(*disk, failed);
    return failed;
  }
  counters_.syncs.fetch_add(1, std::memory_order_relaxed);
  return Status::Ok();
}

Status BlockStore::MoveAway(BlockHandle& handle, const Location& location, bool to_trash) {
  handle.replica.reset();
  handle.disk = nullptr;
  RETURN_IF_ERROR(
      Note(location.disk, location.disk->MoveAway({handle.block, location.generation},
                                                  to_trash ? StoreDisk::Destination::kTrash
                                                           : StoreDisk::Destination::kQuarantine)));
  auto& counter = to_trash ? counters_.replicas_trashed : counters_.replicas_quarantined;
  counter.fetch_add(1, std::memory_order_relaxed);
  return Status::Ok();
}

Status BlockStore::MoveToTrash(BlockId block, Generation up_to) {
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  std::unique_lock lock(handle->mutex);
  auto location = Locate(block);
  if (!location.ok() && location.code() == StatusCode::kNotFound) return Status::Ok();
  RETURN_IF_ERROR(location.status());
  if (location->generation > up_to) {
    return Status(StatusCode::kConflict, "block " + std::to_string(block.value()) +
                                             ": the replica here has generation " +
                                             std::to_string(location->generation.value()) +
                                             ", above " + std::to_string(up_to.value()));
  }
  return MoveAway(*handle, *location, true);
}

Status BlockStore::Quarantine(BlockId block) {
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  std::unique_lock lock(handle->mutex);
  ASSIGN_OR_RETURN(Location location, Locate(block));
  return MoveAway(*handle, location, false);
}

}  // namespace tercet
