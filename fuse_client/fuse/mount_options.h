// The command line of tercet-mount, which is also what mount(8) passes to /sbin/mount.tercet.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/host_port.h"

namespace tercet {

struct MountOptions {
  std::vector<HostPort> metaservers;
  std::string mount_point;  // absolute once checked
  bool foreground = false;
  bool read_only = false;
  bool hard = false;         // wait for the cluster for ever instead of failing with EIO
  bool allow_other = false;  // default: true for root
  bool nonempty = false;
  std::chrono::milliseconds timeout{60'000};       // how long a call waits for the cluster
  std::chrono::milliseconds attr_timeout{1'000};   // how long the kernel may use cached attributes
  std::chrono::milliseconds entry_timeout{1'000};  // and cached names
  uint64_t write_buffer_bytes = 64 << 20;
  uint64_t read_ahead_bytes = 8 << 20;
  uint16_t metrics_port = 0;  // 0: none
  std::string log_file;       // empty: stderr in the foreground, else the system's default
  std::string log_level = "info";
  std::vector<std::string> kernel_options;  // nosuid, noatime, … passed on
};

/// What the program should do after parsing.
struct MountCommand {
  enum class Action { kMount, kPrint } action = Action::kMount;
  MountOptions options;
  std::string text;  // for kPrint: help or version
};

/// kInvalidArgument with one line that names the argument and what is allowed.
Result<MountCommand> ParseMountCommand(int argc, const char* const* argv);

}  // namespace tercet
