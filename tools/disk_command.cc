// tercet disk list|drain|undrain|eject
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
/// A server's count of replicas is of its last heartbeat, and only those from so long after the
/// command on tell of a drain.
constexpr std::chrono::milliseconds kCommandKnown{2'500};
/// Fewer characters of a uuid name no disk.
constexpr size_t kMinUuidPrefix = 4;

struct Arguments : AdminArguments {
  std::string server;
  std::string disk;
  bool force = false;
  bool yes = false;
  bool wait = false;
};

int List(const Arguments& arguments, const AdminClient& client) {
  auto status = client.GetStatus();
  if (!status.ok()) return ExitStatus(status.status());
  std::vector<wire::ServerStatus> servers = status->servers;
  if (!arguments.server.empty()) {
    auto id = ResolveServer(*status, arguments.server);
    if (!id.ok()) return ExitStatus(id.status());
    servers = {*FindServer(*status, *id)};
  }
  json list = json::array();
  for (const wire::ServerStatus& server : servers) {
    for (const wire::DiskReport& disk : server.disks) {
      json entry = DiskJson(disk);
      entry["server_id"] = server.server_id;
      list.push_back(std::move(entry));
    }
  }
  Print(arguments.json, list, DiskListText(servers));
  return kExitOk;
}

/// By path, uuid or the beginning of its uuid.
Result<wire::DiskReport> ResolveDisk(const wire::ServerStatus& server, const std::string& text) {
  std::vector<const wire::DiskReport*> found;
  std::string known;
  for (const wire::DiskReport& disk : server.disks) {
    const std::string uuid = Hex(disk.disk_uuid);
    if (disk.path == text ||
        (text.size() >= kMinUuidPrefix && uuid.compare(0, text.size(), text) == 0)) {
      found.push_back(&disk);
    }
    known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", disk.path, uuid.substr(0, 8));
  }
  if (found.size() == 1) return *found.front();
  return Status(StatusCode::kNotFound,
                fmt::format("{} has {} disk '{}': name it by its path or uuid; it has {}",
                            ServerTitle(server), found.empty() ? "no" : "more than one", text,
                            known.empty() ? "none" : known));
}

int AwaitDrained(const Arguments& arguments, const AdminClient& client, int32_t server_id,
                 const std::string& disk_uuid) {
  ProgressLine progress;
  int64_t at_start = -1;
  const auto begin = std::chrono::steady_clock::now();
  for (;;) {
    auto status = client.GetStatus();
    if (!status.ok()) return ExitStatus(status.status());
    const wire::ServerStatus* server = FindServer(*status, server_id);
    const wire::DiskReport* disk = nullptr;
    for (size_t i = 0; server != nullptr && i < server->disks.size(); ++i) {
      if (server->disks[i].disk_uuid == disk_uuid) disk = &server->disks[i];
    }
    if (disk == nullptr) {
      return ExitStatus(Status(StatusCode::kConflict, "the server does not report the disk"));
    }
    const auto heard = std::chrono::steady_clock::now() - begin -
                       std::chrono::milliseconds(server->last_heartbeat_ms);
    if (server->last_heartbeat_ms >= 0 && heard >= kCommandKnown &&
        disk->state == wire::DiskState::DRAINING && disk->replica_count == 0) {
      Print(arguments.json, DiskJson(*disk), "drained: it can be taken out\n");
      return kExitOk;
    }
    at_start = std::max(at_start, disk->replica_count);
    progress.Show(fmt::format("{}: {} of {} replicas moved", disk->path,
                              Grouped(at_start - disk->replica_count), Grouped(at_start)));
    std::this_thread::sleep_for(kPoll);
  }
}

int Apply(const Arguments& arguments, const AdminClient& client, wire::DiskState::type state,
          const std::string& done) {
  auto status = client.GetStatus();
  if (!status.ok()) return ExitStatus(status.status());
  auto id = ResolveServer(*status, arguments.server);
  if (!id.ok()) return ExitStatus(id.status());
  auto disk = ResolveDisk(*FindServer(*status, *id), arguments.disk);
  if (!disk.ok()) return ExitStatus(disk.status());
  if (state == wire::DiskState::EJECTED) {
    const Status sure = Confirm(
        fmt::format("eject {}? its {} replicas count as lost and are made again from others",
                    disk->path, Grouped(disk->replica_count)),
        arguments.yes || arguments.force);
    if (!sure.ok()) return ExitStatus(sure);
  }
  wire::SetDiskStateRequest request;
  request.server_id = *id;
  request.disk_uuid = disk->disk_uuid;
  request.state = state;
  request.force = arguments.force;
  auto reply = client.Exchange(&wire::AdminServiceClient::SetDiskState, request,
                               AdminClient::Repeat::kAlsoWhenBusy);
  if (!reply.ok()) return ExitStatus(reply.status());
  const bool ok = reply->info.status.code == 0;
  for (const std::string& warning : reply->warnings) {
    if (!arguments.json) std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
  if (ok && arguments.wait) return AwaitDrained(arguments, client, *id, disk->disk_uuid);
  if (arguments.json) {
    json out = {{"server_id", *id},
                {"disk_uuid", Hex(disk->disk_uuid)},
                {"path", disk->path},
                {"accepted", ok},
                {"warnings", reply->warnings}};
    if (!ok) out["error"] = reply->info.status.message;
    Print(true, out, "");
    return ok ? kExitOk : kExitFailure;
  }
  if (!ok) return ExitStatus(FromWire(reply->info.status));
  std::printf("%s of server %d: %s\n", disk->path.c_str(), *id, done.c_str());
  return kExitOk;
}

}  // namespace

void AddDiskCommand(Command app, int* exit_status) {
  auto arguments = std::make_shared<Arguments>();
  Command disk = app.AddSubcommand("disk", "look at and steer single disks of chunk servers");
  disk.RequireSubcommand();
  const auto add = [&](const char* name, const char* what,
                       std::function<int(const Arguments&, const AdminClient&)> run) {
    Command command = disk.AddSubcommand(name, what);
    CommandOption server =
        command.AddOption("server", arguments->server, "the server's id or HOST:PORT");
    if (std::string(name) != "list") {
      server.Required();
      command.AddOption("disk", arguments->disk, "its path, or (the beginning of) its uuid")
          .Required();
    }
    AddAdminOptions(command, arguments.get());
    command.OnRun([=] {
      *exit_status =
          WithAdmin(*arguments, [&](const AdminClient& client) { return run(*arguments, client); });
    });
    return command;
  };
  add("list", "all disks, or those of one server", List);
  Command drain = add("drain", "no new replicas on it; its own move to the server's other disks",
                      [](const Arguments& given, const AdminClient& client) {
                        return Apply(given, client, wire::DiskState::DRAINING, "draining");
                      });
  drain.AddFlag("--wait", arguments->wait, "until it holds nothing any more");
  add("undrain", "back into service", [](const Arguments& given, const AdminClient& client) {
    return Apply(given, client, wire::DiskState::IN_SERVICE, "in service");
  });
  Command eject = add("eject", "use it no more, at once: what it held is made again from others",
                      [](const Arguments& given, const AdminClient& client) {
                        return Apply(given, client, wire::DiskState::EJECTED, "ejected");
                      });
  eject.AddFlag("--yes", arguments->yes, "do not ask");
  for (Command command : {drain, eject}) {
    command.AddFlag("--force", arguments->force, "although it breaks a policy");
  }
}

}  // namespace tercet
