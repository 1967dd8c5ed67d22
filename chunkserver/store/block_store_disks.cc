// BlockStore: opening its disks, identities, states and failures.
#include <algorithm>
#include <map>
#include <tuple>

#include "chunkserver/store/store_internal.h"
#include "common/base/hex.h"
#include "common/log/log.h"

namespace tercet {
namespace {

constexpr const char* kBootIdPath = "/proc/sys/kernel/random/boot_id";

/// The file has no size, so it is read piece by piece.
Result<std::string> ReadBootId(Disk& disk) {
  ASSIGN_OR_RETURN(std::unique_ptr<File> file, disk.Open(kBootIdPath, OpenMode::kReadOnly));
  std::string text(64, '\0');
  ASSIGN_OR_RETURN(size_t count, file->ReadAt(0, text));
  text.resize(count);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (text.empty()) return Status(StatusCode::kIo, std::string(kBootIdPath) + " is empty");
  return text;
}

}  // namespace

Result<std::unique_ptr<BlockStore>> BlockStore::Open(Disk& disk, Clock& clock, Random& random,
                                                     BlockStoreOptions options) {
  if (options.disks.empty()) {
    return Status(StatusCode::kInvalidArgument, "a block store needs at least one disk folder");
  }
  if (options.boot_id.empty()) {
    ASSIGN_OR_RETURN(options.boot_id, ReadBootId(disk));
  }
  std::unique_ptr<BlockStore> store(new BlockStore(disk, clock, random, std::move(options)));
  RETURN_IF_ERROR(store->OpenDisks());
  RETURN_IF_ERROR(store->AdoptIdentities());
  RETURN_IF_ERROR(store->LoadEpoch());
  RETURN_IF_ERROR(store->OpenIndexes());
  return store;
}

Status BlockStore::OpenDisks() {
  Status failed;
  for (const StoreDiskOptions& disk_options : options_.disks) {
    auto opened = StoreDisk::Open(disk_, clock_, disk_options, options_);
    if (opened.ok()) {
      disks_.push_back(std::move(opened).value());
    } else if (opened.code() == StatusCode::kIo) {
      failed = opened.status();
      LOG_ERROR("left out a disk that fails: {}", failed);
      if (options_.on_disk_failed) options_.on_disk_failed(disk_options.path, failed);
    } else {
      return opened.status();
    }
  }
  return disks_.empty() ? failed : Status::Ok();
}

Status BlockStore::AdoptIdentities() {
  const StoreDisk* known = nullptr;   // the first disk with an identity
  const StoreDisk* joined = nullptr;  // the first disk that knows its cluster
  std::map<std::string, const StoreDisk*> by_uuid;
  for (const auto& disk : disks_) {
    if (!disk->has_identity()) continue;
    const DiskIdentity identity = disk->identity();
    auto [place, fresh] = by_uuid.emplace(identity.disk_uuid, disk.get());
    if (!fresh) {
      return Status(StatusCode::kIdentityInUse,
                    "disk folders " + place->second->path() + " and " + disk->path() +
                        " hold the same disk identity: one is a copy; take it out");
    }
    if (known == nullptr) known = disk.get();
    if (identity.server_uuid != known->identity().server_uuid) {
      return Status(StatusCode::kFailedPrecondition,
                    "disk folders " + known->path() + " and " + disk->path() +
                        " belong to different chunk servers: give each server its own");
    }
    if (identity.cluster_id.empty()) continue;
    if (joined == nullptr) joined = disk.get();
    if (identity.cluster_id != joined->identity().cluster_id) {
      return Status(StatusCode::kWrongCluster, "disk folders " + joined->path() + " (cluster " +
                                                   HexOf(joined->identity().cluster_id) + ") and " +
                                                   disk->path() + " (cluster " +
                                                   HexOf(identity.cluster_id) +
                                                   ") belong to different clusters: take one out");
    }
  }
  server_uuid_ = known != nullptr ? known->identity().server_uuid : random_.Bytes(kUuidBytes);
  if (joined != nullptr) cluster_id_ = joined->identity().cluster_id;
  for (auto& disk : disks_) {
    DiskIdentity identity = disk->identity();
    if (disk->has_identity() && identity.cluster_id == cluster_id_) continue;
    identity.server_uuid = server_uuid_;
    if (!disk->has_identity()) identity.disk_uuid = random_.Bytes(kUuidBytes);
    identity.cluster_id = cluster_id_;
    RETURN_IF_ERROR(disk->WriteIdentity(identity).WithContext("disk folder " + disk->path()));
  }
  return Status::Ok();
}

Status BlockStore::LoadEpoch() {
  Status damaged;
  bool any = false;
  for (const auto& disk : disks_) {
    auto epoch = disk->ReadEpoch();
    if (!epoch.ok()) {
      damaged = epoch.status().WithContext("disk folder " + disk->path());
      continue;
    }
    any = true;
    highest_epoch_ = std::max(highest_epoch_.load(), epoch->value());
  }
  // Without any, commands of a deposed active could not be told from those of the real one.
  if (!any) {
    return damaged.WithContext("the highest epoch is lost; remove the file `epoch` to accept any");
  }
  if (!damaged.ok()) LOG_WARN("another disk's epoch is used: {}", damaged);
  return Status::Ok();
}

Status BlockStore::OpenIndexes() {
  Status failed;
  bool any = false;
  for (auto& disk : disks_) {
    Status opened = disk->OpenIndex(options_.boot_id);
    if (opened.ok()) {
      any = true;
      machine_crashed_ = machine_crashed_ || disk->run_end() == RunEnd::kMachineCrash;
      for (BlockId block : disk->incomplete_at_start()) incomplete_->Touch(block);
      for (const ReplicaInfo& doubt : disk->doubts_at_start()) {
        NoteDoubtful(doubt.block, doubt.generation);
      }
      ASSIGN_OR_RETURN(const BlockId last, disk->index().Last());
      NoteHeld(last);
      continue;
    }
    if (opened.code() != StatusCode::kIo) return opened;
    failed = opened;
    Eject(*disk, opened);
  }
  if (!any) return failed;
  return ResolveDuplicates();
}

std::string BlockStore::cluster_id() const {
  std::lock_guard lock(identity_mutex_);
  return cluster_id_;
}

Status BlockStore::SetClusterId(const std::string& cluster_id) {
  if (cluster_id.empty() || cluster_id.size() > kMaxClusterIdBytes) {
    return Status(StatusCode::kInvalidArgument, "a cluster id has 1 to 64 bytes");
  }
  std::lock_guard lock(identity_mutex_);
  if (cluster_id_ == cluster_id) return Status::Ok();
  if (!cluster_id_.empty()) {
    return Status(StatusCode::kWrongCluster, "the disks belong to cluster " + HexOf(cluster_id_) +
                                                 ", not to " + HexOf(cluster_id));
  }
  for (auto& disk : disks_) {
    if (!disk->healthy()) continue;
    DiskIdentity identity = disk->identity();
    identity.cluster_id = cluster_id;
    RETURN_IF_ERROR(Note(disk.get(), disk->WriteIdentity(identity)));
  }
  cluster_id_ = cluster_id;
  return Status::Ok();
}

Status BlockStore::ObserveEpoch(Epoch epoch) {
  const uint64_t known = highest_epoch_.load(std::memory_order_acquire);
  if (epoch.value() == known) return Status::Ok();
  std::lock_guard lock(identity_mutex_);
  const uint64_t highest = highest_epoch_.load(std::memory_order_acquire);
  if (epoch.value() == highest) return Status::Ok();
  if (epoch.value() < highest) {
    return Status(StatusCode::kStaleEpoch, "epoch " + std::to_string(epoch.value()) +
                                               " is over: epoch " + std::to_string(highest) +
                                               " was seen");
  }
  bool written = false;
  Status failed(StatusCode::kIo, "no disk is left to keep the epoch on");
  for (auto& disk : disks_) {
    if (!disk->healthy()) continue;
    Status status = Note(disk.get(), disk->WriteEpoch(epoch));
    if (status.ok()) {
      written = true;
    } else {
      failed = status;
    }
  }
  if (!written) return failed;
  highest_epoch_.store(epoch.value(), std::memory_order_release);
  return Status::Ok();
}

std::vector<StoreDisk*> BlockStore::DisksByFreeSpace(uint64_t wanted_bytes) {
  std::vector<std::pair<uint64_t, StoreDisk*>> by_space;
  for (auto& disk : disks_) {
    if (!disk->healthy()) continue;
    if (!disk->takes_new_replicas()) continue;
    const uint64_t available = disk->AvailableBytes();
    if (available >= wanted_bytes) by_space.emplace_back(available, disk.get());
  }
  std::stable_sort(by_space.begin(), by_space.end(), [](const auto& a, const auto& b) {
    if (a.first != b.first) return a.first > b.first;
    return a.second->index().replica_count() < b.second->index().replica_count();
  });
  std::vector<StoreDisk*> disks;
  for (const auto& [available, disk] : by_space) disks.push_back(disk);
  return disks;
}

Status BlockStore::Note(StoreDisk* disk, Status status) {
  if (status.ok()) return status;
  if (status.code() == StatusCode::kCorruption) {
    counters_.corruptions.fetch_add(1, std::memory_order_relaxed);
    LOG_WARN_LIMITED("found damage: {}", status);
  } else if (status.code() == StatusCode::kIo || status.code() == StatusCode::kReadOnly) {
    Eject(*disk, status);
    return Status(StatusCode::kIo, status.message());
  }
  return status;
}

void BlockStore::Eject(StoreDisk& disk, const Status& why) {
  if (!disk.MarkUnhealthy()) return;
  // What it held is lost: none of it is to be made anew by a late write.
  RaiseCreateFloor(BlockId(highest_held_.load(std::memory_order_acquire)).Next());
  LOG_ERROR("ejected a disk: it takes no new replicas and its own are not served disk={}: {}",
            disk.path(), why);
  if (options_.on_disk_failed) options_.on_disk_failed(disk.path(), why);
}

StoreDisk* BlockStore::FindDisk(const std::string& disk_uuid) const {
  for (const auto& disk : disks_) {
    if (disk->identity().disk_uuid == disk_uuid) return disk.get();
  }
  return nullptr;
}

Status BlockStore::SetDiskState(const std::string& disk_uuid, StoreDiskState state) {
  std::lock_guard lock(state_mutex_);
  StoreDisk* disk = FindDisk(disk_uuid);
  if (disk == nullptr) return Status(StatusCode::kNotFound, "no disk " + HexOf(disk_uuid));
  if (disk->state() == state) return Status::Ok();
  if (state == StoreDiskState::kEjected) {
    const bool was_healthy = disk->healthy();
    // After errors it stays ejected because of these.
    if (was_healthy) disk->SetState(StoreDiskState::kEjected);
    Eject(*disk, Status(StatusCode::kIo, "by command"));
    return Status::Ok();
  }
  if (!disk->healthy()) {
    const bool by_command = disk->state() == StoreDiskState::kEjected;
    return Status(StatusCode::kFailedPrecondition,
                  "disk " + disk->path() + " was ejected " +
                      (by_command ? "by command: start the server again to use it"
                                  : "after errors: repair it, and start the server again"));
  }
  disk->SetState(state);
  LOG_INFO("a disk {} disk={}",
           state == StoreDiskState::kDraining ? "is to be emptied" : "is in service again",
           disk->path());
  return Status::Ok();
}

Status BlockStore::EjectDisk(const std::string& disk_uuid) {
  return SetDiskState(disk_uuid, StoreDiskState::kEjected);
}

Status BlockStore::ResolveDuplicates() {
  // All rows of all disks by block id, side by side.
  constexpr size_t kRowsAtOnce = 4096;
  std::vector<StoreDisk*> usable;
  for (auto& disk : disks_) {
    if (disk->healthy() && disk->has_index()) usable.push_back(disk.get());
  }
  if (usable.size() < 2) return Status::Ok();
  BlockId after;
  for (bool more = true; more;) {
    std::map<BlockId, int> copies;
    // Up to here the rows of every disk were read: those of others may go further.
    BlockId complete_to(UINT64_MAX);
    more = false;
    for (StoreDisk* disk : usable) {
      size_t read = 0;
      BlockId last;
      RETURN_IF_ERROR(disk->index().ForEach(after, [&](const ReplicaRow& row) {
        if (read == kRowsAtOnce) return false;
        ++read;
        ++copies[row.block];
        last = row.block;
        return true;
      }));
      if (read < kRowsAtOnce) continue;
      complete_to = std::min(complete_to, last);
      more = true;
    }
    for (const auto& [block, count] : copies) {
      if (block > complete_to) break;
      if (count > 1) RETURN_IF_ERROR(ResolveDuplicate(block));
    }
    after = complete_to;
  }
  // Before anything is changed: of two replicas that were alike the one that was put away would
  // come back with old data, and the other one would then be suspect. A disk that fails here is
  // ejected, which is no reason not to start with the others.
  const Status synced = SyncDeletions();
  const bool any =
      std::any_of(disks_.begin(), disks_.end(), [](const auto& disk) { return disk->healthy(); });
  return any ? Status::Ok() : synced;
}

Status BlockStore::ResolveDuplicate(BlockId block) {
  std::shared_ptr<BlockHandle> handle = handles_->Get(block);
  std::unique_lock lock(handle->mutex);
  std::vector<Location> found;
  for (auto& disk : disks_) {
    if (!disk->healthy() || !disk->has_index()) continue;
    auto row = disk->index().Find(block);
    if (row.ok()) found.push_back({disk.get(), *row});
  }
  if (found.size() < 2) return Status::Ok();
  // A move that was cut short after its last step but one: the row is all that is left there.
  for (auto place = found.begin(); place != found.end();) {
    StoreDisk* disk = place->disk;
    auto there = disk->HasFile(block);
    RETURN_IF_ERROR(Note(disk, there.status()));
    if (*there) {
      ++place;
      continue;
    }
    RETURN_IF_ERROR(Note(disk, disk->CheckPresent()));
    RETURN_IF_ERROR(Note(disk, disk->ForgetRow(place->row)));
    place = found.erase(place);
  }
  if (found.size() < 2) return Status::Ok();
  // The later generation; of equal ones a sound one, and the longer.
  std::sort(found.begin(), found.end(), [](const Location& a, const Location& b) {
    return std::make_tuple(a.row.generation, !a.row.suspect, a.row.length) >
           std::make_tuple(b.row.generation, !b.row.suspect, b.row.length);
  });
  Close(*handle);
  for (size_t i = 1; i < found.size(); ++i) {
    const bool incomplete = found[i].row.generation == Generation(0);
    LOG_WARN(
        "two disks hold a block: put one away block={} kept={} generation={} other={} "
        "generation={}",
        block, found[0].disk->path(), found[0].row.generation, found[i].disk->path(),
        found[i].row.generation);
    RETURN_IF_ERROR(MoveAway(*handle, found[i], incomplete));
  }
  return Status::Ok();
}

}  // namespace tercet
