#include "fuse_client/fuse/mount_options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <charconv>
#include <functional>
#include <map>
#include <string_view>

namespace tercet {

namespace {

constexpr std::string_view kOptionHelp = R"(
Options for -o (comma-separated):
  ro, rw              read-only or read-write (default rw)
  hard, soft          wait for the cluster for ever, or fail with EIO after `timeout` (default soft)
  timeout=DURATION    how long a call waits for an unreachable cluster (default 60s)
  attr_timeout=DURATION, entry_timeout=DURATION
                      how long the kernel may use cached attributes and names (default 1s)
  write_buffer=SIZE   unwritten data this mount may hold in memory (default 64M)
  read_ahead=SIZE     how far a sequential reader is read ahead (default 8M)
  allow_other, noallow_other
                      other users may use the mount (default: yes when mounted by root)
  nonempty            mount over a directory that is not empty
  metrics_port=PORT   serve Prometheus metrics on 127.0.0.1:PORT
  log_file=FILE, log_level=debug|info|warn|error
  nosuid, nodev, noexec, noatime, nodiratime, relatime, sync, dirsync
                      as in mount(8)
Durations are like 500ms, 10s, 2m; sizes like 512K, 64M, 1G.)";

// Options of mount(8) that matter to it and not to us.
constexpr std::array<std::string_view, 13> kIgnored = {
    "_netdev", "auto",   "noauto",   "user",  "nouser",      "users",        "owner",
    "group",   "nofail", "defaults", "async", "strictatime", "nostrictatime"};
constexpr std::array<std::string_view, 11> kPassedOn = {"nosuid",  "suid", "nodev",  "dev",
                                                        "noexec",  "exec", "atime",  "nodiratime",
                                                        "noatime", "sync", "dirsync"};

Status Bad(std::string_view option, std::string_view value, std::string_view expected) {
  return Status(StatusCode::kInvalidArgument, "-o " + std::string(option) + "=" +
                                                  std::string(value) + ": expected " +
                                                  std::string(expected));
}

// A number with a unit out of `units`; no unit means a factor of `plain`.
Result<uint64_t> ParseScaled(std::string_view option, std::string_view value, uint64_t plain,
                             const std::map<std::string, uint64_t, std::less<>>& units,
                             std::string_view expected) {
  uint64_t number = 0;
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || number > (uint64_t{1} << 40)) return Bad(option, value, expected);
  const std::string_view unit(end, value.data() + value.size() - end);
  if (unit.empty()) return number * plain;
  auto found = units.find(unit);
  if (found == units.end()) return Bad(option, value, expected);
  return number * found->second;
}

Result<std::chrono::milliseconds> ParseDuration(std::string_view option, std::string_view value) {
  ASSIGN_OR_RETURN(
      const uint64_t ms,
      ParseScaled(option, value, 1000, {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}},
                  "a duration like 500ms, 10s or 2m"));
  if (ms > 7 * 86'400'000ull) return Bad(option, value, "at most 168h");
  return std::chrono::milliseconds(ms);
}

Result<uint64_t> ParseSize(std::string_view option, std::string_view value, uint64_t minimum,
                           uint64_t maximum) {
  ASSIGN_OR_RETURN(const uint64_t bytes, ParseScaled(option, value, 1,
                                                     {{"K", 1 << 10},
                                                      {"M", 1 << 20},
                                                      {"G", 1 << 30},
                                                      {"KiB", 1 << 10},
                                                      {"MiB", 1 << 20},
                                                      {"GiB", 1 << 30}},
                                                     "a size like 512K, 64M or 1G"));
  if (bytes < minimum || bytes > maximum) {
    return Bad(option, value,
               std::to_string(minimum) + " to " + std::to_string(maximum) + " bytes");
  }
  return bytes;
}

template <size_t N>
bool Contains(const std::array<std::string_view, N>& list, std::string_view name) {
  for (std::string_view item : list) {
    if (item == name) return true;
  }
  return false;
}

// Flags without a value.
bool ApplyFlag(std::string_view name, MountOptions* options) {
  const std::map<std::string_view, std::function<void()>> flags = {
      {"ro", [&] { options->read_only = true; }},
      {"rw", [&] { options->read_only = false; }},
      {"hard", [&] { options->hard = true; }},
      {"soft", [&] { options->hard = false; }},
      {"allow_other", [&] { options->allow_other = true; }},
      {"noallow_other", [&] { options->allow_other = false; }},
      {"nonempty", [&] { options->nonempty = true; }},
  };
  auto found = flags.find(name);
  if (found == flags.end()) return false;
  found->second();
  return true;
}

Status ApplyValue(std::string_view name, std::string_view value, MountOptions* options) {
  if (name == "timeout") {
    ASSIGN_OR_RETURN(options->timeout, ParseDuration(name, value));
    if (options->timeout.count() < 100) return Bad(name, value, "at least 100ms");
  } else if (name == "attr_timeout") {
    ASSIGN_OR_RETURN(options->attr_timeout, ParseDuration(name, value));
  } else if (name == "entry_timeout") {
    ASSIGN_OR_RETURN(options->entry_timeout, ParseDuration(name, value));
  } else if (name == "write_buffer") {
    ASSIGN_OR_RETURN(options->write_buffer_bytes, ParseSize(name, value, 4 << 20, 16ull << 30));
  } else if (name == "read_ahead") {
    ASSIGN_OR_RETURN(options->read_ahead_bytes, ParseSize(name, value, 0, 1ull << 30));
  } else if (name == "metrics_port") {
    ASSIGN_OR_RETURN(const uint64_t port, ParseScaled(name, value, 1, {}, "a port number"));
    if (port > 65535) return Bad(name, value, "a port number");
    options->metrics_port = static_cast<uint16_t>(port);
  } else if (name == "log_file") {
    options->log_file = value;
  } else if (name == "log_level") {
    if (value != "debug" && value != "info" && value != "warn" && value != "error") {
      return Bad(name, value, "debug, info, warn or error");
    }
    options->log_level = value;
  } else {
    return Status(StatusCode::kInvalidArgument,
                  "-o " + std::string(name) + ": unknown option; tercet-mount --help lists them");
  }
  return Status::Ok();
}

Status ApplyOption(std::string_view option, MountOptions* options) {
  if (option.empty() || option.starts_with("x-") || Contains(kIgnored, option)) return Status::Ok();
  if (Contains(kPassedOn, option) || option == "relatime") {
    if (option != "relatime") options->kernel_options.emplace_back(option);  // FUSE has no other
    return Status::Ok();
  }
  if (ApplyFlag(option, options)) return Status::Ok();
  const size_t equals = option.find('=');
  if (equals == std::string_view::npos) return ApplyValue(option, "", options);
  return ApplyValue(option.substr(0, equals), option.substr(equals + 1), options);
}

}  // namespace

Result<MountCommand> ParseMountCommand(int argc, const char* const* argv) {
  MountCommand command;
  MountOptions& options = command.options;
  options.allow_other = geteuid() == 0;

  CLI::App app{"Mounts a Tercet file system as a local directory.", "tercet-mount"};
  app.footer(std::string(kOptionHelp));
  std::string metaservers;
  std::vector<std::string> lists;
  bool version = false, ignored = false, read_only = false;
  app.add_option("META", metaservers, "metaservers: HOST:PORT[,HOST:PORT…]")
      ->envname("TERCET_META");
  app.add_option("MOUNTPOINT", options.mount_point, "an existing, empty directory");
  app.add_option("-o", lists, "mount options, see below")->allow_extra_args(false);
  app.add_flag("-f,--foreground", options.foreground, "stay in the foreground");
  app.add_option("--log-file", options.log_file, "where to log");
  app.add_flag("-r", read_only, "mount read-only");
  app.add_flag("-w,-n,-s,-v", ignored, "accepted for mount(8)");
  app.add_flag("-V,--version", version, "print the version");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    command.action = MountCommand::Action::kPrint;
    command.text = app.help();
    return command;
  } catch (const CLI::ParseError& error) {
    return Status(StatusCode::kInvalidArgument, error.what());
  }
  if (version) {
    command.action = MountCommand::Action::kPrint;
    command.text = "tercet-mount " TERCET_VERSION "\n";
    return command;
  }
  if (metaservers.empty() || options.mount_point.empty()) {
    return Status(StatusCode::kInvalidArgument,
                  "usage: tercet-mount HOST:PORT[,HOST:PORT…] MOUNTPOINT [-o OPTIONS]; see --help");
  }
  ASSIGN_OR_RETURN(options.metaservers, ParseHostPorts(metaservers));
  for (const std::string& list : lists) {
    for (size_t start = 0; start <= list.size();) {
      const size_t end = std::min(list.find(',', start), list.size());
      RETURN_IF_ERROR(ApplyOption(std::string_view(list).substr(start, end - start), &options));
      start = end + 1;
    }
  }
  if (read_only) options.read_only = true;
  return command;
}

}  // namespace tercet
