#include "chunkserver/store/replica_index.h"

#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/write_batch.h>

#include "common/base/coding.h"
#include "common/base/replica_digest.h"

namespace tercet {
namespace {

constexpr char kReplicaPrefix = 'r';
constexpr std::string_view kStateKey = "s";
constexpr uint8_t kRowVersion = 1;
constexpr size_t kMaxBootIdBytes = 256;

Status FromLevelDb(const leveldb::Status& status) {
  if (status.ok()) return Status::Ok();
  const std::string message = "replica index: " + status.ToString();
  if (status.IsNotFound()) return Status(StatusCode::kNotFound, message);
  if (status.IsCorruption()) return Status(StatusCode::kCorruption, message);
  return Status(StatusCode::kIo, message);
}

leveldb::Slice ToSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
std::string_view ToView(const leveldb::Slice& slice) { return {slice.data(), slice.size()}; }

Status CheckRowVersion(uint8_t version) {
  if (version == kRowVersion) return Status::Ok();
  return Status(
      StatusCode::kVersionTooNew,
      "replica index: row of format " + std::to_string(version) + "; this program knows format 1");
}

leveldb::ReadOptions VerifiedReads() {
  leveldb::ReadOptions options;
  options.verify_checksums = true;
  return options;
}

leveldb::WriteOptions Synced() {
  leveldb::WriteOptions options;
  options.sync = true;
  return options;
}

}  // namespace

std::string EncodeIndexState(const IndexState& state) {
  std::string out;
  PutFixed8(&out, kRowVersion);
  PutFixed8(&out, state.clean ? 1 : 0);
  PutFixed64(&out, state.replica_count);
  PutFixed64(&out, state.digest);
  PutLengthPrefixed(&out, state.boot_id);
  return out;
}

Result<IndexState> DecodeIndexState(std::string_view bytes) {
  Decoder in(bytes);
  const uint8_t version = in.Fixed8();
  if (!in.failed()) RETURN_IF_ERROR(CheckRowVersion(version));
  IndexState state;
  state.clean = in.Fixed8() != 0;
  state.replica_count = in.Fixed64();
  state.digest = in.Fixed64();
  state.boot_id = in.LengthPrefixed();
  RETURN_IF_ERROR(in.Finish("replica index: state row"));
  return state;
}

std::string EncodeReplicaKey(BlockId block) {
  std::string key(1, kReplicaPrefix);
  PutBigEndian64(&key, block.value());
  return key;
}

std::string EncodeReplicaRow(Generation generation) {
  std::string row;
  PutFixed8(&row, kRowVersion);
  PutFixed64(&row, generation.value());
  return row;
}

Result<ReplicaInfo> DecodeReplicaRow(std::string_view key, std::string_view value) {
  Decoder key_in(key);
  if (key_in.Fixed8() != kReplicaPrefix) {
    return Status(StatusCode::kCorruption, "replica index: not a replica's key");
  }
  ReplicaInfo replica;
  replica.block = BlockId(key_in.BigEndian64());
  RETURN_IF_ERROR(key_in.Finish("replica index: key"));
  Decoder in(value);
  const uint8_t version = in.Fixed8();
  if (!in.failed()) RETURN_IF_ERROR(CheckRowVersion(version));
  replica.generation = Generation(in.Fixed64());
  RETURN_IF_ERROR(in.Finish("replica index: row"));
  return replica;
}

ReplicaIndex::ReplicaIndex(std::string boot_id) : boot_id_(std::move(boot_id)) {}
ReplicaIndex::~ReplicaIndex() { database_.reset(); }

Status ReplicaIndex::OpenDatabase(const std::string& path, bool create) {
  filter_.reset(leveldb::NewBloomFilterPolicy(10));
  cache_.reset(leveldb::NewLRUCache(8 << 20));
  leveldb::Options options;
  options.create_if_missing = create;
  options.error_if_exists = create;
  options.paranoid_checks = true;
  options.filter_policy = filter_.get();
  options.block_cache = cache_.get();
  options.max_open_files = 200;
  leveldb::DB* database = nullptr;
  const leveldb::Status status = leveldb::DB::Open(options, path, &database);
  database_.reset(database);
  return FromLevelDb(status);
}

Result<std::unique_ptr<ReplicaIndex>> ReplicaIndex::Open(const std::string& path,
                                                         const std::string& boot_id) {
  std::unique_ptr<ReplicaIndex> index(new ReplicaIndex(boot_id));
  // LevelDB says InvalidArgument when there is no database.
  Status opened = index->OpenDatabase(path, false);
  if (!opened.ok() && opened.message().find("does not exist") != std::string::npos) {
    return Status(StatusCode::kNotFound, "there is no replica index");
  }
  RETURN_IF_ERROR(opened);
  std::string row;
  RETURN_IF_ERROR(FromLevelDb(index->database_->Get(VerifiedReads(), ToSlice(kStateKey), &row)));
  ASSIGN_OR_RETURN(IndexState state, DecodeIndexState(row));
  if (!state.clean && state.boot_id != boot_id) {
    return Status(StatusCode::kNotFound, "the replica index was in use when the machine stopped");
  }
  RETURN_IF_ERROR(index->LoadDigests());
  uint64_t digest = 0;
  for (const auto& [range, sum] : index->digests_) digest ^= sum.digest;
  if (state.clean && (digest != state.digest || index->replica_count_ != state.replica_count)) {
    return Status(StatusCode::kCorruption, "the replica index lost rows");
  }
  RETURN_IF_ERROR(index->WriteState(false));
  return index;
}

Result<std::unique_ptr<ReplicaIndex>> ReplicaIndex::StartRebuild(const std::string& path,
                                                                 const std::string& boot_id) {
  RETURN_IF_ERROR(FromLevelDb(leveldb::DestroyDB(path, leveldb::Options())));
  std::unique_ptr<ReplicaIndex> index(new ReplicaIndex(boot_id));
  RETURN_IF_ERROR(index->OpenDatabase(path, true));
  return index;
}

Status ReplicaIndex::FinishRebuild() { return WriteState(false); }

Status ReplicaIndex::LoadDigests() {
  leveldb::ReadOptions options = VerifiedReads();
  options.fill_cache = false;
  std::unique_ptr<leveldb::Iterator> rows(database_->NewIterator(options));
  const std::string first(1, kReplicaPrefix);
  for (rows->Seek(first); rows->Valid() && rows->key().starts_with(first); rows->Next()) {
    ASSIGN_OR_RETURN(ReplicaInfo replica,
                     DecodeReplicaRow(ToView(rows->key()), ToView(rows->value())));
    Count(replica, 1);
  }
  return FromLevelDb(rows->status());
}

Status ReplicaIndex::WriteState(bool clean) {
  IndexState state;
  state.clean = clean;
  state.boot_id = boot_id_;
  {
    std::lock_guard lock(mutex_);
    state.replica_count = replica_count_;
    for (const auto& [range, sum] : digests_) state.digest ^= sum.digest;
  }
  return FromLevelDb(database_->Put(Synced(), ToSlice(kStateKey), EncodeIndexState(state)));
}

Status ReplicaIndex::MarkClean() { return WriteState(true); }

void ReplicaIndex::Count(ReplicaInfo replica, int64_t change) {
  const uint64_t range = replica.block.value() >> kReplicaRangeBits;
  std::lock_guard lock(mutex_);
  ReplicaRangeDigest& sum = digests_[range];
  sum.range = range;
  sum.replica_count += static_cast<uint64_t>(change);
  sum.digest ^= ReplicaDigest(replica.block, replica.generation);
  replica_count_ += static_cast<uint64_t>(change);
  if (sum.replica_count == 0) digests_.erase(range);
}

Status ReplicaIndex::AddBatch(const std::vector<ReplicaInfo>& replicas) {
  leveldb::WriteBatch batch;
  for (const ReplicaInfo& replica : replicas) {
    batch.Put(EncodeReplicaKey(replica.block), EncodeReplicaRow(replica.generation));
  }
  RETURN_IF_ERROR(FromLevelDb(database_->Write(leveldb::WriteOptions(), &batch)));
  for (const ReplicaInfo& replica : replicas) Count(replica, 1);
  return Status::Ok();
}

Result<Generation> ReplicaIndex::Find(BlockId block) const {
  const std::string key = EncodeReplicaKey(block);
  std::string row;
  RETURN_IF_ERROR(FromLevelDb(database_->Get(VerifiedReads(), key, &row)));
  ASSIGN_OR_RETURN(ReplicaInfo replica, DecodeReplicaRow(key, row));
  return replica.generation;
}

Status ReplicaIndex::Add(ReplicaInfo replica) {
  RETURN_IF_ERROR(
      FromLevelDb(database_->Put(leveldb::WriteOptions(), EncodeReplicaKey(replica.block),
                                 EncodeReplicaRow(replica.generation))));
  Count(replica, 1);
  return Status::Ok();
}

Status ReplicaIndex::Remove(ReplicaInfo replica) {
  RETURN_IF_ERROR(
      FromLevelDb(database_->Delete(leveldb::WriteOptions(), EncodeReplicaKey(replica.block))));
  Count(replica, -1);
  return Status::Ok();
}

Result<std::vector<ReplicaInfo>> ReplicaIndex::List(uint64_t range) const {
  std::vector<ReplicaInfo> replicas;
  std::unique_ptr<leveldb::Iterator> rows(database_->NewIterator(VerifiedReads()));
  for (rows->Seek(EncodeReplicaKey(BlockId(range << kReplicaRangeBits)));
       rows->Valid() && rows->key().starts_with(leveldb::Slice(&kReplicaPrefix, 1)); rows->Next()) {
    ASSIGN_OR_RETURN(ReplicaInfo replica,
                     DecodeReplicaRow(ToView(rows->key()), ToView(rows->value())));
    if (replica.block.value() >> kReplicaRangeBits != range) break;
    replicas.push_back(replica);
  }
  RETURN_IF_ERROR(FromLevelDb(rows->status()));
  return replicas;
}

void ReplicaIndex::AddDigests(std::map<uint64_t, ReplicaRangeDigest>* sums) const {
  std::lock_guard lock(mutex_);
  for (const auto& [range, sum] : digests_) {
    ReplicaRangeDigest& total = (*sums)[range];
    total.range = range;
    total.replica_count += sum.replica_count;
    total.digest ^= sum.digest;
  }
}

uint64_t ReplicaIndex::replica_count() const {
  std::lock_guard lock(mutex_);
  return replica_count_;
}

}  // namespace tercet
