// tercet exposure: what would be lost if these servers were lost now.
#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "tools/commands.h"
#include "tools/output.h"
#include "tools/storage_command.h"
#include "tools/storage_reports.h"

namespace tercet {
namespace {

using nlohmann::json;

/// A cluster of 10^12 blocks would take fewer pages.
constexpr int kMaxPages = 10'000'000;

struct Arguments : AdminArguments {
  std::vector<std::string> servers;
  std::vector<std::string> labels;
  int max_files = 100;
};

/// The sum over all pages.
struct Exposure {
  std::vector<int32_t> servers;
  int64_t blocks = 0;
  int64_t lost = 0;
  int64_t below_minimum = 0;
  int64_t below_wanted = 0;
  std::vector<wire::FileName> files;
};

Result<Exposure> Ask(const AdminClient& client, const std::vector<int32_t>& servers,
                     const std::vector<std::string>& labels, int max_files, const std::string& what,
                     ProgressLine* progress) {
  wire::GetExposureRequest request;
  request.servers = servers;
  request.labels = labels;
  Exposure sum;
  for (int page = 0; page < kMaxPages; ++page) {
    request.max_files = std::max(0, max_files - static_cast<int>(sum.files.size()));
    ASSIGN_OR_RETURN(const wire::GetExposureResponse reply,
                     client.Call(&wire::AdminServiceClient::GetExposure, request));
    sum.servers = reply.lost_servers;
    sum.blocks += reply.blocks;
    sum.lost += reply.lost_blocks;
    sum.below_minimum += reply.below_minimum_blocks;
    sum.below_wanted += reply.below_wanted_blocks;
    sum.files.insert(sum.files.end(), reply.lost_files.begin(), reply.lost_files.end());
    if (reply.cursor.empty()) return sum;
    request.cursor = reply.cursor;
    progress->Show(fmt::format("{}: {} blocks looked at", what, Grouped(sum.blocks)));
  }
  return Status(StatusCode::kInternal, "the answer has no end");
}

json ExposureJson(const Exposure& exposure) {
  return {{"lost_servers", exposure.servers},
          {"blocks", exposure.blocks},
          {"lost_blocks", exposure.lost},
          {"below_minimum_blocks", exposure.below_minimum},
          {"below_wanted_blocks", exposure.below_wanted},
          {"lost_files", FileNamesJson(exposure.files)}};
}

std::string ExposureText(const Exposure& exposure) {
  std::string servers;
  for (const int32_t id : exposure.servers) {
    servers += (servers.empty() ? "" : ", ") + std::to_string(id);
  }
  const std::string lost = Grouped(exposure.lost);
  std::string out = fmt::format(
      "if {} were lost now, of {} blocks\n"
      "  {} would have no replica left: their files lose data\n"
      "  {} would have fewer than their policy's minimum: readable, not writable until repaired\n"
      "  {} would have fewer than wanted and be made again\n",
      servers.empty() ? "nothing" : "server " + servers, Grouped(exposure.blocks),
      exposure.lost > 0 ? Coloured(Colour::kRed, lost) : lost, Grouped(exposure.below_minimum),
      Grouped(exposure.below_wanted));
  if (exposure.files.empty()) return out;
  out += "files that would lose data:\n";
  for (const wire::FileName& file : exposure.files) {
    out += fmt::format("  {} (block {} at index {})\n", Printable(file.path), file.block_id,
                       file.block_index);
  }
  if (exposure.lost > static_cast<int64_t>(exposure.files.size())) {
    out += fmt::format("  and {} more blocks (--max-files)\n",
                       Grouped(exposure.lost - static_cast<int64_t>(exposure.files.size())));
  }
  return out;
}

int One(const Arguments& arguments, const AdminClient& client,
        const wire::GetStatusResponse& status) {
  std::vector<int32_t> servers;
  for (const std::string& name : arguments.servers) {
    auto id = ResolveServer(status, name);
    if (!id.ok()) return ExitStatus(id.status());
    servers.push_back(*id);
  }
  ProgressLine progress;
  auto exposure =
      Ask(client, servers, arguments.labels, arguments.max_files, "exposure", &progress);
  if (!exposure.ok()) return ExitStatus(exposure.status());
  Print(arguments.json, ExposureJson(*exposure), ExposureText(*exposure));
  return kExitOk;
}

/// A table: what each server, and each value of each label, would cost.
int All(const Arguments& arguments, const AdminClient& client,
        const wire::GetStatusResponse& status) {
  std::set<std::string> labels;
  json list = json::array();
  Table table({{"LOSING"},
               {"SERVERS", true},
               {"NO REPLICA", true},
               {"BELOW MINIMUM", true},
               {"BELOW WANTED", true}});
  ProgressLine progress;
  const auto add = [&](const std::string& name, const std::vector<int32_t>& servers,
                       const std::vector<std::string>& lose) {
    auto exposure = Ask(client, servers, lose, 0, name, &progress);
    if (!exposure.ok()) return exposure.status();
    json entry = ExposureJson(*exposure);
    entry["losing"] = name;
    list.push_back(std::move(entry));
    const std::string lost = Grouped(exposure->lost);
    table.Add({name, std::to_string(exposure->servers.size()),
               exposure->lost > 0 ? Coloured(Colour::kRed, lost) : lost,
               Grouped(exposure->below_minimum), Grouped(exposure->below_wanted)});
    return Status::Ok();
  };
  for (const wire::ServerStatus& server : status.servers) {
    if (server.state == wire::ServiceState::REMOVED) continue;
    for (const auto& [key, value] : server.labels) labels.insert(key + "=" + value);
    if (Status done = add(ServerTitle(server), {server.server_id}, {}); !done.ok()) {
      return ExitStatus(done);
    }
  }
  for (const std::string& label : labels) {
    if (Status done = add(label, {}, {label}); !done.ok()) return ExitStatus(done);
  }
  Print(arguments.json, list, table.ToString());
  return kExitOk;
}

int Run(const Arguments& arguments, const AdminClient& client) {
  for (const std::string& label : arguments.labels) {
    const size_t at = label.find('=');
    if (at == std::string::npos || at == 0 || at + 1 == label.size()) {
      return UsageError(Status(StatusCode::kInvalidArgument,
                               "--lose " + label + ": LABEL=VALUE, for example rack=r1"));
    }
  }
  auto status = client.GetStatus();
  if (!status.ok()) return ExitStatus(status.status());
  const bool all = arguments.servers.empty() && arguments.labels.empty();
  return all ? All(arguments, client, *status) : One(arguments, client, *status);
}

}  // namespace

void AddExposureCommand(Command app, int* exit_status) {
  auto arguments = std::make_shared<Arguments>();
  Command command = app.AddSubcommand(
      "exposure",
      "which files would lose data if servers were lost now; without arguments, what "
      "each single server and each value of a label would cost");
  command.AddOption("server", arguments->servers, "servers, by id or HOST:PORT");
  command
      .AddOption("--lose", arguments->labels,
                 "all servers with this label; may be given several times")
      .TypeName("LABEL=VALUE")
      .OneValueEachTime();
  command.AddOption("--max-files", arguments->max_files, "name at most so many")
      .InRange(0, 1'000'000)
      .ShowDefault();
  AddAdminOptions(command, arguments.get());
  command.OnRun([=] {
    *exit_status =
        WithAdmin(*arguments, [&](const AdminClient& client) { return Run(*arguments, client); });
  });
}

}  // namespace tercet
