// The picture of a metadata group, from fake members that can be unreachable, empty or strangers.
#include "tools/group_survey.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/tools/fake_group.h"
#include "tools/admin_client.h"
#include "tools/group_actions.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

class GroupSurveyTest : public testing::Test {
 protected:
  /// Two metaservers and a witness, the first active.
  GroupSurveyTest() {
    for (int i = 0; i < 3; ++i) {
      HostPort address{.host = "127.0.0.1", .port = 0};
      servers_.push_back(ServeFakeMember(group_, &address));
      addresses_.push_back(address);
      std::lock_guard lock(group_->mutex);
      FakeMember::Add(group_.get(), address.ToString(), i == 2);
    }
    std::lock_guard lock(group_->mutex);
    FakeMember::MakeActive(group_.get(), 1);
  }

  GroupSurvey Survey() { return SurveyGroup(addresses_, milliseconds(2'000)); }

  std::shared_ptr<FakeGroupState> group_ = std::make_shared<FakeGroupState>();
  std::vector<HostPort> addresses_;
  std::vector<std::unique_ptr<ThriftServer>> servers_;
};

TEST_F(GroupSurveyTest, OneNamedAddressLeadsToAllMembers) {
  const GroupSurvey survey = SurveyGroup({addresses_[1]});
  EXPECT_EQ(survey.active_id, 1);
  EXPECT_EQ(survey.lease_ms, 250);
  ASSERT_EQ(survey.members.size(), 3u);
  for (const SurveyedMember& member : survey.members) EXPECT_TRUE(member.answered) << member.id;
  EXPECT_EQ(survey.Find(3)->role, "witness");
  EXPECT_EQ(survey.Find(3)->applied_index, -1);
  EXPECT_TRUE(CheckGroupWhole(survey).ok()) << CheckGroupWhole(survey).message();
}

TEST_F(GroupSurveyTest, AWitnessAloneSaysWhyNobodyIsActive) {
  servers_[0].reset();
  servers_[1].reset();
  {
    std::lock_guard lock(group_->mutex);
    group_->active_id = 0;
    for (wire::GroupMember& member : group_->members) {
      if (!member.witness) member.role = "unknown";
    }
  }
  const GroupSurvey survey = Survey();
  EXPECT_EQ(survey.active_id, 0);
  EXPECT_NE(survey.no_active_reason.find("1 of 3 voters answer, 2 are needed"), std::string::npos)
      << survey.no_active_reason;
  EXPECT_NE(survey.no_active_reason.find(addresses_[0].ToString()), std::string::npos);
  EXPECT_EQ(survey.Find(1)->role, "unreachable");
  EXPECT_EQ(CheckGroupWhole(survey).code(), StatusCode::kUnavailable);
  EXPECT_NE(SurveyText(survey).find("no active metaserver"), std::string::npos);
  EXPECT_TRUE(SurveyJson(survey)["active"].is_null());
}

TEST_F(GroupSurveyTest, NobodyAnswers) {
  servers_.clear();
  const GroupSurvey survey = Survey();
  EXPECT_EQ(survey.active_id, 0);
  EXPECT_EQ(survey.members.size(), 3u);
  EXPECT_EQ(survey.no_active_reason, "none of the named metaservers answers");
}

TEST_F(GroupSurveyTest, StrangersAndEmptyMembersAreTold) {
  // One of another cluster, one that waits to be added, and a member whose folder is gone.
  auto other = std::make_shared<FakeGroupState>();
  HostPort stranger{.host = "127.0.0.1", .port = 0};
  auto stranger_server = ServeFakeMember(other, &stranger);
  {
    std::lock_guard lock(other->mutex);
    other->cluster_id = std::string(16, '\x08');
    FakeMember::Add(other.get(), stranger.ToString(), false);
  }
  HostPort waiting{.host = "127.0.0.1", .port = 0};
  auto waiting_server = ServeFakeMember(group_, &waiting);
  servers_[1].reset();
  servers_[1] = ServeFakeMember(std::make_shared<FakeGroupState>(), &addresses_[1]);
  addresses_.push_back(stranger);
  addresses_.push_back(waiting);

  const GroupSurvey survey = Survey();
  EXPECT_EQ(survey.active_id, 1);
  EXPECT_EQ(survey.Find(2)->role, "empty");
  EXPECT_FALSE(survey.Find(2)->answered);
  EXPECT_EQ(survey.FindByAddress(stranger.ToString())->role, "other cluster");
  EXPECT_EQ(survey.FindByAddress(waiting.ToString())->role, "not a member");
  EXPECT_EQ(survey.members.size(), 5u);
}

TEST_F(GroupSurveyTest, ADeposedActiveThatDoesNotKnowItIsNotTheActive) {
  std::vector<GroupAnswer> answers(2);
  for (int i = 0; i < 2; ++i) {
    answers[i].address = addresses_[i];
    answers[i].reply.cluster_id = "c";
    answers[i].reply.member_id = i + 1;
    answers[i].reply.leader_id = i + 1;
    answers[i].reply.last_index = 100 - 10 * i;
    for (int id = 1; id <= 2; ++id) {
      wire::GroupMember member;
      member.member_id = id;
      member.address = addresses_[id - 1].ToString();
      member.voter = true;
      member.role = id == i + 1 ? "active" : "standby";
      member.epoch = 5 + i;
      answers[i].reply.members.push_back(member);
    }
  }
  const GroupSurvey survey = MergeAnswers(answers);
  EXPECT_EQ(survey.active_id, 2);
  ASSERT_FALSE(survey.Find(1)->notes.empty());
  EXPECT_NE(survey.Find(1)->notes.front().find("deposed"), std::string::npos);
  EXPECT_EQ(CheckGroupWhole(survey).code(), StatusCode::kUnavailable);
}

TEST_F(GroupSurveyTest, WholeMeansThatEveryMemberKeepsUp) {
  const GroupSurvey good = Survey();
  const auto broken = [&](auto&& change) {
    GroupSurvey survey = good;
    change(survey);
    return CheckGroupWhole(survey, 100).message();
  };
  EXPECT_NE(broken([](GroupSurvey& s) { s.members[1].lag_records = 101; }).find("behind"),
            std::string::npos);
  EXPECT_NE(broken([](GroupSurvey& s) { s.members[1].voter = false; }).find("vote"),
            std::string::npos);
  EXPECT_NE(broken([](GroupSurvey& s) { s.members[1].fetching = true; }).find("namespace"),
            std::string::npos);
  EXPECT_NE(broken([](GroupSurvey& s) { s.members[2].short_of_space = true; }).find("disk"),
            std::string::npos);
  EXPECT_NE(broken([](GroupSurvey& s) { s.members[2].last_contact_ms = 5'000; }).find("touch"),
            std::string::npos);
  EXPECT_NE(broken([](GroupSurvey& s) {
              s.members[1].applied_index = s.commit_index - 101;
            }).find("apply"),
            std::string::npos);
  EXPECT_NE(broken([](GroupSurvey& s) { s.members[1].amnesia = true; }).find("lost"),
            std::string::npos);
}

TEST_F(GroupSurveyTest, MembersAreNamedByIdAddressOrNodeName) {
  const GroupSurvey survey = Survey();
  EXPECT_EQ(*ResolveMember(survey, "2"), 2);
  EXPECT_EQ(*ResolveMember(survey, addresses_[2].ToString()), 3);
  EXPECT_EQ(*ResolveMember(survey, "meta2", addresses_[1].ToString()), 2);
  EXPECT_EQ(ResolveMember(survey, "9").code(), StatusCode::kNotFound);
  EXPECT_EQ(ResolveMember(survey, "meta2").code(), StatusCode::kNotFound);
}

TEST_F(GroupSurveyTest, CallsFollowHintsToTheActive) {
  const AdminClient client({addresses_[2]}, {.timeout = milliseconds(2'000)});
  EXPECT_TRUE(client.GetStatus().ok());
}

TEST_F(GroupSurveyTest, CallsPassMembersThatAreGone) {
  servers_[1].reset();
  const AdminClient client({addresses_[1], addresses_[0]}, {.timeout = milliseconds(2'000)});
  EXPECT_TRUE(client.GetStatus().ok());
}

TEST_F(GroupSurveyTest, CallsWaitWithPatienceForAnActive) {
  {
    std::lock_guard lock(group_->mutex);
    group_->active_id = 0;
  }
  const AdminClient hasty(addresses_, {.timeout = milliseconds(2'000)});
  EXPECT_EQ(hasty.GetStatus().code(), StatusCode::kNotActive);
  std::thread election([&] {
    std::this_thread::sleep_for(milliseconds(100));
    std::lock_guard lock(group_->mutex);
    FakeMember::MakeActive(group_.get(), 2);
  });
  const AdminClient patient(addresses_,
                            {.timeout = milliseconds(2'000), .patience = milliseconds(30'000)});
  EXPECT_TRUE(patient.GetStatus().ok());
  election.join();
}

TEST_F(GroupSurveyTest, SwitchoverEndsWhenTheNewOneServes) {
  auto after = SwitchOver({addresses_[2]}, 0, milliseconds(30'000));
  ASSERT_TRUE(after.ok()) << after.status().ToString();
  EXPECT_EQ(after->active_id, 2);
  EXPECT_EQ(group_->transfers, 1);
}

}  // namespace
}  // namespace tercet
