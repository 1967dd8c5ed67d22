#include "metaserver/service/metaserver.h"

#include <algorithm>

#include "common/base/version.h"
#include "common/log/log.h"
#include "metaserver/journal/journal.h"
#include "metaserver/namespace/tables.h"

namespace tercet {
namespace {

constexpr char kJournalFolder[] = "/journal";
constexpr char kStateFolder[] = "/state";

std::string BytesFromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

/// An existing folder must be a metaserver's, or empty: a mistyped path must not be filled.
Status PrepareFolder(Disk& disk, const std::string& path) {
  RETURN_IF_ERROR(disk.MakeDirectories(path).WithContext("data_dir"));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, disk.List(path));
  const bool ours = std::any_of(names.begin(), names.end(),
                                [](const std::string& name) { return name == "journal"; });
  const bool empty = std::all_of(names.begin(), names.end(),
                                 [](const std::string& name) { return name == "lost+found"; });
  if (ours || empty) return Status::Ok();
  return Status(StatusCode::kFailedPrecondition,
                "data_dir " + path + " is not empty and has no metaserver's journal in it; name " +
                    "an empty folder or the one that this metaserver used before");
}

std::string AdvertisedAddress(const MetaserverConfig& config) {
  if (!config.advertise.empty()) return config.advertise;
  return HostPort{config.listen_host, config.listen_port}.ToString();
}

ServiceOptions OptionsFrom(const MetaserverConfig& config) {
  ServiceOptions options;
  options.placement.death_timeout_ms = config.death_timeout.count();
  options.placement.disk_reserve_bytes = config.disk_reserve_bytes;
  options.sessions.ttl = config.session_ttl;
  options.sessions.max_sessions = config.max_sessions;
  options.registry.heartbeat_interval = config.heartbeat_interval;
  options.registry.digest_interval = config.digest_interval;
  options.version = std::string(kVersion);
  return options;
}

}  // namespace

Status Metaserver::OpenState(const MetaserverConfig& config, Disk& disk, Random& random) {
  RETURN_IF_ERROR(PrepareFolder(disk, config.data_dir));
  JournalOptions journal_options;
  journal_options.folder = config.data_dir + kJournalFolder;
  journal_options.identity.cluster_id = BytesFromHex(config.cluster_id);
  journal_options.segment_bytes = config.journal_segment_bytes;
  journal_options.max_payload_bytes =
      std::min(journal_options.max_payload_bytes, config.journal_segment_bytes / 2);
  ASSIGN_OR_RETURN(auto journal, Journal::Open(disk, random, journal_options));

  DatabaseOptions database_options;
  database_options.path = config.data_dir + kStateFolder;
  database_options.block_cache_bytes = config.block_cache_bytes;
  database_options.write_buffer_bytes = config.write_buffer_bytes;
  database_options.max_open_files = config.max_open_files;
  ASSIGN_OR_RETURN(database_, Database::Open(database_options));

  SingleVoterOptions voter_options;
  WriteSet nothing;
  nothing.summary = "new epoch";
  voter_options.epoch_payload = nothing.Encode();
  voter_options.address = AdvertisedAddress(config);
  voter_options.max_queued_bytes = config.journal_queue_bytes;
  voter_options.checkpoint_bytes = config.journal_checkpoint_bytes;
  voter_options.min_free_bytes = config.min_free_bytes;
  voter_options.watched_folders = {config.data_dir};
  ASSIGN_OR_RETURN(
      voter_, SingleVoter::Start(std::move(voter_options), std::move(journal), *database_, disk));
  return Status::Ok();
}

Status Metaserver::FormatIfEmpty(const MetaserverConfig& config) {
  const Tables tables(database_->committed());
  ASSIGN_OR_RETURN(const auto format, tables.FindFormatVersion());
  const std::string& cluster_id = voter_->identity().cluster_id;
  if (!format) {
    RETURN_IF_ERROR(services_->Format(cluster_id, static_cast<uint32_t>(config.block_size_bytes),
                                      config.replicas, config.min_replicas));
    LOG_INFO("made a new file system cluster={}", HexId(cluster_id));
  }
  ASSIGN_OR_RETURN(const std::string state_cluster_id, tables.GetClusterId());
  if (state_cluster_id != cluster_id) {
    return Status(StatusCode::kWrongCluster,
                  "journal and state in " + config.data_dir + " belong to different clusters (" +
                      HexId(cluster_id) + " and " + HexId(state_cluster_id) +
                      "): restore the two from the same backup");
  }
  return Status::Ok();
}

Result<std::unique_ptr<Metaserver>> Metaserver::Start(const MetaserverConfig& config, Disk& disk,
                                                      const Clock& clock, Random& random) {
  std::unique_ptr<Metaserver> self(new Metaserver);
  const int64_t begin_ms = clock.MonotonicMillis();
  RETURN_IF_ERROR(self->OpenState(config, disk, random));
  const int64_t opened_ms = clock.MonotonicMillis();
  self->services_ = std::make_unique<ActiveServices>(OptionsFrom(config), *self->voter_,
                                                     *self->database_, clock, random);
  RETURN_IF_ERROR(self->FormatIfEmpty(config));
  RETURN_IF_ERROR(self->services_->Activate(self->voter_->state().epoch));
  ThriftServerOptions server_options;
  server_options.listen = HostPort{config.listen_host, config.listen_port};
  ASSIGN_OR_RETURN(
      self->server_,
      ThriftServer::Start(server_options, self->services_->Services(AdvertisedAddress(config))));
  self->services_->StartBackground();
  const int64_t serving_ms = clock.MonotonicMillis();
  const ConsensusState state = self->voter_->state();
  LOG_INFO(
      "serving address={} port={} cluster={} epoch={} journal_index={} replayed_records={} "
      "open_and_replay_ms={} activate_ms={}",
      AdvertisedAddress(config), self->port(), HexId(self->cluster_id()), state.epoch,
      state.applied_index, self->voter_->counters().replayed_records, opened_ms - begin_ms,
      serving_ms - opened_ms);
  return self;
}

Metaserver::~Metaserver() {
  server_.reset();
  services_.reset();
  if (voter_ != nullptr) voter_->StepDown("this metaserver is stopping");
  voter_.reset();
  database_.reset();
}

Status Metaserver::Poll() {
  const SingleVoterCounters counters = voter_->counters();
  journal_metrics_.Update({
      .records = counters.records,
      .payload_bytes = counters.payload_bytes,
      .syncs = counters.syncs,
      .sync_nanos = counters.sync_nanos,
      .applies = counters.applies,
      .apply_nanos = counters.apply_nanos,
      .checkpoints = counters.checkpoints,
      .no_space_refusals = counters.no_space_refusals,
      .max_batch_records = counters.max_batch_records,
  });
  RETURN_IF_ERROR(voter_->failure());
  if (!services_->proposer().active()) {
    return Status(StatusCode::kInternal, "the proposer stopped although the journal is active");
  }
  return Status::Ok();
}

}  // namespace tercet
