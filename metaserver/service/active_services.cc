#include "metaserver/service/active_services.h"

#include <algorithm>

#include "common/log/log.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/internal_operations.h"

namespace tercet {
namespace {

constexpr std::chrono::milliseconds kTickInterval{500};
/// A tick that comes so much later than the one before: the whole process stood still.
constexpr std::chrono::milliseconds kPauseOfProcess{5000};
/// Between two looks of a standby at the journaled servers.
constexpr std::chrono::milliseconds kRefreshInterval{2000};
constexpr std::chrono::milliseconds kIdleReclaimInterval{200};
constexpr std::chrono::milliseconds kFailedReclaimPause{1000};
/// The reclaimer rests this many times as long as a step took: foreground work comes first.
constexpr int kReclaimPauseFactor = 3;

}  // namespace

ActiveServices::ActiveServices(ServiceOptions options, Consensus& consensus, Database& database,
                               const Clock& clock, Random& random)
    : options_(std::move(options)),
      consensus_(consensus),
      database_(database),
      clock_(clock),
      servers_(options_.placement, clock, random),
      proposer_(consensus, database, servers_, clock, options_.slot_count),
      sessions_(options_.sessions, proposer_, clock),
      registry_(options_.registry, proposer_, database, servers_, clock),
      reclaimer_(options_.reclaimer, proposer_, sessions_, clock),
      census_(database, clock),
      journal_(proposer_),
      commander_(ChunkCommanderOptions()),
      reconfigurer_(options_.reconfigurer, journal_, servers_, commander_),
      repair_(options_.repair, journal_, servers_, reconfigurer_, clock),
      recovery_(options_.recovery, journal_, servers_, reconfigurer_,
                [this](BlockId block) { repair_.NoticeBlocks({block}); }),
      housekeeper_(proposer_, servers_, repair_, clock) {
  registry_.SetHooks(
      {[this] { return repair_.Limits(); },
       [this](const std::vector<BlockId>& blocks) { repair_.NoticeBlocks(blocks); }});
  reconfigurer_.SetOnDropped([this](BlockId block, Generation generation, ServerId server) {
    registry_.Announce(server, block, generation, true);
  });
}

HandlerParts ActiveServices::Parts() {
  HandlerParts parts{proposer_, sessions_, registry_, servers_, census_, clock_};
  parts.repair = &repair_;
  parts.inventory = &registry_;
  parts.recovery = &recovery_;
  return parts;
}

ActiveServices::~ActiveServices() {
  stopping_.store(true);
  {
    std::lock_guard lock(pause_mutex_);
    pause_changed_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
}

Status ActiveServices::Format(std::string_view cluster_id, uint32_t block_size_bytes,
                              uint8_t replicas, uint8_t min_replicas) {
  FormatOptions format;
  format.cluster_id = cluster_id;
  format.block_size_bytes = block_size_bytes;
  format.replicas = replicas;
  format.min_replicas = min_replicas;
  RETURN_IF_ERROR(proposer_.Propose(proposer_.epoch(), "format", [&](OperationContext& context) {
    return EvaluateFormat(context, format);
  }));
  commander_.SetClusterId(std::string(cluster_id));
  return Status::Ok();
}

Status ActiveServices::BecomeActive(Epoch epoch) {
  const int64_t start_ms = clock_.MonotonicMillis();
  ASSIGN_OR_RETURN(const auto format, Tables(database_.committed()).FindFormatVersion());
  if (format) {
    RETURN_IF_ERROR(CheckFormat(database_.committed()));
    ASSIGN_OR_RETURN(std::string cluster_id, Tables(database_.committed()).GetClusterId());
    commander_.SetClusterId(std::move(cluster_id));
  }
  RETURN_IF_ERROR(registry_.BecomeActive());
  RETURN_IF_ERROR(sessions_.BecomeActive(epoch));
  RETURN_IF_ERROR(proposer_.Activate(epoch));
  repair_.BecomeActive(epoch);
  LOG_INFO("active epoch={} journal_index={} sessions={} servers={} alive={} took_ms={}", epoch,
           database_.applied_index(), sessions_.count(), servers_.All().size(),
           servers_.Alive().size(), clock_.MonotonicMillis() - start_ms);
  ServiceCounters::Get().activations.Increment();
  return Status::Ok();
}

void ActiveServices::BecomeStandby() {
  const Epoch epoch = proposer_.epoch();
  proposer_.Deactivate();
  repair_.BecomeStandby();
  sessions_.BecomeStandby();
  registry_.BecomeStandby();
  if (epoch.value() != 0) LOG_WARN("this metaserver is not active any more epoch={}", epoch);
}

void ActiveServices::StartBackground() {
  threads_.emplace_back([this] {
    do {
      Tick();
    } while (Pause(kTickInterval));
  });
  threads_.emplace_back([this] {
    do {
      const Status status =
          census_.Refresh(options_.census_pause.count(), [this] { return stopping(); });
      if (!status.ok() && !stopping()) {
        LOG_WARN_LIMITED("the blocks could not be counted: {}", status);
      }
    } while (Pause(kTickInterval));
  });
  threads_.emplace_back([this] { ReclaimLoop(); });
  threads_.emplace_back([this] { HousekeepingLoop(); });
  repair_.StartThreads();
}

void ActiveServices::HousekeepingLoop() {
  std::chrono::nanoseconds pause;
  do {
    const auto start = std::chrono::steady_clock::now();
    const Result<bool> more = housekeeper_.Step();
    if (!more.ok() && more.code() != StatusCode::kNotActive) {
      LOG_WARN_LIMITED("background work failed, will retry: {}", more.status());
    }
    pause = kFailedReclaimPause;
    if (more.ok() && *more) {
      pause = kReclaimPauseFactor * (std::chrono::steady_clock::now() - start);
    }
  } while (Pause(pause));
}

void ActiveServices::ReclaimLoop() {
  std::chrono::nanoseconds pause;
  do {
    const auto start = std::chrono::steady_clock::now();
    const Result<bool> more = reclaimer_.Step();
    if (!more.ok()) {
      if (more.code() != StatusCode::kNotActive) {
        LOG_WARN_LIMITED("space could not be reclaimed, will retry: {}", more.status());
      }
      pause = kFailedReclaimPause;
    } else if (*more) {
      pause = kReclaimPauseFactor * (std::chrono::steady_clock::now() - start);
    } else {
      pause = kIdleReclaimInterval;
    }
  } while (Pause(pause));
}

bool ActiveServices::Pause(std::chrono::nanoseconds duration) {
  std::unique_lock lock(pause_mutex_);
  pause_changed_.wait_for(lock, duration, [this] { return stopping(); });
  return !stopping();
}

void ActiveServices::TickSessions() {
  const int64_t now_ms = clock_.MonotonicMillis();
  const bool was_paused = last_tick_ms_ >= 0 && now_ms - last_tick_ms_ > kPauseOfProcess.count();
  last_tick_ms_ = now_ms;
  const Epoch epoch = proposer_.epoch();
  if (epoch.value() == 0) return;
  // While this metaserver could not serve, nobody could renew.
  if (was_paused || !proposer_.Serves(epoch)) {
    sessions_.RenewAll();
  } else {
    sessions_.ExpireSilent();
  }
}

void ActiveServices::Tick() {
  TickSessions();
  if (proposer_.active()) {
    registry_.LogLiveness();
  } else if (const JournalIndex applied = database_.applied_index();
             applied != refreshed_index_ &&
             (refreshed_ms_ < 0 || last_tick_ms_ - refreshed_ms_ >= kRefreshInterval.count())) {
    refreshed_index_ = applied;
    refreshed_ms_ = last_tick_ms_;
    const Status status = registry_.RefreshKnown();
    if (!status.ok()) LOG_WARN_LIMITED("the chunk servers could not be listed: {}", status);
  }
  UpdateGauges();
}

void ActiveServices::UpdateGauges() {
  const ConsensusState state = consensus_.state();
  gauges_.active.Set(proposer_.Serves(proposer_.epoch()) ? 1 : 0);
  gauges_.epoch.Set(static_cast<double>(state.epoch.value()));
  gauges_.applied_index.Set(static_cast<double>(database_.applied_index().value()));
  gauges_.sessions.Set(static_cast<double>(sessions_.count()));
  const std::vector<ServerState> servers = servers_.All();
  gauges_.servers_known.Set(static_cast<double>(std::ranges::count_if(
      servers, [](const ServerState& s) { return s.service != ServiceState::kRemoved; })));
  gauges_.servers_alive.Set(static_cast<double>(servers_.Alive().size()));
  gauges_.missing_replicas.Set(static_cast<double>(registry_.reports().TotalMissing()));

  const Tables tables(database_.committed());
  const auto set_counter = [&](prometheus::Gauge& gauge, Counter counter) {
    auto value = tables.GetCounter(counter);
    if (value.ok()) gauge.Set(static_cast<double>(*value));
  };
  set_counter(gauges_.inodes, Counter::kInodeCount);
  set_counter(gauges_.blocks, Counter::kBlockCount);
  set_counter(gauges_.orphans, Counter::kOrphanCount);
  set_counter(gauges_.trash_files, Counter::kTrashCount);

  const std::shared_ptr<const CensusFigures> figures = census_.Last();
  int64_t tasks = 0;
  for (const auto& [server, count] : figures->delete_tasks) tasks += count;
  gauges_.delete_tasks.Set(static_cast<double>(tasks));
  const std::vector<ServerId> alive = servers_.Alive();  // ascending
  int64_t under_replicated = 0;
  for (const auto& [servers, blocks] : figures->blocks_by_servers) {
    if (!std::includes(alive.begin(), alive.end(), servers.begin(), servers.end())) {
      under_replicated += blocks;
    }
  }
  gauges_.under_replicated_blocks.Set(static_cast<double>(under_replicated));
  UpdateBlockGauges();
}

void ActiveServices::UpdateBlockGauges() {
  const auto by_live = census_.Last()->BlocksByLiveReplicas(
      [this](ServerId server) { return servers_.IsAlive(server); });
  for (int replicas = 0; replicas <= static_cast<int>(kMaxChainLength); ++replicas) {
    const auto found = by_live.find(replicas);
    // Numbers that never occurred are not shown.
    if (found == by_live.end() && !shown_replicas_.contains(replicas)) continue;
    shown_replicas_.insert(replicas);
    BlocksGauge(replicas).Set(found == by_live.end() ? 0 : static_cast<double>(found->second));
  }
  int64_t oldest_scrub_ns = 0;
  const int64_t now_ns = clock_.WallNanos();
  for (const ServerState& server : servers_.All()) {
    if (!servers_.IsAlive(server)) continue;
    for (const DiskState& disk : server.disks) {
      if (disk.scrubbed_since_ns > 0) {
        oldest_scrub_ns = std::max(oldest_scrub_ns, now_ns - disk.scrubbed_since_ns);
      }
    }
  }
  gauges_.scrub_age_seconds.Set(static_cast<double>(oldest_scrub_ns) / 1e9);
}

}  // namespace tercet
