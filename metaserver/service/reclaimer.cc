#include "metaserver/service/reclaimer.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "common/log/log.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/service/service_metrics.h"

namespace tercet {
namespace {

constexpr int64_t kFillIntervalMs = 200;
constexpr size_t kFillBatch = 5000;
/// Scans pass the rows that were deleted before; they get at most this part of the time.
constexpr int64_t kScanPause = 10;

bool IsDamage(const Status& status) {
  return status.code() == StatusCode::kCorruption || status.code() == StatusCode::kInternal;
}

}  // namespace

Reclaimer::Reclaimer(ReclaimerOptions options, Proposer& proposer, Sessions& sessions,
                     const Clock& clock)
    : options_(options), proposer_(proposer), sessions_(sessions), clock_(clock) {}

Result<bool> Reclaimer::Step() {
  const Epoch epoch = proposer_.epoch();
  if (epoch.value() == 0) return false;
  if (epoch_ != epoch) {
    epoch_ = epoch;
    next_orphan_ = next_truncation_ = InodeId();
    next_fill_ms_ = next_truncation_ms_ = 0;
    one_by_one_ = 0;
  }
  RETURN_IF_ERROR(FillWindow());
  ASSIGN_OR_RETURN(const bool more_orphans, ReclaimOrphans());
  ASSIGN_OR_RETURN(const bool more_truncations, ReclaimTruncations());
  return more_orphans || more_truncations;
}

Status Reclaimer::FillWindow() {
  const int64_t start_ms = clock_.MonotonicMillis();
  if (start_ms < next_fill_ms_) return Status::Ok();
  next_fill_ms_ = start_ms + kFillIntervalMs;
  const Tables tables(proposer_.committed());
  ASSIGN_OR_RETURN(const uint64_t count, tables.GetCounter(Counter::kOrphanCount));
  if (count <= sessions_.OrphansInWindow()) return Status::Ok();
  if (sessions_.OrphanRoom() == 0) sessions_.RotateWindow();
  const size_t room = std::min(sessions_.OrphanRoom(), kFillBatch);
  if (room == 0) return Status::Ok();
  std::vector<InodeId> orphans;
  RETURN_IF_ERROR(tables.ScanOrphans(next_orphan_, [&](InodeId inode, const OrphanRecord&) {
    orphans.push_back(inode);
    return orphans.size() < room;
  }));
  const size_t taken = sessions_.Condemn(orphans);
  // At the end of the queue the next scan starts over: younger orphans may have lower numbers.
  const bool at_end = orphans.size() < room;
  next_orphan_ = taken < orphans.size() ? orphans[taken]
                 : at_end               ? InodeId()
                                        : orphans.back().Next();
  const int64_t took_ms = clock_.MonotonicMillis() - start_ms;
  next_fill_ms_ = std::max(next_fill_ms_, start_ms + kScanPause * took_ms);
  return Status::Ok();
}

Result<bool> Reclaimer::ReclaimOrphans() {
  const size_t batch_size = one_by_one_ > 0 ? 1 : options_.orphans_per_record;
  const std::vector<InodeId> orphans = sessions_.TakeReclaimable(batch_size);
  if (orphans.empty()) return false;
  if (one_by_one_ > 0) --one_by_one_;
  std::vector<InodeId> finished;
  int blocks = 0;
  Status status =
      proposer_.Propose(epoch_, "reclaim orphans", [&](OperationContext& context) -> Status {
        for (InodeId orphan : orphans) {
          // The first may use up the record's blocks; those behind it come with the next.
          if (blocks >= options_.max_blocks_per_record) break;
          ASSIGN_OR_RETURN(
              BatchResult batch,
              EvaluateReclaimOrphan(context, orphan, options_.max_blocks_per_record - blocks));
          blocks += batch.removed;
          if (!batch.done) break;
          finished.push_back(orphan);
        }
        return Status::Ok();
      });
  if (!status.ok()) finished.clear();
  if (IsDamage(status)) {
    if (orphans.size() == 1) {
      // It stays taken, and in the state, until somebody looks at it; the others go on.
      LOG_ERROR("an orphan cannot be reclaimed inode={}: {}", orphans[0], status);
      return true;
    }
    one_by_one_ = orphans.size();
  }
  for (InodeId orphan : orphans) {
    if (std::find(finished.begin(), finished.end(), orphan) != finished.end()) {
      sessions_.Reclaimed(orphan);
    } else {
      sessions_.PutBack(orphan);
    }
  }
  RETURN_IF_ERROR(status);
  ServiceCounters::Get().orphans_reclaimed.Increment(static_cast<double>(finished.size()));
  ServiceCounters::Get().blocks_reclaimed.Increment(blocks);
  return true;
}

Result<bool> Reclaimer::ReclaimTruncations() {
  const int64_t start_ms = clock_.MonotonicMillis();
  if (start_ms < next_truncation_ms_) return false;
  std::optional<InodeId> inode;
  RETURN_IF_ERROR(Tables(proposer_.committed())
                      .ScanTruncations(next_truncation_, [&](InodeId found, const auto&) {
                        inode = found;
                        return false;
                      }));
  if (!inode) {
    const int64_t took_ms = clock_.MonotonicMillis() - start_ms;
    next_truncation_ = InodeId();
    next_truncation_ms_ = start_ms + std::max(kFillIntervalMs, kScanPause * took_ms);
    return false;
  }
  BatchResult batch;
  RETURN_IF_ERROR(
      proposer_.Propose(epoch_, "reclaim truncation", [&](OperationContext& context) -> Status {
        ASSIGN_OR_RETURN(
            batch, EvaluateReclaimTruncation(context, *inode, options_.max_blocks_per_record));
        return Status::Ok();
      }));
  ServiceCounters::Get().blocks_reclaimed.Increment(batch.removed);
  next_truncation_ = batch.done ? inode->Next() : *inode;
  return true;
}

}  // namespace tercet
