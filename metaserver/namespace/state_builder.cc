#include "metaserver/namespace/state_builder.h"

#include <leveldb/write_batch.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "common/base/coding.h"
#include "common/env/posix_disk.h"

namespace tercet {
namespace {

constexpr uint8_t kBaseVersion = 1;
constexpr size_t kClusterIdBytes = 16;

leveldb::Slice ToSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

std::string EncodeBase(const StateBase& base) {
  std::string out;
  PutFixed8(&out, kBaseVersion);
  out += base.cluster_id;
  PutFixed64(&out, base.group_id);
  PutFixed64(&out, base.index.value());
  PutFixed64(&out, base.epoch.value());
  PutFixed64(&out, base.consistent_from.value());
  PutFixed64(&out, base.membership_index.value());
  PutLengthPrefixed(&out, base.membership.Encode());
  return out;
}

Result<StateBase> DecodeBase(std::string_view bytes, const std::string& path) {
  Decoder in(bytes);
  if (in.Fixed8() > kBaseVersion) {
    return Status(StatusCode::kVersionTooNew,
                  "the fetch of the state in " + path + " was begun by a newer Tercet");
  }
  StateBase base;
  base.cluster_id = in.Bytes(kClusterIdBytes);
  base.group_id = in.Fixed64();
  base.index = JournalIndex(in.Fixed64());
  base.epoch = Epoch(in.Fixed64());
  base.consistent_from = JournalIndex(in.Fixed64());
  base.membership_index = JournalIndex(in.Fixed64());
  const std::string_view membership = in.LengthPrefixed();
  RETURN_IF_ERROR(in.FinishAllowingMore("base of the state in " + path));
  ASSIGN_OR_RETURN(base.membership, Membership::Decode(membership));
  return base;
}

std::string Number(uint64_t value) {
  std::string out;
  PutFixed64(&out, value);
  return out;
}

}  // namespace

struct StateBuilder::Impl {
  std::unique_ptr<StateStore> store;  // null after Finish
  bool begun = false;
  bool finished = false;
  StateBase base;
  std::string after_key;
  uint64_t row_count = 0;
  size_t unsynced_bytes = 0;
  Status failure;  // why no row may be written any more

  Status Load() {
    ASSIGN_OR_RETURN(const std::optional<std::string> base_row, store->Get(kFetchBaseRow));
    if (!base_row) return Status::Ok();
    begun = true;
    ASSIGN_OR_RETURN(base, DecodeBase(*base_row, store->path()));
    ASSIGN_OR_RETURN(const std::optional<std::string> rows_row, store->Get(kFetchedRowsRow));
    if (rows_row) {
      Decoder in(*rows_row);
      row_count = in.Fixed64();
      RETURN_IF_ERROR(in.FinishAllowingMore("row count of the state in " + store->path()));
    }
    ASSIGN_OR_RETURN(after_key, store->LastKey());
    if (after_key[0] == '\0') after_key.clear();
    return Status::Ok();
  }

  Status CheckTaking() const {
    RETURN_IF_ERROR(failure);
    if (!begun || finished) {
      return Status(StatusCode::kInternal, "the state is not being fetched");
    }
    return Status::Ok();
  }

  Status Write(leveldb::WriteBatch* batch) {
    failure = store->Write(batch);
    return failure;
  }

  Status Sync() {
    failure = store->Sync();
    if (failure.ok()) unsynced_bytes = 0;
    return failure;
  }

  Status WriteBase() {
    leveldb::WriteBatch batch;
    batch.Put(ToSlice(kFetchBaseRow), EncodeBase(base));
    RETURN_IF_ERROR(Write(&batch));
    return Sync();
  }
};

Result<std::unique_ptr<StateBuilder>> StateBuilder::Open(const DatabaseOptions& options) {
  Disk& disk = options.disk != nullptr ? *options.disk : RealDisk();
  RETURN_IF_ERROR(disk.MakeDirectories(options.path));
  ASSIGN_OR_RETURN(const StateFolderKind kind, ReadStateFolderKind(disk, options.path));
  if (kind == StateFolderKind::kEmpty) {
    RETURN_IF_ERROR(WriteStateFolderKind(disk, options.path, StateFolderKind::kFetched));
  }
  auto impl = std::make_unique<Impl>();
  impl->finished = kind == StateFolderKind::kState;
  ASSIGN_OR_RETURN(impl->store, StateStore::Open(options));
  RETURN_IF_ERROR(impl->Load());
  if (impl->finished && !impl->begun) {
    return Status(StatusCode::kFailedPrecondition,
                  options.path + " holds a state that was not fetched; it is not overwritten");
  }
  return std::unique_ptr<StateBuilder>(new StateBuilder(std::move(impl)));
}

StateBuilder::StateBuilder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StateBuilder::~StateBuilder() = default;

bool StateBuilder::begun() const { return impl_->begun; }
bool StateBuilder::finished() const { return impl_->finished; }
const StateBase& StateBuilder::base() const { return impl_->base; }
const std::string& StateBuilder::after_key() const { return impl_->after_key; }
uint64_t StateBuilder::row_count() const { return impl_->row_count; }

Status StateBuilder::Begin(const StateBase& base) {
  RETURN_IF_ERROR(impl_->failure);
  if (impl_->begun || base.cluster_id.size() != kClusterIdBytes) {
    return Status(StatusCode::kInvalidArgument, "the state cannot be fetched on this base");
  }
  impl_->base = base;
  impl_->base.consistent_from = base.index;
  RETURN_IF_ERROR(impl_->WriteBase());
  impl_->begun = true;
  return Status::Ok();
}

Status StateBuilder::GoOn(JournalIndex snapshot_index) {
  RETURN_IF_ERROR(impl_->CheckTaking());
  StateBase& base = impl_->base;
  if (snapshot_index < base.index) {
    return Status(StatusCode::kInvalidArgument,
                  "the rows fetched so far are of record " + std::to_string(base.index.value()) +
                      ", those of record " + std::to_string(snapshot_index.value()) +
                      " cannot follow them");
  }
  if (snapshot_index <= base.consistent_from) return Status::Ok();
  base.consistent_from = snapshot_index;
  return impl_->WriteBase();
}

Status StateBuilder::Put(std::string_view rows, std::string_view last_key) {
  RETURN_IF_ERROR(impl_->CheckTaking());
  ASSIGN_OR_RETURN(const StateRowsSummary summary, CheckStateRows(rows, impl_->after_key));
  if (summary.last_key != last_key) {
    return Status(StatusCode::kCorruption, "the rows end with another key than was said");
  }
  if (summary.count == 0) return Status::Ok();
  leveldb::WriteBatch batch;
  RETURN_IF_ERROR(VisitStateRows(rows, [&](std::string_view key, std::string_view value) {
    batch.Put(ToSlice(key), ToSlice(value));
    return Status::Ok();
  }));
  batch.Put(ToSlice(kFetchedRowsRow), Number(impl_->row_count + summary.count));
  RETURN_IF_ERROR(impl_->Write(&batch));
  impl_->row_count += summary.count;
  impl_->after_key = last_key;
  impl_->unsynced_bytes += rows.size();
  return impl_->unsynced_bytes < kSyncBytes ? Status::Ok() : impl_->Sync();
}

Status StateBuilder::Finish() {
  RETURN_IF_ERROR(impl_->CheckTaking());
  const StateBase& base = impl_->base;
  leveldb::WriteBatch batch;
  batch.Put(ToSlice(kAppliedRow), Number(base.index.value()) + Number(base.epoch.value()));
  batch.Put(ToSlice(kConsistentFromRow), Number(base.consistent_from.value()));
  RETURN_IF_ERROR(impl_->Write(&batch));
  RETURN_IF_ERROR(impl_->Sync());
  Disk& disk = impl_->store->disk();
  const std::string path = impl_->store->path();
  impl_->finished = true;
  impl_->store.reset();
  return WriteStateFolderKind(disk, path, StateFolderKind::kState);
}

}  // namespace tercet
