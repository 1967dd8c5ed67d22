// How a development cluster's metaservers and witnesses become one metadata group.
//
//  1. all are started: meta1 makes the cluster when there is none yet, the others wait to be added
//  2. when there is an active, that is kept in cluster.json (`founded`)
//  3. those that are no members yet are added, one after the other
//  4. all are awaited as voters
// A crash between two steps leaves a cluster that the next `up` completes.
#include <sys/mount.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "common/env/posix_disk.h"
#include "tools/admin_client.h"
#include "tools/dev_cluster.h"
#include "tools/group_survey.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kAnswerTimeout{2'000};
constexpr seconds kAnswersWithin{60};
constexpr seconds kElectionWithin{30};
constexpr seconds kAddWithin{30};
/// Without any progress of a member that is being caught up.
constexpr seconds kStandstill{60};
constexpr milliseconds kPollInterval{50};
constexpr seconds kStopWithin{30};
constexpr size_t kMaxConfigBytes = 1 << 20;

/// What a member that is being caught up has done so far: changes as long as it gets on.
std::string ProgressOf(const GroupSurvey& survey) {
  std::string text;
  for (const SurveyedMember& member : survey.members) {
    text += std::to_string(member.journal_index) + "," + std::to_string(member.applied_index) +
            "," + std::to_string(member.voter) +
            (member.notes.empty() ? "" : member.notes.front()) + ";";
  }
  return text;
}

std::vector<std::string> CommandLineOf(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/cmdline", std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(in, word, '\0');) words.push_back(word);
  return words;
}

}  // namespace

Status DevCluster::CheckMember(const DevNode& node, bool leader) const {
  auto reply =
      AskMetaserver(node.address, kAnswerTimeout, &wire::AdminServiceClient::GetGroupStatus,
                    wire::GetGroupStatusRequest());
  if (!reply.ok()) return Status(StatusCode::kUnavailable, reply.status().message());
  if (!leader) return Status::Ok();
  if (reply->member_id == 0) {
    return Status(StatusCode::kFailedPrecondition,
                  node.name + " belongs to no group: its folder is empty; `tercet dev up` adds it");
  }
  if (reply->leader_id == 0) {
    return Status(StatusCode::kUnavailable, "it knows no leader of the metadata group");
  }
  return Status::Ok();
}

Status DevCluster::StartGroup(const Progress& progress) {
  RETURN_IF_ERROR(SpawnRole(DevRole::kMetaserver, progress));
  RETURN_IF_ERROR(SpawnRole(DevRole::kWitness, progress));
  for (const DevNode& node : nodes_) {
    if (node.IsMember()) RETURN_IF_ERROR(AwaitReady(node, /*leader=*/false));
  }
  RETURN_IF_ERROR(AwaitActive());
  if (!founded_) {
    founded_ = true;
    RETURN_IF_ERROR(Save());
  }
  bool grown = false;
  for (const DevNode& node : nodes_) {
    if (!node.IsMember()) continue;
    const GroupSurvey survey = SurveyGroup(MemberAddresses(), kAnswerTimeout);
    const SurveyedMember* member = survey.FindByAddress(node.address.ToString());
    if (member != nullptr && member->role == "empty") {
      return Status(StatusCode::kFailedPrecondition,
                    node.name + " is member " + std::to_string(member->id) +
                        " of the group, but has lost its folder: `tercet meta remove " +
                        std::to_string(member->id) + "`, then `tercet dev up` again adds it anew");
    }
    if (member != nullptr && member->id != 0) continue;
    if (member != nullptr && member->role != "not a member") {
      return Status(StatusCode::kFailedPrecondition,
                    node.name + " cannot be added (" + member->role + ": " +
                        (member->notes.empty() ? "" : member->notes.front()) + "): stop it, move " +
                        Folder(node) + "/data away and run this again");
    }
    RETURN_IF_ERROR(AddToGroup(node, progress));
    grown = true;
  }
  RETURN_IF_ERROR(AwaitVoters(progress));
  return grown ? RefreshMetaLists(progress) : Status::Ok();
}

Status DevCluster::AwaitActive() const {
  GroupSurvey survey;
  if (WaitFor(
          kElectionWithin,
          [&] {
            survey = SurveyGroup(MemberAddresses(), kAnswerTimeout);
            return survey.active_id != 0;
          },
          kPollInterval)) {
    return Status::Ok();
  }
  return Status(StatusCode::kDeadlineExceeded,
                "no metaserver became active: " + survey.no_active_reason);
}

Status DevCluster::AddToGroup(const DevNode& node, const Progress& progress) {
  progress("adding " + node.name + " to the metadata group");
  ASSIGN_OR_RETURN(const std::vector<HostPort> metaservers, ParseHostPorts(MetaAddresses()));
  wire::AddMemberRequest request;
  request.address = node.address.ToString();
  request.witness = node.role == DevRole::kWitness;
  auto added =
      AdminClient(metaservers, {.timeout = kAddWithin, .patience = kAddWithin}).AddMember(request);
  if (!added.ok()) return added.status().WithContext("add " + node.name);
  return Status::Ok();
}

Status DevCluster::AwaitVoters(const Progress& progress) const {
  std::string last_progress;
  auto last_change = std::chrono::steady_clock::now();
  auto last_word = last_change;
  for (;;) {
    const GroupSurvey survey = SurveyGroup(MemberAddresses(), kAnswerTimeout);
    const SurveyedMember* behind = nullptr;
    for (const SurveyedMember& member : survey.members) {
      if (member.id != 0 && (!member.voter || member.fetching)) behind = &member;
    }
    if (survey.active_id != 0 && behind == nullptr) return Status::Ok();
    const auto now = std::chrono::steady_clock::now();
    const std::string what = behind == nullptr
                                 ? survey.no_active_reason
                                 : behind->address + " is being caught up: at " +
                                       std::to_string(behind->journal_index) + " of " +
                                       std::to_string(survey.last_index) + " records";
    if (ProgressOf(survey) != last_progress) {
      last_progress = ProgressOf(survey);
      last_change = now;
    } else if (now - last_change > kStandstill) {
      return Status(StatusCode::kDeadlineExceeded, "the group does not get on: " + what);
    }
    if (now - last_word > seconds(2)) {
      progress(what);
      last_word = now;
    }
    ::usleep(static_cast<useconds_t>(std::chrono::microseconds(kPollInterval).count()));
  }
}

Status DevCluster::RestartChangedChunkservers(const Progress& progress) {
  for (const DevNode& node : nodes_) {
    const std::optional<ProcessId> id = ProcessOf(node);
    if (!id || node.role != DevRole::kChunkserver) continue;
    const std::string path = Folder(node) + "/" + node.name + ".toml";
    auto started_with = ReadWholeFile(RealDisk(), path, kMaxConfigBytes);
    if (started_with.ok() && *started_with == ConfigFor(node)) continue;
    progress("restarting " + node.name + ", as its configuration has changed");
    // One at a time: two replicas of everything stay there.
    RETURN_IF_ERROR(SendSignal(*id, SIGTERM));
    if (!WaitUntilGone(*id, kStopWithin)) {
      return Status(StatusCode::kDeadlineExceeded, node.name + " does not end");
    }
    RETURN_IF_ERROR(Spawn(node));
    RETURN_IF_ERROR(AwaitReady(node, /*leader=*/true));
  }
  return Status::Ok();
}

Status DevCluster::RefreshMetaLists(const Progress& progress) {
  RETURN_IF_ERROR(RestartChangedChunkservers(progress));
  for (const DevNode& node : nodes_) {
    const std::optional<ProcessId> id = ProcessOf(node);
    if (!id || node.role != DevRole::kMount) continue;
    const std::vector<std::string> words = CommandLineOf(id->pid);
    if (words.size() > 1 && words[1] == MetaAddresses()) continue;
    const int error = RunBounded(
        kStopWithin, [&] { return ::umount2(node.mount_point.c_str(), 0) == 0 ? 0 : errno; });
    if (error == 0) {
      progress("mounting " + node.mount_point + " again, so that it knows all metaservers");
      WaitUntilGone(*id, kStopWithin);
    } else {
      progress(node.mount_point +
               " is in use and knows only the earlier metaservers: unmount it some time and run "
               "`tercet dev up` again");
    }
  }
  return Status::Ok();
}

}  // namespace tercet
