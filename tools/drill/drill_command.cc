// tercet drill failover|history
#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/admin_client.h"
#include "tools/commands.h"
#include "tools/dev_cluster.h"
#include "tools/drill/chunk_command.h"
#include "tools/drill/drill.h"
#include "tools/drill/guardian.h"
#include "tools/drill/report.h"
#include "tools/drill/stop_flag.h"
#include "tools/output.h"

namespace tercet {
namespace {

struct Arguments {
  std::string directory;
  std::string meta;
  std::string kind;
  std::string target = "active";
  int rounds = 5;
  size_t threads = 4;
  double interval_s = 2;
  double hold_s = 3;
  bool no_data = false;
  double limit_median_s = 0;
  double limit_max_s = 0;
  size_t limit = 20;
  bool json = false;
};

void PrintProgress(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

std::chrono::milliseconds FromSeconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1'000));
}

/// The development cluster that is meant: the one of --dir, else of the working folder unless
/// metaservers were named. Null: none.
Result<std::unique_ptr<DevCluster>> FindDevCluster(const Arguments& arguments) {
  if (arguments.directory.empty() && !arguments.meta.empty()) return std::unique_ptr<DevCluster>();
  const bool named = !arguments.directory.empty();
  auto cluster = DevCluster::Open(named ? arguments.directory : DefaultDevDirectory(),
                                  DevBinaryFolder(), /*create=*/false);
  if (!named && cluster.code() == StatusCode::kNotFound) return std::unique_ptr<DevCluster>();
  return cluster;
}

Result<DrillOptions> OptionsOf(const Arguments& arguments) {
  DrillOptions options;
  ASSIGN_OR_RETURN(options.kind, ParseFaultKind(arguments.kind));
  ASSIGN_OR_RETURN(options.target, ParseFaultTarget(arguments.target));
  if (options.target != FaultTarget::kActive && options.kind != FaultKind::kKill &&
      options.kind != FaultKind::kStop) {
    return Status(StatusCode::kInvalidArgument, "--target goes with --kind kill and stop only");
  }
  options.rounds = arguments.rounds;
  options.threads = arguments.threads;
  options.interval = FromSeconds(arguments.interval_s);
  options.hold = FromSeconds(arguments.hold_s);
  options.with_data = !arguments.no_data;
  options.limits = DefaultLimits(options.kind);
  if (arguments.limit_median_s > 0) options.limits.median = FromSeconds(arguments.limit_median_s);
  if (arguments.limit_max_s > 0) options.limits.longest = FromSeconds(arguments.limit_max_s);
  return options;
}

int Failover(const Arguments& arguments) {
  auto options = OptionsOf(arguments);
  if (!options.ok()) {
    ExitStatus(options.status());
    return kExitUsage;
  }
  auto dev = FindDevCluster(arguments);
  if (!dev.ok()) return ExitStatus(dev.status());
  DrillPlace place;
  place.dev = dev->get();
  auto metaservers = place.dev != nullptr ? ParseHostPorts(place.dev->MetaAddresses())
                                          : MetaAddressesFrom(arguments.meta);
  if (!metaservers.ok()) {
    ExitStatus(metaservers.status());
    return kExitUsage;
  }
  place.metaservers = *metaservers;
  // Before any thread is started, and before a signal can come in the middle of a fault.
  auto guardian = Guardian::Start();
  if (!guardian.ok()) return ExitStatus(guardian.status());
  place.guardian = guardian->get();
  CatchStopSignals();
  auto report = RunDrill(*options, place, PrintProgress);
  if (!report.ok()) return ExitStatus(report.status());
  const std::string history = HistoryPath(place.dev != nullptr ? place.dev->directory() : "");
  if (Status status = AppendHistory(history, *report); !status.ok()) {
    PrintProgress("this drill is not in the history: " + status.message());
  }
  std::fputs(arguments.json ? JsonText(DrillJson(*report)).c_str() : DrillText(*report).c_str(),
             stdout);
  return report->reasons.empty() ? kExitOk : kExitFailure;
}

int History(const Arguments& arguments) {
  auto dev = FindDevCluster(arguments);
  if (!dev.ok()) return ExitStatus(dev.status());
  auto drills =
      ReadHistory(HistoryPath(*dev != nullptr ? (*dev)->directory() : ""), arguments.limit);
  if (!drills.ok()) return ExitStatus(drills.status());
  std::fputs(
      arguments.json ? JsonText(nlohmann::json(*drills)).c_str() : HistoryText(*drills).c_str(),
      stdout);
  return kExitOk;
}

void AddFailover(Command drill, const std::shared_ptr<Arguments>& arguments, int* exit_status) {
  Command failover = drill.AddSubcommand(
      "failover",
      "let the active metaserver fail for real, under a load that checks every answer, "
      "and measure how long clients had to wait");
  failover
      .AddOption("--kind", arguments->kind,
                 "kill: kill -9; stop: pause the process (SIGSTOP) for a while; switchover: hand "
                 "over as planned; partition: cut the active's links to the other members, in "
                 "turn both ways, one way and the other; power: kill -9 of all metaservers and "
                 "witnesses at once")
      .Required()
      .OneOf({"kill", "stop", "switchover", "partition", "power"});
  failover.AddOption("--rounds", arguments->rounds, "how often").InRange(1, 100'000).ShowDefault();
  failover
      .AddOption("--target", arguments->target,
                 "whom kill and stop hit: active, standby, witness, or any: each in turn")
      .OneOf({"active", "standby", "witness", "any"})
      .ShowDefault();
  failover.AddOption("--threads", arguments->threads, "threads of the load")
      .InRange(1, 256)
      .ShowDefault();
  failover.AddOption("--interval", arguments->interval_s, "calm before each fault, in seconds")
      .InRange(0.0, 3600.0)
      .ShowDefault();
  failover.AddOption("--hold", arguments->hold_s, "how long stop and partition last, in seconds")
      .InRange(0.1, 600.0)
      .ShowDefault();
  failover.AddFlag("--no-data", arguments->no_data, "names and attributes only, no file data");
  failover
      .AddOption("--limit-median", arguments->limit_median_s,
                 "the median of the rounds' pauses that is allowed, in seconds; kill: 0.8")
      .Positive();
  failover
      .AddOption("--limit-max", arguments->limit_max_s,
                 "the longest pause that is allowed, in seconds; kill: 1.5, switchover: 0.2, stop "
                 "and partition: 2")
      .Positive();
  failover.Footer(
      "The pause of a round is the longest operation of the load that was under way at any moment "
      "from\nthe fault until the group was whole again. Exit status 1: a pause above the limit, an "
      "error, a stale\nread, anything acknowledged lost, or the drill could not be done.\n^C: the "
      "fault is undone first.");
  failover.OnRun([=] { *exit_status = Failover(*arguments); });
}

}  // namespace

void AddDrillCommand(Command app, int* exit_status) {
  auto arguments = std::make_shared<Arguments>();
  Command drill = app.AddSubcommand("drill", "practise failures, and keep the results");
  drill.RequireSubcommand();
  AddFailover(drill, arguments, exit_status);
  AddChunkDrills(drill, exit_status);
  Command history = drill.AddSubcommand("history", "the drills that were done");
  history.AddOption("--limit", arguments->limit, "at most so many, the newest")
      .InRange(1, 1'000'000)
      .ShowDefault();
  history.OnRun([=] { *exit_status = History(*arguments); });
  for (Command command : {drill.Subcommand("failover"), history}) {
    command
        .AddOption("--dir", arguments->directory,
                   "a development cluster's folder; by default that of the working folder")
        .TypeName("DIR");
    command
        .AddOption(
            "--meta", arguments->meta,
            "metaservers of a cluster that is no development cluster; TERCET_META by default")
        .TypeName("HOST:PORT,…")
        .Excludes("--dir");
    command.AddFlag("--json", arguments->json, "as JSON");
  }
}

}  // namespace tercet
