// BlockStore: what is on its disks.
#include <algorithm>
#include <map>

#include "chunkserver/store/store_internal.h"
#include "common/base/hex.h"
#include "common/log/log.h"

namespace tercet {

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

Result<std::vector<ReplicaInfo>> BlockStore::ListDisk(const std::string& disk_uuid, BlockId after,
                                                      size_t max) const {
  const StoreDisk* disk = FindDisk(disk_uuid);
  if (disk == nullptr) return Status(StatusCode::kNotFound, "no disk " + HexOf(disk_uuid));
  if (!disk->healthy() || !disk->has_index()) {
    return Status(StatusCode::kIo, "disk " + disk->path() + " is ejected");
  }
  std::vector<ReplicaInfo> replicas;
  RETURN_IF_ERROR(disk->index().ForEach(after, [&](const ReplicaRow& row) {
    if (replicas.size() == max) return false;
    if (row.generation != Generation(0)) replicas.push_back({row.block, row.generation});
    return true;
  }));
  return replicas;
}

Result<std::vector<ReplicaInfo>> BlockStore::Suspects(BlockId after, size_t max) const {
  std::vector<ReplicaInfo> suspects;
  for (const auto& disk : disks_) {
    if (!disk->healthy() || !disk->has_index() || disk->index().suspect_count() == 0) continue;
    size_t found = 0;
    RETURN_IF_ERROR(disk->index().ForEach(after, [&](const ReplicaRow& row) {
      if (found == max) return false;
      if (!row.suspect) return true;
      suspects.push_back({row.block, row.generation});
      ++found;
      return true;
    }));
  }
  std::sort(suspects.begin(), suspects.end(),
            [](const ReplicaInfo& a, const ReplicaInfo& b) { return a.block < b.block; });
  if (suspects.size() > max) suspects.resize(max);
  return suspects;
}

std::vector<StoreDiskStatus> BlockStore::Disks() {
  std::vector<StoreDiskStatus> report;
  for (auto& disk : disks_) {
    StoreDiskStatus status;
    status.disk_uuid = disk->identity().disk_uuid;
    status.path = disk->path();
    if (disk->has_index()) {
      status.replica_count = disk->index().replica_count();
      status.suspect_count = disk->index().suspect_count();
    }
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
    status.replica_bytes = disk->replica_bytes();
    status.trash_bytes = disk->trash_bytes();
    status.quarantine_bytes = disk->quarantine_bytes();
    status.healthy = disk->healthy();
    status.state = status.healthy ? disk->state() : StoreDiskState::kEjected;
    report.push_back(std::move(status));
  }
  return report;
}

}  // namespace tercet
