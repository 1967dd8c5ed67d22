// tercet drill failover|history
#include <fmt/format.h>

#include <CLI/CLI.hpp>
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
  std::fputs(
      arguments.json ? (DrillJson(*report).dump(2) + "\n").c_str() : DrillText(*report).c_str(),
      stdout);
  return report->reasons.empty() ? kExitOk : kExitFailure;
}

int History(const Arguments& arguments) {
  auto dev = FindDevCluster(arguments);
  if (!dev.ok()) return ExitStatus(dev.status());
  auto drills =
      ReadHistory(HistoryPath(*dev != nullptr ? (*dev)->directory() : ""), arguments.limit);
  if (!drills.ok()) return ExitStatus(drills.status());
  std::fputs(arguments.json ? (nlohmann::json(*drills).dump(2) + "\n").c_str()
                            : HistoryText(*drills).c_str(),
             stdout);
  return kExitOk;
}

void AddFailover(CLI::App& drill, const std::shared_ptr<Arguments>& arguments, int* exit_status) {
  CLI::App* failover = drill.add_subcommand(
      "failover",
      "let the active metaserver fail for real, under a load that checks every answer, "
      "and measure how long clients had to wait");
  failover
      ->add_option("--kind", arguments->kind,
                   "kill: kill -9; stop: pause the process (SIGSTOP) for a while; switchover: hand "
                   "over as planned; partition: cut the active's links to the other members, in "
                   "turn both ways, one way and the other; power: kill -9 of all metaservers and "
                   "witnesses at once")
      ->required()
      ->check(CLI::IsMember({"kill", "stop", "switchover", "partition", "power"}));
  failover->add_option("--rounds", arguments->rounds, "how often")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  failover
      ->add_option("--target", arguments->target,
                   "whom kill and stop hit: active, standby, witness, or any: each in turn")
      ->check(CLI::IsMember({"active", "standby", "witness", "any"}))
      ->capture_default_str();
  failover->add_option("--threads", arguments->threads, "threads of the load")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  failover->add_option("--interval", arguments->interval_s, "calm before each fault, in seconds")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  failover->add_option("--hold", arguments->hold_s, "how long stop and partition last, in seconds")
      ->check(CLI::Range(0.1, 600.0))
      ->capture_default_str();
  failover->add_flag("--no-data", arguments->no_data, "names and attributes only, no file data");
  failover
      ->add_option("--limit-median", arguments->limit_median_s,
                   "the median of the rounds' pauses that is allowed, in seconds; kill: 0.8")
      ->check(CLI::PositiveNumber);
  failover
      ->add_option(
          "--limit-max", arguments->limit_max_s,
          "the longest pause that is allowed, in seconds; kill: 1.5, switchover: 0.2, stop "
          "and partition: 2")
      ->check(CLI::PositiveNumber);
  failover->footer(
      "The pause of a round is the longest operation of the load that was under way at any moment "
      "from\nthe fault until the group was whole again. Exit status 1: a pause above the limit, an "
      "error, a stale\nread, anything acknowledged lost, or the drill could not be done.\n^C: the "
      "fault is undone first.");
  failover->callback([=] { *exit_status = Failover(*arguments); });
}

}  // namespace

void AddDrillCommand(CLI::App& app, int* exit_status) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* drill = app.add_subcommand("drill", "practise failures, and keep the results");
  drill->require_subcommand(1);
  AddFailover(*drill, arguments, exit_status);
  AddChunkDrills(*drill, exit_status);
  CLI::App* history = drill->add_subcommand("history", "the drills that were done");
  history->add_option("--limit", arguments->limit, "at most so many, the newest")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  history->callback([=] { *exit_status = History(*arguments); });
  for (CLI::App* command : {drill->get_subcommand("failover"), history}) {
    command
        ->add_option("--dir", arguments->directory,
                     "a development cluster's folder; by default that of the working folder")
        ->type_name("DIR");
    command
        ->add_option(
            "--meta", arguments->meta,
            "metaservers of a cluster that is no development cluster; TERCET_META by default")
        ->type_name("HOST:PORT,…")
        ->excludes("--dir");
    command->add_flag("--json", arguments->json, "as JSON");
  }
}

}  // namespace tercet
