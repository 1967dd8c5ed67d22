#include "metaserver/service/metaserver_config.h"

#include "common/rpc/host_port.h"

namespace tercet {
namespace {

constexpr int64_t kSecond = 1000;
constexpr int64_t kHour = 3600 * kSecond;
constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kGiB = 1 << 30;
constexpr size_t kClusterIdDigits = 32;

bool IsPowerOfTwo(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

bool IsWildcard(const std::string& host) { return host == "0.0.0.0" || host == "::"; }

Status Wrong(const std::string& message) { return Status(StatusCode::kInvalidArgument, message); }

Status Check(const MetaserverConfig& config) {
  if (!config.advertise.empty()) {
    auto address = ParseHostPort(config.advertise);
    if (!address.ok()) return address.status().WithContext("listen.advertise");
  }
  if (!config.cluster_id.empty() &&
      (config.cluster_id.size() != kClusterIdDigits ||
       config.cluster_id.find_first_not_of("0123456789abcdef") != std::string::npos)) {
    return Wrong("cluster.id must be 32 hexadecimal digits in lower case");
  }
  if (!IsPowerOfTwo(config.block_size_bytes)) {
    return Wrong("cluster.block_size must be a power of two");
  }
  if (config.min_replicas > config.replicas) {
    return Wrong("cluster.min_replicas must not be above cluster.replicas");
  }
  if (config.death_timeout < 2 * config.heartbeat_interval) {
    return Wrong("servers.death_timeout must be at least twice servers.heartbeat_interval");
  }
  if (config.group_join && config.advertise.empty() && IsWildcard(config.listen_host)) {
    return Wrong(
        "a member of a metadata group needs an address that others can reach: set "
        "listen.advertise");
  }
  if (config.group_election_timeout < 4 * config.group_heartbeat_interval) {
    return Wrong("group.election_timeout must be at least four times group.heartbeat_interval");
  }
  return Status::Ok();
}

}  // namespace

void MetaserverConfig::Describe(ConfigSchema* schema) {
  schema->AddString("data_dir", &data_dir, {.min = 1, .max = 4000},
                    "folder of the journal and the namespace; made when it is not there",
                    {.required = true});
  schema->AddString("listen.host", &listen_host, {.min = 1, .max = 255},
                    "address to listen on for clients and chunk servers");
  schema->AddInt("listen.port", &listen_port, {.min = 0, .max = 65535},
                 "port to listen on; 0 takes a free one");
  schema->AddString("listen.advertise", &advertise, {.max = 300},
                    "HOST:PORT that others reach this metaserver under; empty: the above");
  schema->AddString("metrics.host", &metrics_host, {.min = 1, .max = 255},
                    "address of the Prometheus endpoint");
  schema->AddInt("metrics.port", &metrics_port, {.min = 0, .max = 65535},
                 "port of the Prometheus endpoint; 0 switches it off");
  schema->AddString("log.file", &log_file, {.max = 4000}, "log file; empty: standard error");
  schema->AddChoice("log.level", &log_level, {"debug", "info", "warn", "error"},
                    "least level that is logged");

  schema->AddString(
      "cluster.id", &cluster_id, {.max = kClusterIdDigits},
      "identity that the data folder must have (32 hexadecimal digits) or, when it is "
      "new, gets; empty: any, or a random one");
  schema->AddSize("cluster.block_size", &block_size_bytes, {.min = 4096, .max = 64 * kMiB},
                  "block size of a new file system; a power of two");
  schema->AddInt("cluster.replicas", &replicas, {.min = 1, .max = 16},
                 "replicas of each block of a new file system");
  schema->AddInt("cluster.min_replicas", &min_replicas, {.min = 1, .max = 16},
                 "least replicas with which a new file system takes writes");

  schema->AddDuration("session.ttl", &session_ttl, {.min = kSecond, .max = 24 * kHour},
                      "a mount that was silent for so long is ended");
  schema->AddInt("session.max", &max_sessions, {.min = 1, .max = 1'000'000},
                 "mounts at the same time");

  schema->AddDuration("servers.heartbeat_interval", &heartbeat_interval,
                      {.min = 10, .max = 60 * kSecond}, "how often chunk servers report");
  schema->AddDuration("servers.death_timeout", &death_timeout, {.min = 50, .max = kHour},
                      "a chunk server that was silent for so long gets no new blocks");
  schema->AddSize("servers.disk_reserve", &disk_reserve_bytes, {.min = 0, .max = 1024 * kGiB},
                  "space of each disk that new blocks do not take, but at most a twentieth of it");
  schema->AddDuration("servers.digest_interval", &digest_interval,
                      {.min = kSecond, .max = 720 * kHour},
                      "how often a chunk server's replicas are compared with the journal");

  schema->AddSize("journal.segment_size", &journal_segment_bytes, {.min = 64 << 10, .max = kGiB},
                  "size of each journal file");
  schema->AddSize("journal.checkpoint_size", &journal_checkpoint_bytes,
                  {.min = 64 << 10, .max = kGiB},
                  "journal bytes between two checkpoints; more makes restarts slower");
  schema->AddSize("journal.queue_size", &journal_queue_bytes, {.min = kMiB, .max = kGiB},
                  "bytes of records that wait for the disk; above, mutations wait");
  schema->AddSize("journal.min_free", &min_free_bytes, {.min = 0, .max = 1024 * kGiB},
                  "with less free space under data_dir mutations are refused");

  schema->AddBool("group.join", &group_join,
                  "with an empty data_dir: wait to be added to a metadata group (tercet meta add) "
                  "instead of making a new cluster; without effect later");
  schema->AddDuration("group.heartbeat_interval", &group_heartbeat_interval,
                      {.min = 5, .max = 5 * kSecond},
                      "how often the active tells the other members that it is there");
  schema->AddDuration(
      "group.election_timeout", &group_election_timeout, {.min = 50, .max = 60 * kSecond},
      "another metaserver takes over when the active was silent for so long (and up "
      "to a quarter more); the same at all members");
  schema->AddSize("group.retain_bytes", &group_retain_bytes, {.min = kMiB, .max = 1024 * kGiB},
                  "journal kept for members that are behind; one further behind fetches the "
                  "namespace anew");
  schema->AddString("group.bind", &group_bind, {.max = 255},
                    "source address of connections to other members; empty: any");

  schema->AddSize("database.block_cache", &block_cache_bytes, {.min = kMiB, .max = 1024 * kGiB},
                  "memory for rows that are read often");
  schema->AddSize("database.write_buffer", &write_buffer_bytes, {.min = kMiB, .max = kGiB},
                  "memory for new rows; up to twice as much is used");
  schema->AddInt("database.max_open_files", &max_open_files, {.min = 64, .max = 100'000},
                 "table files that are kept open");
  schema->AddCheck([this] { return Check(*this); });
}

}  // namespace tercet
