// BlockStore: taking replicas from one generation to the next (metaserver/repair/protocol.md).
#include <algorithm>

#include "chunkserver/store/store_internal.h"
#include "common/log/log.h"

namespace tercet {
Status BlockStore::Regenerate(BlockHandle& handle, Generation to, bool trusted, bool sync) {
  StoreDisk* disk = handle.disk;
  auto change = [&]() -> Status {
    ASSIGN_OR_RETURN(ReplicaRow row, disk->index().Find(handle.block));
    ReplicaRow after = row;
    after.generation = to;
    after.length = handle.replica->length();
    if (trusted) {
      after.era = disk->activity().settled();
      after.suspect = false;
    }
    RETURN_IF_ERROR(disk->ChangeReplica(*handle.replica, row, after, sync));
    return trusted ? disk->activity().Cleared(handle.block) : Status::Ok();
  };
  Status changed = change();
  if (!changed.ok()) {
    Close(handle);
    return Note(disk, changed.WithContext("block " + std::to_string(handle.block.value())));
  }
  if (trusted) {
    handle.suspect = false;
    handle.suspect_base = false;
    handle.covered_in = Era(0);
    handle.growth_noted = false;
    bad_->Forget(handle.block);
  }
  if (sync) handle.name_durable.store(true, std::memory_order_release);
  ++handle.changes;
  return Status::Ok();
}

Result<SealResult> BlockStore::Seal(BlockId block, Generation to, bool create_if_absent,
                                    bool verify, bool accept_suspect) {
  if (to == Generation(0)) {
    return Status(StatusCode::kInvalidArgument, "generation 0 cannot be sealed");
  }
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  std::unique_lock lock(handle->mutex);
  if (handle->replica == nullptr) {
    const bool listed = Locate(block).ok();
    Status opened = OpenReplica(*handle);
    if (opened.code() == StatusCode::kNotFound) {
      return SealAbsent(*handle, to, create_if_absent, listed);
    }
    RETURN_IF_ERROR(opened);
  }
  const Generation own = handle->replica->generation();
  if (!handle->disk->healthy()) return CheckGeneration(*handle, own);
  if (own != Generation(0) && own <= handle->doomed_up_to) return SealResult{.absent = true};
  if (own == Generation(0)) {
    if (!create_if_absent) return SealResult{.absent = true};
    ASSIGN_OR_RETURN(Location location, Locate(block));
    RETURN_IF_ERROR(MoveAway(*handle, location, true));
    return SealAbsent(*handle, to, true, false);
  }
  if (own > to) return StaleGeneration(block, to, own);
  StoreDisk* disk = handle->disk;
  auto sealed = SealOpened(*handle, to, verify, accept_suspect);
  if (!sealed.ok()) return Note(disk, sealed.status());
  return sealed;
}

Result<SealResult> BlockStore::SealAbsent(BlockHandle& handle, Generation to, bool create_if_absent,
                                          bool lost) {
  if (!create_if_absent) return SealResult{.absent = true};
  RETURN_IF_ERROR(CreateReplica(handle, to, kDataOffset, {}));
  RETURN_IF_ERROR(Regenerate(handle, to, true, true));
  SealResult result;
  result.table_crc = handle.replica->TableCrc();
  // It may have been here, with writes, and not have survived.
  result.suspect = lost || machine_crashed_;
  return result;
}

Result<SealResult> BlockStore::SealOpened(BlockHandle& handle, Generation to, bool verify,
                                          bool accept_suspect) {
  ReplicaFile& replica = *handle.replica;
  const bool accept = accept_suspect && handle.suspect;
  SealResult result;
  result.before = replica.generation();
  if (accept) {
    Status cut = replica.CutTail();
    if (!cut.ok()) {
      Close(handle);
      return cut;
    }
  }
  if (verify || accept) {
    ASSIGN_OR_RETURN(std::vector<uint32_t> damaged,
                     replica.DamagedPages(replica.Pages(0, replica.length()), false));
    result.damaged_pages = static_cast<uint32_t>(damaged.size());
    Status accepted = Status::Ok();
    if (accept) {
      accepted = replica.AcceptPages(damaged);
      if (accepted.ok()) accepted = handle.disk->SyncReplica(handle.block, *replica.file(), false);
      LOG_WARN("accepted a suspect replica as it is block={} generation={} damaged_pages={}",
               handle.block, to, damaged.size());
    } else if (!damaged.empty()) {
      counters_.corruptions.fetch_add(damaged.size(), std::memory_order_relaxed);
      bad_->Add({handle.block, to, ReplicaFault::kDamaged});
    }
    if (!accepted.ok()) {
      Close(handle);
      return accepted;
    }
  }
  result.suspect = handle.suspect && !accept;
  result.length = replica.length();
  result.table_crc = replica.TableCrc();
  RETURN_IF_ERROR(Regenerate(handle, to, accept, true));
  return result;
}

Result<PageTable> BlockStore::Table(BlockId block, Generation generation) {
  return ReadTable(block, generation, false);
}

Result<PageTable> BlockStore::BaseTable(BlockId block, Generation generation) {
  return ReadTable(block, generation, true);
}

Result<PageTable> BlockStore::ReadTable(BlockId block, Generation generation, bool of_base) {
  PageTable table;
  auto read = [&](BlockHandle& handle) {
    table.generation = generation;
    table.length = handle.replica->length();
    handle.replica->AppendCrcs(handle.replica->Pages(0, table.length), &table.page_crcs);
    return Status::Ok();
  };
  RETURN_IF_ERROR(WithReader(block, generation, read, of_base));
  return table;
}

Status BlockStore::PrepareBase(BlockHandle& handle, Generation source_generation, Generation finish,
                               uint32_t expected_length) {
  const uint64_t wanted = kDataOffset + uint64_t{expected_length};
  if (handle.replica == nullptr) {
    Status opened = OpenReplica(handle);
    if (opened.code() == StatusCode::kCorruption) {
      ASSIGN_OR_RETURN(Location location, Locate(handle.block));
      RETURN_IF_ERROR(MoveAway(handle, location, false));
      LOG_WARN("quarantined a replica that cannot be opened block={}: {}", handle.block, opened);
      opened = NoReplica(handle.block);
    }
    // What is on a disk that failed is lost; another disk takes the new one.
    if (opened.code() == StatusCode::kNotFound || opened.code() == StatusCode::kIo) {
      return CreateReplica(handle, Generation(0), wanted, {});
    }
    RETURN_IF_ERROR(opened);
  }
  if (!handle.disk->healthy()) {
    Close(handle);
    return CreateReplica(handle, Generation(0), wanted, {});
  }
  const Generation own = handle.replica->generation();
  if (own == Generation(0)) {
    incomplete_->Touch(handle.block);
    return Status::Ok();
  }
  // An empty one may have been made by its seal in the place of one that was lost: half of a copy
  // must not pass for a replica, should the copy break off.
  const bool made_by_seal = handle.replica->length() == 0 && expected_length > 0;
  if (finish != Generation(0) && own == finish && !made_by_seal) return Status::Ok();
  if (own >= source_generation && own != finish) {
    return Status(StatusCode::kConflict, "block " + std::to_string(handle.block.value()) +
                                             ": the replica here has generation " +
                                             std::to_string(own.value()) +
                                             ", so it is no base for a copy of " +
                                             std::to_string(source_generation.value()));
  }
  // The mark comes first: should the machine crash, this is not taken for a sound old replica.
  RETURN_IF_ERROR(Note(handle.disk, CoverChange(handle)));
  RETURN_IF_ERROR(Regenerate(handle, Generation(0), false, false));
  incomplete_->Touch(handle.block);
  return Status::Ok();
}

Result<PullBase> BlockStore::OpenPullBase(BlockId block, Generation source_generation,
                                          Generation finish, uint32_t expected_length,
                                          bool verify) {
  if (expected_length > kMaxBlockBytes || source_generation == Generation(0)) {
    return Status(StatusCode::kInvalidArgument, "there is no such replica to copy");
  }
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  std::unique_lock lock(handle->mutex);
  RETURN_IF_ERROR(PrepareBase(*handle, source_generation, finish, expected_length));
  StoreDisk* disk = handle->disk;
  ReplicaFile& replica = *handle->replica;
  PullBase base;
  auto look = [&]() -> Status {
    if (handle->suspect) {
      // Every page is compared from here on, and Promote takes the copy as a whole; until then it
      // stays suspect.
      incomplete_->AddSuspectBase(block);
      handle->suspect_base = true;
      RETURN_IF_ERROR(CoverChange(*handle));
      RETURN_IF_ERROR(replica.CutTail());
      ++handle->changes;
    }
    base.table.generation = replica.generation();
    base.table.length = replica.length();
    const ReplicaFile::PageRange all = replica.Pages(0, replica.length());
    replica.AppendCrcs(all, &base.table.page_crcs);
    if (!verify && !handle->suspect) return Status::Ok();
    ASSIGN_OR_RETURN(std::vector<uint32_t> damaged, replica.DamagedPages(all, false));
    base.damaged.assign(all.count, false);
    for (uint32_t page : damaged) base.damaged[page] = true;
    return Status::Ok();
  };
  Status looked = look();
  if (!looked.ok()) {
    Close(*handle);
    return Note(disk, looked.WithContext(disk->PathOf(block)));
  }
  return base;
}

Status BlockStore::Promote(BlockId block, Generation from, Generation to) {
  if (to == Generation(0) || (from != Generation(0) && from != to)) {
    return Status(StatusCode::kInvalidArgument, "a copy becomes complete, or stays what it is");
  }
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  std::unique_lock lock(handle->mutex);
  if (handle->replica == nullptr) RETURN_IF_ERROR(OpenReplica(*handle));
  const Generation own = handle->replica->generation();
  if (own != from) {
    return own == Generation(0) ? NoReplica(block) : StaleGeneration(block, from, own);
  }
  StoreDisk* disk = handle->disk;
  if (!disk->healthy() || handle->suspect) {
    RETURN_IF_ERROR(CheckGeneration(*handle, own, true));
  }
  // The data first: a header that calls it whole must not get to the platter before it.
  Status synced = disk->SyncReplica(block, *handle->replica->file(), false);
  if (!synced.ok()) {
    Close(*handle);
    return Note(disk, synced);
  }
  RETURN_IF_ERROR(Regenerate(*handle, to, true, true));
  doomed_->Promoted(block, to);
  handle->doomed_up_to = doomed_->UpTo(block);
  incomplete_->Forget(block);
  return Status::Ok();
}

void BlockStore::Doom(BlockId block, Generation up_to) {
  const bool remembered = doomed_->Add(block, up_to);
  if (std::shared_ptr<BlockHandle> handle = handles_->Find(block)) {
    std::unique_lock lock(handle->mutex);
    handle->doomed_up_to = doomed_->UpTo(block);
  }
  if (remembered) return;
  LOG_WARN_LIMITED("too many doomed replicas: some are put into the trash at once");
  if (Status moved = MoveToTrash(block, up_to);
      !moved.ok() && moved.code() != StatusCode::kConflict) {
    LOG_WARN_LIMITED("a doomed replica stays: {}", moved);
  }
}

void BlockStore::ForgetDooms() {
  doomed_->Clear();
  handles_->ForEach([](BlockHandle& handle) {
    std::unique_lock lock(handle.mutex);
    handle.doomed_up_to = Generation(0);
  });
}

namespace {

void RaiseTo(std::atomic<uint64_t>& value, uint64_t to) {
  uint64_t known = value.load(std::memory_order_acquire);
  while (known < to && !value.compare_exchange_weak(known, to, std::memory_order_acq_rel)) {
  }
}

}  // namespace

void BlockStore::RaiseCreateFloor(BlockId floor) { RaiseTo(create_floor_, floor.value()); }

void BlockStore::NoteHeld(BlockId block) { RaiseTo(highest_held_, block.value()); }

Result<std::vector<uint32_t>> BlockStore::VerifyPages(BlockId block, Generation generation,
                                                      uint32_t first_page, uint32_t count) {
  std::vector<uint32_t> damaged;
  RETURN_IF_ERROR(WithReader(block, generation, [&](BlockHandle& handle) -> Status {
    const ReplicaFile& replica = *handle.replica;
    const uint32_t end = PagesFor(replica.length());
    if (first_page >= end) return Status::Ok();
    ASSIGN_OR_RETURN(damaged,
                     replica.DamagedPages(
                         {.first = first_page, .count = std::min(count, end - first_page)}, true));
    if (damaged.empty()) return Status::Ok();
    counters_.corruptions.fetch_add(damaged.size(), std::memory_order_relaxed);
    LOG_WARN("found {} damaged pages, the first is {}: {}", damaged.size(), damaged.front(),
             handle.disk->PathOf(block));
    bad_->Add({block, generation, ReplicaFault::kDamaged});
    return Status::Ok();
  }));
  return damaged;
}

}  // namespace tercet
