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
constexpr uint8_t kRowVersion = 2;
constexpr uint8_t kOldestStateVersion = 1;
constexpr uint8_t kFlagSuspect = 1;
constexpr uint8_t kFlagChanging = 2;
constexpr size_t kMaxBootIdBytes = 256;

Status FromLevelDb(const leveldb::Status& status) {
  if (status.ok()) return Status::Ok();
  const std::string message = "replica index: " + status.ToString();
  if (status.IsNotFound()) return Status(StatusCode::kNotFound, message);
  if (status.IsCorruption()) return Status(StatusCode::kCorruption, message);
  // LevelDB has no code for it, but the system's words.
  if (message.find("No space left") != std::string::npos ||
      message.find("no space") != std::string::npos) {
    return Status(StatusCode::kNoSpace, message);
  }
  return Status(StatusCode::kIo, message);
}

leveldb::Slice ToSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
std::string_view ToView(const leveldb::Slice& slice) { return {slice.data(), slice.size()}; }

Status WrongVersion(uint8_t version) {
  return Status(
      StatusCode::kVersionTooNew,
      "replica index: row of format " + std::to_string(version) + "; this program knows format 2");
}

leveldb::ReadOptions VerifiedReads() {
  leveldb::ReadOptions options;
  options.verify_checksums = true;
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
  if (!in.failed() && (version < kOldestStateVersion || version > kRowVersion)) {
    return WrongVersion(version);
  }
  IndexState state;
  state.old_format = version < kRowVersion;
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

std::string EncodeReplicaRow(const ReplicaRow& row) {
  std::string out;
  PutFixed8(&out, kRowVersion);
  PutFixed64(&out, row.generation.value());
  PutFixed8(&out, static_cast<uint8_t>((row.suspect ? kFlagSuspect : 0) |
                                       (row.changing ? kFlagChanging : 0)));
  PutFixed32(&out, row.era.value());
  PutFixed32(&out, row.length);
  return out;
}

Result<ReplicaRow> DecodeReplicaRow(std::string_view key, std::string_view value) {
  Decoder key_in(key);
  if (key_in.Fixed8() != kReplicaPrefix) {
    return Status(StatusCode::kCorruption, "replica index: not a replica's key");
  }
  ReplicaRow row;
  row.block = BlockId(key_in.BigEndian64());
  RETURN_IF_ERROR(key_in.Finish("replica index: key"));
  Decoder in(value);
  const uint8_t version = in.Fixed8();
  if (!in.failed() && version != kRowVersion) return WrongVersion(version);
  row.generation = Generation(in.Fixed64());
  const uint8_t flags = in.Fixed8();
  row.suspect = (flags & kFlagSuspect) != 0;
  row.changing = (flags & kFlagChanging) != 0;
  row.era = Era(in.Fixed32());
  row.length = in.Fixed32();
  RETURN_IF_ERROR(in.Finish("replica index: row"));
  return row;
}

ReplicaIndex::ReplicaIndex(const IndexOptions& options) : options_(options) {
  if (options.io != IndexIo::kSystem) {
    env_ = std::make_unique<DiskEnv>(*options.disk, options.io == IndexIo::kDiskInSteps);
  }
}

ReplicaIndex::~ReplicaIndex() {
  if (env_ != nullptr) env_->RunQueued();
  database_.reset();
}

Status ReplicaIndex::OpenDatabase(bool create) {
  filter_.reset(leveldb::NewBloomFilterPolicy(10));
  cache_.reset(leveldb::NewLRUCache(8 << 20));
  leveldb::Options options;
  options.create_if_missing = create;
  options.error_if_exists = create;
  options.paranoid_checks = true;
  options.filter_policy = filter_.get();
  options.block_cache = cache_.get();
  options.max_open_files = 200;
  if (env_ != nullptr) options.env = env_.get();
  leveldb::DB* database = nullptr;
  const leveldb::Status status = leveldb::DB::Open(options, options_.path, &database);
  database_.reset(database);
  return FromLevelDb(status);
}

Result<std::unique_ptr<ReplicaIndex>> ReplicaIndex::Open(
    const IndexOptions& options, std::optional<IndexState>* before,
    const std::function<void(const ReplicaRow&)>& visit) {
  std::unique_ptr<ReplicaIndex> index(new ReplicaIndex(options));
  // LevelDB says InvalidArgument when there is no database.
  Status opened = index->OpenDatabase(false);
  if (!opened.ok() && opened.message().find("does not exist") != std::string::npos) {
    return Status(StatusCode::kNotFound, "there is no replica index");
  }
  RETURN_IF_ERROR(opened);
  std::string row;
  RETURN_IF_ERROR(FromLevelDb(index->database_->Get(VerifiedReads(), ToSlice(kStateKey), &row)));
  ASSIGN_OR_RETURN(IndexState state, DecodeIndexState(row));
  *before = state;
  if (state.old_format) {
    return Status(StatusCode::kNotFound, "the replica index has an older format");
  }
  if (!state.clean && state.boot_id != options.boot_id) {
    return Status(StatusCode::kNotFound, "the replica index was in use when the machine stopped");
  }
  RETURN_IF_ERROR(index->LoadDigests(visit));
  if (state.clean &&
      (index->digest_ != state.digest || index->replica_count_ != state.replica_count)) {
    return Status(StatusCode::kCorruption, "the replica index lost rows");
  }
  RETURN_IF_ERROR(index->WriteState(false));
  return index;
}

Result<std::unique_ptr<ReplicaIndex>> ReplicaIndex::StartRebuild(const IndexOptions& options) {
  std::unique_ptr<ReplicaIndex> index(new ReplicaIndex(options));
  leveldb::Options destroy;
  if (index->env_ != nullptr) destroy.env = index->env_.get();
  RETURN_IF_ERROR(FromLevelDb(leveldb::DestroyDB(options.path, destroy)));
  RETURN_IF_ERROR(index->OpenDatabase(true));
  return index;
}

Status ReplicaIndex::FinishRebuild() { return WriteState(false); }

Status ReplicaIndex::LoadDigests(const std::function<void(const ReplicaRow&)>& visit) {
  return ForEach(BlockId(0), [&](const ReplicaRow& row) {
    Count(row, 1);
    if (visit) visit(row);
    return true;
  });
}

Status ReplicaIndex::Apply(leveldb::WriteBatch* batch, bool sync) {
  if (env_ != nullptr) env_->RunQueued();
  leveldb::WriteOptions options;
  options.sync = sync;
  return FromLevelDb(database_->Write(options, batch));
}

Status ReplicaIndex::WriteState(bool clean) {
  IndexState state;
  state.clean = clean;
  state.boot_id = options_.boot_id;
  {
    std::lock_guard lock(mutex_);
    state.replica_count = replica_count_;
    state.digest = digest_;
  }
  leveldb::WriteBatch batch;
  batch.Put(ToSlice(kStateKey), EncodeIndexState(state));
  return Apply(&batch, true);
}

Status ReplicaIndex::MarkClean() { return WriteState(true); }

void ReplicaIndex::Count(const ReplicaRow& row, int64_t change) {
  const uint64_t digest = ReplicaDigest(row.block, row.generation);
  std::lock_guard lock(mutex_);
  replica_count_ += static_cast<uint64_t>(change);
  if (row.suspect) suspect_count_ += static_cast<uint64_t>(change);
  digest_ ^= digest;
  if (row.generation == Generation(0)) return;
  const uint64_t range = row.block.value() >> kReplicaRangeBits;
  ReplicaRangeDigest& sum = digests_[range];
  sum.range = range;
  sum.replica_count += static_cast<uint64_t>(change);
  sum.digest ^= digest;
  if (sum.replica_count == 0) digests_.erase(range);
}

Status ReplicaIndex::AddBatch(const std::vector<ReplicaRow>& replicas) {
  leveldb::WriteBatch batch;
  for (const ReplicaRow& row : replicas) {
    batch.Put(EncodeReplicaKey(row.block), EncodeReplicaRow(row));
  }
  RETURN_IF_ERROR(Apply(&batch, false));
  for (const ReplicaRow& row : replicas) Count(row, 1);
  return Status::Ok();
}

Result<ReplicaRow> ReplicaIndex::Find(BlockId block) const {
  const std::string key = EncodeReplicaKey(block);
  std::string row;
  RETURN_IF_ERROR(FromLevelDb(database_->Get(VerifiedReads(), key, &row)));
  return DecodeReplicaRow(key, row);
}

Status ReplicaIndex::Add(const ReplicaRow& row) {
  leveldb::WriteBatch batch;
  batch.Put(EncodeReplicaKey(row.block), EncodeReplicaRow(row));
  RETURN_IF_ERROR(Apply(&batch, false));
  Count(row, 1);
  return Status::Ok();
}

Status ReplicaIndex::Replace(const ReplicaRow& before, const ReplicaRow& after) {
  leveldb::WriteBatch batch;
  batch.Put(EncodeReplicaKey(after.block), EncodeReplicaRow(after));
  RETURN_IF_ERROR(Apply(&batch, false));
  Count(before, -1);
  Count(after, 1);
  return Status::Ok();
}

Status ReplicaIndex::Remove(const ReplicaRow& row) {
  leveldb::WriteBatch batch;
  batch.Delete(EncodeReplicaKey(row.block));
  RETURN_IF_ERROR(Apply(&batch, false));
  Count(row, -1);
  return Status::Ok();
}

Status ReplicaIndex::ForEach(BlockId after,
                             const std::function<bool(const ReplicaRow&)>& visit) const {
  leveldb::ReadOptions options = VerifiedReads();
  options.fill_cache = false;
  std::unique_ptr<leveldb::Iterator> rows(database_->NewIterator(options));
  const leveldb::Slice prefix(&kReplicaPrefix, 1);
  for (rows->Seek(EncodeReplicaKey(after)); rows->Valid() && rows->key().starts_with(prefix);
       rows->Next()) {
    ASSIGN_OR_RETURN(ReplicaRow row, DecodeReplicaRow(ToView(rows->key()), ToView(rows->value())));
    if (row.block == after) continue;
    if (!visit(row)) return Status::Ok();
  }
  return FromLevelDb(rows->status());
}

Result<std::vector<ReplicaInfo>> ReplicaIndex::List(uint64_t range) const {
  std::vector<ReplicaInfo> replicas;
  const uint64_t first = range << kReplicaRangeBits;
  RETURN_IF_ERROR(ForEach(BlockId(first == 0 ? 0 : first - 1), [&](const ReplicaRow& row) {
    if (row.block.value() >> kReplicaRangeBits != range) return false;
    if (row.generation != Generation(0)) replicas.push_back({row.block, row.generation});
    return true;
  }));
  return replicas;
}

Result<BlockId> ReplicaIndex::Last() const {
  leveldb::ReadOptions options = VerifiedReads();
  options.fill_cache = false;
  std::unique_ptr<leveldb::Iterator> rows(database_->NewIterator(options));
  const char behind = kReplicaPrefix + 1;
  rows->Seek(leveldb::Slice(&behind, 1));
  rows->Valid() ? rows->Prev() : rows->SeekToLast();
  RETURN_IF_ERROR(FromLevelDb(rows->status()));
  if (!rows->Valid() || !rows->key().starts_with(leveldb::Slice(&kReplicaPrefix, 1))) {
    return BlockId(0);
  }
  ASSIGN_OR_RETURN(ReplicaRow row, DecodeReplicaRow(ToView(rows->key()), ToView(rows->value())));
  return row.block;
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

uint64_t ReplicaIndex::suspect_count() const {
  std::lock_guard lock(mutex_);
  return suspect_count_;
}

}  // namespace tercet
