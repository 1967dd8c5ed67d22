#include "metaserver/service/census.h"

#include <algorithm>

#include "common/log/log.h"
#include "metaserver/namespace/tables.h"

namespace tercet {
namespace {

constexpr int64_t kPauseFactor = 20;

/// Counts one file block row.
void CountBlock(const FileBlockRecord& record, CensusFigures* figures) {
  if (record.reserved) return;
  std::vector<ServerId> servers = record.chain;
  std::sort(servers.begin(), servers.end());
  for (ServerId server : servers) ++figures->replicas[server];
  auto it = figures->blocks_by_servers.find(servers);
  if (it != figures->blocks_by_servers.end()) {
    ++it->second;
  } else if (figures->blocks_by_servers.size() < Census::kMaxSets) {
    figures->blocks_by_servers.emplace(std::move(servers), 1);
  } else {
    LOG_WARN_LIMITED("blocks lie on more than {} different sets of servers: not all are counted",
                     Census::kMaxSets);
  }
}

}  // namespace

std::map<int, int64_t> CensusFigures::BlocksByLiveReplicas(
    const std::function<bool(ServerId)>& is_alive) const {
  std::map<int, int64_t> result;
  for (const auto& [servers, blocks] : blocks_by_servers) {
    const auto live = std::count_if(servers.begin(), servers.end(), is_alive);
    result[static_cast<int>(live)] += blocks;
  }
  return result;
}

Status Census::Scan(const std::function<bool()>& stop) {
  CensusFigures figures;
  figures.index = database_.applied_index();  // before the snapshot: it includes at least this
  const int64_t start_ms = clock_.MonotonicMillis();
  const auto snapshot = database_.TakeSnapshot();
  Status bad_row;
  const KeyRange blocks = TableRange(TableId::kFileBlock);
  RETURN_IF_ERROR(
      snapshot->Scan(blocks.from, blocks.to, [&](std::string_view, std::string_view value) {
        auto record = FileBlockRecord::Decode(value);
        if (!record.ok()) {
          bad_row = record.status();
          return false;
        }
        CountBlock(*record, &figures);
        return ++figures.rows % 1024 != 0 || !stop();
      }));
  RETURN_IF_ERROR(bad_row);
  const KeyRange tasks = TableRange(TableId::kDeleteTask);
  RETURN_IF_ERROR(snapshot->Scan(tasks.from, tasks.to, [&](std::string_view key, std::string_view) {
    if (const auto parsed = ParseKey(key)) {
      ++figures.delete_tasks[ServerId(static_cast<uint32_t>(parsed->first))];
    }
    return ++figures.rows % 1024 != 0 || !stop();
  }));
  if (stop()) return Status(StatusCode::kCancelled, "stopped");
  figures.finished_ms = clock_.MonotonicMillis();
  figures.took_ms = figures.finished_ms - start_ms;
  std::lock_guard lock(mutex_);
  figures_ = std::make_shared<const CensusFigures>(std::move(figures));
  return Status::Ok();
}

Status Census::Refresh(int64_t pause_ms, const std::function<bool()>& stop) {
  std::lock_guard scan_lock(scan_mutex_);
  const auto last = Last();
  if (last->finished_ms >= 0) {
    if (last->index == database_.applied_index()) return Status::Ok();
    const int64_t pause = std::max(pause_ms, kPauseFactor * last->took_ms);
    if (clock_.MonotonicMillis() - last->finished_ms < pause) return Status::Ok();
  }
  return Scan(stop);
}

std::shared_ptr<const CensusFigures> Census::Get() {
  const auto last = Last();
  const bool current = last->index == database_.applied_index();
  if (last->finished_ms >= 0 && (current || last->rows > kSmallRows)) return last;
  // A small state, or one of unknown size. Scans come one at a time; whoever waited finds fresh
  // figures.
  Status status;
  {
    std::lock_guard scan_lock(scan_mutex_);
    if (Last() == last) status = Scan([] { return false; });
  }
  if (!status.ok()) LOG_WARN_LIMITED("the blocks could not be counted: {}", status);
  return Last();
}

std::shared_ptr<const CensusFigures> Census::Last() const {
  std::lock_guard lock(mutex_);
  return figures_;
}

}  // namespace tercet
