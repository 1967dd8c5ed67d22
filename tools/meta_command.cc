// tercet meta list|add|remove|promote-witness: the members of the metadata group.
#include "tools/meta_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "tools/admin_client.h"
#include "tools/commands.h"
#include "tools/dev_cluster.h"
#include "tools/group_actions.h"
#include "tools/output.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A member takes part in the call: its disk is written.
constexpr AdminOptions kPatient{.timeout = milliseconds(30'000), .patience = milliseconds(20'000)};
constexpr seconds kStandstill{60};

void PrintProgress(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

struct ListArguments : MetaArguments {
  bool watch = false;
};

int List(const ListArguments& arguments) {
  Result<std::vector<HostPort>> metaservers = MetaAddressesFrom(arguments.meta);
  if (!metaservers.ok()) {
    ExitStatus(metaservers.status());
    return kExitUsage;
  }
  for (;;) {
    const GroupSurvey survey = SurveyGroup(*metaservers);
    const std::string text = arguments.json ? JsonText(SurveyJson(survey), arguments.watch ? -1 : 2)
                                            : SurveyText(survey);
    if (arguments.watch && !arguments.json && ::isatty(STDOUT_FILENO) == 1) {
      std::fputs("\033[H\033[2J", stdout);
    }
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
    if (!arguments.watch) return survey.active_id != 0 ? kExitOk : kExitFailure;
    std::this_thread::sleep_for(seconds(1));
  }
}

struct MemberArguments : MetaArguments {
  std::string member;
  bool witness = false;
  bool force = false;
  bool no_wait = false;
};

int AwaitAndSay(const std::vector<HostPort>& metaservers, const MemberArguments& arguments,
                int32_t id, const std::string& done) {
  if (!arguments.no_wait) {
    auto survey = AwaitVoter(metaservers, id, kStandstill, PrintProgress);
    if (!survey.ok()) return ExitStatus(survey.status());
  }
  if (arguments.json) {
    std::printf("%s\n",
                nlohmann::json({{"member_id", id}, {"waited", !arguments.no_wait}}).dump().c_str());
  } else {
    std::printf("member %d (%s) %s\n", id, arguments.member.c_str(),
                arguments.no_wait ? "is being caught up" : done.c_str());
  }
  return kExitOk;
}

int Add(const MemberArguments& arguments) {
  Result<std::vector<HostPort>> metaservers = MetaAddressesFrom(arguments.meta);
  Result<HostPort> address = ParseHostPort(arguments.member);
  if (!metaservers.ok() || !address.ok()) {
    ExitStatus(metaservers.ok() ? address.status() : metaservers.status());
    return kExitUsage;
  }
  wire::AddMemberRequest request;
  request.address = address->ToString();
  request.witness = arguments.witness;
  auto added = AdminClient(*metaservers, kPatient).AddMember(request);
  if (!added.ok()) return ExitStatus(added.status());
  return AwaitAndSay(*metaservers, arguments, added->member_id,
                     arguments.witness ? "votes as a witness" : "votes and can become active");
}

/// Finds the member that is meant, then does `action` with its id.
template <typename Action>
int WithMember(const MemberArguments& arguments, Action&& action) {
  Result<std::vector<HostPort>> metaservers = MetaAddressesFrom(arguments.meta);
  if (!metaservers.ok()) {
    ExitStatus(metaservers.status());
    return kExitUsage;
  }
  const GroupSurvey survey = SurveyGroup(*metaservers);
  if (survey.active_id == 0) {
    return ExitStatus(
        Status(StatusCode::kUnavailable, "no active metaserver: " + survey.no_active_reason));
  }
  auto id = NamedMember(survey, arguments.member);
  if (!id.ok()) return ExitStatus(id.status());
  return action(*metaservers, *id);
}

int Remove(const MemberArguments& arguments) {
  return WithMember(arguments, [&](const std::vector<HostPort>& metaservers, int32_t id) {
    wire::RemoveMemberRequest request;
    request.member_id = id;
    request.force = arguments.force;
    auto removed = AdminClient(metaservers, kPatient).RemoveMember(request);
    if (!removed.ok()) return ExitStatus(removed.status());
    if (arguments.json) {
      std::printf("%s\n", nlohmann::json({{"member_id", id}}).dump().c_str());
    } else {
      std::printf("member %d is removed: stop its process; its data_dir is of no more use\n", id);
    }
    return kExitOk;
  });
}

int Promote(const MemberArguments& arguments) {
  return WithMember(arguments, [&](const std::vector<HostPort>& metaservers, int32_t id) {
    wire::PromoteWitnessRequest request;
    request.member_id = id;
    auto promoted = AdminClient(metaservers, kPatient).PromoteWitness(request);
    if (!promoted.ok()) return ExitStatus(promoted.status());
    return AwaitAndSay(metaservers, arguments, id, "is a metaserver and can become active");
  });
}

}  // namespace

void AddMetaOptions(Command command, MetaArguments* arguments, bool json) {
  command.AddOption("--meta", arguments->meta, "metaservers; TERCET_META by default")
      .TypeName("HOST:PORT,…");
  if (json) command.AddFlag("--json", arguments->json, "as a JSON object");
}

Result<int32_t> NamedMember(const GroupSurvey& survey, const std::string& text) {
  std::optional<std::string> address;
  auto cluster = DevCluster::Open(DefaultDevDirectory(), DevBinaryFolder(), /*create=*/false);
  if (cluster.ok()) {
    const DevNode* node = (*cluster)->Find(text);
    if (node != nullptr && node->IsMember()) address = node->Where();
  }
  return ResolveMember(survey, text, address);
}

void AddMetaList(Command meta, int* exit_status) {
  auto arguments = std::make_shared<ListArguments>();
  Command list = meta.AddSubcommand(
      "list", "each member's role, epoch, journal and lag, and the active's lease");
  AddMetaOptions(list, arguments.get(), true);
  list.AddFlag("--watch", arguments->watch, "again every second, until ^C");
  list.Footer("Exit status 1: no metaserver is active.");
  list.OnRun([=] { *exit_status = List(*arguments); });
}

void AddMetaMembers(Command meta, int* exit_status) {
  auto arguments = std::make_shared<MemberArguments>();
  Command add = meta.AddSubcommand(
      "add",
      "take in a metaserver or witness that was started with group.join = true and an empty "
      "data_dir");
  add.AddOption("address", arguments->member, "where it listens").Required().TypeName("HOST:PORT");
  add.AddFlag("--witness", arguments->witness, "it votes and keeps the journal, nothing else");
  add.OnRun([=] { *exit_status = Add(*arguments); });

  Command remove = meta.AddSubcommand("remove", "let a member go for good");
  remove.AddFlag("--force", arguments->force,
                 "also when the others that answer are no majority: the group stands still until "
                 "they do");
  remove.OnRun([=] { *exit_status = Remove(*arguments); });

  Command promote = meta.AddSubcommand(
      "promote-witness", "make a witness a metaserver: it fetches the namespace and can be active");
  promote.OnRun([=] { *exit_status = Promote(*arguments); });

  for (Command command : {remove, promote}) {
    command.AddOption("member", arguments->member, "its id, HOST:PORT or name in `tercet dev ps`")
        .Required();
  }
  for (Command command : {add, promote}) {
    command.AddFlag("--no-wait", arguments->no_wait, "do not wait until it has caught up");
  }
  for (Command command : {add, remove, promote}) {
    AddMetaOptions(command, arguments.get(), true);
  }
}

void AddMetaCommand(Command app, int* exit_status) {
  Command meta = app.AddSubcommand("meta", "look at and steer the metadata group");
  meta.RequireSubcommand();
  AddMetaList(meta, exit_status);
  AddMetaSwitchover(meta, exit_status);
  AddMetaMembers(meta, exit_status);
  AddMetaBackup(meta, exit_status);
}

}  // namespace tercet
