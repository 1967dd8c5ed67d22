#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

class SetPolicyTest : public ReplicaTest {
 protected:
  wire::GetPolicyResponse Get(const std::string& path) const {
    wire::GetPolicyRequest request;
    request.path = path;
    auto response = GetPolicy(view, request);
    EXPECT_TRUE(response.ok()) << response.status().ToString();
    return response.ok() ? *response : wire::GetPolicyResponse();
  }
  size_t RuleCount() const {
    size_t count = 0;
    EXPECT_TRUE(tables()
                    .ScanPlacementRules([&](uint32_t, const PlacementRule&) {
                      ++count;
                      return true;
                    })
                    .ok());
    return count;
  }
};

TEST_F(SetPolicyTest, WhatIsMadeLaterInheritsIt) {
  const int64_t directory = MakeDirectory(kRoot, "d");
  wire::SetPolicyRequest request = PolicyRequest("/d");
  request.__set_replicas(2);
  request.__set_min_replicas(1);
  request.__set_block_size_bytes(8192);
  request.__set_domain("rack");
  request.__set_require({{"medium", "ssd"}});
  request.__set_trash_retention_s(60);
  auto set = Do(EvaluateSetPolicy, request);
  ASSERT_OK(set);
  EXPECT_EQ(set->policy.replicas, 2);
  const int64_t sub = MakeDirectory(directory, "sub");
  const int64_t made = Create(sub, "f");
  const InodeRecord record = InodeRow(made);
  EXPECT_EQ(record.replicas, 2);
  EXPECT_EQ(record.min_replicas, 1);
  EXPECT_EQ(record.block_size_bytes, 8192u);
  EXPECT_EQ(record.trash_retention_s, 60u);
  const wire::Policy policy = Get("/d/sub/f").policy;
  EXPECT_EQ(policy.domain, "rack");
  EXPECT_EQ(policy.require.at("medium"), "ssd");
  EXPECT_EQ(policy.trash_retention_s, 60);
  // And so are its blocks placed.
  ASSERT_OK(Allocate(made, 0));
  EXPECT_EQ(chooser.last_rule.domain, "rack");
  EXPECT_EQ(chooser.last_bytes, 8192u);
  EXPECT_EQ(InodeRow(kRoot).replicas, 3) << "not what is above";
}

TEST_F(SetPolicyTest, AbsentFieldsStay) {
  MakeDirectory(kRoot, "d");
  ASSERT_OK(SetDomain("/d", "rack"));
  wire::SetPolicyRequest require = PolicyRequest("/d");
  require.__set_require({{"zone", "z1"}});
  ASSERT_OK(Do(EvaluateSetPolicy, require));
  ASSERT_OK(SetRetention("/d", 5));
  wire::Policy policy = Get("/d").policy;
  EXPECT_EQ(policy.domain, "rack");
  EXPECT_EQ(policy.require.at("zone"), "z1");
  EXPECT_EQ(policy.replicas, 3);
  require.__set_require({});
  ASSERT_OK(Do(EvaluateSetPolicy, require));
  ASSERT_OK(SetDomain("/d", ""));
  policy = Get("/d").policy;
  EXPECT_TRUE(policy.require.empty());
  EXPECT_TRUE(policy.domain.empty());
  EXPECT_EQ(InodeRow(InodeOf(kRoot, "d")).rule_id, 0u);
}

TEST_F(SetPolicyTest, EqualRulesAreOne) {
  MakeDirectory(kRoot, "d");
  MakeDirectory(kRoot, "e");
  ASSERT_OK(SetDomain("/d", "rack"));
  ASSERT_OK(SetDomain("/e", "rack"));
  EXPECT_EQ(RuleCount(), 1u);
  EXPECT_EQ(InodeRow(InodeOf(kRoot, "d")).rule_id, InodeRow(InodeOf(kRoot, "e")).rule_id);
}

TEST_F(SetPolicyTest, MinimumFollowsReplicasDown) {
  MakeDirectory(kRoot, "d");
  ASSERT_OK(SetReplicas("/d", 1));
  EXPECT_EQ(Get("/d").policy.min_replicas, 1);
  wire::SetPolicyRequest request = PolicyRequest("/d");
  request.__set_min_replicas(2);
  EXPECT_CODE(kInvalidArgument, Do(EvaluateSetPolicy, request));
}

TEST_F(SetPolicyTest, BadValuesAreRefused) {
  MakeDirectory(kRoot, "d");
  Create(kRoot, "f");
  Make(kRoot, "link", wire::FileType::SYMLINK);
  EXPECT_CODE(kInvalidArgument, SetReplicas("/d", 0));
  EXPECT_CODE(kInvalidArgument, SetReplicas("/d", -1));
  EXPECT_CODE(kInvalidArgument, SetReplicas("/d", 17));
  EXPECT_CODE(kInvalidArgument, SetReplicas("/d", 257)) << "1 in eight bits";
  EXPECT_CODE(kInvalidArgument, SetDomain("/d", "no spaces"));
  EXPECT_CODE(kInvalidArgument, SetRetention("/d", -1));
  EXPECT_CODE(kInvalidArgument, SetRetention("/d", int64_t{1} << 40));
  EXPECT_CODE(kInvalidArgument, SetReplicas("/link", 2));
  EXPECT_CODE(kInvalidArgument, Do(EvaluateSetPolicy, PolicyRequest("/d"))) << "nothing to change";
  EXPECT_CODE(kNotFound, SetReplicas("/nothing", 2));
  EXPECT_CODE(kInvalidArgument, SetReplicas("d", 2));
  for (int32_t bytes : {0, -4096, 5000, 2048, 128 << 20}) {
    wire::SetPolicyRequest request = PolicyRequest("/d");
    request.__set_block_size_bytes(bytes);
    EXPECT_CODE(kInvalidArgument, Do(EvaluateSetPolicy, request)) << bytes;
  }
  wire::SetPolicyRequest request = PolicyRequest("/f");
  request.__set_block_size_bytes(8192);
  EXPECT_CODE(kInvalidArgument, Do(EvaluateSetPolicy, request)) << "of a file";
}

TEST_F(SetPolicyTest, ThePreviewChangesNothing) {
  MakeDirectory(kRoot, "d");
  wire::SetPolicyRequest request = PolicyRequest("/d");
  request.__set_replicas(5);
  request.__set_domain("rack");
  const size_t rows = view.rows.size();
  auto preview = PreviewPolicy(view, request);
  ASSERT_OK(preview);
  EXPECT_EQ(preview->policy.replicas, 5);
  EXPECT_EQ(preview->policy.min_replicas, 2);
  EXPECT_EQ(preview->rule.domain, "rack");
  EXPECT_EQ(view.rows.size(), rows);
  EXPECT_EQ(Get("/d").policy.replicas, 3);
}

TEST_F(SetPolicyTest, NoSecondChangeBelowARunningOne) {
  const int64_t directory = MakeDirectory(kRoot, "d");
  MakeDirectory(directory, "sub");
  Create(directory, "f");
  ASSERT_OK(SetReplicas("/d", 2));
  EXPECT_TRUE(Get("/d").converting);
  EXPECT_TRUE(Get("/d/sub").converting);
  EXPECT_TRUE(Get("/d/f").converting);
  EXPECT_TRUE(Get("/").converting);
  EXPECT_CODE(kBusy, SetReplicas("/d/sub", 4));
  EXPECT_CODE(kBusy, SetReplicas("/d/f", 4));
  // The same directory again: the newer one wins.
  ASSERT_OK(SetReplicas("/d", 4));
  MakeDirectory(kRoot, "beside");
  EXPECT_FALSE(Get("/beside").converting);
  ASSERT_OK(SetReplicas("/beside", 5));
  WalkPoliciesToTheEnd();
  EXPECT_FALSE(Get("/").converting);
  EXPECT_EQ(Get("/d/sub").policy.replicas, 4);
  EXPECT_EQ(Get("/d/f").policy.replicas, 4);
  ASSERT_OK(SetReplicas("/d/sub", 1));
}

TEST_F(SetPolicyTest, OnlyNewFiles) {
  const int64_t directory = MakeDirectory(kRoot, "d");
  Create(directory, "old");
  wire::SetPolicyRequest request = PolicyRequest("/d");
  request.__set_replicas(1);
  request.new_files_only = true;
  ASSERT_OK(Do(EvaluateSetPolicy, request));
  EXPECT_FALSE(Get("/d").converting);
  Create(directory, "new");
  EXPECT_EQ(Get("/d/old").policy.replicas, 3);
  EXPECT_EQ(Get("/d/new").policy.replicas, 1);
}

TEST_F(SetPolicyTest, LimitsAreKeptWhereTheyAreNotGiven) {
  wire::SetLimitsRequest request;
  request.__set_repair_bytes_per_second(100);
  const auto set = [&](const wire::SetLimitsRequest& limits) {
    return Do([&](OperationContext& context) { return EvaluateSetLimits(context, limits); });
  };
  ASSERT_OK(set(request));
  wire::SetLimitsRequest delay;
  delay.__set_repair_delay_ms(0);
  ASSERT_OK(set(delay));
  const LimitsRecord limits = *tables().GetLimits();
  EXPECT_EQ(limits.repair_bytes_per_second, 100u);
  EXPECT_EQ(limits.repair_delay_ms, 0u);
  EXPECT_EQ(limits.scrub_period_s, 1209600u);
  ASSERT_OK(set(delay));
  EXPECT_TRUE(last_changes.entries.empty());
  delay.__set_scrub_period_s(-1);
  EXPECT_CODE(kInvalidArgument, set(delay));
  delay.__set_scrub_period_s(int64_t{1} << 60);
  EXPECT_CODE(kInvalidArgument, set(delay));
}

TEST_F(SetPolicyTest, TheBalanceRowChangesFromTheStateItWasSeenIn) {
  const auto put = [&](BalanceState expected, BalanceState state, int64_t started) {
    return Do([&](OperationContext& context) {
      BalanceRecord record;
      record.state = state;
      record.started_at_ns = started;
      return EvaluatePutBalance(context, expected, record);
    });
  };
  const auto add = [&](int64_t started, uint64_t bytes) {
    return Do([&](OperationContext& context) {
      return EvaluateAddBalanceProgress(context, started, bytes, 1);
    });
  };
  ASSERT_OK(add(5, 10));
  EXPECT_EQ(tables().GetBalance()->moved_bytes, 0u) << "none runs";
  ASSERT_OK(put(BalanceState::kNone, BalanceState::kRunning, 5));
  EXPECT_CODE(kConflict, put(BalanceState::kNone, BalanceState::kRunning, 6));
  ASSERT_OK(add(5, 10));
  ASSERT_OK(add(4, 99));
  EXPECT_EQ(tables().GetBalance()->moved_bytes, 10u);
  EXPECT_EQ(tables().GetBalance()->moved_blocks, 1u);
  ASSERT_OK(put(BalanceState::kRunning, BalanceState::kPaused, 5));
}

}  // namespace
}  // namespace tercet
