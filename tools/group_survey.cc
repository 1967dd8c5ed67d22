#include "tools/group_survey.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "tools/admin_client.h"
#include "tools/output.h"

namespace tercet {
namespace {

constexpr int64_t kNotableSkewMs = 1'000;
constexpr size_t kMaxAddresses = 64;

const wire::GroupMember* RowOf(const wire::GetGroupStatusResponse& reply, int32_t id) {
  for (const wire::GroupMember& member : reply.members) {
    if (member.member_id == id) return &member;
  }
  return nullptr;
}

std::string OwnRole(const wire::GetGroupStatusResponse& reply) {
  const wire::GroupMember* own = RowOf(reply, reply.member_id);
  return own == nullptr ? "" : own->role;
}

int64_t OwnEpoch(const wire::GetGroupStatusResponse& reply) {
  const wire::GroupMember* own = RowOf(reply, reply.member_id);
  return own == nullptr ? 0 : own->epoch;
}

void AskAll(const std::vector<HostPort>& addresses, std::chrono::milliseconds timeout,
            std::vector<GroupAnswer>* answers) {
  std::vector<GroupAnswer> fresh(addresses.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < addresses.size(); ++i) {
    threads.emplace_back([&, i] {
      fresh[i].address = addresses[i];
      auto reply = AskMetaserver(addresses[i], timeout, &wire::AdminServiceClient::GetGroupStatus,
                                 wire::GetGroupStatusRequest());
      fresh[i].status = reply.status();
      if (reply.ok()) fresh[i].reply = std::move(reply).value();
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::move(fresh.begin(), fresh.end(), std::back_inserter(*answers));
}

/// The answer whose view counts: the active's of the highest epoch, else that of a leader, else
/// that of the longest journal. Null when no member of any group answered.
const GroupAnswer* BestAnswer(const std::vector<GroupAnswer>& answers) {
  const auto rank = [](const GroupAnswer& answer) {
    const std::string role = OwnRole(answer.reply);
    const int leading = role == "active" ? 2 : role == "leader" ? 1 : 0;
    return std::make_tuple(leading, OwnEpoch(answer.reply), answer.reply.last_index);
  };
  const GroupAnswer* best = nullptr;
  for (const GroupAnswer& answer : answers) {
    if (!answer.status.ok() || answer.reply.member_id == 0) continue;
    if (best == nullptr || rank(answer) > rank(*best)) best = &answer;
  }
  return best;
}

/// What a member tells of itself, or the leader of it.
void Fill(const wire::GroupMember& row, SurveyedMember* member) {
  member->role = row.role.empty() ? "unknown" : row.role;
  member->epoch = row.epoch;
  member->journal_index = row.journal_index;
  member->applied_index = member->witness ? -1 : row.applied_index;
  member->fetching = !row.state_note.empty();
  member->short_of_space = row.short_of_space;
  member->amnesia |= row.amnesia;
  if (!row.state_note.empty()) member->notes.push_back("no state yet: " + row.state_note);
}

void AddNotes(const GroupSurvey& survey, SurveyedMember* member) {
  if (!member->voter && !member->fetching) member->notes.push_back("is being caught up: no vote");
  if (member->short_of_space) member->notes.push_back("disk full: make room");
  if (member->amnesia) {
    member->notes.push_back(fmt::format(
        "lost acknowledged records: stop it, move its data_dir away, `tercet meta remove "
        "{}`, start it with group.join=true, `tercet meta add {}`",
        member->id, member->address));
  }
  if (std::abs(member->clock_skew_ms) >= kNotableSkewMs) {
    member->notes.push_back("its clock is off: set it");
  }
  if (member->role == "active" && member->id != survey.active_id) {
    member->notes.push_back("deposed, and has yet to notice");
  }
  if (member->answered && survey.active_id != 0 && member->id != survey.active_id &&
      member->last_contact_ms < 0) {
    member->notes.push_back("the active has not heard of it");
  }
}

/// The line of a member of the group that `view` describes; `used` gets the answers it is made of.
SurveyedMember MemberLine(const wire::GroupMember& row, const wire::GetGroupStatusResponse& view,
                          const GroupSurvey& survey, const std::vector<GroupAnswer>& answers,
                          std::set<const GroupAnswer*>* used) {
  SurveyedMember member;
  member.id = row.member_id;
  member.address = row.address;
  member.witness = row.witness;
  member.voter = row.voter;
  member.last_contact_ms = row.last_contact_ms;
  member.clock_skew_ms = row.clock_skew_ms;
  member.amnesia = row.amnesia;
  const GroupAnswer* own = nullptr;
  const GroupAnswer* other = nullptr;  // of the address, but not the member's
  for (const GroupAnswer& answer : answers) {
    const wire::GetGroupStatusResponse& reply = answer.reply;
    if (answer.status.ok() && reply.member_id == row.member_id && reply.group_id == view.group_id &&
        reply.cluster_id == view.cluster_id) {
      used->insert(&answer);  // one member reached under two names is one line
      own = &answer;
    } else if (answer.address.ToString() == row.address &&
               (!answer.status.ok() || reply.member_id == 0)) {
      other = &answer;
    }
  }
  if (own != nullptr) {
    const wire::GroupMember* own_row = RowOf(own->reply, row.member_id);
    Fill(own_row == nullptr ? row : *own_row, &member);
    member.answered = true;
    member.version = own->reply.version;
  } else {
    Fill(row, &member);
    member.role = "unreachable";
    // Who answered has never heard of it: it does not know how far it is.
    if (row.last_contact_ms < 0) member.journal_index = member.applied_index = -1;
  }
  if (own == nullptr && other != nullptr) {
    used->insert(other);
    if (other->status.ok()) {
      member.role = "empty";
      member.notes.push_back(
          fmt::format("its folder is empty: `tercet meta remove {}`, then `tercet meta add {}`",
                      member.id, member.address));
    } else {
      member.notes.push_back(other->status.message());
    }
  }
  if (survey.active_id != 0 && member.journal_index >= 0) {
    member.lag_records = std::max<int64_t>(0, survey.last_index - member.journal_index);
  }
  AddNotes(survey, &member);
  return member;
}

SurveyedMember NoMember(const GroupAnswer& answer, const GroupSurvey& survey) {
  SurveyedMember line;
  line.address = answer.address.ToString();
  if (!answer.status.ok()) {
    line.role = "unreachable";
    line.notes.push_back(answer.status.message());
    return line;
  }
  line.answered = true;
  line.version = answer.reply.version;
  if (answer.reply.member_id == 0) {
    line.role = "not a member";
    line.notes.push_back("waits to be added: `tercet meta add " + line.address + "`");
  } else if (answer.reply.cluster_id != survey.cluster_id) {
    line.role = "other cluster";
    line.notes.push_back("belongs to cluster " + Hex(answer.reply.cluster_id));
  } else if (answer.reply.group_id != survey.group_id) {
    line.role = "other group";
    line.notes.push_back(
        "of another life of this cluster: one of the two was restored from a backup");
  } else {
    line.role = "removed";
    line.notes.push_back(fmt::format("was member {}", answer.reply.member_id));
  }
  return line;
}

std::string WhyNoActive(const GroupSurvey& survey) {
  size_t voters = 0;
  size_t answering = 0;
  size_t able = 0;
  std::string missing;
  for (const SurveyedMember& member : survey.members) {
    if (member.id == 0 || !member.voter) continue;
    ++voters;
    if (member.answered) {
      ++answering;
      if (!member.witness && !member.fetching) ++able;
    } else {
      missing += (missing.empty() ? "" : ", ") + member.address;
    }
  }
  if (voters == 0) {
    for (const SurveyedMember& member : survey.members) {
      if (member.answered) {
        return "nobody who answers belongs to a group: `tercet meta add` at its active takes them "
               "in";
      }
    }
    return "none of the named metaservers answers";
  }
  const size_t quorum = voters / 2 + 1;
  if (answering < quorum) {
    return fmt::format("{} of {} voters answer, {} are needed: start {}", answering, voters, quorum,
                       missing);
  }
  if (able == 0) {
    return fmt::format("only witnesses answer, and they have no namespace to serve: start {}",
                       missing.empty() ? "a metaserver" : missing);
  }
  return "a majority answers: the election should be over in a second";
}

}  // namespace

const SurveyedMember* GroupSurvey::Find(int32_t id) const {
  for (const SurveyedMember& member : members) {
    if (member.id == id && id != 0) return &member;
  }
  return nullptr;
}

const SurveyedMember* GroupSurvey::FindByAddress(const std::string& address) const {
  for (const SurveyedMember& member : members) {
    if (member.address == address) return &member;
  }
  return nullptr;
}

GroupSurvey SurveyGroup(const std::vector<HostPort>& metaservers,
                        std::chrono::milliseconds timeout) {
  std::vector<GroupAnswer> answers;
  std::set<HostPort> asked;
  std::vector<HostPort> next;
  for (const HostPort& address : metaservers) {
    if (asked.insert(address).second) next.push_back(address);
  }
  for (int round = 0; round < 2 && !next.empty(); ++round) {
    AskAll(next, timeout, &answers);
    next.clear();
    for (const GroupAnswer& answer : answers) {
      for (const wire::GroupMember& member : answer.reply.members) {
        auto address = ParseHostPort(member.address);
        if (!address.ok() || asked.size() >= kMaxAddresses) continue;
        if (asked.insert(*address).second) next.push_back(*address);
      }
    }
  }
  return MergeAnswers(answers);
}

GroupSurvey MergeAnswers(const std::vector<GroupAnswer>& answers) {
  GroupSurvey survey;
  const GroupAnswer* best = BestAnswer(answers);
  std::set<const GroupAnswer*> used;
  if (best != nullptr) {
    const wire::GetGroupStatusResponse& view = best->reply;
    survey.cluster_id = view.cluster_id;
    survey.group_id = view.group_id;
    survey.commit_index = view.commit_index;
    survey.first_index = view.first_index;
    survey.last_index = view.last_index;
    survey.election_timeout_ms = view.election_timeout_ms;
    survey.transferring = view.transferring;
    if (OwnRole(view) == "active") {
      survey.active_id = view.member_id;
      survey.lease_ms = view.lease_ms;
    }
    for (const wire::GroupMember& row : view.members) {
      survey.members.push_back(MemberLine(row, view, survey, answers, &used));
    }
  }
  for (const GroupAnswer& answer : answers) {
    if (!used.contains(&answer)) survey.members.push_back(NoMember(answer, survey));
  }
  if (survey.active_id == 0) survey.no_active_reason = WhyNoActive(survey);
  return survey;
}

Status CheckGroupWhole(const GroupSurvey& survey, int64_t max_lag) {
  const auto not_yet = [](const std::string& text) {
    return Status(StatusCode::kUnavailable, text);
  };
  if (survey.active_id == 0) return not_yet("no active metaserver: " + survey.no_active_reason);
  for (const SurveyedMember& member : survey.members) {
    if (member.id == 0) continue;
    const std::string who = fmt::format("member {} ({})", member.id, member.address);
    if (!member.answered) return not_yet(who + " does not answer");
    if (member.amnesia) return not_yet(who + " lost acknowledged records");
    if (!member.voter) return not_yet(who + " does not vote yet");
    if (member.fetching) return not_yet(who + " has not fetched the namespace yet");
    if (member.short_of_space) return not_yet(who + " has a full disk");
    if (member.role == "active" && member.id != survey.active_id) {
      return not_yet(who + " has yet to notice that it is not active any more");
    }
    if (member.id == survey.active_id) continue;
    if (member.epoch != survey.active()->epoch) return not_yet(who + " is in another epoch");
    if (member.last_contact_ms < 0 ||
        member.last_contact_ms > std::max<int64_t>(survey.election_timeout_ms, 100)) {
      return not_yet("the active is not in touch with " + who);
    }
    if (member.lag_records < 0 || member.lag_records > max_lag) {
      return not_yet(fmt::format("{} is {} records behind", who, member.lag_records));
    }
    if (!member.witness && survey.commit_index - member.applied_index > max_lag) {
      return not_yet(fmt::format("{} has yet to apply {} records", who,
                                 survey.commit_index - member.applied_index));
    }
  }
  return Status::Ok();
}

Result<int32_t> ResolveMember(const GroupSurvey& survey, const std::string& text,
                              const std::optional<std::string>& named_address) {
  int32_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error == std::errc() && end == text.data() + text.size() && survey.Find(id) != nullptr) {
    return id;
  }
  const SurveyedMember* found = survey.FindByAddress(named_address.value_or(text));
  if (found != nullptr && found->id != 0) return found->id;
  std::string known;
  for (const SurveyedMember& member : survey.members) {
    if (member.id == 0) continue;
    known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", member.id, member.address);
  }
  return Status(StatusCode::kNotFound, "there is no member '" + text + "': the group has " +
                                           (known.empty() ? "none" : known));
}

nlohmann::json SurveyJson(const GroupSurvey& survey) {
  nlohmann::json out = {
      {"cluster_id", Hex(survey.cluster_id)},
      {"group_id", fmt::format("{:016x}", static_cast<uint64_t>(survey.group_id))},
      {"active",
       survey.active_id == 0 ? nlohmann::json(nullptr) : nlohmann::json(survey.active_id)},
      {"commit_index", survey.commit_index},
      {"first_index", survey.first_index},
      {"last_index", survey.last_index},
      {"lease_ms", survey.lease_ms},
      {"election_timeout_ms", survey.election_timeout_ms},
      {"transferring", survey.transferring},
      {"members", nlohmann::json::array()}};
  if (!survey.no_active_reason.empty()) out["reason"] = survey.no_active_reason;
  for (const SurveyedMember& member : survey.members) {
    out["members"].push_back({{"id", member.id},
                              {"address", member.address},
                              {"kind", member.witness ? "witness" : "metaserver"},
                              {"voter", member.voter},
                              {"answered", member.answered},
                              {"role", member.role},
                              {"epoch", member.epoch},
                              {"journal_index", member.journal_index},
                              {"applied_index", member.applied_index},
                              {"lag_records", member.lag_records},
                              {"last_contact_ms", member.last_contact_ms},
                              {"clock_skew_ms", member.clock_skew_ms},
                              {"fetching", member.fetching},
                              {"short_of_space", member.short_of_space},
                              {"amnesia", member.amnesia},
                              {"version", member.version},
                              {"notes", member.notes}});
  }
  return out;
}

std::string SurveyText(const GroupSurvey& survey) {
  const auto figure = [](int64_t value) { return value < 0 ? std::string("-") : Grouped(value); };
  Table table({{"ID", true},
               {"METASERVER"},
               {"ROLE"},
               {"EPOCH", true},
               {"JOURNAL", true},
               {"APPLIED", true},
               {"LAG", true},
               {"LEASE", true},
               {"SKEW", true},
               {"NOTES"}});
  for (const SurveyedMember& member : survey.members) {
    const bool active = member.id != 0 && member.id == survey.active_id;
    std::string role = member.role;
    if (active) role = Coloured(Colour::kGreen, role);
    if (!member.answered || member.amnesia) role = Coloured(Colour::kRed, role);
    std::string lease = "-";
    if (active) {
      // In a group of one there is nobody to ask.
      lease = survey.lease_ms > 3'600'000 ? "always" : HumanMillis(survey.lease_ms);
    }
    std::string notes = fmt::format("{}", fmt::join(member.notes, "; "));
    if (member.id != 0 && member.witness && member.role != "witness") {
      notes = notes.empty() ? "witness" : "witness; " + notes;
    }
    table.Add(
        {member.id == 0 ? "-" : std::to_string(member.id), member.address, role,
         member.epoch == 0 ? "-" : std::to_string(member.epoch), figure(member.journal_index),
         figure(member.applied_index), active ? "-" : figure(member.lag_records), lease,
         active || member.last_contact_ms < 0 ? "-" : fmt::format("{} ms", member.clock_skew_ms),
         notes});
  }
  std::string out = table.ToString();
  if (survey.active_id == 0) {
    out += Coloured(Colour::kRed, "no active metaserver") + ": " + survey.no_active_reason + "\n";
  }
  return out;
}

}  // namespace tercet
