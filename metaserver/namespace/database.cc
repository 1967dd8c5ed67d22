#include "metaserver/namespace/database.h"

#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/write_batch.h>

#include <utility>

#include "common/base/coding.h"
#include "common/env/posix_disk.h"
#include "metaserver/namespace/state_env.h"

namespace tercet {
namespace {

// See metaserver/namespace/state_format.md. Part of the format: never change.
constexpr uint32_t kFormatVersion = 1;
constexpr std::string_view kFormatFileStart = "tercet-state ";
constexpr std::string_view kAppliedKey("\0applied", 8);
constexpr int kBloomBitsPerKey = 10;

leveldb::Slice ToSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
std::string_view ToView(const leveldb::Slice& bytes) { return {bytes.data(), bytes.size()}; }

Status FromLevelDb(const leveldb::Status& status, const std::string& path) {
  if (status.ok()) return Status::Ok();
  if (status.IsCorruption()) {
    return Status(StatusCode::kCorruption,
                  "the state database in " + path + " is damaged (" + status.ToString() +
                      "). Keep the folder aside for analysis and check the disk");
  }
  return Status(StatusCode::kIo, "state database in " + path + ": " + status.ToString());
}

// The state as of a snapshot, or of now when there is none.
class LevelDbView final : public View {
 public:
  LevelDbView(leveldb::DB* db, std::string path, bool snapshot)
      : db_(db), path_(std::move(path)), snapshot_(snapshot ? db->GetSnapshot() : nullptr) {}
  ~LevelDbView() override {
    if (snapshot_ != nullptr) db_->ReleaseSnapshot(snapshot_);
  }

  Result<std::optional<std::string>> Get(std::string_view key) const override {
    std::string value;
    leveldb::Status status = db_->Get(Options(), ToSlice(key), &value);
    if (status.IsNotFound()) return std::optional<std::string>();
    if (!status.ok()) return FromLevelDb(status, path_);
    return std::optional<std::string>(std::move(value));
  }

  Status Scan(std::string_view from, std::string_view to, const RowFunction& row) const override {
    if (from >= to) return Status::Ok();
    std::unique_ptr<leveldb::Iterator> it(db_->NewIterator(Options()));
    for (it->Seek(ToSlice(from)); it->Valid() && ToView(it->key()) < to; it->Next()) {
      if (!row(ToView(it->key()), ToView(it->value()))) return Status::Ok();
    }
    return FromLevelDb(it->status(), path_);
  }

 private:
  leveldb::ReadOptions Options() const {
    leveldb::ReadOptions options;
    options.verify_checksums = true;
    options.snapshot = snapshot_;
    return options;
  }

  leveldb::DB* const db_;  // outlives the view: see Database
  const std::string path_;
  const leveldb::Snapshot* const snapshot_;
};

// Before LevelDB touches anything: a folder of another version stays as it is. The file is made
// before the database, so a database without it is not one of ours.
Status CheckFormat(Disk& disk, const std::string& path) {
  const std::string file = path + "/format";
  Result<std::string> text = ReadWholeFile(disk, file, 256);
  if (text.ok()) {
    std::string_view rest = *text;
    if (rest.substr(0, kFormatFileStart.size()) != kFormatFileStart) {
      return Status(StatusCode::kCorruption,
                    file +
                        " does not name the format of a Tercet state database; restore it from a "
                        "copy of this folder");
    }
    const std::string number(rest.substr(kFormatFileStart.size()));
    char* end = nullptr;
    unsigned long version = strtoul(number.c_str(), &end, 10);
    if (end == number.c_str() || std::string_view(end) != "\n" || version == 0) {
      return Status(StatusCode::kCorruption, file + " holds no version number");
    }
    if (version > kFormatVersion) {
      return Status(StatusCode::kVersionTooNew,
                    "the state database in " + path + " has format " + std::to_string(version) +
                        ", made by a newer Tercet; this one knows formats up to " +
                        std::to_string(kFormatVersion) + ". Start the newer version on it");
    }
    return Status::Ok();
  }
  if (text.code() != StatusCode::kNotFound) return text.status();
  ASSIGN_OR_RETURN(bool has_database, disk.Exists(path + "/CURRENT"));
  if (has_database) {
    return Status(StatusCode::kCorruption,
                  path +
                      " holds a database, but the file 'format' that tells "
                      "its version is missing; restore it, or use another folder");
  }
  return WriteFileAtomically(disk, file,
                             std::string(kFormatFileStart) + std::to_string(kFormatVersion) + "\n");
}

}  // namespace

Database::Parts::Parts() = default;
Database::Parts::Parts(Parts&&) noexcept = default;
Database::Parts::~Parts() = default;

Result<std::unique_ptr<Database>> Database::Open(const DatabaseOptions& options) {
  Disk& disk = RealDisk();
  RETURN_IF_ERROR(disk.MakeDirectories(options.path));
  RETURN_IF_ERROR(CheckFormat(disk, options.path));

  Parts parts;
  parts.env = std::make_unique<StateEnv>();
  parts.cache.reset(leveldb::NewLRUCache(options.block_cache_bytes));
  parts.filter.reset(leveldb::NewBloomFilterPolicy(kBloomBitsPerKey));
  leveldb::Options db_options;
  db_options.env = parts.env.get();
  db_options.create_if_missing = true;
  db_options.paranoid_checks = true;
  db_options.write_buffer_size = options.write_buffer_bytes;
  db_options.max_file_size = options.table_bytes;
  db_options.max_open_files = options.max_open_files;
  db_options.block_cache = parts.cache.get();
  db_options.filter_policy = parts.filter.get();
  leveldb::DB* db = nullptr;
  leveldb::Status status = leveldb::DB::Open(db_options, options.path, &db);
  if (!status.ok() && parts.env->lock_was_held()) {
    return Status(StatusCode::kBusy,
                  "the state database in " + options.path +
                      " is open in another process; two metaservers cannot share a folder");
  }
  RETURN_IF_ERROR(FromLevelDb(status, options.path));
  parts.db.reset(db);

  std::string applied;
  status = db->Get(leveldb::ReadOptions(), ToSlice(kAppliedKey), &applied);
  JournalIndex index;
  Epoch epoch;
  if (!status.IsNotFound()) {
    RETURN_IF_ERROR(FromLevelDb(status, options.path));
    Decoder in(applied);
    index = JournalIndex(in.Fixed64());
    epoch = Epoch(in.Fixed64());
    RETURN_IF_ERROR(in.FinishAllowingMore("applied index in " + options.path));
  }
  return std::unique_ptr<Database>(new Database(options.path, std::move(parts), index, epoch));
}

Database::Database(std::string path, Parts parts, JournalIndex applied, Epoch epoch)
    : path_(std::move(path)),
      parts_(std::move(parts)),
      committed_(std::make_unique<LevelDbView>(parts_.db.get(), path_, /*snapshot=*/false)),
      applied_index_(applied.value()),
      overlay_(*committed_, applied),
      applied_epoch_(epoch) {}

Database::~Database() = default;

std::unique_ptr<const View> Database::TakeSnapshot() const {
  return std::make_unique<LevelDbView>(parts_.db.get(), path_, /*snapshot=*/true);
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
  batch.Put(ToSlice(kAppliedKey), applied);

  failure_ = FromLevelDb(parts_.db->Write(leveldb::WriteOptions(), &batch), path_);
  RETURN_IF_ERROR(failure_);
  applied_epoch_ = records.back().epoch;
  applied_index_.store(index.value(), std::memory_order_release);
  overlay_.RemoveApplied(index);
  return Status::Ok();
}

Result<JournalIndex> Database::SyncApplied() {
  // The index first: what is applied after it may or may not be covered.
  JournalIndex index = applied_index();
  RETURN_IF_ERROR(parts_.env->SyncLog());
  return index;
}

JournalIndex Database::applied_index() const {
  return JournalIndex(applied_index_.load(std::memory_order_acquire));
}

std::string Database::Statistics() const {
  std::string text;
  parts_.db->GetProperty("leveldb.stats", &text);
  return text;
}

}  // namespace tercet
