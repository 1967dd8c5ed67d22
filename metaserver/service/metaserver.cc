#include "metaserver/service/metaserver.h"

#include <algorithm>

#include "common/base/hex.h"
#include "common/base/version.h"
#include "common/log/log.h"
#include "metaserver/namespace/tables.h"
#include "tercet_thrift/GroupService.h"

namespace tercet {
namespace {

constexpr std::chrono::seconds kAloneTimeout{30};
constexpr int64_t kNanosPerMilli = 1'000'000;

ServiceOptions ServiceOptionsFrom(const MetaserverConfig& config) {
  ServiceOptions options;
  options.placement.death_timeout_ms = config.death_timeout.count();
  options.placement.disk_reserve_bytes = config.disk_reserve_bytes;
  options.sessions.ttl = config.session_ttl;
  options.sessions.max_sessions = config.max_sessions;
  options.registry.heartbeat_interval = config.heartbeat_interval;
  options.registry.digest_interval = config.digest_interval;
  return options;
}

GroupMemberOptions MemberOptionsFrom(const MetaserverConfig& config, const DataFolder& folder) {
  GroupMemberOptions options;
  options.raft.heartbeat_interval_ns = config.group_heartbeat_interval.count() * kNanosPerMilli;
  options.raft.election_timeout_ns = config.group_election_timeout.count() * kNanosPerMilli;
  options.raft.lease_ns = options.raft.election_timeout_ns / 4 * 3;
  options.member_state_path = folder.member_state();
  options.version = std::string(kVersion);
  options.bind_host = config.group_bind;
  WriteSet nothing;
  nothing.summary = "new epoch";
  options.epoch_payload = nothing.Encode();
  options.max_queued_bytes = config.journal_queue_bytes;
  options.checkpoint_bytes = config.journal_checkpoint_bytes;
  options.retain_bytes = config.group_retain_bytes;
  options.min_free_bytes = config.min_free_bytes;
  options.watched_folders = {config.data_dir};
  return options;
}

template <typename Processor, typename Handler>
std::shared_ptr<apache::thrift::TProcessor> Process(std::shared_ptr<Handler> handler) {
  return std::make_shared<Processor>(std::move(handler));
}

}  // namespace

std::string_view MetaserverModeName(MetaserverMode mode) {
  switch (mode) {
    case MetaserverMode::kJoining:
      return "joining";
    case MetaserverMode::kWitness:
      return "witness";
    case MetaserverMode::kFetching:
      return "fetching";
    case MetaserverMode::kServing:
      break;
  }
  return "serving";
}

Metaserver::Metaserver(const MetaserverConfig& config, Disk& disk, const Clock& clock,
                       Random& random)
    : config_(config),
      folder_(config.data_dir),
      disk_(disk),
      clock_(clock),
      random_(random),
      started_ms_(clock.MonotonicMillis()) {}

Metaserver::~Metaserver() { Leave(); }

Result<std::unique_ptr<Metaserver>> Metaserver::Start(const MetaserverConfig& config, Disk& disk,
                                                      const Clock& clock, Random& random) {
  std::unique_ptr<Metaserver> self(new Metaserver(config, disk, clock, random));
  ASSIGN_OR_RETURN(self->port_, ReservePort(HostPort{config.listen_host, config.listen_port}));
  RETURN_IF_ERROR(self->Enter());
  return self;
}

std::string Metaserver::Address() const {
  if (!config_.advertise.empty()) return config_.advertise;
  return HostPort{config_.listen_host, port_.port}.ToString();
}

Status Metaserver::Enter() {
  const int64_t begin_ms = clock_.MonotonicMillis();
  RETURN_IF_ERROR(PrepareDataFolder(disk_, folder_));
  ASSIGN_OR_RETURN(const bool is_member, disk_.Exists(folder_.member_state()));
  if (!is_member && config_.group_join) {
    RETURN_IF_ERROR(EnterJoining());
  } else {
    ASSIGN_OR_RETURN(auto journal, OpenJournal(config_, disk_, random_));
    ASSIGN_OR_RETURN(MemberState state, LoadOrFormGroup(*journal));
    RETURN_IF_ERROR(EnterMember(std::move(journal), std::move(state)));
  }
  RETURN_IF_ERROR(Serve());
  const ConsensusState state = member_ != nullptr ? member_->state() : ConsensusState();
  LOG_INFO(
      "serving address={} port={} mode={} cluster={} epoch={} journal_index={} "
      "replayed_records={} took_ms={}",
      Address(), port(), MetaserverModeName(mode_), HexOf(cluster_id_), state.epoch,
      state.applied_index, member_ != nullptr ? member_->counters().replayed_records : 0,
      clock_.MonotonicMillis() - begin_ms);
  return Status::Ok();
}

Status Metaserver::EnterJoining() {
  mode_ = MetaserverMode::kJoining;
  // A folder that holds a namespace or records is no empty one.
  ASSIGN_OR_RETURN(const bool has_state, disk_.Exists(folder_.state()));
  if (has_state) {
    return Status(StatusCode::kFailedPrecondition, "group.join needs an empty data_dir, but " +
                                                       folder_.path() +
                                                       " holds a namespace and no member state");
  }
  JoinWaiterOptions options;
  options.journal_folder = folder_.journal();
  options.identity_path = folder_.journal() + "/identity";
  options.member_state_path = folder_.member_state();
  ASSIGN_OR_RETURN(options.cluster_id, BytesFromHex(config_.cluster_id));
  waiter_ = std::make_shared<JoinWaiter>(std::move(options), disk_, random_);
  LOG_INFO("waiting to be added to a metadata group: tercet meta add {}", Address());
  return Status::Ok();
}

Result<MemberState> Metaserver::LoadOrFormGroup(const Journal& journal) {
  auto loaded = LoadMemberState(disk_, folder_.member_state());
  if (loaded.code() != StatusCode::kNotFound) return loaded;
  return FormGroup(folder_, Address(), journal, disk_, random_);
}

Status Metaserver::OpenDatabase(const Journal& journal, bool fetch_begun) {
  mode_ = MetaserverMode::kFetching;
  if (fetch_begun) return Status::Ok();
  ASSIGN_OR_RETURN(database_, Database::Open(StateOptions(config_, disk_, folder_.state())));
  if (!JournalReaches(journal, *database_)) {
    LOG_WARN(
        "the namespace is too old for the journal and is fetched from the group "
        "applied_index={} journal_first={}",
        database_->applied_index(), journal.range().first);
    database_.reset();
    return BeginFetch(config_, folder_, disk_);
  }
  mode_ = MetaserverMode::kServing;
  return CheckStateCluster();
}

Status Metaserver::CheckStateCluster() {
  const Tables tables(database_->committed());
  ASSIGN_OR_RETURN(const auto format, tables.FindFormatVersion());
  if (!format) return Status::Ok();
  ASSIGN_OR_RETURN(const std::string state_cluster_id, tables.GetClusterId());
  if (state_cluster_id == cluster_id_) return Status::Ok();
  return Status(StatusCode::kWrongCluster,
                "journal and state in " + folder_.path() + " belong to different clusters (" +
                    HexOf(cluster_id_) + " and " + HexOf(state_cluster_id) +
                    "): restore the two from the same backup");
}

Status Metaserver::EnterMember(std::unique_ptr<Journal> journal, MemberState state) {
  cluster_id_ = journal->identity().cluster_id;
  kind_ = state.kind;
  consensus_ = std::make_unique<LateConsensus>();
  if (kind_ == MemberKind::kWitness) {
    mode_ = MetaserverMode::kWitness;
  } else {
    ASSIGN_OR_RETURN(const bool installed,
                     InstallFetchedState(config_, folder_, disk_, *journal, &state));
    ASSIGN_OR_RETURN(const bool fetch_begun, FetchIsBegun(folder_, disk_));
    RETURN_IF_ERROR(OpenDatabase(*journal, fetch_begun && !installed));
  }
  if (mode_ == MetaserverMode::kServing) {
    services_ = std::make_unique<ActiveServices>(ServiceOptionsFrom(config_), *consensus_,
                                                 *database_, clock_, random_);
  }
  const MemberState started = state;
  RETURN_IF_ERROR(StartMember(std::move(journal), std::move(state)));
  if (mode_ == MetaserverMode::kFetching) StartFetcher(started);
  if (mode_ != MetaserverMode::kServing) return Status::Ok();
  RETURN_IF_ERROR(BringUpAlone());
  snapshots_ = std::make_unique<StateSnapshots>(
      *database_, clock_, random_, started.group_id,
      [member = member_.get()](JournalIndex index) { return member->MembershipAt(index); });
  services_->StartBackground();
  return Status::Ok();
}

Status Metaserver::StartMember(std::unique_ptr<Journal> journal, MemberState state) {
  GroupMemberOptions options = MemberOptionsFrom(config_, folder_);
  options.address = Address();
  ASSIGN_OR_RETURN(member_,
                   GroupMember::Start(std::move(options), std::move(journal), std::move(state),
                                      database_.get(), services_.get(), disk_, clock_, random_));
  consensus_->Bind(*member_);
  return Status::Ok();
}

FetchSources Metaserver::KnownSources() const {
  const GroupStatus status = member_->status();
  FetchSources sources;
  sources.journal_first = status.first_index;
  std::string leader;
  for (const Member& known : status.membership.members) {
    if (known.id == status.self || known.kind != MemberKind::kMetaserver) continue;
    if (known.id == status.leader) {
      leader = known.address;
    } else {
      sources.addresses.push_back(known.address);
    }
  }
  // The standbys first: the active has enough to do.
  if (!leader.empty()) sources.addresses.push_back(leader);
  return sources;
}

void Metaserver::StartFetcher(const MemberState& state) {
  StateFetcherOptions options;
  options.database = StateOptions(config_, disk_, folder_.next_state());
  options.cluster_id = cluster_id_;
  options.group_id = state.group_id;
  fetcher_ =
      std::make_unique<StateFetcher>(std::move(options), disk_, [this] { return KnownSources(); });
}

Status Metaserver::BringUpAlone() {
  const GroupStatus status = member_->status();
  const bool alone =
      status.membership.members.size() == 1 && status.membership.IsVoter(status.self);
  if (!alone) return Status::Ok();
  member_->AwaitActive(kAloneTimeout);
  RETURN_IF_ERROR(member_->failure());
  ASSIGN_OR_RETURN(const auto format, Tables(database_->committed()).FindFormatVersion());
  if (!format) {
    RETURN_IF_ERROR(services_->Format(cluster_id_, static_cast<uint32_t>(config_.block_size_bytes),
                                      config_.replicas, config_.min_replicas));
    LOG_INFO("made a new file system cluster={}", HexOf(cluster_id_));
  }
  return CheckStateCluster();
}

AdminParts Metaserver::MakeAdminParts() {
  AdminParts parts(clock_);
  parts.state = parts_.get();
  parts.member = member_.get();
  parts.snapshots = snapshots_.get();
  parts.fetcher = fetcher_.get();
  parts.address = Address();
  parts.cluster_id = cluster_id_;
  parts.version = std::string(kVersion);
  parts.election_timeout = config_.group_election_timeout;
  parts.started_ms = started_ms_;
  return parts;
}

Status Metaserver::Serve() {
  std::shared_ptr<wire::MetadataServiceIf> metadata;
  std::shared_ptr<wire::RegistryServiceIf> registry;
  if (mode_ == MetaserverMode::kServing) {
    parts_ = std::make_unique<HandlerParts>(services_->Parts());
    metadata = MakeMetadataHandler(*parts_);
    registry = MakeRegistryHandler(*parts_);
  } else {
    metadata = MakeStatelessMetadataHandler(member_.get());
    registry = MakeStatelessRegistryHandler(member_.get());
  }
  std::shared_ptr<wire::GroupServiceIf> group;
  if (member_ != nullptr) {
    group = member_->Handler();
  } else {
    group = waiter_;
  }
  ThriftServer::Services services;
  services["metadata"] = Process<wire::MetadataServiceProcessor>(metadata);
  services["registry"] = Process<wire::RegistryServiceProcessor>(registry);
  services["admin"] = Process<wire::AdminServiceProcessor>(MakeAdminHandler(MakeAdminParts()));
  services["group"] = Process<wire::GroupServiceProcessor>(group);
  ThriftServerOptions options;
  options.reserved = &port_;
  ASSIGN_OR_RETURN(server_, ThriftServer::Start(options, std::move(services)));
  return Status::Ok();
}

void Metaserver::Leave() {
  // While the port is served: handing over needs the other members' messages. Then nobody waits for
  // a record any more, and the connections' threads end.
  if (member_ != nullptr) member_->Stop();
  server_.reset();
  waiter_.reset();
  parts_.reset();
  snapshots_.reset();
  fetcher_.reset();
  services_.reset();
  member_.reset();
  database_.reset();
  consensus_.reset();
}

Result<bool> Metaserver::PrepareChange() {
  if (waiter_ != nullptr) return waiter_->Await(std::chrono::milliseconds(0)).has_value();
  if (member_->kind() != kind_) {
    const MemberKind kind = member_->kind();
    LOG_INFO("this member's kind changes: {} from now on", MemberKindName(kind));
    Leave();
    ASSIGN_OR_RETURN(MemberState state, LoadMemberState(disk_, folder_.member_state()));
    state.kind = kind;
    RETURN_IF_ERROR(SaveMemberState(disk_, folder_.member_state(), state));
    return true;
  }
  if (fetcher_ != nullptr && fetcher_->done()) return true;
  if (mode_ == MetaserverMode::kServing && member_->pending_offer()) {
    LOG_WARN("this metaserver is too far behind the others: it fetches the namespace");
    Leave();
    RETURN_IF_ERROR(BeginFetch(config_, folder_, disk_));
    return true;
  }
  return false;
}

Status Metaserver::Poll() {
  if (member_ != nullptr) {
    const GroupMemberCounters counters = member_->counters();
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
    group_metrics_.Update(member_->status(), counters);
    RETURN_IF_ERROR(member_->failure());
  }
  if (snapshots_ != nullptr) snapshots_->Expire();
  ASSIGN_OR_RETURN(const bool change, PrepareChange());
  if (!change) return Status::Ok();
  const int64_t begin_ms = clock_.MonotonicMillis();
  Leave();
  journal_metrics_ = JournalMetrics();
  group_metrics_ = GroupMetrics();
  RETURN_IF_ERROR(Enter());
  LOG_INFO("changed to mode={} took_ms={}", MetaserverModeName(mode_),
           clock_.MonotonicMillis() - begin_ms);
  return Status::Ok();
}

}  // namespace tercet
