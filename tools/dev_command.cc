// tercet dev up|down|ps|kill|start: a cluster of real processes on this machine.
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "tools/commands.h"
#include "tools/dev_cluster.h"
#include "tools/output.h"

namespace tercet {
namespace {

struct DevArguments {
  std::string directory;
  int metaservers = 1;
  int witnesses = 0;
  int chunkservers = 3;
  std::string mount;
  bool no_mount = false;
  uint16_t base_port = 0;
  bool data_images = false;
  int disks = 1;
  int disk_image_mb = 0;
  std::vector<std::string> labels;
  bool purge = false;
  bool json = false;
  std::string node;
  std::string signal = "KILL";
};

void PrintProgress(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

Result<std::unique_ptr<DevCluster>> OpenCluster(const DevArguments& arguments, bool create) {
  return DevCluster::Open(arguments.directory, DevBinaryFolder(), create);
}

int Up(const DevArguments& arguments) {
  std::map<std::string, std::map<std::string, std::string>> labels;
  for (const std::string& text : arguments.labels) {
    auto label = ParseDevLabel(text);
    if (!label.ok()) {
      ExitStatus(label.status());
      return kExitUsage;
    }
    labels[label->node][label->key] = label->value;
  }
  auto cluster = OpenCluster(arguments, true);
  if (!cluster.ok()) return ExitStatus(cluster.status());
  DevShape shape{.metaservers = arguments.metaservers,
                 .witnesses = arguments.witnesses,
                 .chunkservers = arguments.chunkservers,
                 .mounts = {},
                 .base_port = arguments.base_port,
                 .data_images = arguments.data_images,
                 .disks_per_chunkserver = arguments.disks,
                 .disk_image_mb = arguments.disk_image_mb,
                 .labels = labels};
  bool has_mount = false;
  for (const DevNode& node : (*cluster)->nodes()) has_mount |= node.role == DevRole::kMount;
  if (!arguments.mount.empty()) {
    shape.mounts = {arguments.mount};
  } else if (!has_mount && !arguments.no_mount) {
    shape.mounts = {(*cluster)->directory() + "/mnt"};
  }
  if (Status status = (*cluster)->Up(shape, PrintProgress); !status.ok()) return ExitStatus(status);
  // What a shell can read: eval "$(tercet dev up)".
  std::printf("export TERCET_META=%s\n", (*cluster)->MetaAddresses().c_str());
  for (const DevNode& node : (*cluster)->nodes()) {
    if (node.role == DevRole::kMount) std::printf("# mounted on %s\n", node.mount_point.c_str());
  }
  return kExitOk;
}

int Down(const DevArguments& arguments) {
  auto cluster = OpenCluster(arguments, false);
  if (cluster.code() == StatusCode::kNotFound) {
    PrintProgress(cluster.status().message());
    return kExitOk;  // as it was asked for
  }
  if (!cluster.ok()) return ExitStatus(cluster.status());
  if (Status status = (*cluster)->Down(PrintProgress); !status.ok()) return ExitStatus(status);
  return arguments.purge ? ExitStatus((*cluster)->Purge()) : kExitOk;
}

std::string_view StateName(ProcessState state) {
  switch (state) {
    case ProcessState::kRunning:
      return "running";
    case ProcessState::kPaused:
      return "paused";
    case ProcessState::kGone:
      return "stopped";
  }
  return "";
}

int Ps(const DevArguments& arguments) {
  auto cluster = OpenCluster(arguments, false);
  if (!cluster.ok()) return ExitStatus(cluster.status());
  nlohmann::json json = nlohmann::json::array();
  Table table({{"NAME"}, {"ROLE"}, {"PID", true}, {"STATE"}, {"ADDRESS"}, {"METRICS"}});
  for (const DevNodeState& entry : (*cluster)->List()) {
    const DevNode& node = entry.node;
    const std::string metrics = "127.0.0.1:" + std::to_string(node.metrics_port);
    const bool running = entry.pid != 0;
    json.push_back({{"name", node.name},
                    {"role", DevRoleName(node.role)},
                    {"pid", running ? nlohmann::json(entry.pid) : nlohmann::json(nullptr)},
                    {"state", StateName(entry.state)},
                    {"address", node.Where()},
                    {"metrics", metrics}});
    table.Add({node.name, std::string(DevRoleName(node.role)),
               running ? std::to_string(entry.pid) : "-",
               Coloured(entry.state == ProcessState::kRunning ? Colour::kGreen : Colour::kRed,
                        std::string(StateName(entry.state))),
               node.Where(), metrics});
  }
  std::fputs(arguments.json ? JsonText(json).c_str() : table.ToString().c_str(), stdout);
  return kExitOk;
}

int Kill(const DevArguments& arguments) {
  static const std::map<std::string, int> kSignals = {
      {"KILL", SIGKILL}, {"STOP", SIGSTOP}, {"CONT", SIGCONT}, {"TERM", SIGTERM}};
  auto cluster = OpenCluster(arguments, false);
  if (!cluster.ok()) return ExitStatus(cluster.status());
  return ExitStatus((*cluster)->Signal(arguments.node, kSignals.at(arguments.signal)));
}

int Start(const DevArguments& arguments) {
  auto cluster = OpenCluster(arguments, false);
  if (!cluster.ok()) return ExitStatus(cluster.status());
  return ExitStatus((*cluster)->Start(arguments.node, PrintProgress));
}

Command AddUp(Command dev, const std::shared_ptr<DevArguments>& arguments, int* exit_status) {
  Command up = dev.AddSubcommand(
      "up", "start the cluster, or whatever of it is not running, and wait until it works");
  up.AddOption("--metaservers", arguments->metaservers, "how many metaservers at least")
      .InRange(1, 7)
      .ShowDefault();
  up.AddOption("--witnesses", arguments->witnesses,
               "how many witnesses at least: they vote, but have no namespace")
      .InRange(0, 7)
      .ShowDefault();
  up.AddOption("--chunkservers", arguments->chunkservers,
               "how many chunk servers at least; there may be more later")
      .InRange(1, 100)
      .ShowDefault();
  up.AddOption("--mount", arguments->mount, "where to mount; DIR/mnt by default").TypeName("PATH");
  up.AddFlag("--no-mount", arguments->no_mount, "servers only").Excludes("--mount");
  up.AddOption("--base-port", arguments->base_port, "take ports from here on").InRange(1024, 65000);
  up.AddFlag("--data-images", arguments->data_images,
             "new metaservers and witnesses keep their data in a file system image each, so that "
             "`tercet drill failover --kind power` can drop what was not synced");
  up.AddOption("--label", arguments->labels,
               "where or what a chunk server is, e.g. chunk1:rack=a; may be given several times, "
               "also for one that runs: it is started again")
      .TypeName("NODE:LABEL=VALUE")
      .OneValueEachTime();
  up.AddOption("--disks-per-chunkserver", arguments->disks, "of new chunk servers")
      .InRange(1, 16)
      .ShowDefault();
  up.AddOption("--disk-image-mb", arguments->disk_image_mb,
               "each disk of new chunk servers is a file system image of so many MiB (root, loop "
               "devices): small disks that fill up, and power cuts that drop what was not synced")
      .InRange(64, 1 << 20);
  up.OnRun([=] { *exit_status = Up(*arguments); });
  return up;
}

}  // namespace

void AddDevCommand(Command app, int* exit_status) {
  auto arguments = std::make_shared<DevArguments>();
  Command dev = app.AddSubcommand("dev", "run a whole cluster on this machine");
  dev.RequireSubcommand();
  Command up = AddUp(dev, arguments, exit_status);

  Command down = dev.AddSubcommand("down", "unmount and stop everything");
  down.AddFlag("--purge", arguments->purge, "then remove all that was stored");
  down.OnRun([=] { *exit_status = Down(*arguments); });

  Command ps = dev.AddSubcommand("ps", "show the nodes");
  ps.AddFlag("--json", arguments->json, "as a JSON list");
  ps.OnRun([=] { *exit_status = Ps(*arguments); });

  Command kill = dev.AddSubcommand("kill", "send a signal to a node's process");
  kill.AddOption("node", arguments->node, "its name, as `ps` shows it").Required();
  kill.AddOption("--signal", arguments->signal, "KILL, STOP, CONT or TERM")
      .OneOf({"KILL", "STOP", "CONT", "TERM"})
      .ShowDefault();
  kill.OnRun([=] { *exit_status = Kill(*arguments); });

  Command start = dev.AddSubcommand("start", "start one node again and wait until it works");
  start.AddOption("node", arguments->node, "its name, as `ps` shows it").Required();
  start.OnRun([=] { *exit_status = Start(*arguments); });

  arguments->directory = DefaultDevDirectory();
  for (Command command : {up, down, ps, kill, start}) {
    command.AddOption("--dir", arguments->directory, "the cluster's folder")
        .TypeName("DIR")
        .ShowDefault();
  }
}

}  // namespace tercet
