#include "chunkserver/service/chunkserver_config.h"

#include <unistd.h>

#include <algorithm>
#include <set>

namespace tercet {
namespace {

constexpr int64_t kSecond = 1000;
constexpr int64_t kDay = 24 * 3600 * kSecond;

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
  schema.AddDuration("data.progress_deadline", &data_progress_deadline,
                     {.min = 100, .max = 600 * kSecond},
                     "a server down the chain that answers nothing for so long has failed");
  schema.AddString("metrics.host", &metrics_host, {.min = 1, .max = 255},
                   "address to serve /metrics on");
  schema.AddInt("metrics.port", &metrics_port, {.min = 0, .max = 65535},
                "port to serve /metrics on; 0: do not");
  schema.AddString("log.file", &log_file, {.min = 0, .max = 4096},
                   "file to log to; empty: standard error");
  schema.AddChoice("log.level", &log_level, {"debug", "info", "warn", "error"},
                   "the least important lines to log");
  schema.AddCheck([this] { return Metaservers().status(); });
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
