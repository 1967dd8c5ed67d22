// tercet server list|info|drain|undrain|maintenance|remove
#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "tools/commands.h"
#include "tools/output.h"
#include "tools/storage_command.h"
#include "tools/storage_reports.h"

namespace tercet {
namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds kPoll{500};

struct Arguments : AdminArguments {
  std::vector<std::string> servers;
  bool force = false;
  bool yes = false;
  bool wait = false;
  bool off = false;
  std::string period;
};

int List(const Arguments& arguments, const AdminClient& client) {
  auto status = client.GetStatus();
  if (!status.ok()) return ExitStatus(status.status());
  json list = json::array();
  for (const wire::ServerStatus& server : status->servers) list.push_back(ServerJson(server));
  Print(arguments.json, list, ServerListText(status->servers));
  return kExitOk;
}

int Info(const Arguments& arguments, const AdminClient& client) {
  auto status = client.GetStatus();
  if (!status.ok()) return ExitStatus(status.status());
  auto id = ResolveServer(*status, arguments.servers.front());
  if (!id.ok()) return ExitStatus(id.status());
  const wire::ServerStatus& server = *FindServer(*status, *id);
  Print(arguments.json, ServerJson(server), ServerInfoText(server));
  return kExitOk;
}

/// What the active said about one server.
json OutcomeJson(int32_t id, const wire::SetServerStateRequest& request,
                 const wire::SetServerStateResponse& reply) {
  json out = {{"server_id", id},
              {"requested_state", ServiceStateName(request.state)},
              {"accepted", reply.info.status.code == 0},
              {"warnings", reply.warnings},
              {"files", FileNamesJson(reply.files)},
              {"blocks", reply.blocks}};
  if (reply.info.status.code != 0) out["error"] = reply.info.status.message;
  return out;
}

void SayWarnings(const wire::SetServerStateResponse& reply) {
  for (const std::string& warning : reply.warnings) {
    std::fprintf(stderr, "%s\n", (Coloured(Colour::kYellow, "warning: ") + warning).c_str());
  }
  if (reply.files.empty()) return;
  const auto others = reply.blocks - static_cast<int64_t>(reply.files.size());
  std::fputs(FileLines(reply.files).c_str(), stderr);
  if (others > 0) std::fprintf(stderr, "  and %s more blocks\n", Grouped(others).c_str());
}

/// Asks without force first, so that what would break is named before it is done.
Result<wire::SetServerStateResponse> SetState(const AdminClient& client, const Arguments& arguments,
                                              wire::SetServerStateRequest request) {
  constexpr auto kMethod = &wire::AdminServiceClient::SetServerState;
  ASSIGN_OR_RETURN(wire::SetServerStateResponse reply,
                   client.Exchange(kMethod, request, AdminClient::Repeat::kAlsoWhenBusy));
  const auto code = static_cast<StatusCode>(reply.info.status.code);
  if (code != StatusCode::kFailedPrecondition || !arguments.force) return reply;
  if (!arguments.json) {
    // The message says that it was refused, which is not the last word.
    if (reply.warnings.empty()) std::fprintf(stderr, "%s\n", reply.info.status.message.c_str());
    SayWarnings(reply);
  }
  RETURN_IF_ERROR(Confirm("do it all the same?", arguments.yes));
  request.force = true;
  return client.Exchange(kMethod, request, AdminClient::Repeat::kAlsoWhenBusy);
}

int Apply(const Arguments& arguments, const AdminClient& client, wire::ServiceState::type state,
          int64_t maintenance_s, std::vector<int32_t>* ids) {
  auto status = client.GetStatus();
  if (!status.ok()) return ExitStatus(status.status());
  for (const std::string& name : arguments.servers) {
    auto id = ResolveServer(*status, name);
    if (!id.ok()) return ExitStatus(id.status());
    ids->push_back(*id);
  }
  json outcomes = json::array();
  int exit_status = kExitOk;
  for (const int32_t id : *ids) {
    wire::SetServerStateRequest request;
    request.server_id = id;
    request.state = state;
    request.maintenance_s = maintenance_s;
    auto reply = SetState(client, arguments, request);
    if (!reply.ok()) return ExitStatus(reply.status());
    const bool done = reply->info.status.code == 0;
    if (!done) exit_status = kExitFailure;
    if (arguments.json) {
      outcomes.push_back(OutcomeJson(id, request, *reply));
      continue;
    }
    if (!done) ExitStatus(FromWire(reply->info.status));
    if (!done || !arguments.force) SayWarnings(*reply);
    if (done) {
      std::printf("%s: %s\n", ServerTitle(*FindServer(*status, id)).c_str(),
                  ServiceStateName(state).c_str());
    }
  }
  // With --wait the state at the end is what is printed.
  if (arguments.json && !(arguments.wait && exit_status == kExitOk)) {
    Print(true, outcomes, "");
  }
  return exit_status;
}

/// Until none of them has a replica left.
int AwaitDrained(const Arguments& arguments, const AdminClient& client,
                 const std::vector<int32_t>& ids) {
  ProgressLine progress;
  for (;;) {
    auto status = client.GetStatus();
    if (!status.ok()) return ExitStatus(status.status());
    std::string text;
    json list = json::array();
    bool done = true;
    for (const int32_t id : ids) {
      const wire::ServerStatus* server = FindServer(*status, id);
      if (server == nullptr || server->state != wire::ServiceState::DRAINING) {
        return ExitStatus(Status(StatusCode::kConflict,
                                 fmt::format("server {} is not being drained any more", id)));
      }
      done &= server->replica_count == 0;
      list.push_back(ServerJson(*server));
      text += fmt::format("{}server {}: {}", text.empty() ? "" : "; ", id, DrainText(*server));
    }
    if (done) {
      Print(arguments.json, list, "drained: all replicas are on other servers\n");
      return kExitOk;
    }
    progress.Show(text);
    std::this_thread::sleep_for(kPoll);
  }
}

int Drain(const Arguments& arguments, const AdminClient& client) {
  std::vector<int32_t> ids;
  const int exit_status = Apply(arguments, client, wire::ServiceState::DRAINING, 0, &ids);
  if (exit_status != kExitOk || !arguments.wait) return exit_status;
  return AwaitDrained(arguments, client, ids);
}

int Maintenance(const Arguments& arguments, const AdminClient& client) {
  int64_t seconds = 0;
  if (!arguments.period.empty()) {
    auto parsed = ParseSeconds(arguments.period);
    if (!parsed.ok()) return UsageError(parsed.status().WithContext("--for"));
    if (*parsed <= 0) {
      return UsageError(
          Status(StatusCode::kInvalidArgument, "--for " + arguments.period +
                                                   ": at least a second; without --for "
                                                   "it has no end"));
    }
    seconds = *parsed;
  }
  std::vector<int32_t> ids;
  return Apply(arguments, client,
               arguments.off ? wire::ServiceState::IN_SERVICE : wire::ServiceState::MAINTENANCE,
               seconds, &ids);
}

int Remove(const Arguments& arguments, const AdminClient& client) {
  if (Status sure = Confirm("take it out for good? it can never come back with its present disks",
                            arguments.yes || arguments.force);
      !sure.ok()) {
    return ExitStatus(sure);
  }
  std::vector<int32_t> ids;
  return Apply(arguments, client, wire::ServiceState::REMOVED, 0, &ids);
}

}  // namespace

void AddServerCommand(Command app, int* exit_status) {
  auto arguments = std::make_shared<Arguments>();
  Command server = app.AddSubcommand("server", "look at and steer the chunk servers");
  server.RequireSubcommand();
  const auto add = [&](const char* name, const char* what, bool names,
                       int (*run)(const Arguments&, const AdminClient&)) {
    Command command = server.AddSubcommand(name, what);
    if (names) {
      command.AddOption("server", arguments->servers, "its id or HOST:PORT").Required();
    }
    AddAdminOptions(command, arguments.get());
    command.OnRun([=] {
      *exit_status =
          WithAdmin(*arguments, [&](const AdminClient& client) { return run(*arguments, client); });
    });
    return command;
  };
  add("list", "all of them: state, labels, space, load", false, List);
  add("info", "everything about one, with its disks", true, Info).Option("server").OneValueOnly();
  Command drain =
      add("drain", "give it no new replicas and move its own to other servers", true, Drain);
  drain.AddFlag("--wait", arguments->wait, "until it holds nothing any more");
  add("undrain", "back into service", true, [](const Arguments& given, const AdminClient& client) {
    std::vector<int32_t> ids;
    return Apply(given, client, wire::ServiceState::IN_SERVICE, 0, &ids);
  });
  Command maintenance = add("maintenance",
                            "it will be away for a while: its replicas are not made again "
                            "elsewhere as long as enough others are there",
                            true, Maintenance);
  maintenance.AddOption("--for", arguments->period, "ends by itself after so long, e.g. 2h")
      .TypeName("TIME");
  maintenance.AddFlag("--off", arguments->off, "ends it").Excludes("--for");
  Command remove =
      add("remove", "take it out for good: what it held is made again elsewhere; drain it first",
          true, Remove);
  for (Command command : {drain, maintenance, remove}) {
    command.AddFlag("--force", arguments->force,
                    "although it breaks a policy; the files are named first");
    command.AddFlag("--yes", arguments->yes, "do not ask");
  }
}

}  // namespace tercet
