// tercet balance plan|start|status|pause|resume|stop
#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "common/base/hex.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/storage_command.h"
#include "tools/storage_reports.h"

namespace tercet {
namespace {

constexpr std::chrono::milliseconds kPoll{500};

struct Arguments : AdminArguments {
  double threshold = 5;
  std::string plan;
  bool wait = false;
  bool watch = false;
};

Result<wire::PlanBalanceResponse> MakePlan(const Arguments& arguments, const AdminClient& client) {
  wire::PlanBalanceRequest request;
  request.threshold_points = arguments.threshold;
  return client.Call(&wire::AdminServiceClient::PlanBalance, request);
}

int Plan(const Arguments& arguments, const AdminClient& client) {
  auto plan = MakePlan(arguments, client);
  if (!plan.ok()) return ExitStatus(plan.status());
  std::string text = BalancePlanText(*plan);
  if (plan->bytes_to_move > 0) {
    text += "to do exactly this: tercet balance start --plan " + Hex(plan->plan) + "\n";
  }
  Print(arguments.json, BalancePlanJson(*plan), text);
  return kExitOk;
}

Result<wire::GetBalanceResponse> Current(const AdminClient& client) {
  return client.Call(&wire::AdminServiceClient::GetBalance, wire::GetBalanceRequest());
}

int Show(const Arguments& arguments, const AdminClient& client) {
  for (;;) {
    auto balance = Current(client);
    if (!balance.ok()) return ExitStatus(balance.status());
    Print(arguments.json, BalanceJson(*balance), BalanceText(*balance));
    if (!arguments.watch || balance->state != "running") return kExitOk;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

/// Until it is not running any more; a failover in between does not end it.
int Await(const Arguments& arguments, const AdminClient& client) {
  ProgressLine progress;
  for (;;) {
    auto balance = Current(client);
    if (!balance.ok()) return ExitStatus(balance.status());
    if (balance->state != "running") {
      Print(arguments.json, BalanceJson(*balance), BalanceText(*balance));
      return balance->state == "done" ? kExitOk : kExitFailure;
    }
    progress.Show(BalanceProgress(*balance));
    std::this_thread::sleep_for(kPoll);
  }
}

int Start(const Arguments& arguments, const AdminClient& client) {
  wire::StartBalanceRequest request;
  if (arguments.plan.empty()) {
    auto plan = MakePlan(arguments, client);
    if (!plan.ok()) return ExitStatus(plan.status());
    if (!arguments.json) std::fputs(BalancePlanText(*plan).c_str(), stdout);
    if (plan->bytes_to_move == 0) {
      if (arguments.json) Print(true, BalancePlanJson(*plan), "");
      return kExitOk;
    }
    request.plan = plan->plan;
  } else {
    auto plan = BytesFromHex(arguments.plan);
    if (!plan.ok()) {
      return UsageError(Status(StatusCode::kInvalidArgument,
                               "--plan: that is not what `tercet balance plan` printed"));
    }
    request.plan = *plan;
  }
  auto started = client.Call(&wire::AdminServiceClient::StartBalance, request,
                             AdminClient::Repeat::kWhenRefused);
  if (started.code() == StatusCode::kConflict) {
    return ExitStatus(
        Status(StatusCode::kConflict,
               started.status().message() + ": look at a new one with `tercet balance plan`"));
  }
  if (!started.ok()) return ExitStatus(started.status());
  if (arguments.wait) return Await(arguments, client);
  return Show(arguments, client);
}

int Control(const Arguments& arguments, const AdminClient& client,
            wire::BalanceAction::type action) {
  wire::ControlBalanceRequest request;
  request.action = action;
  auto reply = client.Call(&wire::AdminServiceClient::ControlBalance, request,
                           AdminClient::Repeat::kAlsoWhenBusy);
  if (!reply.ok()) return ExitStatus(reply.status());
  if (arguments.wait) return Await(arguments, client);
  return Show(arguments, client);
}

}  // namespace

void AddBalanceCommand(Command app, int* exit_status) {
  auto arguments = std::make_shared<Arguments>();
  Command balance = app.AddSubcommand("balance", "make the servers equally full");
  balance.RequireSubcommand();
  const auto add = [&](const char* name, const char* what,
                       std::function<int(const Arguments&, const AdminClient&)> run) {
    Command command = balance.AddSubcommand(name, what);
    AddAdminOptions(command, arguments.get());
    command.OnRun([=] {
      *exit_status =
          WithAdmin(*arguments, [&](const AdminClient& client) { return run(*arguments, client); });
    });
    return command;
  };
  Command plan = add("plan", "what would be moved, and how long it would take", Plan);
  Command start = add("start", "begin; it goes on over restarts and failovers", Start);
  start.AddOption("--plan", arguments->plan, "the plan that `tercet balance plan` printed")
      .TypeName("HEX");
  for (Command command : {plan, start}) {
    command
        .AddOption("--threshold", arguments->threshold,
                   "even enough: all within so many percentage points of the mean")
        .InRange(0.5, 50.0)
        .ShowDefault();
  }
  add("status", "how far it is", Show)
      .AddFlag("--watch", arguments->watch, "again every second while it runs");
  add("pause", "what runs now ends, nothing new begins",
      [](const Arguments& given, const AdminClient& client) {
        return Control(given, client, wire::BalanceAction::PAUSE);
      });
  Command resume = add("resume", "go on", [](const Arguments& given, const AdminClient& client) {
    return Control(given, client, wire::BalanceAction::RESUME);
  });
  add("stop", "end it; what was moved stays where it is",
      [](const Arguments& given, const AdminClient& client) {
        return Control(given, client, wire::BalanceAction::STOP);
      });
  for (Command command : {start, resume}) {
    command.AddFlag("--wait", arguments->wait,
                    "until it has ended; exit status 1 if it did not get done");
  }
}

}  // namespace tercet
