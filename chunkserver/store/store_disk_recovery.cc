// StoreDisk: what a start finds, and how the index is made again from the replicas' files.
#include <set>

#include "chunkserver/store/doubts_file.h"
#include "chunkserver/store/store_disk.h"
#include "common/log/log.h"

namespace tercet {
namespace {

constexpr std::string_view kActivityName = "activity";
constexpr std::string_view kBlocksName = "blocks";
constexpr std::string_view kDoubtsName = "doubts";
constexpr std::string_view kTrashName = "trash";
constexpr std::string_view kQuarantineName = "quarantine";
constexpr size_t kScanBatch = 1000;

}  // namespace

Status StoreDisk::OpenIndex(const std::string& boot_id) {
  const std::string where = "disk folder " + path_;
  const std::string run = boot_id.substr(0, kMaxActivityBootIdBytes);
  const IndexOptions options{.path = index_path_, .boot_id = run, .io = index_io_, .disk = &disk_};
  std::optional<ActivityRecord> found;
  auto activity = ReadActivity(disk_, Inside(kActivityName));
  if (activity.ok()) {
    found = std::move(activity).value();
  } else if (activity.code() == StatusCode::kCorruption) {
    LOG_ERROR("the activity file is damaged disk={}: {}", path_, activity.status());
  } else if (activity.code() != StatusCode::kNotFound) {
    return activity.status().WithContext(where);
  }
  std::optional<IndexState> index_state;
  std::set<BlockId> unsure;  // rows that may not say what the header does
  uint64_t bytes = 0;
  auto opened = ReplicaIndex::Open(options, &index_state, [&](const ReplicaRow& row) {
    bytes += ReplicaBytes(row.length);
    if (row.generation == Generation(0)) incomplete_at_start_.push_back(row.block);
    const bool grew = found.has_value() && row.era > found->state.settled;
    if (row.changing || grew) unsure.insert(row.block);
  });
  if (found.has_value()) {
    for (const ActivityMark& mark : found->marks) unsure.insert(mark.block);
  }
  if (opened.code() == StatusCode::kVersionTooNew) return opened.status().WithContext(path_);

  std::optional<ActivityState> state;
  if (found.has_value()) state = found->state;
  const RunEnd end = HowRunEnded(state, index_state, run);
  run_end_ = end;
  DiskRecovery recovery(std::move(found), end);
  if (opened.ok() && state.has_value() && end != RunEnd::kMachineCrash) {
    index_ = std::move(opened).value();
    replica_bytes_.store(bytes, std::memory_order_relaxed);
    for (BlockId block : unsure) RETURN_IF_ERROR(RefreshRow(block).WithContext(where));
  } else {
    const Status why = opened.status();
    incomplete_at_start_.clear();
    opened = Status(StatusCode::kNotFound, "closed");  // before its files are removed
    // Also after kIo: LevelDB reports damage in its own file names and manifests that way. A disk
    // that is truly dead fails the scan as well.
    const int64_t start = clock_.MonotonicMillis();
    RETURN_IF_ERROR(RebuildIndex(options, &recovery).WithContext(where + ": rebuild index"));
    if (index_->replica_count() > 0) {
      LOG_WARN("rebuilt the replica index disk={} replicas={} suspect={} took_ms={} because: {}",
               path_, index_->replica_count(), index_->suspect_count(),
               clock_.MonotonicMillis() - start,
               why.ok() ? "the machine crashed, or the activity file is lost" : why.message());
    } else if (!state.has_value() && !index_state.has_value()) {
      run_end_ = RunEnd::kClean;  // a new disk
    }
  }
  RETURN_IF_ERROR(CountPutAway().WithContext(where));
  // What was put away must not come back once the new activity file knows nothing of it, nor what
  // the last process put away and was killed before it made that durable.
  {
    std::lock_guard lock(mutex_);
    for (std::string_view name : {kTrashName, kQuarantineName}) {
      unsynced_folders_.insert(Inside(name));
    }
  }
  RETURN_IF_ERROR(SyncDeletions().WithContext(where));
  RETURN_IF_ERROR(CollectDoubts(recovery).WithContext(where));
  auto exists = [this](BlockId block) { return index_->Find(block).ok(); };
  ASSIGN_OR_RETURN(activity_,
                   ActivityLog::Start(disk_, Inside(kActivityName), recovery.Next(run, exists),
                                      end == RunEnd::kProcessCrash));
  return Status::Ok();
}

Status StoreDisk::CollectDoubts(const DiskRecovery& recovery) {
  auto bytes = ReadWholeFile(disk_, Inside(kDoubtsName), kMaxDoubtsFileBytes);
  if (bytes.ok()) {
    auto saved = DecodeDoubts(*bytes);
    if (saved.code() == StatusCode::kVersionTooNew) return saved.status();
    if (saved.ok()) {
      doubts_at_start_ = std::move(saved).value();
    } else {
      LOG_ERROR("replicas that may differ from others are not known any more disk={}: {}", path_,
                saved.status());
    }
  } else if (bytes.code() != StatusCode::kNotFound && bytes.code() != StatusCode::kCorruption) {
    return bytes.status();
  }
  const size_t saved_count = doubts_at_start_.size();
  RETURN_IF_ERROR(index_->ForEach(BlockId(0), [&](const ReplicaRow& row) {
    if (!recovery.makes_doubtful()) return false;
    if (row.generation != Generation(0) && recovery.IsDoubtful(row.block, row.era)) {
      doubts_at_start_.push_back({row.block, row.generation});
    }
    return true;
  }));
  if (doubts_at_start_.size() > kMaxSavedDoubts) {
    LOG_ERROR(
        "too many replicas are in doubt: some that differ from others may stay so disk={} "
        "doubts={}",
        path_, doubts_at_start_.size());
    doubts_at_start_.resize(kMaxSavedDoubts);
  }
  // Before the new activity file, which knows nothing of them.
  return doubts_at_start_.size() == saved_count ? Status::Ok() : WriteDoubts(doubts_at_start_);
}

Status StoreDisk::WriteDoubts(const std::vector<ReplicaInfo>& doubts) {
  return WriteFileAtomically(disk_, Inside(kDoubtsName), EncodeDoubts(doubts));
}

Result<ReplicaHeader> StoreDisk::ReadHeader(const std::string& path) const {
  ASSIGN_OR_RETURN(std::unique_ptr<File> file, disk_.Open(path, OpenMode::kReadOnly));
  std::string bytes(kReplicaHeaderBytes, '\0');
  ASSIGN_OR_RETURN(size_t count, file->ReadAt(0, bytes));
  bytes.resize(count);
  return DecodeReplicaHeader(bytes);
}

Status StoreDisk::RefreshRow(BlockId block) {
  auto found = index_->Find(block);
  if (found.code() == StatusCode::kNotFound) return Status::Ok();
  RETURN_IF_ERROR(found.status());
  const ReplicaRow row = *found;
  auto header = ReadHeader(PathOf(row.block));
  // No file, or a damaged one: the first access will tell.
  if (header.code() == StatusCode::kNotFound || header.code() == StatusCode::kCorruption) {
    return Status::Ok();
  }
  RETURN_IF_ERROR(header.status());
  ReplicaRow after = row;
  after.generation = header->generation;
  after.era = header->era;
  after.length = header->length;
  after.changing = false;
  NoteLength(row.length, after.length);
  if (after == row) return Status::Ok();
  return index_->Replace(row, after);
}

Status StoreDisk::RebuildIndex(const IndexOptions& options, DiskRecovery* recovery) {
  ASSIGN_OR_RETURN(index_, ReplicaIndex::StartRebuild(options));
  ASSIGN_OR_RETURN(std::vector<std::string> folders, disk_.List(Inside(kBlocksName)));
  std::vector<ReplicaRow> found;
  for (const std::string& folder : folders) {
    if (!IsReplicaFolderName(folder)) {
      LOG_WARN("ignored what is no folder of replicas: {}/{}/{}", path_, kBlocksName, folder);
      continue;
    }
    RETURN_IF_ERROR(ScanFolder(folder, recovery, &found));
  }
  RETURN_IF_ERROR(index_->AddBatch(found));
  return index_->FinishRebuild();
}

Status StoreDisk::ScanFolder(const std::string& folder, DiskRecovery* recovery,
                             std::vector<ReplicaRow>* found) {
  const std::string folder_path = Inside(kBlocksName) + "/" + folder;
  ASSIGN_OR_RETURN(std::vector<std::string> names, disk_.List(folder_path));
  for (const std::string& name : names) {
    auto block = ParseReplicaFileName(name);
    if (!block.ok() || ReplicaFolderName(*block) != folder) {
      LOG_WARN("ignored what is no replica of this folder: {}/{}", folder_path, name);
      continue;
    }
    RETURN_IF_ERROR(ScanFile(folder_path, name, *block, recovery, found));
    if (found->size() >= kScanBatch) {
      RETURN_IF_ERROR(index_->AddBatch(*found));
      found->clear();
    }
  }
  return Status::Ok();
}

Status StoreDisk::ScanFile(const std::string& folder_path, const std::string& name, BlockId block,
                           DiskRecovery* recovery, std::vector<ReplicaRow>* found) {
  const std::string path = folder_path + "/" + name;
  const int64_t now_s = clock_.WallNanos() / 1'000'000'000;
  auto header = ReadHeader(path);
  if (!header.ok() && header.code() != StatusCode::kCorruption) return header.status();
  if (!header.ok() || header->block != block) {
    LOG_WARN("quarantined a replica with a damaged header: {}", path);
    return RenameAway(folder_path, name, {block, Generation(0), now_s}, Destination::kQuarantine);
  }
  const bool suspect = recovery->IsSuspect(block, header->era);
  recovery->Saw(block, header->era);
  if (suspect && header->generation == Generation(0)) {
    LOG_INFO("an incomplete copy did not survive the crash: {}", path);
    return RenameAway(folder_path, name, {block, Generation(0), now_s}, Destination::kTrash);
  }
  if (header->generation == Generation(0)) incomplete_at_start_.push_back(block);
  replica_bytes_.fetch_add(ReplicaBytes(header->length), std::memory_order_relaxed);
  found->push_back({.block = block,
                    .generation = header->generation,
                    .era = header->era,
                    .length = header->length,
                    .suspect = suspect});
  return Status::Ok();
}

void StoreDisk::Close() {
  if (index_ == nullptr || activity_ == nullptr || !healthy()) return;
  Status closed = Status::Ok();
  if (auto round = activity_->BeginRound(); round.has_value()) {
    closed = MakeDurable(*round);
    if (closed.ok()) closed = activity_->FinishRound(*round);
    for (const auto& [block, grown] : round->written) {
      if (closed.ok() && grown) closed = CorrectLength(block);
    }
  }
  if (closed.ok()) closed = index_->MarkClean();
  if (closed.ok()) closed = activity_->CloseClean();
  if (!closed.ok()) LOG_WARN("a disk could not be closed cleanly disk={}: {}", path_, closed);
}

}  // namespace tercet
