// tercet fsck: compares what chunk servers hold with the journal, then looks at every block.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "tools/commands.h"
#include "tools/fsck_report.h"
#include "tools/output.h"
#include "tools/storage_command.h"

namespace tercet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{200};
constexpr int kProblemsPerPage = 1'000;
constexpr int kMaxPages = 10'000'000;

struct Arguments : AdminArguments {
  std::string path = "/";
  bool repair = false;
  bool no_inventory = false;
  double inventory_timeout_s = 120;
  size_t max_problems = 10'000;
};

/// Servers that are down are not waited for.
Status NameAbsent(const AdminClient& client, const std::vector<int32_t>& done, FsckReport* report) {
  ASSIGN_OR_RETURN(const wire::GetStatusResponse status, client.GetStatus());
  for (const wire::ServerStatus& server : status.servers) {
    if (server.state == wire::ServiceState::REMOVED) continue;
    if (std::ranges::find(done, server.server_id) != done.end()) continue;
    report->silent_servers.push_back(server.server_id);
  }
  return Status::Ok();
}

/// All live servers look through what they have. One that does not get done in time is named in
/// the report: the journal's view of it may be old.
Status TakeInventory(const AdminClient& client, double timeout_s, ProgressLine* progress,
                     FsckReport* report) {
  ASSIGN_OR_RETURN(
      const wire::StartInventoryResponse started,
      client.Call(&wire::AdminServiceClient::StartInventory, wire::StartInventoryRequest()));
  wire::GetInventoryRequest request;
  request.inventory_id = started.inventory_id;
  const auto end = Clock::now() + std::chrono::duration<double>(timeout_s);
  for (;;) {
    auto now = client.Call(&wire::AdminServiceClient::GetInventory, request);
    // A new active knows nothing of it.
    if (now.code() == StatusCode::kNotFound) {
      ASSIGN_OR_RETURN(
          const wire::StartInventoryResponse again,
          client.Call(&wire::AdminServiceClient::StartInventory, wire::StartInventoryRequest()));
      request.inventory_id = again.inventory_id;
    } else if (!now.ok()) {
      return now.status();
    } else {
      report->silent_servers = now->pending_servers;
      if (now->pending_servers.empty()) {
        report->inventory_done = true;
        return NameAbsent(client, now->done_servers, report);
      }
      progress->Show(fmt::format("inventory: {} of {} servers are done", now->done_servers.size(),
                                 now->done_servers.size() + now->pending_servers.size()));
    }
    if (Clock::now() >= end) return Status::Ok();
    std::this_thread::sleep_for(kPoll);
  }
}

Status LookAtBlocks(const AdminClient& client, const Arguments& arguments, ProgressLine* progress,
                    FsckReport* report) {
  wire::FsckRequest request;
  request.path = report->path;
  request.repair = arguments.repair;
  request.max_problems = kProblemsPerPage;
  for (int page = 0; page < kMaxPages; ++page) {
    ASSIGN_OR_RETURN(
        const wire::FsckResponse reply,
        client.Call(&wire::AdminServiceClient::Fsck, request, AdminClient::Repeat::kAlsoWhenBusy));
    report->Add(reply, arguments.max_problems);
    if (reply.cursor.empty()) return Status::Ok();
    request.cursor = reply.cursor;
    progress->Show(fmt::format(
        "{} files, {} blocks, {} problems", Grouped(report->files), Grouped(report->blocks),
        Grouped(static_cast<int64_t>(report->problems.size()) + report->problems_left_out)));
  }
  return Status(StatusCode::kInternal, "the answer has no end");
}

int Run(const Arguments& arguments, const AdminClient& client) {
  auto path = PathInFileSystem(arguments.path);
  if (!path.ok()) return UsageError(path.status());
  // A path that is not there is told before all servers compare what they hold.
  wire::GetPolicyRequest exists;
  exists.path = *path;
  auto found = client.Call(&wire::AdminServiceClient::GetPolicy, exists);
  if (!found.ok()) return ExitStatus(found.status().WithContext(*path));
  FsckReport report;
  report.path = *path;
  {
    ProgressLine progress;
    if (!arguments.no_inventory) {
      const Status status =
          TakeInventory(client, arguments.inventory_timeout_s, &progress, &report);
      if (!status.ok()) return ExitStatus(status.WithContext("inventory"));
    }
    const Status status = LookAtBlocks(client, arguments, &progress, &report);
    if (!status.ok()) return ExitStatus(status.WithContext(report.path));
  }
  Print(arguments.json, FsckJson(report), FsckText(report, arguments.repair));
  return report.clean() ? kExitOk : kExitFailure;
}

}  // namespace

void AddFsckCommand(Command app, int* exit_status) {
  auto arguments = std::make_shared<Arguments>();
  Command command = app.AddSubcommand(
      "fsck", "find missing, under- and over-replicated, corrupt and orphaned blocks");
  command
      .AddOption("path", arguments->path,
                 "only what is below: a path on a mount, or absolute within the file system")
      .ShowDefault();
  command.AddFlag("--repair", arguments->repair, "queue what is found for repair, at once");
  command.AddFlag("--no-inventory", arguments->no_inventory,
                  "do not have the servers compare what they hold first: only what is known");
  command
      .AddOption("--inventory-timeout", arguments->inventory_timeout_s,
                 "how long to wait for that, in seconds")
      .InRange(1.0, 86'400.0)
      .ShowDefault();
  command.AddOption("--max-problems", arguments->max_problems, "list at most so many")
      .InRange(0, 10'000'000)
      .ShowDefault();
  AddAdminOptions(command, arguments.get());
  command.Footer("Exit status: 0 clean, 1 problems were found or it could not be done, 2 usage.");
  command.OnRun([=] {
    *exit_status =
        WithAdmin(*arguments, [&](const AdminClient& client) { return Run(*arguments, client); });
  });
}

}  // namespace tercet
