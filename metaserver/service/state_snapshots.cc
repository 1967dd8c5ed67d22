#include "metaserver/service/state_snapshots.h"

#include <algorithm>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "common/log/log.h"
#include "metaserver/namespace/state_builder.h"
#include "metaserver/namespace/state_store.h"
#include "metaserver/namespace/tables.h"

namespace tercet {
namespace {

struct AppliedRow {
  JournalIndex index;
  Epoch epoch;
};

/// Of exactly the moment of the snapshot.
Result<AppliedRow> ReadApplied(const View& view) {
  ASSIGN_OR_RETURN(const auto row, view.Get(kAppliedRow));
  if (!row) return Status(StatusCode::kFailedPrecondition, "the state is empty");
  Decoder in(*row);
  AppliedRow applied;
  applied.index = JournalIndex(in.Fixed64());
  applied.epoch = Epoch(in.Fixed64());
  RETURN_IF_ERROR(in.FinishAllowingMore("applied index"));
  return applied;
}

}  // namespace

StateSnapshots::StateSnapshots(const Database& database, const Clock& clock, Random& random,
                               uint64_t group_id, MembershipFunction membership_at)
    : database_(database),
      clock_(clock),
      random_(random),
      group_id_(group_id),
      membership_at_(std::move(membership_at)) {}

Status StateSnapshots::Open(wire::OpenStateSnapshotResponse* response) {
  std::shared_ptr<const View> view = database_.TakeSnapshot();
  ASSIGN_OR_RETURN(const AppliedRow applied, ReadApplied(*view));
  if (applied.index < database_.consistent_from()) {
    return Status(StatusCode::kUnavailable,
                  "this metaserver has fetched the namespace and is still catching up");
  }
  const Tables tables(*view);
  ASSIGN_OR_RETURN(response->cluster_id, tables.GetClusterId());
  // Of each file there are some rows: this is for a progress display only.
  ASSIGN_OR_RETURN(const uint64_t inodes, tables.GetCounter(Counter::kInodeCount));
  ASSIGN_OR_RETURN(const uint64_t blocks, tables.GetCounter(Counter::kBlockCount));
  response->row_count = static_cast<int64_t>(2 * inodes + 4 * blocks);
  response->group_id = static_cast<int64_t>(group_id_);
  response->index = static_cast<int64_t>(applied.index.value());
  response->epoch = static_cast<int64_t>(applied.epoch.value());
  const auto [membership_index, membership] = membership_at_(applied.index);
  response->membership = membership.Encode();
  response->membership_index = static_cast<int64_t>(membership_index.value());

  std::lock_guard lock(mutex_);
  ExpireLocked();
  if (snapshots_.size() >= kMaxOpen) {
    return Status(StatusCode::kUnavailable, "there are " + std::to_string(kMaxOpen) +
                                                " snapshots of the state open already: retry in a "
                                                "minute");
  }
  // Random, so that one of an earlier life of this process is never taken for another.
  int64_t id = 0;
  while (id == 0 || snapshots_.contains(id)) {
    id = static_cast<int64_t>(random_.Below(uint64_t{1} << 62));
  }
  snapshots_.emplace(id, Snapshot{std::move(view), clock_.MonotonicMillis()});
  response->snapshot_id = id;
  LOG_INFO("state snapshot opened id={} index={} open={}", id, applied.index, snapshots_.size());
  return Status::Ok();
}

Status StateSnapshots::Read(const wire::ReadStateSnapshotRequest& request,
                            wire::ReadStateSnapshotResponse* response) {
  std::shared_ptr<const View> view;
  {
    std::lock_guard lock(mutex_);
    ExpireLocked();
    auto it = snapshots_.find(request.snapshot_id);
    if (it == snapshots_.end()) {
      return Status(StatusCode::kNotFound, "there is no such state snapshot (any more)");
    }
    it->second.used_ms = clock_.MonotonicMillis();
    view = it->second.view;
  }
  const int32_t max_bytes = std::clamp(request.max_bytes, 1, kMaxReadBytes);
  ASSIGN_OR_RETURN(StateRows rows,
                   ReadStateRows(*view, request.after_key, static_cast<size_t>(max_bytes)));
  response->rows_crc32c = static_cast<int32_t>(Crc32c(rows.rows));
  response->rows = std::move(rows.rows);
  response->last_key = std::move(rows.last_key);
  response->at_end = rows.end;
  return Status::Ok();
}

void StateSnapshots::Close(int64_t id) {
  std::lock_guard lock(mutex_);
  snapshots_.erase(id);
}

void StateSnapshots::Expire() {
  std::lock_guard lock(mutex_);
  ExpireLocked();
}

void StateSnapshots::ExpireLocked() {
  const int64_t oldest_ms = clock_.MonotonicMillis() - kIdleTimeout.count();
  std::erase_if(snapshots_, [&](const auto& entry) {
    if (entry.second.used_ms > oldest_ms) return false;
    LOG_INFO("state snapshot dropped: nobody read it for {} ms id={}", kIdleTimeout.count(),
             entry.first);
    return true;
  });
}

size_t StateSnapshots::open_count() const {
  std::lock_guard lock(mutex_);
  return snapshots_.size();
}

}  // namespace tercet
