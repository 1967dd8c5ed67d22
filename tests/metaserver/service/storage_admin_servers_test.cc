// States of chunk servers and disks by command: what is refused, what is done, what is shown.
#include "metaserver/ops/replica_operations.h"
#include "tests/metaserver/service/storage_admin_fixture.h"

namespace tercet {
namespace {

using State = wire::ServiceState;
using Disk = wire::DiskState;

class ServerStateTest : public StorageAdminTest {};

TEST_F(ServerStateTest, UnknownServersAreNamed) {
  EXPECT_TRUE(Refused(SetState(1, State::DRAINING), StatusCode::kNotFound, "none has registered"));
  AddServer(1);
  AddServer(2);
  EXPECT_TRUE(Refused(SetState(9, State::DRAINING), StatusCode::kNotFound,
                      "there is no chunk server 9; there are: 1, 2"));
  EXPECT_TRUE(Refused(SetDisk(9, "/disks/1", Disk::DRAINING), StatusCode::kNotFound, "server 9"));
  EXPECT_TRUE(Refused(SetState(1, static_cast<State::type>(7)), StatusCode::kInvalidArgument, ""));
  EXPECT_TRUE(
      Refused(SetState(1, State::MAINTENANCE, false, -1), StatusCode::kInvalidArgument, ""));
  EXPECT_EQ(repair_.state_notices, 0);
}

TEST_F(ServerStateTest, DrainingTheLastServersIsRefusedAndNamesFiles) {
  for (int number : {1, 2, 3}) AddServer(number);
  MakeFile("a", 3);
  MakeFile("b", 2);
  auto refused = SetState(2, State::DRAINING);
  EXPECT_TRUE(Refused(refused, StatusCode::kFailedPrecondition,
                      "5 blocks could not keep the replicas that their policies want"));
  EXPECT_TRUE(Refused(refused, StatusCode::kFailedPrecondition, "only 2 other chunk servers"));
  EXPECT_EQ(refused.blocks, 5);
  ASSERT_EQ(refused.files.size(), 2u);
  EXPECT_EQ(refused.files[0].path, "/a");
  EXPECT_EQ(refused.files[1].path, "/b");
  EXPECT_EQ(refused.warnings.size(), 1u);
  EXPECT_EQ(StatusOf(2).state, State::IN_SERVICE);

  const auto forced = SetState(2, State::DRAINING, true);
  EXPECT_TRUE(Ok(forced));
  EXPECT_EQ(forced.warnings.size(), 1u) << "it is told all the same";
  EXPECT_EQ(StatusOf(2).state, State::DRAINING);
  EXPECT_EQ(StatusOf(2).drain_replicas_at_start, 5);
  EXPECT_EQ(repair_.state_notices, 1);
  // One more would leave too few for new files.
  EXPECT_TRUE(Refused(SetState(1, State::DRAINING), StatusCode::kFailedPrecondition,
                      "new files need 2 chunk servers in service, and 1 would be left"));
}

TEST_F(ServerStateTest, AtMostTwentyFilesAreNamed) {
  for (int number : {1, 2, 3}) AddServer(number);
  for (int i = 0; i < 25; ++i) MakeFile("f" + std::to_string(i), 1);
  const auto refused = SetState(1, State::DRAINING);
  EXPECT_EQ(refused.files.size(), 20u);
  EXPECT_EQ(refused.blocks, 25);
}

TEST_F(ServerStateTest, ADrainThatPoliciesAllowBeginsAndCanBeTakenBack) {
  for (int number : {1, 2, 3, 4}) AddServer(number);
  MakeFile("a", 3);
  EXPECT_TRUE(Ok(SetState(4, State::DRAINING)));
  for (int64_t block : MakeFile("b", 5)) {
    const auto on_it = tables().FindReplica(ServerId(4), BlockId(static_cast<uint64_t>(block)));
    EXPECT_FALSE(*on_it) << "new blocks do not go there";
  }
  const int notices = repair_.state_notices;
  EXPECT_TRUE(Ok(SetState(4, State::DRAINING))) << "it does already";
  EXPECT_EQ(repair_.state_notices, notices);
  EXPECT_TRUE(Ok(SetState(4, State::IN_SERVICE)));
  EXPECT_EQ(StatusOf(4).state, State::IN_SERVICE);
  EXPECT_EQ(StatusOf(4).drain_eta_s, -1);
}

TEST_F(ServerStateTest, TheLastServerOfARackIsNotDrainedLightly) {
  AddServer(1, {{"rack", "r1"}});
  AddServer(2, {{"rack", "r1"}});
  AddServer(3, {{"rack", "r1"}});
  AddServer(4, {{"rack", "r2"}});
  wire::SetPolicyRequest policy;
  policy.path = "/";
  policy.__set_replicas(2);
  policy.__set_domain("rack");
  ASSERT_TRUE(Ok(SetPolicy(policy)));
  MakeFile("a", 4);
  EXPECT_TRUE(Refused(SetState(4, State::DRAINING), StatusCode::kFailedPrecondition,
                      "4 blocks could not keep the replicas that their policies want: only 3 other "
                      "chunk servers are alive and in service, with too few values of 'rack'"));
  // What is on server 1 finds room in its rack.
  EXPECT_TRUE(Ok(SetState(1, State::DRAINING)));
}

TEST_F(ServerStateTest, ADrainNeedsRoomElsewhere) {
  for (int number : {1, 2, 3, 4}) AddServer(number);
  servers_[4].replica_bytes = int64_t{20} << 30;
  for (int number : {1, 2, 3}) servers_[number].available_bytes = int64_t{5} << 30;
  for (int number : {1, 2, 3, 4}) Beat(number);
  EXPECT_TRUE(Refused(SetState(4, State::DRAINING), StatusCode::kFailedPrecondition,
                      "20 GiB are stored on it, but the others have room for 14 GiB"));
}

TEST_F(ServerStateTest, DrainsShowProgressAndTheTimeThatIsLeft) {
  for (int number : {1, 2, 3}) AddServer(number);
  MakeFile("a", 10);
  servers_[1].replica_bytes = int64_t{10} << 20;
  Beat(1);
  ASSERT_TRUE(Ok(SetState(1, State::DRAINING, true)));
  EXPECT_EQ(StatusOf(1).drain_bytes_left, int64_t{10} << 20);
  EXPECT_EQ(StatusOf(1).drain_eta_s, -1) << "nothing is known yet";
  repair_.drain_bytes_per_second = 1 << 20;
  EXPECT_EQ(StatusOf(1).drain_eta_s, 11);
  EXPECT_EQ(StatusOf(1).drain_bytes_per_second, 1 << 20);
  repair_.drain_bytes_per_second = 0;
  Restart();
  PlugIn();
  for (int number : {1, 2, 3}) {
    wire::RegisterServerRequest request = RegisterRequest(number);
    request.disks = DisksOf(number);
    ASSERT_TRUE(Ok(Register(request)));
  }
  EXPECT_EQ(StatusOf(1).state, State::DRAINING);
  EXPECT_EQ(StatusOf(1).drain_replicas_at_start, 10);
}

TEST_F(ServerStateTest, MaintenanceMustLeaveBlocksWritable) {
  for (int number : {1, 2, 3}) AddServer(number);
  MakeFile("a", 2);
  EXPECT_TRUE(Ok(SetState(1, State::MAINTENANCE, false, 60)));
  EXPECT_EQ(StatusOf(1).maintenance_left_s, 60);
  EXPECT_TRUE(Refused(SetState(2, State::MAINTENANCE), StatusCode::kFailedPrecondition,
                      "2 blocks would have fewer replicas than their min_replicas"));
  LetDie({1, 2});
  EXPECT_TRUE(Refused(SetState(2, State::MAINTENANCE), StatusCode::kFailedPrecondition,
                      "2 blocks could not be read while it is away"));
  EXPECT_EQ(StatusOf(1).maintenance_left_s, 54);
  Advance(54'000);
  EXPECT_EQ(StatusOf(1).state, State::IN_SERVICE);
}

TEST_F(ServerStateTest, MaintenanceDoesNotEndADrainUnasked) {
  for (int number : {1, 2, 3, 4}) AddServer(number);
  ASSERT_TRUE(Ok(SetState(4, State::DRAINING)));
  EXPECT_TRUE(Refused(SetState(4, State::MAINTENANCE), StatusCode::kFailedPrecondition,
                      "it is being drained, and that would end"));
  EXPECT_EQ(StatusOf(4).state, State::DRAINING);
  EXPECT_TRUE(Ok(SetState(4, State::MAINTENANCE, true)));
}

TEST_F(ServerStateTest, AServerWithReplicasIsNotRemovedLightly) {
  for (int number : {1, 2, 3}) AddServer(number);
  MakeFile("a", 2);
  auto refused = SetState(1, State::REMOVED);
  EXPECT_TRUE(Refused(refused, StatusCode::kFailedPrecondition,
                      "still holds replicas of 2 blocks: drain it first (tercet server drain 1)"));
  EXPECT_TRUE(refused.files.empty()) << "nothing would be lost";
  LetDie({1});
  refused = SetState(1, State::REMOVED);
  EXPECT_TRUE(Refused(refused, StatusCode::kFailedPrecondition, "they would be LOST"));
  ASSERT_EQ(refused.files.size(), 1u);
  EXPECT_EQ(refused.files[0].path, "/a");
  EXPECT_EQ(refused.blocks, 2);

  EXPECT_TRUE(Ok(SetState(2, State::REMOVED, true)));
  EXPECT_TRUE(Refused(SetState(2, State::IN_SERVICE), StatusCode::kNotFound, "was removed"));
  EXPECT_TRUE(Refused(Register(RegisterRequest(2, 5)), StatusCode::kFailedPrecondition, "removed"));
  // While it runs on it must not serve what may be changed without it.
  wire::HeartbeatRequest heartbeat;
  heartbeat.server_id = 2;
  heartbeat.incarnation = 1;
  wire::HeartbeatResponse response;
  registry_->Heartbeat(response, heartbeat);
  EXPECT_TRUE(response.register_again);
  EXPECT_FALSE(StatusOf(2).alive);
}

TEST_F(ServerStateTest, AnEmptyServerIsRemovedAtOnce) {
  for (int number : {1, 2, 3}) AddServer(number);
  MakeFile("a", 2);
  AddServer(4);
  EXPECT_TRUE(Ok(SetState(4, State::REMOVED)));
  EXPECT_EQ(StatusOf(4).state, State::REMOVED);
}

TEST_F(ServerStateTest, RemovalsLeaveServersForNewFiles) {
  for (int number : {1, 2}) AddServer(number);
  EXPECT_TRUE(Refused(SetState(2, State::REMOVED), StatusCode::kFailedPrecondition,
                      "new files need 2 chunk servers in service, and 1 would be left"));
  EXPECT_EQ(StatusOf(2).state, State::IN_SERVICE);
  // One that is down, or drains, is no place for new files as it is.
  LetDie({1});
  EXPECT_TRUE(Ok(SetState(2, State::REMOVED)));
}

// Examinations have no time.
class HastyClock final : public Clock {
 public:
  int64_t WallNanos() const override { return 1; }
  int64_t MonotonicNanos() const override { return now_ns_ += 10'000'000'000; }
  void SleepFor(std::chrono::nanoseconds) override {}

 private:
  mutable int64_t now_ns_ = 0;
};

TEST_F(ServerStateTest, WhatCouldNotBeLookedAtObjects) {
  for (int number : {1, 2, 3}) AddServer(number, {}, 2 << 20);
  MakeFile("a", 1001);
  AddServer(4);
  HastyClock clock;
  HandlerParts parts{storage_parts_->proposer, storage_parts_->sessions, storage_parts_->registry,
                     storage_parts_->servers,  storage_parts_->census,   clock};
  AdminParts admin(clock);
  admin.state = &parts;
  admin_ = MakeAdminHandler(admin);
  const auto incomplete = "only 1000 blocks could be looked at in the time there is for it";
  EXPECT_TRUE(Refused(SetState(1, State::DRAINING), StatusCode::kFailedPrecondition, incomplete));
  EXPECT_TRUE(
      Refused(SetState(1, State::MAINTENANCE), StatusCode::kFailedPrecondition, incomplete));
  EXPECT_TRUE(Refused(SetState(1, State::REMOVED), StatusCode::kFailedPrecondition,
                      "it still holds replicas of at least 1000 blocks"));
  EXPECT_TRUE(Refused(SetDisk(1, "/disks/1", Disk::EJECTED), StatusCode::kFailedPrecondition,
                      "too many replicas on the server to tell in time"));
  // With time there is nothing to say against it.
  PlugIn();
  EXPECT_TRUE(Ok(SetState(1, State::DRAINING)));
}

TEST_F(ServerStateTest, UnknownDisksAreNamed) {
  AddServer(1);
  EXPECT_TRUE(Refused(SetDisk(1, "/disks/9", Disk::DRAINING), StatusCode::kNotFound,
                      "chunk server 1 has no disk '/disks/9'; it has: /disks/1"));
  wire::SetDiskStateRequest request;
  request.server_id = 1;
  request.disk_uuid = "another-disk-16b";
  request.state = Disk::DRAINING;
  wire::SetDiskStateResponse response;
  admin_->SetDiskState(response, request);
  EXPECT_TRUE(Refused(response, StatusCode::kNotFound, "has no disk 616e6f74"));
}

TEST_F(ServerStateTest, TheOnlyDiskIsNotDrained) {
  AddServer(1, {}, int64_t{3} << 30);
  EXPECT_TRUE(Refused(SetDisk(1, "/disks/1", Disk::DRAINING), StatusCode::kFailedPrecondition,
                      "have room for 0 MiB: drain the server instead"));
  EXPECT_TRUE(Ok(SetDisk(1, "/disks/1", Disk::DRAINING, true)));
  ASSERT_EQ(StatusOf(1).disks.size(), 1u);
  EXPECT_EQ(StatusOf(1).disks[0].state, Disk::DRAINING);
  EXPECT_TRUE(Ok(SetDisk(1, "/disks/1", Disk::IN_SERVICE)));
  EXPECT_EQ(StatusOf(1).disks[0].state, Disk::IN_SERVICE);
  EXPECT_EQ(repair_.state_notices, 2);
}

TEST_F(ServerStateTest, ADiskThatMayHoldTheLastReplicasIsNotEjected) {
  for (int number : {1, 2, 3}) AddServer(number, {}, 2 << 20);
  MakeFile("a", 2);
  EXPECT_TRUE(Refused(SetDisk(3, "/disks/3", Disk::EJECTED), StatusCode::kFailedPrecondition,
                      "it is the last disk of the server"));
  BeatWithSecondDisk(3);
  EXPECT_TRUE(Ok(SetDisk(3, "/disks/3", Disk::EJECTED))) << "two others have it all";
  EXPECT_TRUE(Refused(SetDisk(3, "/disks/3b", Disk::EJECTED), StatusCode::kFailedPrecondition,
                      "it is the last disk of the server"));
  LetDie({1});
  const auto refused = SetDisk(1, "/disks/1", Disk::EJECTED);
  EXPECT_TRUE(Refused(refused, StatusCode::kFailedPrecondition,
                      "2 blocks of the server have no other replica that is reachable"));
  ASSERT_EQ(refused.warnings.size(), 3u);
  EXPECT_EQ(refused.warnings[2], "file /a");
  EXPECT_TRUE(Ok(SetDisk(1, "/disks/1", Disk::EJECTED, true)));
  // Nothing changes with one that is away.
  EXPECT_TRUE(Ok(SetDisk(1, "/disks/1", Disk::EJECTED)));
}

TEST_F(ServerStateTest, AnEmptyDiskIsEjectedUnlessItIsTheLast) {
  AddServer(1);
  EXPECT_TRUE(Refused(SetDisk(1, "/disks/1", Disk::EJECTED), StatusCode::kFailedPrecondition,
                      "it is the last disk of the server"));
  BeatWithSecondDisk(1);
  EXPECT_TRUE(Ok(SetDisk(1, "/disks/1", Disk::EJECTED)));
}

TEST_F(ServerStateTest, AnEjectedDiskIsNotDrainedAndComesBackWithItsServer) {
  AddServer(1, {}, 2 << 20);
  ASSERT_TRUE(Ok(SetDisk(1, "/disks/1", Disk::EJECTED, true)));
  EXPECT_TRUE(Refused(SetDisk(1, "/disks/1", Disk::DRAINING), StatusCode::kFailedPrecondition,
                      "is ejected: nothing can be moved from it"));
  const auto back = SetDisk(1, "/disks/1", Disk::IN_SERVICE);
  EXPECT_TRUE(Ok(back));
  ASSERT_EQ(back.warnings.size(), 1u);
  EXPECT_NE(back.warnings[0].find("stays ejected until the chunk server is started again"),
            std::string::npos);
}

TEST_F(ServerStateTest, LabelsLoadAndSpaceAreShown) {
  AddServer(1, {{"rack", "r1"}}, 5 << 20);
  wire::HeartbeatRequest request;
  request.server_id = 1;
  request.incarnation = 1;
  request.disks = DisksOf(1);
  request.disks[0].scrubbed_since_ns = 12345;
  request.disks[0].trash_bytes = 7;
  request.disks[0].no_room = true;
  request.load.write_p99_us = 900;
  request.load.pulls_running = 2;
  wire::HeartbeatResponse response;
  registry_->Heartbeat(response, request);
  const auto status = StatusOf(1);
  EXPECT_EQ(status.labels, (std::map<std::string, std::string>{{"rack", "r1"}}));
  EXPECT_EQ(status.used_bytes, 5 << 20);
  EXPECT_EQ(status.load.write_p99_us, 900);
  EXPECT_EQ(status.load.pulls_running, 2);
  EXPECT_EQ(status.disks[0].scrubbed_since_ns, 12345);
  EXPECT_EQ(status.disks[0].trash_bytes, 7);
  EXPECT_TRUE(status.disks[0].no_room);
  EXPECT_FALSE(status.suspected);
  services_->servers().Suspect(ServerId(1));
  EXPECT_TRUE(StatusOf(1).suspected);
}

TEST_F(ServerStateTest, AStandbyChangesNothing) {
  AddServer(1);
  services_->BecomeStandby();
  EXPECT_TRUE(Refused(SetState(1, State::DRAINING), StatusCode::kNotActive, ""));
  EXPECT_TRUE(Refused(SetDisk(1, "/disks/1", Disk::EJECTED), StatusCode::kNotActive, ""));
}

TEST_F(ServerStateTest, BackgroundWorkGoesOnWherePartOfItFails) {
  for (int number : {1, 2, 3}) AddServer(number);
  ASSERT_TRUE(Ok(SetState(1, State::MAINTENANCE, false, 60)));
  ASSERT_TRUE(services_->proposer()
                  .Propose(services_->proposer().epoch(), "test",
                           [](OperationContext& context) {
                             context.transaction.Put(TrashKey(1, InodeId(1)), "\1");
                             context.transaction.Put(PolicyWalkKey(InodeId(1)), "\1");
                             return Status::Ok();
                           })
                  .ok());
  Advance(61'000);
  EXPECT_TRUE(services_->housekeeper().Step().ok());
  const auto record = tables().FindServer(ServerId(1));
  ASSERT_TRUE(record.ok() && *record);
  EXPECT_EQ((*record)->state, ServiceState::kInService);
}

}  // namespace
}  // namespace tercet
