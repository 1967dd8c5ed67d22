#include "metaserver/service/state_fetcher.h"

#include <algorithm>

#include "common/base/crc32c.h"
#include "common/log/log.h"
#include "common/rpc/wire_status.h"

namespace tercet {
namespace {

constexpr std::chrono::seconds kProgressInterval{5};
constexpr std::chrono::milliseconds kAbortInterval{10};

Status Stopping() { return Status(StatusCode::kCancelled, "this metaserver is stopping"); }

bool IsLocalDamage(const Status& status) { return status.code() == StatusCode::kCorruption; }

}  // namespace

Status RemoveFlatFolder(Disk& disk, const std::string& path) {
  ASSIGN_OR_RETURN(const bool exists, disk.Exists(path));
  if (!exists) return Status::Ok();
  ASSIGN_OR_RETURN(const std::vector<std::string> names, disk.List(path));
  for (const std::string& name : names) RETURN_IF_ERROR(disk.Remove(path + "/" + name));
  RETURN_IF_ERROR(disk.Remove(path));
  return disk.SyncDirectory(DirectoryOf(path));
}

StateFetcher::StateFetcher(StateFetcherOptions options, Disk& disk, SourcesFunction sources)
    : options_(std::move(options)), disk_(disk), sources_(std::move(sources)) {
  thread_ = std::thread([this] {
    Run();
    std::lock_guard lock(mutex_);
    ended_ = true;
    stop_wakeup_.notify_all();
  });
}

StateFetcher::~StateFetcher() {
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    stop_wakeup_.notify_all();
    // A call that is about to begin is not seen by the first round.
    while (!ended_) {
      if (calling_ != nullptr) calling_->AbortCalls();
      stop_wakeup_.wait_for(lock, kAbortInterval);
    }
  }
  thread_.join();
}

std::string StateFetcher::Progress() const {
  if (done()) return "fetched";
  return "fetching, " + std::to_string(rows()) + " rows";
}

bool StateFetcher::Pause(std::chrono::milliseconds duration) {
  std::unique_lock lock(mutex_);
  stop_wakeup_.wait_for(lock, duration, [this] { return stopping_; });
  return !stopping_;
}

void StateFetcher::Run() {
  LOG_INFO("fetching the namespace into {}", options_.database.path);
  std::chrono::milliseconds pause = options_.min_pause;
  uint64_t rows_before = 0;
  while (true) {
    const Status status = FetchOnce();
    if (status.ok()) break;
    if (status.code() == StatusCode::kCancelled) return;
    if (rows() > rows_before) pause = options_.min_pause;
    rows_before = rows();
    LOG_WARN_LIMITED("the namespace could not be fetched yet, will go on rows={}: {}", rows(),
                     status);
    if (!Pause(pause)) return;
    pause = std::min(2 * pause, options_.max_pause);
  }
  LOG_INFO("the namespace is fetched rows={}", rows());
  done_.store(true, std::memory_order_release);
}

Status StateFetcher::OpenBuilder(JournalIndex journal_first) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (builder_ == nullptr) {
      auto opened = StateBuilder::Open(options_.database);
      if (opened.ok()) {
        builder_ = std::move(opened).value();
      } else if (!IsLocalDamage(opened.status())) {
        return opened.status();
      } else {
        LOG_WARN("what was fetched is damaged and is fetched again: {}", opened.status());
      }
    }
    if (builder_ != nullptr) {
      rows_.store(builder_->row_count(), std::memory_order_relaxed);
      if (!builder_->begun()) return Status::Ok();
      const StateBase& base = builder_->base();
      const bool ours =
          base.cluster_id == options_.cluster_id && base.group_id == options_.group_id;
      if (ours && base.index.Next() >= journal_first) return Status::Ok();
      LOG_WARN("what was fetched cannot be used any more base={} journal_first={} rows={}",
               base.index, journal_first, builder_->row_count());
      builder_.reset();
    }
    RETURN_IF_ERROR(RemoveFlatFolder(disk_, options_.database.path));
  }
  return Status(StatusCode::kIo, options_.database.path + " cannot be used");
}

Status StateFetcher::FetchOnce() {
  const FetchSources sources = sources_();
  RETURN_IF_ERROR(OpenBuilder(sources.journal_first));
  // A crash came between the mark and the installation.
  if (builder_->finished()) return builder_.reset(), Status::Ok();
  Status status(StatusCode::kUnavailable, "no other metaserver is known");
  for (const std::string& address : sources.addresses) {
    if (!Pause(std::chrono::milliseconds(0))) return Stopping();
    status = FetchFrom(address, sources.journal_first);
    if (status.ok() || status.code() == StatusCode::kCancelled) return status;
    LOG_INFO("the namespace cannot be fetched from {} now: {}", address, status);
    // A builder that failed takes nothing any more; it is opened anew and knows how far it is.
    builder_.reset();
    RETURN_IF_ERROR(OpenBuilder(sources.journal_first));
  }
  return status;
}

template <typename Function>
Status StateFetcher::Call(AdminPool& pool, Function&& call) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return Stopping();
    calling_ = &pool;
  }
  const Status status = pool.Call(options_.call_timeout, std::forward<Function>(call));
  std::lock_guard lock(mutex_);
  calling_ = nullptr;
  return stopping_ ? Stopping() : status;
}

Status StateFetcher::TakeSnapshot(const wire::OpenStateSnapshotResponse& snapshot,
                                  JournalIndex journal_first) {
  if (snapshot.cluster_id != options_.cluster_id ||
      static_cast<uint64_t>(snapshot.group_id) != options_.group_id) {
    return Status(StatusCode::kWrongCluster, "it belongs to another cluster or group");
  }
  const JournalIndex index(static_cast<uint64_t>(snapshot.index));
  if (builder_->begun()) return builder_->GoOn(index);
  if (index.Next() < journal_first) {
    return Status(StatusCode::kUnavailable,
                  "its state is older than this member's journal: it has to catch up first");
  }
  StateBase base;
  base.cluster_id = snapshot.cluster_id;
  base.group_id = static_cast<uint64_t>(snapshot.group_id);
  base.index = index;
  base.epoch = Epoch(static_cast<uint64_t>(snapshot.epoch));
  base.consistent_from = index;
  ASSIGN_OR_RETURN(base.membership, Membership::Decode(snapshot.membership));
  base.membership_index = JournalIndex(static_cast<uint64_t>(snapshot.membership_index));
  return builder_->Begin(base);
}

Status StateFetcher::FetchFrom(const std::string& address, JournalIndex journal_first) {
  ASSIGN_OR_RETURN(const HostPort peer, ParseHostPort(address));
  AdminPool pool(peer, "admin", /*max_idle=*/1);
  wire::OpenStateSnapshotResponse snapshot;
  RETURN_IF_ERROR(Call(pool, [&](auto& client) { client.OpenStateSnapshot(snapshot, {}); }));
  RETURN_IF_ERROR(FromWire(snapshot.info.status));
  Status status = TakeSnapshot(snapshot, journal_first);
  if (status.ok()) {
    LOG_INFO("fetching from {} snapshot_index={} base={} rows={} of about {}", address,
             snapshot.index, builder_->base().index, builder_->row_count(), snapshot.row_count);
    status = Pull(pool, snapshot.snapshot_id);
  }
  // Politeness: it would forget the snapshot by itself.
  wire::CloseStateSnapshotRequest close;
  close.snapshot_id = snapshot.snapshot_id;
  wire::CloseStateSnapshotResponse closed;
  const Status told = Call(pool, [&](auto& client) { client.CloseStateSnapshot(closed, close); });
  if (!told.ok()) LOG_DEBUG("the snapshot at {} was not closed: {}", address, told);
  return status;
}

Status StateFetcher::Pull(AdminPool& pool, int64_t snapshot_id) {
  auto next_log = std::chrono::steady_clock::now() + kProgressInterval;
  while (true) {
    wire::ReadStateSnapshotRequest request;
    request.snapshot_id = snapshot_id;
    request.after_key = builder_->after_key();
    request.max_bytes = options_.read_bytes;
    wire::ReadStateSnapshotResponse response;
    RETURN_IF_ERROR(Call(pool, [&](auto& client) { client.ReadStateSnapshot(response, request); }));
    RETURN_IF_ERROR(FromWire(response.info.status));
    if (Crc32c(response.rows) != static_cast<uint32_t>(response.rows_crc32c)) {
      return Status(StatusCode::kUnavailable, "rows were damaged on their way");
    }
    if (!response.rows.empty()) {
      RETURN_IF_ERROR(builder_->Put(response.rows, response.last_key));
      rows_.store(builder_->row_count(), std::memory_order_relaxed);
    } else if (!response.at_end) {
      return Status(StatusCode::kUnavailable, "it sends nothing, and not the end either");
    }
    if (response.at_end) break;
    if (const auto now = std::chrono::steady_clock::now(); now >= next_log) {
      next_log = now + kProgressInterval;
      LOG_INFO("fetching the namespace rows={}", rows());
    }
  }
  RETURN_IF_ERROR(builder_->Finish());
  builder_.reset();
  return Status::Ok();
}

}  // namespace tercet
