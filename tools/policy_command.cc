// tercet policy set|get
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "common/config/config.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/storage_command.h"
#include "tools/storage_reports.h"

namespace tercet {
namespace {

struct Arguments : AdminArguments {
  std::string path;
  int replicas = 0;
  int min_replicas = 0;
  std::string block_size;
  std::optional<std::string> domain;
  std::vector<std::string> require;
  bool require_nothing = false;
  std::string trash;
  bool new_files_only = false;
  bool force = false;
};

std::string PolicyText(const std::string& path, const wire::Policy& policy, bool directory,
                       bool converting) {
  std::string out = fmt::format(
      "{}{}\n"
      "  replicas      {}\n"
      "  min replicas  {} (fewer: not writable)\n"
      "  block size    {}\n"
      "  domain        {}\n"
      "  require       {}\n"
      "  trash         {}\n",
      path, directory ? " (and what is made below it)" : "", policy.replicas, policy.min_replicas,
      HumanBytes(static_cast<uint64_t>(policy.block_size_bytes)),
      policy.domain.empty() ? "different servers" : "different " + policy.domain,
      LabelsText(policy.require),
      policy.trash_retention_s == 0
          ? "off: deleted files are gone"
          : "deleted files are kept for " + HumanSeconds(policy.trash_retention_s));
  if (converting) out += "  what is below it is being converted\n";
  return out;
}

nlohmann::json PolicyJson(const std::string& path, const wire::Policy& policy) {
  return {{"path", path},
          {"replicas", policy.replicas},
          {"min_replicas", policy.min_replicas},
          {"block_size_bytes", policy.block_size_bytes},
          {"domain", policy.domain},
          {"require", policy.require},
          {"trash_retention_s", policy.trash_retention_s}};
}

int Get(const Arguments& arguments, const AdminClient& client) {
  auto path = PathInFileSystem(arguments.path);
  if (!path.ok()) return UsageError(path.status());
  wire::GetPolicyRequest request;
  request.path = *path;
  auto reply = client.Call(&wire::AdminServiceClient::GetPolicy, request);
  if (!reply.ok()) return ExitStatus(reply.status().WithContext(*path));
  nlohmann::json out = PolicyJson(*path, reply->policy);
  out["inode"] = reply->inode;
  out["is_directory"] = reply->is_directory;
  out["converting"] = reply->converting;
  Print(arguments.json, out,
        PolicyText(*path, reply->policy, reply->is_directory, reply->converting));
  return kExitOk;
}

Result<wire::SetPolicyRequest> RequestOf(const Arguments& arguments) {
  wire::SetPolicyRequest request;
  ASSIGN_OR_RETURN(request.path, PathInFileSystem(arguments.path));
  request.new_files_only = arguments.new_files_only;
  request.force = arguments.force;
  if (arguments.replicas != 0) request.__set_replicas(arguments.replicas);
  if (arguments.min_replicas != 0) request.__set_min_replicas(arguments.min_replicas);
  if (!arguments.block_size.empty()) {
    ASSIGN_OR_RETURN(const uint64_t bytes, ParseSize(arguments.block_size));
    if (bytes < 4096 || bytes > (uint64_t{64} << 20) || (bytes & (bytes - 1)) != 0) {
      return Status(StatusCode::kInvalidArgument,
                    "--block-size: a power of two from 4KiB to 64MiB");
    }
    request.__set_block_size_bytes(static_cast<int32_t>(bytes));
  }
  if (arguments.domain) {
    request.__set_domain(*arguments.domain == "none" ? "" : *arguments.domain);
  }
  if (!arguments.require.empty() || arguments.require_nothing) {
    std::map<std::string, std::string> labels;
    for (const std::string& text : arguments.require) {
      const size_t at = text.find('=');
      if (at == std::string::npos || at == 0 || at + 1 == text.size()) {
        return Status(StatusCode::kInvalidArgument,
                      "--require " + text + ": LABEL=VALUE, for example medium=ssd");
      }
      if (!labels.emplace(text.substr(0, at), text.substr(at + 1)).second) {
        return Status(StatusCode::kInvalidArgument, "--require " + text +
                                                        ": a label has one value, and " +
                                                        text.substr(0, at) + " was given before");
      }
    }
    request.__set_require(labels);
  }
  if (!arguments.trash.empty()) {
    ASSIGN_OR_RETURN(const int64_t seconds, ParseSeconds(arguments.trash));
    request.__set_trash_retention_s(seconds);
  }
  if (!request.__isset.replicas && !request.__isset.min_replicas &&
      !request.__isset.block_size_bytes && !request.__isset.domain && !request.__isset.require &&
      !request.__isset.trash_retention_s) {
    return Status(StatusCode::kInvalidArgument,
                  "set what? --replicas, --min-replicas, --block-size, --domain, --require, "
                  "--trash");
  }
  return request;
}

int Set(const Arguments& arguments, const AdminClient& client) {
  auto request = RequestOf(arguments);
  if (!request.ok()) return UsageError(request.status());
  auto reply = client.Call(&wire::AdminServiceClient::SetPolicy, *request,
                           AdminClient::Repeat::kAlsoWhenBusy);
  if (!reply.ok()) return ExitStatus(reply.status().WithContext(request->path));
  std::string text = PolicyText(request->path, reply->policy, false, false);
  if (!arguments.new_files_only) {
    text +=
        "what is there already is converted in the background: `tercet policy get` and "
        "`tercet repair status` show how far that is\n";
  }
  if (reply->policy.min_replicas == 1 && reply->policy.replicas > 2 &&
      !request->__isset.min_replicas) {
    text +=
        "min replicas is 1: blocks can be written with a single replica left; --min-replicas 2 "
        "would not let that happen\n";
  }
  Print(arguments.json, PolicyJson(request->path, reply->policy), text);
  return kExitOk;
}

void AddSet(Command policy, const std::shared_ptr<Arguments>& arguments, int* exit_status) {
  Command set = policy.AddSubcommand(
      "set", "change it for a file, or for a directory, all below it and all made there later");
  set.AddOption("--replicas", arguments->replicas, "how many of each block").InRange(1, 16);
  set.AddOption("--min-replicas", arguments->min_replicas, "with fewer a block cannot be written")
      .InRange(1, 16);
  set.AddOption("--block-size", arguments->block_size,
                "of files made later: a power of two from 4KiB to 64MiB")
      .TypeName("SIZE");
  set.AddOption("--domain", arguments->domain,
                "label whose values the replicas of a block differ in, e.g. rack; none: different "
                "servers are enough")
      .TypeName("LABEL");
  CommandOption require = set.AddOption("--require", arguments->require,
                                        "only servers with this label; may be given several times")
                              .TypeName("LABEL=VALUE")
                              .OneValueEachTime();
  set.AddFlag("--require-nothing", arguments->require_nothing, "any server will do")
      .Excludes(require);
  set.AddOption("--trash", arguments->trash,
                "keep deleted files for so long, e.g. 7d; off: not at all")
      .TypeName("TIME");
  set.AddFlag("--new-files-only", arguments->new_files_only, "leave what is there as it is");
  set.AddFlag("--force", arguments->force, "although there are too few servers for it now");
  set.OnRun([=] {
    *exit_status =
        WithAdmin(*arguments, [&](const AdminClient& client) { return Set(*arguments, client); });
  });
}

}  // namespace

void AddPolicyCommand(Command app, int* exit_status) {
  auto arguments = std::make_shared<Arguments>();
  Command policy = app.AddSubcommand("policy", "how many replicas files have, and where");
  policy.RequireSubcommand();
  AddSet(policy, arguments, exit_status);
  Command get = policy.AddSubcommand("get", "what holds for a file or directory");
  get.OnRun([=] {
    *exit_status =
        WithAdmin(*arguments, [&](const AdminClient& client) { return Get(*arguments, client); });
  });
  for (Command command : {policy.Subcommand("set"), get}) {
    command
        .AddOption("path", arguments->path,
                   "a path on a mount, or the absolute path within the file system")
        .Required();
    AddAdminOptions(command, arguments.get());
  }
}

}  // namespace tercet
