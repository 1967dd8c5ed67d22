#include "tools/drill/chunk_command.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/base/version.h"
#include "common/config/config.h"
#include "tools/dev_cluster.h"
#include "tools/drill/chunk_drill.h"
#include "tools/drill/flips.h"
#include "tools/drill/guardian.h"
#include "tools/drill/report.h"
#include "tools/drill/stop_flag.h"
#include "tools/output.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

constexpr AdminOptions kAdminOptions{.timeout = milliseconds(10'000),
                                     .patience = milliseconds(10'000)};

struct Arguments {
  std::string directory = DefaultDevDirectory();
  bool json = false;
  // chunks
  std::string kind;
  int rounds = 0;
  double minutes = 0;
  std::string interval = "20s";
  std::string down = "10s";
  std::string through = "mount";
  size_t threads = 2;
  std::string file_size = "8MiB";
  std::string pace = "5ms";
  std::string limit_max;
  std::string limit_whole;
  // flips
  size_t count = 1'000;
  size_t files = 40;
  std::string flip_size = "4MiB";
  std::string scrub_period = "20s";
  std::string timeout = "5m";
  // compare
  std::string path = "/";
};

void PrintProgress(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

int Usage(const Status& status) {
  ExitStatus(status);
  return kExitUsage;
}

/// "20s" or "20", which are seconds.
Result<milliseconds> ParseTime(const std::string& text) {
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error == std::errc() && end == text.data() + text.size() && seconds >= 0 && seconds < 1e6) {
    return milliseconds(static_cast<int64_t>(seconds * 1'000));
  }
  return ParseDuration(text);
}

std::string MountOf(const DevCluster& dev) {
  for (const DevNode& node : dev.nodes()) {
    if (node.role == DevRole::kMount && IsMounted(node.mount_point)) return node.mount_point;
  }
  return "";
}

Result<ChunkDrillOptions> OptionsOf(const Arguments& arguments, const DevCluster& dev) {
  ChunkDrillOptions options;
  ASSIGN_OR_RETURN(options.kind, ParseChunkFault(arguments.kind));
  ASSIGN_OR_RETURN(options.interval, ParseTime(arguments.interval));
  ASSIGN_OR_RETURN(options.down, ParseTime(arguments.down));
  if (options.interval.count() < 100 || options.down > options.interval) {
    return Status(StatusCode::kInvalidArgument,
                  "--down must not be longer than --interval, and that at least 0.1s");
  }
  options.rounds = arguments.rounds > 0 ? arguments.rounds : 5;
  if (arguments.minutes > 0) {
    options.rounds =
        std::max(1, static_cast<int>(std::ceil(arguments.minutes * 60'000 /
                                               static_cast<double>(options.interval.count()))));
  }
  ASSIGN_OR_RETURN(options.load.metaservers, ParseHostPorts(dev.MetaAddresses()));
  if (arguments.through == "mount") options.load.mount = MountOf(dev);
  options.load.streams = arguments.threads;
  options.load.overwriters = arguments.threads;
  options.load.sharers = arguments.threads;
  ASSIGN_OR_RETURN(options.load.file_bytes, ParseSize(arguments.file_size));
  if (options.load.file_bytes < (64 << 10) || options.load.file_bytes > (uint64_t{1} << 32)) {
    return Status(StatusCode::kInvalidArgument, "--file-size: from 64KiB to 4GiB");
  }
  ASSIGN_OR_RETURN(options.load.pace, ParseTime(arguments.pace));
  options.limits = DefaultChunkLimits(options.kind);
  if (!arguments.limit_max.empty()) {
    ASSIGN_OR_RETURN(options.limits.longest, ParseTime(arguments.limit_max));
  }
  if (!arguments.limit_whole.empty()) {
    ASSIGN_OR_RETURN(options.limits.whole_within, ParseTime(arguments.limit_whole));
  }
  return options;
}

int Chunks(const Arguments& arguments) {
  auto dev = DevCluster::Open(arguments.directory, DevBinaryFolder(), /*create=*/false);
  if (!dev.ok()) return ExitStatus(dev.status());
  auto options = OptionsOf(arguments, **dev);
  if (!options.ok()) return Usage(options.status());
  // Before any thread is started, and before a signal can come in the middle of a fault.
  auto guardian = Guardian::Start();
  if (!guardian.ok()) return ExitStatus(guardian.status());
  CatchStopSignals();
  auto report = RunChunkDrill(*options, dev->get(), guardian->get(), PrintProgress);
  if (!report.ok()) return ExitStatus(report.status());
  const std::string history = HistoryPath((*dev)->directory());
  if (Status status = AppendHistoryLine(history, ChunkDrillSummary(*report)); !status.ok()) {
    PrintProgress("this drill is not in the history: " + status.message());
  }
  std::fputs(
      arguments.json ? JsonText(ChunkDrillJson(*report)).c_str() : ChunkDrillText(*report).c_str(),
      stdout);
  return report->reasons.empty() ? kExitOk : kExitFailure;
}

Result<FlipsOptions> FlipsOptionsOf(const Arguments& arguments, const DevCluster& dev) {
  FlipsOptions options;
  ASSIGN_OR_RETURN(options.metaservers, ParseHostPorts(dev.MetaAddresses()));
  options.count = arguments.count;
  options.files = arguments.files;
  ASSIGN_OR_RETURN(options.file_bytes, ParseSize(arguments.flip_size));
  if (options.file_bytes < (64 << 10) || options.file_bytes > (64 << 20)) {
    return Status(StatusCode::kInvalidArgument, "--file-size: from 64KiB to 64MiB");
  }
  ASSIGN_OR_RETURN(const milliseconds period, ParseTime(arguments.scrub_period));
  options.scrub_period = std::chrono::duration_cast<std::chrono::seconds>(period);
  if (options.scrub_period.count() < 1) {
    return Status(StatusCode::kInvalidArgument, "--scrub-period: at least 1s");
  }
  ASSIGN_OR_RETURN(options.timeout, ParseTime(arguments.timeout));
  return options;
}

int DoFlips(const Arguments& arguments) {
  auto dev = DevCluster::Open(arguments.directory, DevBinaryFolder(), /*create=*/false);
  if (!dev.ok()) return ExitStatus(dev.status());
  auto options = FlipsOptionsOf(arguments, **dev);
  if (!options.ok()) return Usage(options.status());
  CatchStopSignals();
  auto report = RunFlips(*options, **dev, PrintProgress);
  if (!report.ok()) return ExitStatus(report.status());
  std::fputs(arguments.json ? JsonText(FlipsJson(*report)).c_str() : FlipsText(*report).c_str(),
             stdout);
  return report->reasons.empty() ? kExitOk : kExitFailure;
}

/// The directory of that absolute path.
Result<InodeId> Walk(FileSystem& file_system, const std::string& path) {
  InodeId at = file_system.root();
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string name = path.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty()) continue;
    ASSIGN_OR_RETURN(const wire::Attributes found, file_system.Lookup(at, name));
    at = InodeId(static_cast<uint64_t>(found.inode));
  }
  return at;
}

Result<ReplicaCheckResult> CompareBelow(const Arguments& arguments, const DevCluster& dev) {
  FileSystemOptions mount;
  ASSIGN_OR_RETURN(mount.metaservers, ParseHostPorts(dev.MetaAddresses()));
  mount.mount_point = "drill";
  mount.version = kVersion;
  const AdminClient admin(mount.metaservers, kAdminOptions);
  ASSIGN_OR_RETURN(auto file_system, FileSystem::Mount(mount));
  ASSIGN_OR_RETURN(const InodeId directory, Walk(*file_system, arguments.path));
  uint64_t files = 0;
  ASSIGN_OR_RETURN(const std::vector<BlockPlaces> blocks,
                   FindReplicas(dev, admin, *file_system, directory, &files));
  ReplicaCheckResult result = CompareReplicas(blocks);
  result.files = files;
  return result;
}

int Compare(const Arguments& arguments) {
  auto dev = DevCluster::Open(arguments.directory, DevBinaryFolder(), /*create=*/false);
  if (!dev.ok()) return ExitStatus(dev.status());
  auto result = CompareBelow(arguments, **dev);
  if (!result.ok()) return ExitStatus(result.status().WithContext(arguments.path));
  std::string text = ReplicaCheckText(*result);
  for (const std::string& finding : result->findings) text += "  " + finding + "\n";
  std::fputs(arguments.json ? JsonText(ReplicaCheckJson(*result)).c_str() : text.c_str(), stdout);
  return result->identical() ? kExitOk : kExitFailure;
}

Command AddChunks(Command drill, const std::shared_ptr<Arguments>& arguments, int* exit_status) {
  Command chunks = drill.AddSubcommand(
      "chunks",
      "let one chunk server after the other fail for real, under a load that checks every "
      "byte, then compare all replicas bit by bit");
  chunks
      .AddOption("--kind", arguments->kind,
                 "kill: kill -9, then a restart; stop: pause the process (SIGSTOP); power: kill -9 "
                 "and drop what was not synced, where disks are images")
      .Required()
      .OneOf({"kill", "stop", "power"});
  CommandOption rounds =
      chunks.AddOption("--rounds", arguments->rounds, "how often; 5").InRange(1, 1'000'000);
  chunks.AddOption("--minutes", arguments->minutes, "for how long instead")
      .InRange(0.01, 100'000.0)
      .Excludes(rounds);
  chunks.AddOption("--interval", arguments->interval, "from one fault to the next")
      .TypeName("TIME")
      .ShowDefault();
  chunks.AddOption("--down", arguments->down, "how long each lasts").TypeName("TIME").ShowDefault();
  chunks
      .AddOption("--through", arguments->through,
                 "mount: half of the load goes through the cluster's mount, half through a "
                 "client of its own; client: all through two of these")
      .OneOf({"mount", "client"})
      .ShowDefault();
  chunks
      .AddOption("--threads", arguments->threads,
                 "threads of each kind: writing new files, overwriting, sharing one file")
      .InRange(1, 64)
      .ShowDefault();
  chunks.AddOption("--file-size", arguments->file_size, "of the load's files")
      .TypeName("SIZE")
      .ShowDefault();
  chunks.AddOption("--pace", arguments->pace, "a thread's rest after each operation")
      .TypeName("TIME")
      .ShowDefault();
  chunks
      .AddOption("--limit-max", arguments->limit_max,
                 "the longest pause that is allowed; kill: 1s, stop: 5s")
      .TypeName("TIME");
  chunks
      .AddOption("--limit-whole", arguments->limit_whole,
                 "within which all blocks must have their replicas after the end; 60s")
      .TypeName("TIME");
  chunks.Footer(
      "Exit status 1: an error, a wrong byte, a pause above the limit, blocks without "
      "their replicas,\nreplicas that differ, or the drill could not be done. ^C: the "
      "fault is undone first.");
  chunks.OnRun([=] { *exit_status = Chunks(*arguments); });
  return chunks;
}

Command AddFlips(Command drill, const std::shared_ptr<Arguments>& arguments, int* exit_status) {
  Command flips = drill.AddSubcommand(
      "flips", "flip random bytes of replicas on the disks: none may be read, all must be healed");
  flips.AddOption("--count", arguments->count, "how many bytes")
      .InRange(1, 1'000'000)
      .ShowDefault();
  flips.AddOption("--files", arguments->files, "how many files are written for it")
      .InRange(1, 100'000)
      .ShowDefault();
  flips.AddOption("--file-size", arguments->flip_size, "of each").TypeName("SIZE").ShowDefault();
  flips.AddOption("--scrub-period", arguments->scrub_period, "in force meanwhile")
      .TypeName("TIME")
      .ShowDefault();
  flips.AddOption("--timeout", arguments->timeout, "for all to be healed")
      .TypeName("TIME")
      .ShowDefault();
  flips.OnRun([=] { *exit_status = DoFlips(*arguments); });
  return flips;
}

}  // namespace

void AddChunkDrills(Command drill, int* exit_status) {
  auto arguments = std::make_shared<Arguments>();
  Command chunks = AddChunks(drill, arguments, exit_status);
  Command flips = AddFlips(drill, arguments, exit_status);
  Command compare = drill.AddSubcommand(
      "compare",
      "compare all replicas of the files below a directory bit by bit; nothing may be "
      "written meanwhile");
  compare.AddOption("path", arguments->path, "absolute within the file system").ShowDefault();
  compare.OnRun([=] { *exit_status = Compare(*arguments); });
  for (Command command : {chunks, flips, compare}) {
    command.AddOption("--dir", arguments->directory, "the development cluster's folder")
        .TypeName("DIR")
        .ShowDefault();
    command.AddFlag("--json", arguments->json, "as JSON");
  }
}

}  // namespace tercet
