#include "chunkserver/store/store_disk.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "chunkserver/store/replica_format.h"
#include "common/log/log.h"

namespace tercet {
namespace {

constexpr std::string_view kLockName = "lock";
constexpr std::string_view kIdentityName = "identity";
constexpr std::string_view kEpochName = "epoch";
constexpr std::string_view kIndexName = "index";
constexpr std::string_view kBlocksName = "blocks";
constexpr std::string_view kTrashName = "trash";
constexpr std::string_view kQuarantineName = "quarantine";
constexpr std::string_view kReplicaSuffix = ".blk";

// Part of the layout: 1,024 consecutive block ids share a folder, so that new replicas meet in few.
constexpr int kFolderShift = 10;
constexpr size_t kFolderCount = 4096;

constexpr size_t kScanBatch = 1000;
constexpr int64_t kSpaceMaxAgeMs = 500;

size_t FolderNumber(BlockId block) { return (block.value() >> kFolderShift) % kFolderCount; }

std::string FolderName(size_t number) {
  char name[8];
  std::snprintf(name, sizeof(name), "%03zx", number);
  return name;
}

std::string HexName(BlockId block) {
  char name[24];
  std::snprintf(name, sizeof(name), "%016llx", static_cast<unsigned long long>(block.value()));
  return name;
}

template <typename Integer>
bool ParseAll(std::string_view text, int base, Integer* out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out, base);
  return error == std::errc() && end == text.data() + text.size();
}

Status NotAReplicaName(std::string_view name) {
  return Status(StatusCode::kInvalidArgument, std::string(name) + " is no replica's name");
}

}  // namespace

std::string ReplicaFileName(BlockId block) { return HexName(block) + std::string(kReplicaSuffix); }

Result<BlockId> ParseReplicaFileName(std::string_view name) {
  uint64_t id = 0;
  if (name.size() != 16 + kReplicaSuffix.size() || !name.ends_with(kReplicaSuffix) ||
      !ParseAll(name.substr(0, 16), 16, &id) || ReplicaFileName(BlockId(id)) != name) {
    return NotAReplicaName(name);
  }
  return BlockId(id);
}

std::string RemovedName::ToString() const {
  return HexName(block) + "." + std::to_string(generation.value()) + "." +
         std::to_string(removed_s) + std::string(kReplicaSuffix);
}

Result<RemovedName> ParseRemovedName(std::string_view name) {
  uint64_t id = 0;
  uint64_t generation = 0;
  int64_t seconds = 0;
  if (!name.ends_with(kReplicaSuffix)) return NotAReplicaName(name);
  std::string_view rest = name.substr(0, name.size() - kReplicaSuffix.size());
  const size_t last_dot = rest.rfind('.');
  if (rest.size() < 18 || rest[16] != '.' || last_dot <= 16 ||
      !ParseAll(rest.substr(0, 16), 16, &id) ||
      !ParseAll(rest.substr(17, last_dot - 17), 10, &generation) ||
      !ParseAll(rest.substr(last_dot + 1), 10, &seconds)) {
    return NotAReplicaName(name);
  }
  return RemovedName{BlockId(id), Generation(generation), seconds};
}

StoreDisk::StoreDisk(Disk& disk, Clock& clock, const StoreDiskOptions& options,
                     const BlockStoreOptions& store_options)
    : disk_(disk),
      clock_(clock),
      path_(options.path),
      index_path_(options.index_path.empty() ? Inside(kIndexName) : options.index_path),
      reserve_bytes_(store_options.reserve_bytes),
      reserve_max_percent_(store_options.reserve_max_percent),
      folder_exists_(kFolderCount) {}

Result<std::unique_ptr<StoreDisk>> StoreDisk::Open(Disk& disk, Clock& clock,
                                                   const StoreDiskOptions& options,
                                                   const BlockStoreOptions& store_options) {
  std::unique_ptr<StoreDisk> store(new StoreDisk(disk, clock, options, store_options));
  const std::string where = "disk folder " + options.path;
  auto exists = disk.Exists(options.path);
  if (!exists.ok()) return exists.status().WithContext(where);
  if (!*exists) {
    return Status(StatusCode::kNotFound,
                  where + " is not there: mount the disk, or make the folder");
  }
  auto lock = disk.Lock(store->Inside(kLockName));
  if (!lock.ok() && lock.code() == StatusCode::kBusy) {
    return Status(StatusCode::kBusy, where +
                                         " is used by another chunk server: stop that one, or "
                                         "give this one a folder of its own");
  }
  if (!lock.ok()) {
    return lock.status().WithContext(where + " cannot be written to (make it writable)");
  }
  store->lock_ = std::move(lock).value();
  RETURN_IF_ERROR(store->LoadIdentity().WithContext(where));
  for (std::string_view name : {kBlocksName, kTrashName, kQuarantineName}) {
    RETURN_IF_ERROR(disk.MakeDirectories(store->Inside(name)).WithContext(where));
  }
  return store;
}

Status StoreDisk::LoadIdentity() {
  auto bytes = ReadWholeFile(disk_, Inside(kIdentityName), kMaxIdentityFileBytes);
  if (!bytes.ok() && bytes.code() == StatusCode::kNotFound) return CheckEmptyOfOthers();
  RETURN_IF_ERROR(bytes.status());
  auto identity = DecodeDiskIdentity(*bytes);
  if (!identity.ok()) {
    return Status(identity.code(), identity.status().message() +
                                       "; restore the file `identity` from a backup, or empty the "
                                       "folder to begin anew without its replicas");
  }
  std::lock_guard lock(mutex_);
  identity_ = std::move(identity).value();
  return Status::Ok();
}

Status StoreDisk::CheckEmptyOfOthers() {
  ASSIGN_OR_RETURN(std::vector<std::string> names, disk_.List(path_));
  for (const std::string& name : names) {
    // What a first start that was cut short leaves, and what ext4 puts into every file system.
    if (name == kLockName || name == "lost+found" || name.ends_with(".tmp")) continue;
    if (name == kBlocksName || name == kTrashName || name == kQuarantineName) {
      ASSIGN_OR_RETURN(std::vector<std::string> inside, disk_.List(Inside(name)));
      if (inside.empty()) continue;
    }
    return Status(StatusCode::kFailedPrecondition,
                  "holds '" + name + "' but no file `identity`: give an empty folder, or restore " +
                      "the identity file");
  }
  return Status::Ok();
}

Status StoreDisk::WriteIdentity(const DiskIdentity& identity) {
  RETURN_IF_ERROR(WriteFileAtomically(disk_, Inside(kIdentityName), EncodeDiskIdentity(identity)));
  std::lock_guard lock(mutex_);
  identity_ = identity;
  return Status::Ok();
}

Result<Epoch> StoreDisk::ReadEpoch() const {
  auto bytes = ReadWholeFile(disk_, Inside(kEpochName), kMaxIdentityFileBytes);
  if (!bytes.ok() && bytes.code() == StatusCode::kNotFound) return Epoch(0);
  RETURN_IF_ERROR(bytes.status());
  return DecodeEpochFile(*bytes);
}

Status StoreDisk::WriteEpoch(Epoch epoch) {
  return WriteFileAtomically(disk_, Inside(kEpochName), EncodeEpochFile(epoch));
}

Status StoreDisk::CheckPresent() const {
  ASSIGN_OR_RETURN(bool present, disk_.Exists(Inside(kIdentityName)));
  if (present) return Status::Ok();
  return Status(StatusCode::kIo, "disk folder " + path_ + " lost its identity file: unmounted?");
}

Status StoreDisk::OpenIndex(const std::string& boot_id) {
  auto opened = ReplicaIndex::Open(index_path_, boot_id);
  if (opened.ok()) {
    index_ = std::move(opened).value();
    return Status::Ok();
  }
  if (opened.code() == StatusCode::kVersionTooNew) return opened.status().WithContext(path_);
  // Also after kIo: LevelDB reports damage in its own file names and manifests that way. A disk
  // that is truly dead fails the scan as well.
  const int64_t start = clock_.MonotonicMillis();
  RETURN_IF_ERROR(RebuildIndex(boot_id).WithContext("disk folder " + path_ + ": rebuild index"));
  if (index_->replica_count() > 0) {
    LOG_WARN("rebuilt the replica index disk={} replicas={} took_ms={} because: {}", path_,
             index_->replica_count(), clock_.MonotonicMillis() - start, opened.status().message());
  }
  return Status::Ok();
}

Status StoreDisk::RebuildIndex(const std::string& boot_id) {
  ASSIGN_OR_RETURN(index_, ReplicaIndex::StartRebuild(index_path_, boot_id));
  ASSIGN_OR_RETURN(std::vector<std::string> folders, disk_.List(Inside(kBlocksName)));
  std::vector<ReplicaInfo> found;
  for (const std::string& folder : folders) {
    size_t number = 0;
    if (!ParseAll(std::string_view(folder), 16, &number) || FolderName(number) != folder) {
      LOG_WARN("ignored what is no folder of replicas: {}/{}/{}", path_, kBlocksName, folder);
      continue;
    }
    RETURN_IF_ERROR(ScanFolder(folder, &found));
  }
  RETURN_IF_ERROR(index_->AddBatch(found));
  return index_->FinishRebuild();
}

Status StoreDisk::ScanFolder(const std::string& folder, std::vector<ReplicaInfo>* found) {
  const std::string folder_path = Inside(kBlocksName) + "/" + folder;
  ASSIGN_OR_RETURN(std::vector<std::string> names, disk_.List(folder_path));
  for (const std::string& name : names) {
    const std::string path = folder_path + "/" + name;
    auto block = ParseReplicaFileName(name);
    if (!block.ok() || FolderName(FolderNumber(*block)) != folder) {
      LOG_WARN("ignored what is no replica of this folder: {}", path);
      continue;
    }
    ASSIGN_OR_RETURN(std::unique_ptr<File> file, disk_.Open(path, OpenMode::kReadOnly));
    std::string bytes(kReplicaHeaderBytes, '\0');
    ASSIGN_OR_RETURN(size_t count, file->ReadAt(0, bytes));
    bytes.resize(count);
    auto header = DecodeReplicaHeader(bytes);
    if (!header.ok() && header.code() == StatusCode::kVersionTooNew) return header.status();
    if (!header.ok() || header->block != *block) {
      LOG_WARN("quarantined a replica with a damaged header: {}", path);
      RETURN_IF_ERROR(RenameAway(folder_path, name,
                                 {*block, Generation(0), clock_.WallNanos() / 1'000'000'000},
                                 Destination::kQuarantine));
      continue;
    }
    found->push_back({*block, header->generation});
    if (found->size() >= kScanBatch) {
      RETURN_IF_ERROR(index_->AddBatch(*found));
      found->clear();
    }
  }
  return Status::Ok();
}

void StoreDisk::Close() {
  if (index_ == nullptr || !healthy()) return;
  if (Status status = index_->MarkClean(); !status.ok()) {
    LOG_WARN("the replica index could not be closed cleanly disk={}: {}", path_, status);
  }
}

std::string StoreDisk::FolderOf(BlockId block) const {
  return Inside(kBlocksName) + "/" + FolderName(FolderNumber(block));
}

std::string StoreDisk::PathOf(BlockId block) const {
  return FolderOf(block) + "/" + ReplicaFileName(block);
}

Result<std::unique_ptr<File>> StoreDisk::OpenReplica(BlockId block) {
  return disk_.Open(PathOf(block), OpenMode::kReadWrite);
}

Status StoreDisk::EnsureFolder(const std::string& folder, size_t number) {
  if (folder_exists_[number].load(std::memory_order_acquire)) return Status::Ok();
  RETURN_IF_ERROR(disk_.MakeDirectories(folder));
  folder_exists_[number].store(true, std::memory_order_release);
  return Status::Ok();
}

Result<std::unique_ptr<File>> StoreDisk::CreateReplicaFile(BlockId block) {
  const std::string folder = FolderOf(block);
  RETURN_IF_ERROR(EnsureFolder(folder, FolderNumber(block)));
  const std::string path = PathOf(block);
  auto file = disk_.Open(path, OpenMode::kCreateExclusive);
  if (file.ok() || file.code() != StatusCode::kExists) return file;
  LOG_WARN("quarantined a replica that the index does not know: {}", path);
  RETURN_IF_ERROR(RenameAway(folder, ReplicaFileName(block),
                             {block, Generation(0), clock_.WallNanos() / 1'000'000'000},
                             Destination::kQuarantine));
  return disk_.Open(path, OpenMode::kCreateExclusive);
}

Status StoreDisk::RemoveReplicaFile(BlockId block) { return disk_.Remove(PathOf(block)); }

Status StoreDisk::RenameAway(const std::string& from_folder, const std::string& from_name,
                             const RemovedName& to, Destination destination) {
  const std::string to_folder =
      Inside(destination == Destination::kTrash ? kTrashName : kQuarantineName);
  RETURN_IF_ERROR(disk_.Rename(from_folder + "/" + from_name, to_folder + "/" + to.ToString()));
  std::lock_guard lock(mutex_);
  unsynced_folders_.insert(from_folder);
  unsynced_folders_.insert(to_folder);
  return Status::Ok();
}

Status StoreDisk::MoveAway(ReplicaInfo replica, Destination destination) {
  Status moved = RenameAway(FolderOf(replica.block), ReplicaFileName(replica.block),
                            {replica.block, replica.generation, clock_.WallNanos() / 1'000'000'000},
                            destination);
  // No file: an earlier move was cut short before the row went.
  if (!moved.ok() && moved.code() != StatusCode::kNotFound) return moved;
  if (!moved.ok()) RETURN_IF_ERROR(CheckPresent());
  return index_->Remove(replica);
}

Status StoreDisk::SyncDeletions() {
  std::set<std::string> folders;
  {
    std::lock_guard lock(mutex_);
    folders.swap(unsynced_folders_);
  }
  for (const std::string& folder : folders) {
    Status synced = disk_.SyncDirectory(folder);
    if (synced.ok()) continue;
    std::lock_guard lock(mutex_);
    unsynced_folders_.insert(folders.begin(), folders.end());
    return synced;
  }
  return Status::Ok();
}

Result<uint64_t> StoreDisk::PurgeTrash(int64_t grace_ms, uint64_t wanted_bytes) {
  const std::string trash = Inside(kTrashName);
  ASSIGN_OR_RETURN(std::vector<std::string> names, disk_.List(trash));
  std::vector<std::pair<int64_t, std::string>> by_age;
  for (std::string& name : names) {
    auto removed = ParseRemovedName(name);
    if (removed.ok()) by_age.emplace_back(removed->removed_s, std::move(name));
  }
  std::sort(by_age.begin(), by_age.end());
  const int64_t now_ms = clock_.WallNanos() / 1'000'000;
  uint64_t erased = 0;
  for (const auto& [removed_s, name] : by_age) {
    if (now_ms - removed_s * 1000 < grace_ms) {
      ASSIGN_OR_RETURN(DiskSpace space, disk_.Space(path_));
      if (space.available_bytes >= 2 * ReserveOf(space) + wanted_bytes) break;
    }
    Status removed = disk_.Remove(trash + "/" + name);
    // Another purge may run at the same time.
    if (!removed.ok() && removed.code() != StatusCode::kNotFound) return removed;
    ++erased;
  }
  if (erased > 0) {
    std::lock_guard lock(mutex_);
    space_read_ms_ = -1;
  }
  return erased;
}

Result<DiskSpace> StoreDisk::Space() {
  const int64_t now_ms = clock_.MonotonicMillis();
  std::lock_guard lock(mutex_);
  if (space_read_ms_ < 0 || now_ms - space_read_ms_ >= kSpaceMaxAgeMs) {
    written_since_.store(0, std::memory_order_relaxed);
    ASSIGN_OR_RETURN(space_, disk_.Space(path_));
    space_read_ms_ = now_ms;
  }
  return space_;
}

uint64_t StoreDisk::ReserveOf(const DiskSpace& space) const {
  return std::min(reserve_bytes_, space.total_bytes / 100 * reserve_max_percent_);
}

uint64_t StoreDisk::AvailableBytes() {
  auto space = Space();
  if (!space.ok()) return 0;
  const uint64_t taken = ReserveOf(*space) + written_since_.load(std::memory_order_relaxed);
  return space->available_bytes > taken ? space->available_bytes - taken : 0;
}

}  // namespace tercet
