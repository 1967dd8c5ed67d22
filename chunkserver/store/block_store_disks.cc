// BlockStore: opening its disks, identities, space, failures and reports.
#include <algorithm>
#include <map>

#include "chunkserver/store/block_store.h"
#include "chunkserver/store/disk_identity.h"
#include "chunkserver/store/handle_cache.h"
#include "chunkserver/store/store_disk.h"
#include "common/base/hex.h"
#include "common/log/log.h"

namespace tercet {
namespace {

/// The trash gives way until so much is free beyond the reserve: a few blocks, so that the active
/// goes on choosing the disk.
constexpr uint64_t kRoomBytes = 4 * uint64_t{kMaxBlockBytes};

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
      continue;
    }
    if (opened.code() != StatusCode::kIo) return opened;
    failed = opened;
    Eject(*disk, opened);
  }
  return any ? Status::Ok() : failed;
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
  LOG_ERROR("ejected a disk: it takes no new replicas and its own are not served disk={}: {}",
            disk.path(), why);
  if (options_.on_disk_failed) options_.on_disk_failed(disk.path(), why);
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
    auto count = disk->PurgeTrash(grace_ms, kRoomBytes);
    if (count.ok()) {
      erased += *count;
    } else {
      LOG_WARN("purging the trash failed disk={}: {}", disk->path(),
               Note(disk.get(), count.status()));
    }
  }
  return erased;
}

std::vector<ReplicaRangeDigest> BlockStore::RangeDigests() const {
  std::map<uint64_t, ReplicaRangeDigest> sums;
  for (const auto& disk : disks_) {
    if (disk->healthy() && disk->has_index()) disk->index().AddDigests(&sums);
  }
  std::vector<ReplicaRangeDigest> digests;
  digests.reserve(sums.size());
  for (const auto& [range, sum] : sums) digests.push_back(sum);
  return digests;
}

Result<std::vector<ReplicaInfo>> BlockStore::ListReplicas(uint64_t range) const {
  std::vector<ReplicaInfo> all;
  for (const auto& disk : disks_) {
    if (!disk->healthy() || !disk->has_index()) continue;
    ASSIGN_OR_RETURN(std::vector<ReplicaInfo> some, disk->index().List(range));
    all.insert(all.end(), some.begin(), some.end());
  }
  std::sort(all.begin(), all.end(),
            [](const ReplicaInfo& a, const ReplicaInfo& b) { return a.block < b.block; });
  return all;
}

void BlockStore::CheckDisks() {
  for (auto& disk : disks_) {
    if (!disk->healthy()) continue;
    Status present = Note(disk.get(), disk->CheckPresent());
    if (!present.ok() && disk->healthy()) LOG_WARN_LIMITED("a disk was not checked: {}", present);
  }
}

std::vector<StoreDiskStatus> BlockStore::Disks() {
  std::vector<StoreDiskStatus> report;
  for (auto& disk : disks_) {
    StoreDiskStatus status;
    status.disk_uuid = disk->identity().disk_uuid;
    status.path = disk->path();
    status.replica_count = disk->has_index() ? disk->index().replica_count() : 0;
    if (disk->healthy()) {
      auto space = disk->Space();
      if (space.ok()) {
        status.total_bytes = space->total_bytes;
        status.available_bytes = disk->AvailableBytes();
      } else if (Note(disk.get(), space.status()).code() != StatusCode::kIo) {
        LOG_WARN_LIMITED("the space of a disk is not known disk={}: {}", disk->path(),
                         space.status());
      }
    }
    status.healthy = disk->healthy();
    report.push_back(std::move(status));
  }
  return report;
}

}  // namespace tercet
