#include "metaserver/namespace/state_store.h"

#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/write_batch.h>

#include <charconv>
#include <utility>

#include "common/env/posix_disk.h"
#include "metaserver/namespace/state_env.h"

namespace tercet {
namespace {

// See metaserver/namespace/state_format.md. Part of the format: never change.
constexpr uint32_t kFormatVersion = 1;
constexpr std::string_view kStateWord = "tercet-state ";
constexpr std::string_view kFetchedWord = "tercet-state-fetch ";
constexpr int kBloomBitsPerKey = 10;

leveldb::Slice ToSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
std::string_view ToView(const leveldb::Slice& bytes) { return {bytes.data(), bytes.size()}; }

Status FromLevelDb(const leveldb::Status& status, const std::string& path) {
  if (status.ok()) return Status::Ok();
  if (status.IsCorruption()) {
    return Status(
        StatusCode::kCorruption,
        "the state database in " + path + " is damaged (" + status.ToString() +
            "). Keep the folder aside for analysis and check the disk. A group's other "
            "metaservers have the same state: with the folder moved away this one fetches "
            "it from them");
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

}  // namespace

Result<StateFolderKind> ReadStateFolderKind(Disk& disk, const std::string& path) {
  const std::string file = path + "/format";
  Result<std::string> text = ReadWholeFile(disk, file, 256);
  if (text.code() == StatusCode::kNotFound) {
    ASSIGN_OR_RETURN(bool has_database, disk.Exists(path + "/CURRENT"));
    if (!has_database) return StateFolderKind::kEmpty;
    return Status(StatusCode::kCorruption,
                  path +
                      " holds a database, but the file 'format' that tells "
                      "its version is missing; restore it, or use another folder");
  }
  RETURN_IF_ERROR(text.status());
  std::string_view rest = *text;
  StateFolderKind kind = StateFolderKind::kState;
  if (rest.starts_with(kStateWord)) {
    rest.remove_prefix(kStateWord.size());
  } else if (rest.starts_with(kFetchedWord)) {
    rest.remove_prefix(kFetchedWord.size());
    kind = StateFolderKind::kFetched;
  } else {
    return Status(StatusCode::kCorruption,
                  file +
                      " does not name the format of a Tercet state database; restore it from a "
                      "copy of this folder");
  }
  uint32_t version = 0;
  auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), version);
  if (error != std::errc() || end + 1 != rest.data() + rest.size() || *end != '\n' ||
      version == 0) {
    return Status(StatusCode::kCorruption, file + " holds no version number");
  }
  if (version > kFormatVersion) {
    return Status(StatusCode::kVersionTooNew,
                  "the state database in " + path + " has format " + std::to_string(version) +
                      ", made by a newer Tercet; this one knows formats up to " +
                      std::to_string(kFormatVersion) + ". Start the newer version on it");
  }
  return kind;
}

Status WriteStateFolderKind(Disk& disk, const std::string& path, StateFolderKind kind) {
  const std::string_view word = kind == StateFolderKind::kState ? kStateWord : kFetchedWord;
  return WriteFileAtomically(disk, path + "/format",
                             std::string(word) + std::to_string(kFormatVersion) + "\n");
}

Result<std::unique_ptr<StateStore>> StateStore::Open(const DatabaseOptions& options) {
  std::unique_ptr<StateStore> store(new StateStore(options.path));
  Disk& disk = options.disk != nullptr ? *options.disk : RealDisk();
  store->env_ = std::make_unique<StateEnv>(disk);
  store->cache_.reset(leveldb::NewLRUCache(options.block_cache_bytes));
  store->filter_.reset(leveldb::NewBloomFilterPolicy(kBloomBitsPerKey));
  leveldb::Options db_options;
  db_options.env = store->env_.get();
  db_options.create_if_missing = true;
  db_options.paranoid_checks = true;
  db_options.write_buffer_size = options.write_buffer_bytes;
  db_options.max_file_size = options.table_bytes;
  db_options.max_open_files = options.max_open_files;
  db_options.block_cache = store->cache_.get();
  db_options.filter_policy = store->filter_.get();
  leveldb::DB* db = nullptr;
  leveldb::Status status = leveldb::DB::Open(db_options, options.path, &db);
  if (!status.ok() && store->env_->lock_was_held()) {
    return Status(StatusCode::kBusy,
                  "the state database in " + options.path +
                      " is open in another process; two metaservers cannot share a folder");
  }
  RETURN_IF_ERROR(FromLevelDb(status, options.path));
  store->db_.reset(db);
  return store;
}

StateStore::StateStore(std::string path) : path_(std::move(path)) {}

StateStore::~StateStore() {
  // LevelDB waits for it.
  if (env_ != nullptr) env_->RunQueued();
}

Result<std::optional<std::string>> StateStore::Get(std::string_view key) const {
  return LevelDbView(db_.get(), path_, /*snapshot=*/false).Get(key);
}

Status StateStore::Write(leveldb::WriteBatch* batch) {
  env_->RunQueued();
  return FromLevelDb(db_->Write(leveldb::WriteOptions(), batch), path_);
}

Status StateStore::Sync() { return env_->SyncLog(); }

Result<std::string> StateStore::LastKey() const {
  leveldb::ReadOptions options;
  options.verify_checksums = true;
  std::unique_ptr<leveldb::Iterator> it(db_->NewIterator(options));
  it->SeekToLast();
  std::string key = it->Valid() ? it->key().ToString() : std::string();
  RETURN_IF_ERROR(FromLevelDb(it->status(), path_));
  return key;
}

std::unique_ptr<const View> StateStore::MakeView(bool snapshot) const {
  return std::make_unique<LevelDbView>(db_.get(), path_, snapshot);
}

std::string StateStore::Statistics() const {
  std::string text;
  db_->GetProperty("leveldb.stats", &text);
  return text;
}

Disk& StateStore::disk() const { return env_->disk(); }

}  // namespace tercet
