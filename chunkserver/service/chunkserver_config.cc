#include "chunkserver/service/chunkserver_config.h"

#include <unistd.h>

#include <algorithm>
#include <set>
#include <string_view>

namespace tercet {
namespace {

constexpr int64_t kSecond = 1000;
constexpr int64_t kDay = 24 * 3600 * kSecond;

Status CheckLabels(const std::map<std::string, std::string>& labels) {
  constexpr size_t kMaxBytes = 64;
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  for (const auto& [name, value] : labels) {
    for (const std::string& text : {name, value}) {
      if (text.empty() || text.size() > kMaxBytes ||
          text.find_first_not_of(kAllowed) != std::string::npos) {
        return Status(StatusCode::kInvalidArgument,
                      "labels: '" + name + "' = '" + value +
                          "': names and values are 1 to 64 letters, digits, '-', '_' and '.'");
      }
    }
  }
  return Status::Ok();
}

bool IsAnyAddress(const std::string& host) {
  return host.empty() || host == "0.0.0.0" || host == "::" || host == "*";
}

}  // namespace

void ChunkserverConfig::Describe(ConfigSchema& schema) {
  schema.AddString("listen.host", &listen_host, {.min = 1, .max = 255},
                   "address to serve clients and other chunk servers on");
  schema.AddInt("listen.port", &listen_port, {.min = 0, .max = 65535},
                "port to serve on; 0 takes any free one");
  schema.AddString("advertise.host", &advertise_host, {.min = 0, .max = 255},
                   "host that others reach this server at; empty: listen.host, or the machine's "
                   "name when that is a wildcard");
  schema.AddInt("advertise.port", &advertise_port, {.min = 0, .max = 65535},
                "port that others reach this server at; 0: the one it listens on");
  schema.AddStringList("meta", &meta, {.min = 1, .max = 16},
                       "addresses of the metadata group, \"HOST:PORT\"", {.required = true});
  schema.AddStringList("disks", &disks, {.min = 1, .max = 64},
                       "folders to keep replicas in, one for each disk", {.required = true});
  schema.AddStringMap(
      "labels", &labels, {.min = 0, .max = 16},
      "where and what this server is, for placement: rack, zone, medium, … Names and "
      "values are 1 to 64 letters, digits, '-', '_' and '.'");
  schema.AddSize("store.reserve", &store_reserve_bytes, {.min = 0},
                 "space that new replicas leave free on each disk");
  schema.AddInt("store.reserve_max_percent", &store_reserve_max_percent, {.min = 0, .max = 90},
                "the reserve is no more than this part of a disk", {.unit = "percent"});
  schema.AddInt("store.max_open_replicas", &store_max_open_replicas, {.min = 16, .max = 100'000},
                "replicas kept open, each with a descriptor and up to 64 KiB of memory");
  schema.AddDuration("store.trash_grace", &trash_grace, {.min = 0, .max = 365 * kDay},
                     "how long deleted replicas are kept while there is space");
  schema.AddDuration("store.trash_interval", &trash_interval, {.min = 100, .max = 3600 * kSecond},
                     "how often the trash is looked at");
  schema.AddDuration("store.quarantine_retention", &quarantine_retention,
                     {.min = 60 * kSecond, .max = 3650 * kDay},
                     "how long replicas that no file has are kept before they are erased");
  schema.AddDuration("registry.timeout", &registry_timeout, {.min = 100, .max = 60 * kSecond},
                     "time limit of a call to a metaserver");
  schema.AddDuration("registry.digest_interval", &digest_interval, {.min = 1000, .max = kDay},
                     "how often the replicas are compared with the journal");
  schema.AddDuration("registry.identity_patience", &identity_patience,
                     {.min = 0, .max = 600 * kSecond},
                     "how long to wait for another server with the same identity to go, such as an "
                     "earlier run of this one at another address");
  schema.AddInt("data.max_connections", &data_max_connections, {.min = 1, .max = 100'000},
                "connections from clients and chunk servers; more are closed at once");
  schema.AddSize("data.buffer", &data_buffer_bytes, {.min = 8 << 20, .max = int64_t{1} << 40},
                 "memory for data on its way");
  schema.AddDuration(
      "data.progress_deadline", &data_progress_deadline, {.min = 100, .max = 600 * kSecond},
      "a server that owes an answer, and does not say either that it is working, for "
      "so long has failed");
  schema.AddDuration("data.disk_deadline", &data_disk_deadline, {.min = 100, .max = 600 * kSecond},
                     "how long this server says that it is working while its disk does not answer");
  schema.AddSize(
      "limits.repair", &limit_repair_bytes, {.min = 0},
      "bytes per second for making lost replicas again here, 0: no limit; until the active "
      "metaserver tells the cluster's limit");
  schema.AddSize(
      "limits.move", &limit_move_bytes, {.min = 0},
      "bytes per second for replicas that move here by a drain or for balance, 0: no limit; "
      "until the active metaserver tells the cluster's limit");
  schema.AddDuration(
      "limits.scrub_period", &scrub_period, {.min = 0, .max = 36500 * kDay},
      "all replicas are read and verified within so long, 0: never; until the active "
      "metaserver tells the cluster's period");
  schema.AddString("metrics.host", &metrics_host, {.min = 1, .max = 255},
                   "address to serve /metrics on");
  schema.AddInt("metrics.port", &metrics_port, {.min = 0, .max = 65535},
                "port to serve /metrics on; 0: do not");
  schema.AddString("log.file", &log_file, {.min = 0, .max = 4096},
                   "file to log to; empty: standard error");
  schema.AddChoice("log.level", &log_level, {"debug", "info", "warn", "error"},
                   "the least important lines to log");
  schema.AddCheck([this] { return Metaservers().status(); });
  schema.AddCheck([this] { return CheckLabels(labels); });
  schema.AddCheck([this]() -> Status {
    std::set<std::string> seen;
    for (const std::string& disk : disks) {
      if (disk.empty() || !seen.insert(disk).second) {
        return Status(StatusCode::kInvalidArgument,
                      "disks: '" + disk + "' is there twice or empty; name each folder once");
      }
    }
    return Status::Ok();
  });
}

Result<std::vector<HostPort>> ChunkserverConfig::Metaservers() const {
  std::vector<HostPort> addresses;
  for (const std::string& text : meta) {
    auto address = ParseHostPort(text);
    if (!address.ok()) return address.status().WithContext("meta");
    addresses.push_back(*address);
  }
  return addresses;
}

Result<HostPort> ChunkserverConfig::AdvertisedAddress(uint16_t listening_port) const {
  HostPort address{advertise_host, advertise_port != 0 ? advertise_port : listening_port};
  if (!address.host.empty()) return address;
  if (!IsAnyAddress(listen_host)) {
    address.host = listen_host;
    return address;
  }
  char name[256] = {};
  if (::gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') {
    return Status(StatusCode::kFailedPrecondition,
                  "the machine has no name that others could reach it by: set advertise.host");
  }
  address.host = name;
  return address;
}

}  // namespace tercet
