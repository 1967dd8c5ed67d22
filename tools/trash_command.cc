// tercet trash list|restore|purge: files that were deleted, as long as their directory's policy
// keeps them.
#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "common/env/clock.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/storage_command.h"

namespace tercet {
namespace {

using nlohmann::json;

constexpr int kEntriesPerPage = 1'000;
constexpr int kMaxPages = 1'000'000;

struct Arguments : AdminArguments {
  std::string path;
  size_t limit = 10'000;
  std::string what;
  std::string to;
  bool all = false;
  std::string older;
  bool yes = false;
};

std::string PathOf(const wire::TrashEntry& entry) {
  if (entry.directory.empty()) return "?/" + entry.name;
  return entry.directory + (entry.directory == "/" ? "" : "/") + entry.name;
}

/// At most `limit` entries; with `path`, of what was below it.
Result<std::vector<wire::TrashEntry>> Fetch(const AdminClient& client, const std::string& path,
                                            size_t limit, bool* more) {
  wire::ListTrashRequest request;
  request.path = path;
  request.max_entries = kEntriesPerPage;
  std::vector<wire::TrashEntry> all;
  *more = false;
  for (int page = 0; page < kMaxPages; ++page) {
    ASSIGN_OR_RETURN(const wire::ListTrashResponse reply,
                     client.Call(&wire::AdminServiceClient::ListTrash, request));
    for (const wire::TrashEntry& entry : reply.entries) {
      if (all.size() == limit) {
        *more = true;
        return all;
      }
      all.push_back(entry);
    }
    if (reply.cursor.empty()) return all;
    request.cursor = reply.cursor;
  }
  return Status(StatusCode::kInternal, "the answer has no end");
}

int List(const Arguments& arguments, const AdminClient& client) {
  std::string path;
  if (!arguments.path.empty()) {
    auto inside = PathInFileSystem(arguments.path);
    if (!inside.ok()) return UsageError(inside.status());
    path = *inside;
  }
  bool more = false;
  auto entries = Fetch(client, path, arguments.limit, &more);
  if (!entries.ok()) return ExitStatus(entries.status());
  Table table(
      {{"INODE", true}, {"SIZE", true}, {"OWNER", true}, {"DELETED"}, {"GOES IN", true}, {"WAS"}});
  json list = json::array();
  const int64_t now_ns = RealClock().WallNanos();
  for (const wire::TrashEntry& entry : *entries) {
    list.push_back({{"inode", entry.inode},
                    {"name", entry.name},
                    {"directory", entry.directory},
                    {"path", PathOf(entry)},
                    {"size_bytes", entry.size_bytes},
                    {"deleted_at_ns", entry.deleted_at_ns},
                    {"expires_at_ns", entry.expires_at_ns},
                    {"uid", entry.uid}});
    table.Add({std::to_string(entry.inode), HumanBytes(static_cast<uint64_t>(entry.size_bytes)),
               std::to_string(entry.uid), HumanTime(entry.deleted_at_ns),
               HumanSeconds(std::max<int64_t>(0, (entry.expires_at_ns - now_ns) / 1'000'000'000)),
               Printable(PathOf(entry))});
  }
  std::string text = entries->empty() ? "the trash is empty\n" : table.ToString();
  if (more) text += "and more (--limit)\n";
  Print(arguments.json, list, text);
  return kExitOk;
}

/// The file that the user means: by inode, or by the path it had. Of several that had the path the
/// one deleted last.
Result<int64_t> Resolve(const AdminClient& client, const std::string& what) {
  int64_t inode = 0;
  const auto [end, error] = std::from_chars(what.data(), what.data() + what.size(), inode);
  if (error == std::errc() && end == what.data() + what.size() && inode > 0) return inode;
  ASSIGN_OR_RETURN(const std::string path, PathInFileSystem(what));
  bool more = false;
  ASSIGN_OR_RETURN(const std::vector<wire::TrashEntry> entries,
                   Fetch(client, "", 1'000'000, &more));
  const wire::TrashEntry* best = nullptr;
  for (const wire::TrashEntry& entry : entries) {
    if (PathOf(entry) == path && (best == nullptr || entry.deleted_at_ns > best->deleted_at_ns)) {
      best = &entry;
    }
  }
  if (best != nullptr) return best->inode;
  return Status(StatusCode::kNotFound,
                Printable(path) +
                    " is not in the trash: `tercet trash list` shows what is, and the inode to "
                    "give where a name is not enough");
}

int Restore(const Arguments& arguments, const AdminClient& client) {
  auto inode = Resolve(client, arguments.what);
  if (!inode.ok()) return ExitStatus(inode.status());
  wire::RestoreTrashRequest request;
  request.inode = *inode;
  if (!arguments.to.empty()) {
    auto to = PathInFileSystem(arguments.to);
    if (!to.ok()) return UsageError(to.status());
    request.to_path = *to;
  }
  auto reply = client.Call(&wire::AdminServiceClient::RestoreTrash, request,
                           AdminClient::Repeat::kWhenRefused);
  if (!reply.ok()) return ExitStatus(reply.status());
  Print(arguments.json, {{"inode", *inode}, {"path", reply->path}},
        Printable(reply->path) + " is back\n");
  return kExitOk;
}

Result<wire::PurgeTrashRequest> PurgeRequest(const Arguments& arguments,
                                             const AdminClient& client) {
  wire::PurgeTrashRequest request;
  const int given = (arguments.what.empty() ? 0 : 1) + (arguments.all ? 1 : 0) +
                    (arguments.older.empty() ? 0 : 1);
  if (given != 1) {
    return Status(StatusCode::kInvalidArgument, "purge what? a file, --older TIME, or --all");
  }
  if (!arguments.what.empty()) {
    ASSIGN_OR_RETURN(request.inode, Resolve(client, arguments.what));
    return request;
  }
  int64_t age_s = 0;
  if (!arguments.all) {
    ASSIGN_OR_RETURN(age_s, ParseSeconds(arguments.older));
  }
  // The active's clock may be a little behind ours or ahead: with --all everything goes.
  request.deleted_before_ns = arguments.all ? std::numeric_limits<int64_t>::max()
                                            : RealClock().WallNanos() - age_s * 1'000'000'000;
  return request;
}

int Purge(const Arguments& arguments, const AdminClient& client) {
  auto request = PurgeRequest(arguments, client);
  if (request.code() == StatusCode::kInvalidArgument) return UsageError(request.status());
  if (!request.ok()) return ExitStatus(request.status());
  if (Status sure = Confirm("erase for good?", arguments.yes); !sure.ok()) return ExitStatus(sure);
  int64_t purged = 0;
  ProgressLine progress;
  for (int page = 0; page < kMaxPages; ++page) {
    auto reply = client.Call(&wire::AdminServiceClient::PurgeTrash, *request,
                             AdminClient::Repeat::kAlsoWhenBusy);
    if (!reply.ok()) return ExitStatus(reply.status());
    purged += reply->purged;
    if (!reply->more) break;
    progress.Show(Grouped(purged) + " files erased");
  }
  Print(arguments.json, {{"purged", purged}}, Grouped(purged) + " files erased\n");
  return kExitOk;
}

}  // namespace

void AddTrashCommand(Command app, int* exit_status) {
  auto arguments = std::make_shared<Arguments>();
  Command trash =
      app.AddSubcommand("trash", "deleted files that are kept for a while (tercet policy --trash)");
  trash.RequireSubcommand();
  const auto add = [&](const char* name, const char* what,
                       int (*run)(const Arguments&, const AdminClient&)) {
    Command command = trash.AddSubcommand(name, what);
    AddAdminOptions(command, arguments.get());
    command.OnRun([=] {
      *exit_status =
          WithAdmin(*arguments, [&](const AdminClient& client) { return run(*arguments, client); });
    });
    return command;
  };
  Command list = add("list", "what is in it", List);
  list.AddOption("path", arguments->path, "only what was below this directory");
  list.AddOption("--limit", arguments->limit, "at most so many")
      .InRange(1, 10'000'000)
      .ShowDefault();
  Command restore = add("restore", "bring a file back", Restore);
  restore.AddOption("file", arguments->what, "its inode, or the path it had").Required();
  restore.AddOption("--to", arguments->to, "where to; by default where it was").TypeName("PATH");
  Command purge = add("purge", "erase now", Purge);
  purge.AddOption("file", arguments->what, "its inode, or the path it had");
  purge.AddFlag("--all", arguments->all, "everything");
  purge.AddOption("--older", arguments->older, "what was deleted longer ago, e.g. 1h")
      .TypeName("TIME");
  purge.AddFlag("--yes", arguments->yes, "do not ask");
}

}  // namespace tercet
