// BlockStore: what is done now and then.
#include <algorithm>
#include <set>

#include "chunkserver/store/store_internal.h"
#include "common/log/log.h"

namespace tercet {
namespace {

/// The trash gives way until so much is free beyond the reserve: a few blocks, so that the active
/// goes on choosing the disk.
constexpr uint64_t kRoomBytes = 4 * uint64_t{kMaxBlockBytes};
/// So many marked replicas are verified at once after a crash of the process.
constexpr size_t kVerifiedAtOnce = 4;

}  // namespace

void BlockStore::Maintain() {
  std::lock_guard upkeep(upkeep_mutex_);
  const int64_t now_ms = clock_.MonotonicMillis();
  const bool due = now_ms >= next_settle_ms_;
  if (due) next_settle_ms_ = now_ms + options_.settle_interval_ms;
  // Before a round, which takes away the other trace of what was being written.
  SaveDoubts();
  for (auto& disk : disks_) {
    if (!disk->healthy()) continue;
    // Opening it is what verifies it.
    for (BlockId block : disk->activity().ToVerify(kVerifiedAtOnce)) {
      std::shared_ptr<BlockHandle> handle = handles_->Get(block);
      std::unique_lock lock(handle->mutex);
      if (handle->replica != nullptr) continue;
      if (Status opened = OpenReplica(*handle); !opened.ok()) {
        LOG_WARN_LIMITED("a replica was not verified after the crash: {}", opened);
        // A damaged header was reported, and stays what it is; others are to have their turn.
        if (opened.code() == StatusCode::kCorruption) {
          Status noted = Note(disk.get(), disk->activity().Verified(block));
          if (!noted.ok()) break;
        }
      }
    }
    if (!due && !disk->activity().overflowed()) continue;
    if (Status settled = Note(disk.get(), SettleDisk(*disk)); !settled.ok()) {
      LOG_WARN_LIMITED("what was written is not settled yet disk={}: {}", disk->path(), settled);
    }
  }
  for (BlockId block : incomplete_->Untouched(options_.incomplete_retention_ms)) {
    std::shared_ptr<BlockHandle> handle = handles_->Get(block);
    std::unique_lock lock(handle->mutex);
    incomplete_->Forget(block);
    auto location = Locate(block);
    if (!location.ok() || location->row.generation != Generation(0)) continue;
    LOG_INFO("nobody went on with an incomplete copy block={}", block);
    if (Status moved = MoveAway(*handle, *location, true); !moved.ok()) {
      LOG_WARN_LIMITED("an incomplete copy stays: {}", moved);
      incomplete_->Touch(block);
    }
  }
}

Status BlockStore::SettleDisk(StoreDisk& disk) {
  ActivityLog& activity = disk.activity();
  if (disk.index().suspect_count() == 0) RETURN_IF_ERROR(activity.ForgetSuspects());
  auto round = activity.BeginRound();
  if (!round.has_value()) return Status::Ok();
  handles_->WaitForWriters();
  Status durable = disk.MakeDurable(*round);
  if (!durable.ok()) {
    activity.AbandonRound(std::move(*round));
    return durable;
  }
  RETURN_IF_ERROR(activity.FinishRound(*round));
  for (const auto& [block, grown] : round->written) {
    if (!grown) continue;
    std::shared_ptr<BlockHandle> handle = handles_->Get(block);
    std::unique_lock lock(handle->mutex);
    RETURN_IF_ERROR(disk.CorrectLength(block));
  }
  return Status::Ok();
}

void BlockStore::MakeRoom(StoreDisk& disk) {
  if (!disk.healthy()) return;
  auto erased = disk.PurgeTrash(INT64_MAX, kRoomBytes);
  if (!erased.ok()) {
    LOG_WARN_LIMITED("purging the trash failed disk={}: {}", disk.path(),
                     Note(&disk, erased.status()));
  } else if (*erased > 0) {
    LOG_INFO("emptied the trash for want of space disk={} files={}", disk.path(), *erased);
  }
}

Status BlockStore::SyncDeletions() {
  Status first;
  for (auto& disk : disks_) {
    if (!disk->healthy()) continue;
    Status status = Note(disk.get(), disk->SyncDeletions());
    if (first.ok()) first = status;
  }
  return first;
}

uint64_t BlockStore::PurgeTrash(int64_t grace_ms) {
  uint64_t erased = 0;
  for (auto& disk : disks_) {
    if (!disk->healthy()) continue;
    auto trash = disk->PurgeTrash(grace_ms, kRoomBytes);
    auto quarantine = disk->PurgeQuarantine(options_.quarantine_retention_ms);
    for (const auto& purged : {trash, quarantine}) {
      if (purged.ok()) {
        erased += *purged;
      } else {
        LOG_WARN("erasing what was put away failed disk={}: {}", disk->path(),
                 Note(disk.get(), purged.status()));
      }
    }
  }
  return erased;
}

void BlockStore::CheckDisks() {
  for (auto& disk : disks_) {
    if (!disk->healthy()) continue;
    Status present = Note(disk.get(), disk->CheckPresent());
    if (!present.ok() && disk->healthy()) LOG_WARN_LIMITED("a disk was not checked: {}", present);
  }
}

Result<LostFilesFound> BlockStore::FindLostFiles(const std::string& disk_uuid, BlockId after,
                                                 size_t max) {
  ASSIGN_OR_RETURN(const std::vector<ReplicaInfo> replicas, ListDisk(disk_uuid, after, max));
  LostFilesFound found{.last = after, .disk_end = replicas.size() < max};
  StoreDisk& disk = *FindDisk(disk_uuid);
  std::string folder;
  std::set<std::string> names;  // in the folder
  for (const ReplicaInfo& replica : replicas) {
    found.last = replica.block;
    if (disk.FolderOf(replica.block) != folder) {
      folder = disk.FolderOf(replica.block);
      auto listed = disk.NeighboursOf(replica.block);
      RETURN_IF_ERROR(Note(&disk, listed.status()));
      names = std::set<std::string>(listed->begin(), listed->end());
    }
    if (names.contains(ReplicaFileName(replica.block))) continue;
    ASSIGN_OR_RETURN(const bool gone, ForgetIfLost(disk, replica.block));
    found.lost += gone ? 1 : 0;
  }
  return found;
}

Result<bool> BlockStore::ForgetIfLost(StoreDisk& disk, BlockId block) {
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  std::unique_lock lock(handle->mutex);
  // Deleted, moved or made since the folder was listed.
  auto location = Locate(block);
  if (!location.ok() || location->disk != &disk) return false;
  auto there = disk.HasFile(block);
  RETURN_IF_ERROR(Note(&disk, there.status()));
  if (*there) return false;
  // A file that is open could be read and written on, until the server ends.
  Close(*handle);
  return OpenReplica(*handle).code() == StatusCode::kNotFound;
}

std::vector<BadReplicaFound> BlockStore::TakeBadReplicas(size_t max) {
  std::lock_guard upkeep(upkeep_mutex_);
  if (!suspects_offered_) {
    auto suspects = Suspects(suspects_offered_to_, max);
    if (!suspects.ok()) {
      LOG_WARN_LIMITED("suspect replicas cannot be listed: {}", suspects.status());
    } else {
      suspects_offered_ = suspects->empty();
      for (const ReplicaInfo& replica : *suspects) {
        if (!bad_->Add({replica.block, replica.generation, ReplicaFault::kSuspect})) break;
        suspects_offered_to_ = replica.block;
      }
    }
  }
  std::vector<BadReplicaFound> found = TakeDoubts(max / 2);
  for (const BadReplicaFound& bad : bad_->Take(max - found.size())) found.push_back(bad);
  return found;
}

std::vector<BadReplicaFound> BlockStore::TakeDoubts(size_t max) {
  std::vector<BadReplicaFound> found;
  uint64_t after = 0;
  while (found.size() < max) {
    const auto due = doubtful_->TakeDue(after, max - found.size());
    if (due.empty()) break;
    for (const auto& [number, replica] : due) {
      after = number;
      auto location = Locate(replica.block);
      // Recovered, deleted, lost, or reported for another reason that ends in a new generation.
      if (!location.ok() || location->row.generation != replica.generation ||
          location->row.suspect) {
        doubtful_->Drop(replica.block, replica.generation);
        continue;
      }
      found.push_back({replica.block, replica.generation, ReplicaFault::kDoubtful});
    }
  }
  return found;
}

void BlockStore::SaveDoubts() {
  const uint64_t last = doubtful_->last_number();
  const size_t count = doubtful_->size();
  if (last == saved_doubt_number_ && (saved_doubts_ == 0 || count > saved_doubts_ / 2)) return;
  const std::vector<ReplicaInfo> doubts = doubtful_->List();
  bool written = false;
  for (auto& disk : disks_) {
    if (!disk->healthy() || !disk->has_index()) continue;
    if (Status saved = Note(disk.get(), disk->WriteDoubts(doubts)); saved.ok()) {
      written = true;
    } else {
      LOG_WARN_LIMITED("doubts are not written down disk={}: {}", disk->path(), saved);
    }
  }
  if (!written) return;
  saved_doubt_number_ = last;
  saved_doubts_ = doubts.size();
}

void BlockStore::NoteDoubtful(BlockId block, Generation generation) {
  // A copy that is not complete is nobody's.
  if (generation == Generation(0)) return;
  (void)doubtful_->Note(block, generation);  // it logs what it has no room for
}

void BlockStore::AcknowledgeBadReplicas(const std::vector<BadReplicaFound>& reported) {
  bad_->Acknowledge(reported);
  for (const BadReplicaFound& found : reported) {
    if (found.fault == ReplicaFault::kDoubtful) {
      doubtful_->Acknowledge(found.block, found.generation);
    }
  }
}

}  // namespace tercet
