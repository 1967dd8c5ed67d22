#include "metaserver/service/active_services.h"

#include <algorithm>

#include "common/log/log.h"
#include "metaserver/namespace/tables.h"
#include "metaserver/ops/internal_operations.h"
#include "metaserver/service/handlers.h"

namespace tercet {
namespace {

constexpr std::chrono::milliseconds kTickInterval{500};
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
      census_(database, clock) {}

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
  proposer_.Activate(consensus_.state().epoch);
  FormatOptions format;
  format.cluster_id = cluster_id;
  format.block_size_bytes = block_size_bytes;
  format.replicas = replicas;
  format.min_replicas = min_replicas;
  return proposer_.Propose(
      "format", [&](OperationContext& context) { return EvaluateFormat(context, format); });
}

Status ActiveServices::Activate(Epoch epoch) {
  RETURN_IF_ERROR(CheckFormat(database_.committed()));
  RETURN_IF_ERROR(registry_.Load());
  RETURN_IF_ERROR(sessions_.Load());
  proposer_.Activate(epoch);
  return Status::Ok();
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

ThriftServer::Services ActiveServices::Services(const std::string& address) {
  const HandlerParts parts{proposer_, sessions_, registry_, servers_,
                           census_,   clock_,    address,   options_.version};
  return {
      {"metadata", std::make_shared<wire::MetadataServiceProcessor>(MakeMetadataHandler(parts))},
      {"registry", std::make_shared<wire::RegistryServiceProcessor>(MakeRegistryHandler(parts))},
      {"admin", std::make_shared<wire::AdminServiceProcessor>(MakeAdminHandler(parts))},
  };
}

void ActiveServices::Tick() {
  if (proposer_.active()) sessions_.ExpireSilent();
  registry_.LogLiveness();
  UpdateGauges();
}

void ActiveServices::UpdateGauges() {
  const ConsensusState state = consensus_.state();
  gauges_.active.Set(state.active && proposer_.active() ? 1 : 0);
  gauges_.epoch.Set(static_cast<double>(state.epoch.value()));
  gauges_.applied_index.Set(static_cast<double>(database_.applied_index().value()));
  gauges_.sessions.Set(static_cast<double>(sessions_.count()));
  gauges_.servers_known.Set(static_cast<double>(servers_.All().size()));
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
}

}  // namespace tercet
