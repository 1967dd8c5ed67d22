// BlockStore: moving a replica from one disk of the server to another.
//
// Life of a move, and what a crash in between leaves:
//   1. A copy of generation 0 is made on the target, without a row there, while the replica is used
//      as ever. A crash: an incomplete copy beside the replica, which goes to the trash (the higher
//      generation wins at a start).
//   2. Under the handle's lock: the pages that changed meanwhile, everything durable, a row of
//      generation 0 on the target, then the copy's generation, durable, and its row's. A crash: the
//      row leads to the copy, so a start knows of both: the incomplete one goes, or of two equal
//      ones either. Without a row before its generation the copy would be left over, and come back
//      with old data when an index is made again.
//   3. The old file to the trash, durably; its row. From here on the handle is that of the copy. A
//      change of the replica comes only after the old file is gone for good. The same holds for the
//      copy after an error in 2, and for the one of two replicas that a start puts away.
#include <algorithm>

#include "chunkserver/store/store_internal.h"
#include "common/base/coding.h"
#include "common/log/log.h"

namespace tercet {
namespace {

/// How much is read at once under the handle's shared lock.
constexpr uint32_t kPieceBytes = 1 << 20;
static_assert(kPieceBytes / kPageBytes <= kMaxIntentPages);

}  // namespace

Status BlockStore::CopyPages(BlockId block, Generation generation, StoreDisk& target,
                             ReplicaFile* copy) {
  for (uint32_t offset = 0;; offset += kPieceBytes) {
    bool end = false;
    // Apart from what the reader returns, which is held against the source's disk.
    Status written;
    RETURN_IF_ERROR(WithReader(block, generation, [&](BlockHandle& handle) -> Status {
      const ReplicaFile& from = *handle.replica;
      const ReplicaFile::PageRange pages = from.Pages(offset, kPieceBytes);
      end = uint64_t{offset} + kPieceBytes >= from.length();
      if (pages.count == 0) return Status::Ok();
      std::string data, crcs;
      RETURN_IF_ERROR(from.ReadVerified(pages, &data));
      from.AppendCrcs(pages, &crcs);
      written = copy->Write(offset, data, crcs);
      if (written.ok()) copy->StartWriteback(offset, data.size());
      return Status::Ok();
    }));
    RETURN_IF_ERROR(Note(&target, written));
    if (end) return Status::Ok();
  }
}

Status BlockStore::CopyDifferingPages(const BlockHandle& handle, StoreDisk& target,
                                      ReplicaFile* to) {
  const ReplicaFile& from = *handle.replica;
  std::string wanted, present;
  from.AppendCrcs(from.Pages(0, from.length()), &wanted);
  to->AppendCrcs(to->Pages(0, to->length()), &present);
  present.resize(std::max(present.size(), wanted.size()), '\0');
  const uint32_t pages = PagesFor(from.length());
  std::string data, crcs;
  for (uint32_t page = 0; page < pages; ++page) {
    const bool beyond = page >= PagesFor(to->length());
    if (!beyond && wanted.compare(4 * page, 4, present, 4 * page, 4) == 0) continue;
    crcs.clear();
    const ReplicaFile::PageRange one{.first = page, .count = 1};
    RETURN_IF_ERROR(Note(handle.disk, ReportDamage(handle, from.ReadVerified(one, &data))));
    from.AppendCrcs(one, &crcs);
    RETURN_IF_ERROR(Note(&target, to->Write(page * kPageBytes, data, crcs)));
  }
  // Whole pages were written: the length may be over by a part of the last one, which is zeros.
  return Note(&target, to->Truncate(from.length()));
}

Status BlockStore::MoveToDisk(BlockId block, const std::string& disk_uuid) {
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  StoreDisk* target = nullptr;
  Generation generation;
  std::unique_ptr<ReplicaFile> copy;
  {
    std::unique_lock lock(handle->mutex);
    if (handle->replica == nullptr) RETURN_IF_ERROR(OpenReplica(*handle));
    generation = handle->replica->generation();
    RETURN_IF_ERROR(CheckGeneration(*handle, generation));
    if (generation == Generation(0)) return NoReplica(block);
    const uint64_t wanted = kDataOffset + uint64_t{handle->replica->length()};
    for (StoreDisk* disk : DisksByFreeSpace(wanted)) {
      if (disk_uuid.empty() ? disk == handle->disk : disk->identity().disk_uuid != disk_uuid) {
        continue;
      }
      target = disk;
      break;
    }
    if (!disk_uuid.empty() && handle->disk->identity().disk_uuid == disk_uuid) return Status::Ok();
    if (target == nullptr) {
      return Status(StatusCode::kNoSpace, "block " + std::to_string(block.value()) +
                                              ": no other disk of this server has room for it");
    }
    auto file = target->CreateReplicaFile(block);
    if (!file.ok()) return Note(target, file.status());
    copy = std::make_unique<ReplicaFile>(std::move(file).value(),
                                         ReplicaHeader{.block = block,
                                                       .generation = Generation(0),
                                                       .length = 0,
                                                       .created_ns = clock_.WallNanos(),
                                                       .era = target->activity().Enter(block)});
  }
  Status moved = Note(target, copy->Write(0, {}, {}));
  if (moved.ok()) moved = CopyPages(block, generation, *target, copy.get());
  if (moved.ok()) {
    std::unique_lock lock(handle->mutex);
    if (handle->replica == nullptr) moved = OpenReplica(*handle);
    if (moved.ok()) moved = CheckGeneration(*handle, generation);
    if (moved.ok() && handle->disk == target) {
      moved = Status(StatusCode::kConflict, "it is being moved there already");
    }
    if (moved.ok()) return FinishMove(*handle, *target, std::move(copy));
  }
  copy.reset();
  if (Status removed = target->RemoveReplicaFile(block); !removed.ok()) {
    LOG_WARN("a half-made copy stays: {}", removed);
  }
  return moved.WithContext("move block " + std::to_string(block.value()) + " to " + target->path());
}

Status BlockStore::UndoTake(StoreDisk& target, BlockId block) {
  // While there is a row a start finds out what became of the file; without one it must be gone for
  // good, or it would come back with old data when an index is made again.
  RETURN_IF_ERROR(target.RemoveReplicaFileDurably(block));
  auto row = target.index().Find(block);
  if (row.code() == StatusCode::kNotFound) return Status::Ok();
  RETURN_IF_ERROR(row.status());
  return target.index().Remove(*row);
}

Status BlockStore::FinishMove(BlockHandle& handle, StoreDisk& target,
                              std::unique_ptr<ReplicaFile> copy) {
  const BlockId block = handle.block;
  const Generation generation = handle.replica->generation();
  auto take = [&]() -> Status {
    RETURN_IF_ERROR(target.SyncReplica(block, *copy->file(), false));
    const ReplicaRow row{.block = block,
                         .generation = Generation(0),
                         .era = target.activity().settled(),
                         .length = copy->length()};
    RETURN_IF_ERROR(target.index().Add(row));
    ReplicaRow whole = row;
    whole.generation = generation;
    RETURN_IF_ERROR(target.ChangeReplica(*copy, row, whole, true));
    return target.activity().Cleared(block);
  };
  Status taken = CopyDifferingPages(handle, target, copy.get());
  if (taken.ok()) taken = Note(&target, take());
  if (!taken.ok()) {
    copy.reset();
    if (Status removed = UndoTake(target, block); !removed.ok()) {
      LOG_WARN("a half-made copy stays: {}", removed);
      Eject(target, removed);
    }
    return taken;
  }
  target.NoteCreated(copy->length());
  target.NoteWritten(kDataOffset + copy->length());
  StoreDisk& source = *handle.disk;
  const uint32_t length = handle.replica->length();
  const Generation doomed_up_to = handle.doomed_up_to;
  Close(handle);
  handle.disk = &target;
  handle.replica = std::move(copy);
  handle.name_durable.store(true, std::memory_order_release);
  handle.suspect = false;
  handle.suspect_base = false;
  handle.doomed_up_to = doomed_up_to;
  handle.growth_noted = false;
  ++handle.changes;
  auto put_away = [&]() -> Status {
    ASSIGN_OR_RETURN(ReplicaRow row, source.index().Find(block));
    RETURN_IF_ERROR(source.MoveAway(row, StoreDisk::Destination::kTrash, length));
    return source.SyncDeletions();
  };
  // A disk that cannot even do that is ejected; then its replica cannot come in the way.
  if (Status gone = put_away(); !gone.ok()) {
    Eject(source, gone);
    LOG_WARN("a replica that was moved stays where it was: {}", gone);
  }
  return Status::Ok();
}

}  // namespace tercet
