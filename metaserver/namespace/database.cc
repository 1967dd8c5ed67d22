#include "metaserver/namespace/database.h"

#include <leveldb/write_batch.h>

#include <utility>

#include "common/base/coding.h"
#include "common/env/posix_disk.h"

namespace tercet {
namespace {

leveldb::Slice ToSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

// Before LevelDB touches anything: a folder of another version or use stays as it is. The file is
// made before the database, so a database without it is not one of ours.
Status CheckFolder(Disk& disk, const std::string& path) {
  ASSIGN_OR_RETURN(const StateFolderKind kind, ReadStateFolderKind(disk, path));
  if (kind == StateFolderKind::kState) return Status::Ok();
  if (kind == StateFolderKind::kEmpty) {
    return WriteStateFolderKind(disk, path, StateFolderKind::kState);
  }
  return Status(StatusCode::kFailedPrecondition,
                "the state in " + path + " is not fetched to its end; it cannot be used as it is");
}

}  // namespace

Result<std::unique_ptr<Database>> Database::Open(const DatabaseOptions& options) {
  Disk& disk = options.disk != nullptr ? *options.disk : RealDisk();
  RETURN_IF_ERROR(disk.MakeDirectories(options.path));
  RETURN_IF_ERROR(CheckFolder(disk, options.path));
  ASSIGN_OR_RETURN(std::unique_ptr<StateStore> store, StateStore::Open(options));

  ASSIGN_OR_RETURN(const std::optional<std::string> applied, store->Get(kAppliedRow));
  JournalIndex index;
  Epoch epoch;
  if (applied) {
    Decoder in(*applied);
    index = JournalIndex(in.Fixed64());
    epoch = Epoch(in.Fixed64());
    RETURN_IF_ERROR(in.FinishAllowingMore("applied index in " + options.path));
  }
  ASSIGN_OR_RETURN(const std::optional<std::string> consistent, store->Get(kConsistentFromRow));
  JournalIndex consistent_from;
  if (consistent) {
    Decoder in(*consistent);
    consistent_from = JournalIndex(in.Fixed64());
    RETURN_IF_ERROR(in.FinishAllowingMore("consistent index in " + options.path));
  }
  return std::unique_ptr<Database>(new Database(std::move(store), index, epoch, consistent_from));
}

Database::Database(std::unique_ptr<StateStore> store, JournalIndex applied, Epoch epoch,
                   JournalIndex consistent_from)
    : consistent_from_(consistent_from),
      store_(std::move(store)),
      committed_(store_->MakeView(/*snapshot=*/false)),
      applied_index_(applied.value()),
      overlay_(*committed_, applied),
      applied_epoch_(epoch) {}

Database::~Database() = default;

std::unique_ptr<const View> Database::TakeSnapshot() const {
  return store_->MakeView(/*snapshot=*/true);
}

Status Database::Apply(std::span<const CommittedRecord> records) {
  RETURN_IF_ERROR(failure_);
  if (records.empty()) return Status::Ok();
  JournalIndex index = applied_index();
  leveldb::WriteBatch batch;
  for (const CommittedRecord& record : records) {
    if (record.index != index.Next()) {
      return Status(StatusCode::kInternal, "record " + std::to_string(record.index.value()) +
                                               " cannot be applied behind record " +
                                               std::to_string(index.value()));
    }
    index = record.index;
    if (record.kind == RecordKind::kMembership) continue;
    bool reserved = false;
    Status status = WriteSet::Visit(
        record.payload, [&](std::string_view key, std::optional<std::string_view> value) {
          if (key[0] == '\0') {
            reserved = true;
          } else if (value) {
            batch.Put(ToSlice(key), ToSlice(*value));
          } else {
            batch.Delete(ToSlice(key));
          }
        });
    if (status.ok() && reserved) {
      status = Status(StatusCode::kCorruption, "it changes the database's own rows");
    }
    if (!status.ok()) {
      return status.WithContext("journal record " + std::to_string(record.index.value()));
    }
  }
  std::string applied;
  PutFixed64(&applied, index.value());
  PutFixed64(&applied, records.back().epoch.value());
  batch.Put(ToSlice(kAppliedRow), applied);

  failure_ = store_->Write(&batch);
  RETURN_IF_ERROR(failure_);
  applied_epoch_ = records.back().epoch;
  applied_index_.store(index.value(), std::memory_order_release);
  overlay_.RemoveApplied(index);
  return Status::Ok();
}

Result<JournalIndex> Database::SyncApplied() {
  // The index first: what is applied after it may or may not be covered.
  JournalIndex index = applied_index();
  RETURN_IF_ERROR(store_->Sync());
  return index;
}

JournalIndex Database::applied_index() const {
  return JournalIndex(applied_index_.load(std::memory_order_acquire));
}

std::string Database::Statistics() const { return store_->Statistics(); }

}  // namespace tercet
