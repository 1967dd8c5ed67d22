// The administrators' calls about limits, repair, balancing, exposure, fsck, policies and the
// trash.
#include "metaserver/ops/replica_operations.h"
#include "tests/metaserver/service/storage_admin_fixture.h"

namespace tercet {
namespace {

// ---- limits and repair ----

class LimitsTest : public StorageAdminTest {
 protected:
  wire::GetRepairStatusResponse RepairStatus() {
    wire::GetRepairStatusResponse response;
    admin_->GetRepairStatus(response, {});
    EXPECT_TRUE(Ok(response));
    return response;
  }
};

TEST_F(LimitsTest, AreJournaledFieldByField) {
  wire::SetLimitsRequest request;
  request.__set_repair_bytes_per_second(100 << 20);
  request.__set_repair_delay_ms(5000);
  wire::SetLimitsResponse response;
  admin_->SetLimits(response, request);
  EXPECT_TRUE(Ok(response));
  EXPECT_EQ(repair_.state_notices, 1);
  request = {};
  request.__set_scrub_period_s(3600);
  admin_->SetLimits(response, request);
  EXPECT_TRUE(Ok(response));
  Restart();
  PlugIn();
  const auto status = RepairStatus();
  EXPECT_EQ(status.limits.repair_bytes_per_second, 100 << 20);
  EXPECT_EQ(status.limits.move_bytes_per_second, 0);
  EXPECT_EQ(status.limits.scrub_period_s, 3600);
  EXPECT_EQ(status.repair_delay_ms, 5000);
}

TEST_F(LimitsTest, NegativeOnesAreRefused) {
  wire::SetLimitsRequest request;
  request.__set_move_bytes_per_second(-1);
  wire::SetLimitsResponse response;
  admin_->SetLimits(response, request);
  EXPECT_TRUE(Refused(response, StatusCode::kInvalidArgument, ""));
  EXPECT_EQ(repair_.state_notices, 0);
}

TEST_F(LimitsTest, TheQueueIsShown) {
  repair_.report.queue = {{"one_left", 3, 1500}, {"drain", 70, 90'000}};
  repair_.report.running = 4;
  repair_.report.bytes_per_second = 1000;
  repair_.report.repaired_blocks = 9;
  repair_.report.failed_attempts = 2;
  repair_.report.recoveries = 1;
  const auto status = RepairStatus();
  ASSERT_EQ(status.queue.size(), 2u);
  EXPECT_EQ(status.queue[1].name, "drain");
  EXPECT_EQ(status.queue[1].blocks, 70);
  EXPECT_EQ(status.queue[1].oldest_ms, 90'000);
  EXPECT_EQ(status.running, 4);
  EXPECT_EQ(status.repaired_blocks, 9);
  EXPECT_EQ(status.failed_attempts, 2);
  EXPECT_EQ(status.recoveries, 1);
}

// ---- balance ----

class BalanceTest : public StorageAdminTest {
 protected:
  void AddUnevenServers() {
    for (int number : {1, 2, 3, 4}) AddServer(number, {}, int64_t{40} << 30);
    AddServer(5);
  }
  wire::PlanBalanceResponse Plan(double threshold = 5) {
    wire::PlanBalanceRequest request;
    request.threshold_points = threshold;
    wire::PlanBalanceResponse response;
    admin_->PlanBalance(response, request);
    return response;
  }
  wire::StartBalanceResponse Start(const std::string& plan) {
    wire::StartBalanceRequest request;
    request.plan = plan;
    wire::StartBalanceResponse response;
    admin_->StartBalance(response, request);
    return response;
  }
  wire::ControlBalanceResponse Control(wire::BalanceAction::type action) {
    wire::ControlBalanceRequest request;
    request.action = action;
    wire::ControlBalanceResponse response;
    admin_->ControlBalance(response, request);
    return response;
  }
  wire::GetBalanceResponse Get() {
    wire::GetBalanceResponse response;
    admin_->GetBalance(response, {});
    EXPECT_TRUE(Ok(response));
    return response;
  }
};

TEST_F(BalanceTest, ThePlanSaysWhatIsMovedAndHowLongItTakes) {
  AddUnevenServers();
  const auto plan = Plan();
  ASSERT_TRUE(Ok(plan));
  ASSERT_EQ(plan.servers.size(), 5u);
  EXPECT_EQ(plan.servers[4].used_before_bytes, 0);
  EXPECT_GT(plan.servers[4].used_after_bytes, int64_t{27} << 30);
  EXPECT_EQ(plan.bytes_to_move, plan.servers[4].used_after_bytes);
  EXPECT_EQ(plan.expected_s, (plan.bytes_to_move + (64 << 20) - 1) / (64 << 20));
  // A lower limit takes longer.
  wire::SetLimitsRequest limits;
  limits.__set_move_bytes_per_second(1 << 20);
  wire::SetLimitsResponse limited;
  admin_->SetLimits(limited, limits);
  EXPECT_GT(Plan().expected_s, 60 * plan.expected_s);
  EXPECT_TRUE(Refused(Plan(0), StatusCode::kInvalidArgument, "threshold"));
}

TEST_F(BalanceTest, EvenServersNeedNothing) {
  AddServer(1);
  AddServer(2);
  const auto plan = Plan();
  EXPECT_TRUE(Ok(plan));
  EXPECT_EQ(plan.bytes_to_move, 0);
  EXPECT_EQ(plan.expected_s, 0);
  EXPECT_TRUE(plan.notes.empty());
}

TEST_F(BalanceTest, RunsArePausedResumedAndStoppedAndSurviveARestart) {
  AddUnevenServers();
  EXPECT_EQ(Get().state, "none");
  EXPECT_TRUE(
      Refused(Control(wire::BalanceAction::PAUSE), StatusCode::kFailedPrecondition, "none"));
  ASSERT_TRUE(Ok(Start(Plan(2.5).plan)));
  EXPECT_EQ(Get().state, "running");
  EXPECT_DOUBLE_EQ(Get().threshold_points, 2.5);
  EXPECT_GT(Get().started_at_ns, 0);
  EXPECT_TRUE(Refused(Start(Plan().plan), StatusCode::kFailedPrecondition, "already (running)"));
  EXPECT_TRUE(Ok(Control(wire::BalanceAction::PAUSE)));
  EXPECT_TRUE(Ok(Control(wire::BalanceAction::PAUSE)));
  EXPECT_EQ(Get().state, "paused");
  Restart();
  PlugIn();
  EXPECT_EQ(Get().state, "paused");
  EXPECT_TRUE(Ok(Control(wire::BalanceAction::RESUME)));
  EXPECT_EQ(Get().state, "running");
  const int notices = repair_.state_notices;
  EXPECT_TRUE(Ok(Control(wire::BalanceAction::STOP)));
  EXPECT_EQ(repair_.state_notices, notices + 1);
  EXPECT_EQ(Get().state, "stopped");
  EXPECT_TRUE(
      Refused(Control(wire::BalanceAction::RESUME), StatusCode::kFailedPrecondition, "stopped"));
  EXPECT_TRUE(Refused(Control(static_cast<wire::BalanceAction::type>(9)),
                      StatusCode::kInvalidArgument, ""));
}

TEST_F(BalanceTest, PlansThatAreOldOrNoneAreRefused) {
  AddUnevenServers();
  const std::string plan = Plan().plan;
  EXPECT_TRUE(Refused(Start("nonsense"), StatusCode::kInvalidArgument, "no plan"));
  EXPECT_TRUE(Refused(Start(""), StatusCode::kInvalidArgument, "no plan"));
  AddServer(6);
  EXPECT_TRUE(Refused(Start(plan), StatusCode::kConflict, "chunk server 6 is new"));
  const std::string with_it = Plan().plan;
  ASSERT_TRUE(Ok(SetState(6, wire::ServiceState::MAINTENANCE)));
  EXPECT_TRUE(Refused(Start(with_it), StatusCode::kConflict, "older than the cluster's state"));
  EXPECT_EQ(Get().state, "none");
}

TEST_F(BalanceTest, ProgressComesFromTheEngineAndTheJournal) {
  AddUnevenServers();
  ASSERT_TRUE(Ok(Start(Plan().plan)));
  repair_.balance.bytes_per_second = 10 << 20;
  repair_.balance.left_bytes = 95 << 20;
  repair_.balance.limit_bytes_per_second = 64 << 20;
  repair_.balance.unsaved_moved_bytes = 1000;
  repair_.balance.unsaved_moved_blocks = 2;
  repair_.balance.note = "clients' p99 is 2.1 times what it was";
  const auto balance = Get();
  EXPECT_EQ(balance.left_bytes, 95 << 20);
  EXPECT_EQ(balance.eta_s, 10);
  EXPECT_EQ(balance.moved_bytes, 1000);
  EXPECT_EQ(balance.moved_blocks, 2);
  EXPECT_EQ(balance.limit_bytes_per_second, 64 << 20);
  EXPECT_EQ(balance.note, repair_.balance.note);
  ASSERT_EQ(balance.servers.size(), 5u);
  EXPECT_EQ(balance.servers[0].used_before_bytes, int64_t{40} << 30);
  EXPECT_EQ(balance.servers[0].used_after_bytes, int64_t{32} << 30);
  ASSERT_TRUE(Ok(Control(wire::BalanceAction::PAUSE)));
  EXPECT_EQ(Get().eta_s, -1);
  EXPECT_GT(Get().left_bytes, int64_t{20} << 30);
}

// ---- exposure ----

class ExposureCallTest : public StorageAdminTest {
 protected:
  wire::GetExposureResponse Expose(std::vector<int32_t> servers,
                                   std::vector<std::string> labels = {}) {
    wire::GetExposureRequest request;
    request.servers = std::move(servers);
    request.labels = std::move(labels);
    wire::GetExposureResponse response;
    admin_->GetExposure(response, request);
    return response;
  }
};

TEST_F(ExposureCallTest, OfServersLabelsAndThePresent) {
  AddServer(1, {{"rack", "r1"}});
  AddServer(2, {{"rack", "r1"}});
  AddServer(3, {{"rack", "r2"}});
  MakeFile("a", 4);
  auto found = Expose({3});
  EXPECT_TRUE(Ok(found));
  EXPECT_EQ(found.blocks, 4);
  EXPECT_EQ(found.below_wanted_blocks, 4);
  EXPECT_EQ(Expose({}, {"rack=r1"}).below_minimum_blocks, 4);
  found = Expose({3}, {"rack=r1"});
  EXPECT_EQ(found.lost_blocks, 4);
  EXPECT_EQ(found.lost_servers, (std::vector<int32_t>{1, 2, 3}));
  ASSERT_EQ(found.lost_files.size(), 1u);
  EXPECT_EQ(found.lost_files[0].path, "/a");
  EXPECT_TRUE(found.cursor.empty());
  // What is dead is lost anyway.
  EXPECT_EQ(Expose({}).blocks, 0);
  LetDie({1, 2});
  found = Expose({});
  EXPECT_EQ(found.lost_servers, std::vector<int32_t>{3});
  EXPECT_EQ(found.below_wanted_blocks, 4);
  EXPECT_EQ(Expose({1}).below_minimum_blocks, 4);
}

TEST_F(ExposureCallTest, UnknownServersAndLabelsAreRefused) {
  AddServer(1, {{"rack", "r1"}});
  EXPECT_TRUE(Refused(Expose({7}), StatusCode::kNotFound, "there are: 1"));
  EXPECT_TRUE(Refused(Expose({}, {"rack=r9"}), StatusCode::kInvalidArgument,
                      "no chunk server has the label rack=r9; there are: r1"));
  EXPECT_TRUE(Refused(Expose({}, {"zone=z"}), StatusCode::kInvalidArgument,
                      "no server has a label 'zone'"));
  EXPECT_TRUE(Refused(Expose({}, {"rack"}), StatusCode::kInvalidArgument, "LABEL=VALUE"));
  EXPECT_TRUE(Refused(Expose({}, {""}), StatusCode::kInvalidArgument, "LABEL=VALUE"));
}

// ---- fsck ----

class FsckCallTest : public StorageAdminTest {
 protected:
  wire::FsckResponse Fsck(const std::string& path, bool repair = false) {
    wire::FsckRequest request;
    request.path = path;
    request.repair = repair;
    wire::FsckResponse response;
    admin_->Fsck(response, request);
    return response;
  }
};

TEST_F(FsckCallTest, DeadServersLeaveBlocksUnderReplicated) {
  for (int number : {1, 2, 3}) AddServer(number);
  const auto blocks = MakeFile("a", 3);
  auto found = Fsck("/");
  EXPECT_TRUE(Ok(found));
  EXPECT_EQ(found.healthy, 3);
  LetDie({1, 2});
  found = Fsck("/a", true);
  EXPECT_EQ(found.under_replicated, 3);
  EXPECT_EQ(found.queued_for_repair, 3);
  ASSERT_EQ(repair_.noticed.size(), 3u);
  EXPECT_EQ(repair_.noticed[0], BlockId(static_cast<uint64_t>(blocks[0])));
  EXPECT_TRUE(Refused(Fsck("/none"), StatusCode::kNotFound, ""));
}

TEST_F(FsckCallTest, RepairPutsRepairRows) {
  for (int number : {1, 2, 3}) AddServer(number);
  const auto blocks = MakeFile("a", 1);
  const BlockId block(static_cast<uint64_t>(blocks[0]));
  // The policy changed, and the walk that would notice has not come by.
  wire::SetPolicyRequest policy;
  policy.path = "/a";
  policy.__set_replicas(2);
  ASSERT_TRUE(Ok(SetPolicy(policy)));
  ASSERT_FALSE(*tables().FindRepair(block));
  EXPECT_EQ(Fsck("/").over_replicated, 1);
  ASSERT_FALSE(*tables().FindRepair(block)) << "it only looked";
  EXPECT_EQ(Fsck("/", true).queued_for_repair, 1);
  ASSERT_TRUE(*tables().FindRepair(block));
  EXPECT_EQ((*tables().FindRepair(block))->reasons, kRepairSurplus);
}

TEST_F(FsckCallTest, UnknownReplicasAreOrphaned) {
  inventory_.unknown = {{ServerId(2), BlockId(99)}};
  const auto found = Fsck("");
  EXPECT_EQ(found.orphaned, 1);
  ASSERT_EQ(found.problems.size(), 1u);
  EXPECT_EQ(found.problems[0].servers, std::vector<int32_t>{2});
}

TEST_F(FsckCallTest, InventoriesAreStartedAndFollowed) {
  wire::StartInventoryResponse started;
  admin_->StartInventory(started, {});
  EXPECT_TRUE(Ok(started));
  wire::GetInventoryRequest request;
  request.inventory_id = started.inventory_id;
  wire::GetInventoryResponse response;
  admin_->GetInventory(response, request);
  EXPECT_TRUE(Ok(response));
  EXPECT_EQ(response.done_servers, std::vector<int32_t>{1});
  EXPECT_EQ(response.pending_servers, (std::vector<int32_t>{2, 3}));
  request.inventory_id = 5;
  admin_->GetInventory(response, request);
  EXPECT_TRUE(Refused(response, StatusCode::kNotFound, ""));
}

// ---- policies ----

class PolicyCallTest : public StorageAdminTest {
 protected:
  wire::SetPolicyRequest Request(const std::string& path) {
    wire::SetPolicyRequest request;
    request.path = path;
    return request;
  }
};

TEST_F(PolicyCallTest, ImpossiblePoliciesAreRefused) {
  AddServer(1, {{"rack", "r1"}});
  AddServer(2, {{"rack", "r1"}});
  AddServer(3, {{"rack", "r2"}});
  auto request = Request("/");
  request.__set_replicas(0);
  EXPECT_TRUE(Refused(SetPolicy(request), StatusCode::kInvalidArgument, ""));
  request.__set_replicas(4);
  EXPECT_TRUE(Refused(SetPolicy(request), StatusCode::kInvalidArgument, "only 3 are in service"));
  request.force = true;
  EXPECT_TRUE(Ok(SetPolicy(request)));
  request = Request("/");
  request.__set_replicas(3);
  request.__set_domain("rack");
  EXPECT_TRUE(Refused(SetPolicy(request), StatusCode::kInvalidArgument, "there are only 2"));
  request.__set_domain("rac");
  EXPECT_TRUE(Refused(SetPolicy(request), StatusCode::kInvalidArgument,
                      "no chunk server has a label 'rac'; there are: rack"));
  request = Request("/");
  request.__set_require({{"rack", "r7"}});
  EXPECT_TRUE(Refused(SetPolicy(request), StatusCode::kInvalidArgument, "rack=r7"));
  request = Request("/none");
  request.__set_replicas(2);
  EXPECT_TRUE(Refused(SetPolicy(request), StatusCode::kNotFound, ""));
}

TEST_F(PolicyCallTest, IsSetAndShown) {
  for (int number : {1, 2, 3}) {
    AddServer(number, {{"rack", "r" + std::to_string(number)}});
  }
  auto request = Request("/");
  request.__set_domain("rack");
  request.__set_replicas(2);
  request.__set_min_replicas(1);
  auto set = SetPolicy(request);
  ASSERT_TRUE(Ok(set));
  EXPECT_EQ(set.policy.replicas, 2);
  wire::GetPolicyRequest get;
  get.path = "/";
  wire::GetPolicyResponse got;
  admin_->GetPolicy(got, get);
  ASSERT_TRUE(Ok(got));
  EXPECT_EQ(got.policy.domain, "rack");
  EXPECT_EQ(got.policy.min_replicas, 1);
  EXPECT_TRUE(got.is_directory);
}

TEST_F(PolicyCallTest, WhatConcernsNoServersNeedsNone) {
  auto request = Request("/");
  request.__set_trash_retention_s(60);
  EXPECT_TRUE(Ok(SetPolicy(request))) << "no server is there";
  request = Request("/");
  request.__set_min_replicas(1);
  EXPECT_TRUE(Ok(SetPolicy(request))) << "writers may do with less just because there are few";
  request.__set_min_replicas(4);
  EXPECT_TRUE(Refused(SetPolicy(request), StatusCode::kInvalidArgument, "above replicas 3"));
}

// ---- the trash ----

class TrashCallTest : public StorageAdminTest {
 protected:
  void SetUp() override {
    StorageAdminTest::SetUp();
    wire::SetPolicyRequest request;
    request.path = "/";
    request.__set_trash_retention_s(3600);
    ASSERT_TRUE(Ok(SetPolicy(request)));
    session_ = OpenSession();
  }
  int64_t Throw(const std::string& name) {
    const int64_t inode = CreateOk(session_, name);
    EXPECT_EQ(ServiceTest::Unlink(session_, name), 0);
    return inode;
  }
  wire::ListTrashResponse List() {
    wire::ListTrashResponse response;
    admin_->ListTrash(response, {});
    EXPECT_TRUE(Ok(response));
    return response;
  }
  wire::PurgeTrashResponse Purge(int64_t inode, int64_t before_ns = 0) {
    wire::PurgeTrashRequest request;
    request.inode = inode;
    request.deleted_before_ns = before_ns;
    wire::PurgeTrashResponse response;
    admin_->PurgeTrash(response, request);
    return response;
  }
};

TEST_F(TrashCallTest, WhatWasDeletedIsListedAndRestored) {
  const int64_t inode = Throw("a");
  ASSERT_EQ(List().entries.size(), 1u);
  EXPECT_EQ(List().entries[0].name, "a");
  EXPECT_EQ(List().entries[0].directory, "/");
  wire::RestoreTrashRequest request;
  request.inode = inode;
  wire::RestoreTrashResponse response;
  admin_->RestoreTrash(response, request);
  ASSERT_TRUE(Ok(response));
  EXPECT_EQ(response.path, "/a");
  EXPECT_EQ(LookupCode("a"), 0);
  admin_->RestoreTrash(response, request);
  EXPECT_TRUE(Refused(response, StatusCode::kNotFound, ""));
}

TEST_F(TrashCallTest, PurgesOneOrAllThatIsOlder) {
  const int64_t first = Throw("a");
  EXPECT_TRUE(Refused(Purge(0), StatusCode::kInvalidArgument, "an inode, or a time"));
  EXPECT_TRUE(Refused(Purge(first, 5), StatusCode::kInvalidArgument, "an inode, or a time"));
  EXPECT_EQ(Purge(first).purged, 1);
  EXPECT_TRUE(Refused(Purge(first), StatusCode::kNotFound, "is not in the trash"));
  for (int i = 0; i < 5; ++i) Throw("f" + std::to_string(i));
  Advance(1000);
  const int64_t now_ns = clock_.WallNanos();
  Advance(1000);
  Throw("young");
  const auto purged = Purge(0, now_ns);
  EXPECT_TRUE(Ok(purged));
  EXPECT_EQ(purged.purged, 5);
  EXPECT_FALSE(purged.more);
  ASSERT_EQ(List().entries.size(), 1u);
  EXPECT_EQ(List().entries[0].name, "young");
}

// ---- all of them on a standby ----

TEST_F(StorageAdminTest, AStandbyAnswersNothingOfThis) {
  AddServer(1);
  services_->BecomeStandby();
  const auto refused = [](const auto& response) {
    return Refused(response, StatusCode::kNotActive, "");
  };
  wire::GetExposureResponse exposure;
  admin_->GetExposure(exposure, {});
  EXPECT_TRUE(refused(exposure));
  wire::FsckResponse fsck;
  admin_->Fsck(fsck, {});
  EXPECT_TRUE(refused(fsck));
  wire::PlanBalanceResponse plan;
  admin_->PlanBalance(plan, {});
  EXPECT_TRUE(refused(plan));
  wire::ListTrashResponse trash;
  admin_->ListTrash(trash, {});
  EXPECT_TRUE(refused(trash));
  wire::StartInventoryResponse inventory;
  admin_->StartInventory(inventory, {});
  EXPECT_TRUE(refused(inventory));
}

}  // namespace
}  // namespace tercet
