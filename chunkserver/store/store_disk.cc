#include "chunkserver/store/store_disk.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <tuple>

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

constexpr int64_t kSpaceMaxAgeMs = 500;
/// Kept free even from replicas that grow: so much, on small disks no more than the percentage.
constexpr uint64_t kGrowthReserveBytes = 8 << 20;
constexpr uint64_t kGrowthReservePercent = 2;
/// So many written files or fewer are synced one by one, not with their whole file system.
constexpr size_t kFewFiles = 24;

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

std::string ReplicaFolderName(BlockId block) { return FolderName(FolderNumber(block)); }

bool IsReplicaFolderName(const std::string& name) {
  size_t number = 0;
  return ParseAll(std::string_view(name), 16, &number) && FolderName(number) == name;
}

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
      index_io_(store_options.index_io),
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
  auto file_system = disk.OpenFileSystem(store->path_);
  if (file_system.ok()) {
    store->file_system_ = std::move(file_system).value();
  } else if (file_system.code() != StatusCode::kNotSupported) {
    return file_system.status().WithContext(where);
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
  auto bytes = ReadWholeFile(disk_, Inside(kIdentityName), kMaxIdentityFileBytes);
  if (!bytes.ok() && bytes.code() == StatusCode::kNotFound) {
    return Status(StatusCode::kIo, "disk folder " + path_ + " lost its identity file: unmounted?");
  }
  RETURN_IF_ERROR(bytes.status());
  auto found = DecodeDiskIdentity(*bytes);
  if (found.ok() && found->disk_uuid == identity().disk_uuid) return Status::Ok();
  return Status(
      StatusCode::kIo,
      "disk folder " + path_ + " has another disk's identity file now: was the disk swapped?");
}

std::string StoreDisk::FolderOf(BlockId block) const {
  return Inside(kBlocksName) + "/" + FolderName(FolderNumber(block));
}

std::string StoreDisk::PathOf(BlockId block) const {
  return FolderOf(block) + "/" + ReplicaFileName(block);
}

Result<std::vector<std::string>> StoreDisk::NeighboursOf(BlockId block) const {
  auto names = disk_.List(FolderOf(block));
  if (names.code() == StatusCode::kNotFound) return std::vector<std::string>();
  return names;
}

Result<bool> StoreDisk::HasFile(BlockId block) const { return disk_.Exists(PathOf(block)); }

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

Status StoreDisk::RemoveReplicaFileDurably(BlockId block) {
  RETURN_IF_ERROR(RemoveReplicaFile(block));
  return disk_.SyncDirectory(FolderOf(block));
}

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

Status StoreDisk::MoveAway(const ReplicaRow& row, Destination destination,
                           std::optional<uint32_t> known_length) {
  // The row's length is that of the last settling; the bytes were counted by the true one.
  uint32_t length = known_length.value_or(row.length);
  if (!known_length.has_value()) {
    if (auto header = ReadHeader(PathOf(row.block)); header.ok()) length = header->length;
  }
  Status moved =
      RenameAway(FolderOf(row.block), ReplicaFileName(row.block),
                 {row.block, row.generation, clock_.WallNanos() / 1'000'000'000}, destination);
  // No file: an earlier move was cut short before the row went.
  if (!moved.ok() && moved.code() != StatusCode::kNotFound) return moved;
  if (!moved.ok()) RETURN_IF_ERROR(CheckPresent());
  if (moved.ok()) BytesIn(destination).fetch_add(ReplicaBytes(length), std::memory_order_relaxed);
  replica_bytes_.fetch_sub(std::min(replica_bytes(), ReplicaBytes(length)),
                           std::memory_order_relaxed);
  RETURN_IF_ERROR(activity_->Deleted(row.block));
  return index_->Remove(row);
}

Status StoreDisk::ForgetRow(const ReplicaRow& row) {
  // Whoever removed the file may have been killed before that was durable.
  const std::string folder = FolderOf(row.block);
  if (auto there = disk_.Exists(folder); !there.ok() || *there) {
    std::lock_guard lock(mutex_);
    unsynced_folders_.insert(folder);
  }
  const uint64_t bytes = ReplicaBytes(row.length);
  replica_bytes_.fetch_sub(std::min(replica_bytes(), bytes), std::memory_order_relaxed);
  RETURN_IF_ERROR(activity_->Deleted(row.block));
  return index_->Remove(row);
}

Status StoreDisk::CorrectLength(BlockId block) {
  auto row = index_->Find(block);
  if (row.code() == StatusCode::kNotFound) return Status::Ok();
  RETURN_IF_ERROR(row.status());
  auto header = ReadHeader(PathOf(block));
  if (header.code() == StatusCode::kNotFound || header.code() == StatusCode::kCorruption) {
    return Status::Ok();  // the next access will tell
  }
  RETURN_IF_ERROR(header.status());
  if (header->length == row->length) return Status::Ok();
  ReplicaRow corrected = *row;
  corrected.length = header->length;
  return index_->Replace(*row, corrected);
}

Status StoreDisk::ChangeReplica(ReplicaFile& replica, const ReplicaRow& before,
                                const ReplicaRow& after, bool sync) {
  ReplicaRow changing = after;
  changing.changing = true;
  RETURN_IF_ERROR(index_->Replace(before, changing));
  Status changed = replica.Rename(after.generation, after.era);
  if (changed.ok() && sync) changed = SyncReplica(after.block, *replica.file(), false);
  // After an error the header may have changed or not: the row goes on asking for it.
  RETURN_IF_ERROR(changed);
  return index_->Replace(changing, after);
}

Status StoreDisk::SyncReplica(BlockId block, File& file, bool name_is_durable) {
  Status synced = file.Sync();
  if (synced.ok() && !name_is_durable) synced = disk_.SyncDirectory(FolderOf(block));
  if (synced.ok()) return synced;
  // What was not written is lost, and a later sync would not say so: the disk is not to be trusted.
  return Status(StatusCode::kIo, synced.message());
}

Status StoreDisk::MakeDurable(const ActivityLog::Round& round) {
  if (round.all || round.written.size() > kFewFiles) {
    if (file_system_ == nullptr) {
      return Status(StatusCode::kNotSupported, path_ + ": cannot be synced as a whole");
    }
    Status synced = file_system_->Sync();
    return synced.ok() ? synced : Status(StatusCode::kIo, synced.message());
  }
  std::set<std::string> folders;
  for (const auto& [block, grown] : round.written) {
    folders.insert(FolderOf(block));
    auto file = disk_.Open(PathOf(block), OpenMode::kReadOnly);
    // Moved away meanwhile: the folder has to know durably.
    if (!file.ok() && file.code() == StatusCode::kNotFound) continue;
    RETURN_IF_ERROR(file.status());
    Status synced = (*file)->Sync();
    if (!synced.ok()) return Status(StatusCode::kIo, synced.message());
  }
  for (const std::string& folder : folders) {
    Status synced = disk_.SyncDirectory(folder);
    if (!synced.ok()) return Status(StatusCode::kIo, synced.message());
  }
  return Status::Ok();
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

Result<std::vector<std::pair<RemovedName, std::string>>> StoreDisk::PutAway(
    Destination destination) const {
  ASSIGN_OR_RETURN(
      std::vector<std::string> names,
      disk_.List(Inside(destination == Destination::kTrash ? kTrashName : kQuarantineName)));
  std::vector<std::pair<RemovedName, std::string>> by_age;
  for (std::string& name : names) {
    auto removed = ParseRemovedName(name);
    if (removed.ok()) by_age.emplace_back(*removed, std::move(name));
  }
  std::sort(by_age.begin(), by_age.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first.removed_s, a.second) < std::tie(b.first.removed_s, b.second);
  });
  return by_age;
}

Status StoreDisk::Erase(Destination destination, const std::string& name) {
  const std::string path =
      Inside(destination == Destination::kTrash ? kTrashName : kQuarantineName) + "/" + name;
  uint64_t bytes = 0;
  if (auto header = ReadHeader(path); header.ok()) bytes = ReplicaBytes(header->length);
  Status removed = disk_.Remove(path);
  // Another purge may run at the same time.
  if (!removed.ok()) return removed.code() == StatusCode::kNotFound ? Status::Ok() : removed;
  std::atomic<uint64_t>& total = BytesIn(destination);
  total.fetch_sub(std::min(total.load(std::memory_order_relaxed), bytes),
                  std::memory_order_relaxed);
  return removed;
}

Status StoreDisk::CountPutAway() {
  for (Destination destination : {Destination::kTrash, Destination::kQuarantine}) {
    ASSIGN_OR_RETURN(auto names, PutAway(destination));
    uint64_t bytes = 0;
    for (const auto& [removed, name] : names) {
      auto header = ReadHeader(
          Inside(destination == Destination::kTrash ? kTrashName : kQuarantineName) + "/" + name);
      if (header.ok()) bytes += ReplicaBytes(header->length);
    }
    BytesIn(destination).store(bytes, std::memory_order_relaxed);
  }
  return Status::Ok();
}

Result<uint64_t> StoreDisk::PurgeTrash(int64_t grace_ms, uint64_t wanted_bytes) {
  ASSIGN_OR_RETURN(auto by_age, PutAway(Destination::kTrash));
  const int64_t now_ms = clock_.WallNanos() / 1'000'000;
  uint64_t erased = 0;
  for (const auto& [removed, name] : by_age) {
    if (now_ms - removed.removed_s * 1000 < grace_ms) {
      ASSIGN_OR_RETURN(DiskSpace space, disk_.Space(path_));
      if (space.available_bytes >= 2 * ReserveOf(space) + wanted_bytes) break;
    }
    RETURN_IF_ERROR(Erase(Destination::kTrash, name));
    ++erased;
  }
  if (erased > 0) {
    std::lock_guard lock(mutex_);
    space_read_ms_ = -1;
  }
  return erased;
}

Result<uint64_t> StoreDisk::PurgeQuarantine(int64_t retention_ms) {
  ASSIGN_OR_RETURN(auto by_age, PutAway(Destination::kQuarantine));
  const int64_t now_ms = clock_.WallNanos() / 1'000'000;
  uint64_t erased = 0;
  for (const auto& [removed, name] : by_age) {
    if (now_ms - removed.removed_s * 1000 < retention_ms) break;
    RETURN_IF_ERROR(Erase(Destination::kQuarantine, name));
    ++erased;
  }
  return erased;
}

Result<DiskSpace> StoreDisk::Space() {
  const int64_t now_ms = clock_.MonotonicMillis();
  std::lock_guard lock(mutex_);
  if (space_read_ms_ < 0 || now_ms - space_read_ms_ >= kSpaceMaxAgeMs) {
    RETURN_IF_ERROR(ReadSpace());
    space_read_ms_ = now_ms;
  }
  return space_;
}

Status StoreDisk::ReadSpace() {
  written_since_.store(0, std::memory_order_relaxed);
  ASSIGN_OR_RETURN(space_, disk_.Space(path_));
  const uint64_t kept =
      std::min(kGrowthReserveBytes, space_.total_bytes / 100 * kGrowthReservePercent);
  growth_bytes_.store(space_.available_bytes > kept ? space_.available_bytes - kept : 0,
                      std::memory_order_relaxed);
  return Status::Ok();
}

bool StoreDisk::ReadRoomToGrow() {
  std::lock_guard lock(mutex_);
  // When space cannot be read the write itself will say what is wrong.
  return !ReadSpace().ok() || growth_bytes_.load(std::memory_order_relaxed) > 0;
}

uint64_t StoreDisk::ReserveOf(const DiskSpace& space) const {
  return std::min(reserve_bytes_, space.total_bytes / 100 * reserve_max_percent_);
}

uint64_t StoreDisk::AvailableBytes() {
  if (!takes_new_replicas()) return 0;
  auto space = Space();
  if (!space.ok()) return 0;
  const uint64_t taken = ReserveOf(*space) + written_since_.load(std::memory_order_relaxed);
  return space->available_bytes > taken ? space->available_bytes - taken : 0;
}

}  // namespace tercet
