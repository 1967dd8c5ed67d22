#include "metaserver/service/registry.h"

#include <algorithm>

#include "common/base/replica_digest.h"
#include "tests/metaserver/service/service_fixture.h"

namespace tercet {
namespace {

class RegistryTest : public ServiceTest {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    Advance(10'000);  // behind the time in which servers from before could be alive
  }

  wire::ReportDigestsResponse Digests(int32_t server,
                                      const std::vector<wire::RangeDigest>& ranges) {
    wire::ReportDigestsRequest request;
    request.server_id = server;
    request.incarnation = 1;
    request.ranges = ranges;
    wire::ReportDigestsResponse response;
    registry_->ReportDigests(response, request);
    EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
    return response;
  }
  wire::ReportReplicasResponse Replicas(int32_t server, const std::vector<int64_t>& blocks,
                                        int64_t generation = 1) {
    wire::ReportReplicasRequest request;
    request.server_id = server;
    request.incarnation = 1;
    request.range = 0;
    for (int64_t block : blocks) {
      request.replicas.emplace_back();
      request.replicas.back().block_id = block;
      request.replicas.back().generation = generation;
    }
    wire::ReportReplicasResponse response;
    registry_->ReportReplicas(response, request);
    EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
    return response;
  }
  static wire::RangeDigest DigestOf(const std::vector<int64_t>& blocks) {
    wire::RangeDigest digest;
    digest.replica_count = static_cast<int64_t>(blocks.size());
    uint64_t sum = 0;
    for (int64_t block : blocks) {
      sum ^= ReplicaDigest(BlockId(static_cast<uint64_t>(block)), Generation(1));
    }
    digest.digest = static_cast<int64_t>(sum);
    return digest;
  }
  /// Three servers and a file of `blocks` blocks, one replica on each.
  std::vector<int64_t> ThreeServersAndAFile(int blocks) {
    for (int i = 1; i <= 3; ++i) EXPECT_EQ(RegisterOk(i), i);
    session_ = OpenSession();
    inode_ = CreateOk(session_, "f");
    return WriteFile(session_, inode_, blocks);
  }
  void DeleteTheFile() {
    ASSERT_EQ(Unlink(session_, "f"), 0);
    for (int i = 0; i < 30; ++i) {
      ASSERT_TRUE(services_->reclaimer().Step().ok());
      Renew(session_, Renew(session_).condemned);
      Advance(100);
      for (int s = 1; s <= 3; ++s) services_->servers().Heartbeat(ServerId(s), 1, {});
    }
    ASSERT_EQ(*tables().GetCounter(Counter::kOrphanCount), 0u);
  }
  size_t Tasks(int32_t server) {
    size_t count = 0;
    EXPECT_TRUE(tables()
                    .ScanDeleteTasks(ServerId(server), BlockId(),
                                     [&](BlockId, const auto&) {
                                       ++count;
                                       return true;
                                     })
                    .ok());
    return count;
  }
  wire::ServerStatus StatusOf(int32_t server) {
    wire::GetStatusResponse response;
    admin_->GetStatus(response, {});
    for (const auto& status : response.servers) {
      if (status.server_id == server) return status;
    }
    ADD_FAILURE() << "no server " << server;
    return {};
  }

  int64_t session_ = 0;
  int64_t inode_ = 0;
};

TEST_F(RegistryTest, AServerKeepsItsIdOverRestartsOfBoth) {
  const int32_t id = RegisterOk(1, 100);
  EXPECT_EQ(RegisterOk(1, 200), id);
  Restart();
  EXPECT_EQ(RegisterOk(1, 300), id);
  EXPECT_NE(RegisterOk(2), id);
}

TEST_F(RegistryTest, ASecondLiveServerWithTheSameIdentityIsRefused) {
  RegisterOk(1, 100);
  auto copy = RegisterRequest(1, 200, 7999);
  auto response = Register(copy);
  EXPECT_EQ(response.info.status.code, Code(StatusCode::kIdentityInUse));
  EXPECT_NE(response.info.status.message.find("127.0.0.1:7001"), std::string::npos);
  // The first goes on undisturbed.
  EXPECT_FALSE(Heartbeat(1, 100).register_again);
  // When it is dead the other may take over.
  Advance(5'001);
  EXPECT_EQ(Register(copy).info.status.code, 0);
  EXPECT_TRUE(Heartbeat(1, 100).register_again);
  EXPECT_FALSE(Heartbeat(1, 200).register_again);
  EXPECT_EQ(Register(RegisterRequest(1, 100)).info.status.code, Code(StatusCode::kIdentityInUse));
}

TEST_F(RegistryTest, ARestartAtTheSameAddressIsAcceptedAtOnce) {
  RegisterOk(1, 100);
  EXPECT_EQ(RegisterOk(1, 200), 1);
  EXPECT_TRUE(Heartbeat(1, 100).register_again);
  EXPECT_FALSE(Heartbeat(1, 200).register_again);
}

TEST_F(RegistryTest, AfterARestartOfTheMetaserverAnotherAddressHasToWait) {
  RegisterOk(1, 100);
  Restart();
  const auto moved = RegisterRequest(1, 200, 7999);
  EXPECT_EQ(Register(moved).info.status.code, Code(StatusCode::kUnavailable));
  Advance(5'001);
  EXPECT_EQ(Register(moved).info.status.code, 0);
}

TEST_F(RegistryTest, AServerOfAnotherClusterIsRefusedAndANewOneTaken) {
  auto request = RegisterRequest(1);
  request.cluster_id = "another-cluster!";
  EXPECT_EQ(Register(request).info.status.code, Code(StatusCode::kWrongCluster));
  request.cluster_id.clear();
  auto response = Register(request);
  EXPECT_EQ(response.info.status.code, 0);
  EXPECT_EQ(response.cluster_id, kClusterId);
  EXPECT_EQ(response.heartbeat_interval_ms, 1000);
}

TEST_F(RegistryTest, NonsenseAddressesAreRefused) {
  auto request = RegisterRequest(1);
  request.port = 70000;
  EXPECT_EQ(Register(request).info.status.code, Code(StatusCode::kInvalidArgument));
  request = RegisterRequest(1);
  request.host.clear();
  EXPECT_EQ(Register(request).info.status.code, Code(StatusCode::kInvalidArgument));
  request = RegisterRequest(1);
  request.server_uuid = "x";
  EXPECT_EQ(Register(request).info.status.code, Code(StatusCode::kInvalidArgument));
}

TEST_F(RegistryTest, AServerThatWasTakenForDeadRegistersAgain) {
  RegisterOk(1);
  Advance(5'001);
  EXPECT_TRUE(Heartbeat(1).register_again);
  EXPECT_TRUE(Heartbeat(77).register_again);
  EXPECT_EQ(RegisterOk(1), 1);
  EXPECT_FALSE(Heartbeat(1).register_again);
}

TEST_F(RegistryTest, DeletionsAreDeliveredUntilTheyAreConfirmed) {
  const auto blocks = ThreeServersAndAFile(5);
  DeleteTheFile();
  ASSERT_EQ(Tasks(1), 5u);
  const auto first = Heartbeat(1);
  ASSERT_EQ(first.delete_replicas.size(), 3u);  // bounded by the options
  // All in turn, and again from the first on.
  EXPECT_EQ(Heartbeat(1).delete_replicas.size(), 2u);
  EXPECT_EQ(Heartbeat(1).delete_replicas, first.delete_replicas);
  Restart();
  RegisterOk(1);
  EXPECT_EQ(Heartbeat(1).delete_replicas, first.delete_replicas);

  const auto second = Heartbeat(1, 1, first.delete_replicas);
  ASSERT_EQ(second.delete_replicas.size(), 2u);
  EXPECT_EQ(Tasks(1), 2u);
  // Confirming again what was confirmed is harmless.
  auto both = first.delete_replicas;
  both.insert(both.end(), second.delete_replicas.begin(), second.delete_replicas.end());
  EXPECT_TRUE(Heartbeat(1, 1, both).delete_replicas.empty());
  EXPECT_EQ(Tasks(1), 0u);
  // The other servers' tasks are untouched.
  EXPECT_EQ(Tasks(2), 5u);
}

TEST_F(RegistryTest, AllDeletionsAreFetchedInPagesBeforeAServerServes) {
  const auto blocks = ThreeServersAndAFile(5);
  DeleteTheFile();
  wire::FetchDeleteTasksRequest request;
  request.server_id = 1;
  request.incarnation = 1;
  request.max_tasks = 2;
  std::vector<int64_t> fetched;
  for (int page = 0; page < 3; ++page) {
    wire::FetchDeleteTasksResponse response;
    registry_->FetchDeleteTasks(response, request);
    ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
    EXPECT_EQ(response.complete, page == 2);
    for (const auto& task : response.tasks) fetched.push_back(task.block_id);
    request.after_block_id = fetched.back();
  }
  EXPECT_EQ(fetched, blocks);
  // Another process with this id has to register first.
  request.incarnation = 2;
  wire::FetchDeleteTasksResponse refused;
  registry_->FetchDeleteTasks(refused, request);
  EXPECT_EQ(refused.info.status.code, static_cast<int32_t>(StatusCode::kFailedPrecondition));
  EXPECT_FALSE(refused.complete);
  EXPECT_TRUE(refused.tasks.empty());
}

TEST_F(RegistryTest, BadReplicasThatHeartbeatsReportGetRepairRows) {
  const auto blocks = ThreeServersAndAFile(2);
  wire::HeartbeatRequest request;
  request.server_id = 2;
  request.incarnation = 1;
  request.disks = RegisterRequest(2).disks;
  const auto report = [&](int64_t block, int64_t generation, wire::BadReplicaReason::type reason) {
    wire::BadReplica bad;
    bad.block_id = block;
    bad.generation = generation;
    bad.reason = reason;
    request.bad_replicas.push_back(bad);
  };
  report(blocks[0], 1, wire::BadReplicaReason::DAMAGED);
  report(blocks[1], 0, wire::BadReplicaReason::MISSING);  // an incomplete copy
  report(blocks[1], 9, wire::BadReplicaReason::MISSING);  // no replica that the journal knows
  wire::HeartbeatResponse response;
  registry_->Heartbeat(response, request);
  ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
  const auto noted = tables().FindRepair(BlockId(static_cast<uint64_t>(blocks[0])));
  ASSERT_TRUE(noted.ok() && *noted);
  ASSERT_EQ((*noted)->bad.size(), 1u);
  EXPECT_EQ((*noted)->bad[0].server, ServerId(2));
  const auto other = tables().FindRepair(BlockId(static_cast<uint64_t>(blocks[1])));
  EXPECT_FALSE(*other);
  // What cannot be journaled is not taken for reported.
  report(blocks[1], 1, wire::BadReplicaReason::DAMAGED);
  consensus_->FailAppends(Status(StatusCode::kNoSpace, "full"));
  wire::HeartbeatResponse failed;
  registry_->Heartbeat(failed, request);
  EXPECT_NE(failed.info.status.code, 0);
}

TEST_F(RegistryTest, HeartbeatsCarryLimitsAndDiskCommands) {
  ThreeServersAndAFile(1);
  const Epoch epoch = services_->proposer().epoch();
  const std::string disk(16, 'd');
  ASSERT_TRUE(
      services_->proposer()
          .Propose(epoch, "test",
                   [&](OperationContext& context) -> Status {
                     MutableTables(context.transaction)
                         .PutLimits({.repair_bytes_per_second = 7, .scrub_period_s = 99});
                     MutableTables(context.transaction).PutDisk(ServerId(1), disk, DiskRecord());
                     return Status::Ok();
                   })
          .ok());
  ASSERT_TRUE(services_->registry().RefreshKnown().ok());
  services_->repair().Step();
  const auto response = Heartbeat(1);
  EXPECT_EQ(response.limits.repair_bytes_per_second, 7);
  EXPECT_EQ(response.limits.scrub_period_s, 99);
  ASSERT_EQ(response.disks.size(), 1u);
  EXPECT_EQ(response.disks[0].disk_uuid, disk);
  EXPECT_EQ(response.disks[0].state, wire::DiskState::DRAINING);
  EXPECT_TRUE(Heartbeat(2).disks.empty());
}

TEST_F(RegistryTest, AConfirmationThatIsNotJournaledIsAnError) {
  ThreeServersAndAFile(1);
  DeleteTheFile();
  const auto tasks = Heartbeat(1).delete_replicas;
  consensus_->FailAppends(Status(StatusCode::kNoSpace, "full"));
  EXPECT_NE(Heartbeat(1, 1, tasks).info.status.code, 0);
  consensus_->FailAppends(Status::Ok());
  EXPECT_EQ(Tasks(1), 1u);
  EXPECT_EQ(Heartbeat(1).delete_replicas, tasks);
}

TEST_F(RegistryTest, TasksForLowerBlocksThatComeLaterAreFound) {
  ThreeServersAndAFile(2);
  const int64_t other = CreateOk(session_, "g");
  WriteFile(session_, other, 4);
  // The file with the higher block ids goes first, and its deletions are worked off in part.
  ASSERT_EQ(Unlink(session_, "g"), 0);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(services_->reclaimer().Step().ok());
    Renew(session_, Renew(session_).condemned);
    Advance(100);
  }
  auto tasks = Heartbeat(1).delete_replicas;
  ASSERT_EQ(tasks.size(), 3u);
  DeleteTheFile();
  std::vector<int64_t> done;
  for (int i = 0; i < 10 && Tasks(1) > 0; ++i) {
    for (const auto& task : tasks) done.push_back(task.block_id);
    tasks = Heartbeat(1, 1, tasks).delete_replicas;
  }
  EXPECT_EQ(Tasks(1), 0u);
  EXPECT_EQ(done.size(), 6u);
}

TEST_F(RegistryTest, EqualDigestsNeedNoDetails) {
  const auto blocks = ThreeServersAndAFile(5);
  EXPECT_TRUE(Heartbeat(1).want_digests);
  EXPECT_TRUE(Digests(1, {DigestOf(blocks)}).differing_ranges.empty());
  EXPECT_FALSE(Heartbeat(1).want_digests);
}

TEST_F(RegistryTest, MissingReplicasAreCountedWhenTheyWereMissingTwice) {
  const auto blocks = ThreeServersAndAFile(5);
  const std::vector<int64_t> held(blocks.begin(), blocks.end() - 2);
  EXPECT_EQ(Digests(1, {DigestOf(held)}).differing_ranges, std::vector<int64_t>{0});
  Replicas(1, held);
  EXPECT_EQ(StatusOf(1).missing_replicas, 0);
  // It is looked at again soon.
  Advance(4'000);
  Heartbeat(1);
  Advance(1'000);
  EXPECT_TRUE(Heartbeat(1).want_digests);
  Digests(1, {DigestOf(held)});
  EXPECT_TRUE(Replicas(1, held).quarantine.empty());
  EXPECT_EQ(StatusOf(1).missing_replicas, 2);
  // When they came back the digest is equal and the count gone.
  Digests(1, {DigestOf(blocks)});
  EXPECT_EQ(StatusOf(1).missing_replicas, 0);
}

TEST_F(RegistryTest, AServerThatLostEverythingDiffersInRangesItDoesNotReport) {
  ThreeServersAndAFile(3);
  EXPECT_EQ(Digests(2, {}).differing_ranges, std::vector<int64_t>{0});
  Replicas(2, {});
  Replicas(2, {});
  EXPECT_EQ(StatusOf(2).missing_replicas, 3);
}

TEST_F(RegistryTest, AnOldGenerationIsAMissingReplica) {
  const auto blocks = ThreeServersAndAFile(1);
  Replicas(1, blocks, 0);
  Replicas(1, blocks, 0);
  EXPECT_EQ(StatusOf(1).missing_replicas, 1);
}

TEST_F(RegistryTest, OnlyReplicasThatNobodyKnowsAreQuarantinedAndOnlyTheSecondTime) {
  auto blocks = ThreeServersAndAFile(3);
  // A reserved block: given to a writer, not committed.
  wire::AllocateBlockRequest allocate;
  allocate.context = Context(session_);
  allocate.inode = inode_;
  allocate.block_index = 3;
  wire::AllocateBlockResponse allocated;
  metadata_->AllocateBlock(allocated, allocate);
  const int64_t reserved = allocated.block.block_id;
  // A block whose deletion waits.
  const int64_t other = CreateOk(session_, "g");
  const int64_t condemned = WriteFile(session_, other, 1)[0];
  ASSERT_EQ(Unlink(session_, "g"), 0);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(services_->reclaimer().Step().ok());
    Renew(session_, Renew(session_).condemned);
    Advance(100);
  }
  ASSERT_EQ(Tasks(1), 1u);
  // A block that was never given out, and one that is gone from the journal for good.
  const int64_t future = condemned + 1000;
  ASSERT_TRUE(Heartbeat(2, 1, Heartbeat(2).delete_replicas).delete_replicas.empty());
  auto held = blocks;
  held.insert(held.end(), {reserved, condemned, future});

  EXPECT_TRUE(Replicas(1, held).quarantine.empty());
  EXPECT_TRUE(Replicas(1, held).quarantine.empty());
  // Server 2 confirmed the deletion but still reports the replica.
  EXPECT_TRUE(Replicas(2, held).quarantine.empty());
  EXPECT_EQ(Replicas(2, held).quarantine, std::vector<int64_t>{condemned});
  EXPECT_EQ(StatusOf(1).missing_replicas, 0);
  const auto unknown = services_->registry().UnknownReplicas(10);
  ASSERT_EQ(unknown.size(), 1u);
  EXPECT_EQ(unknown[0].server, ServerId(2));
  EXPECT_EQ(unknown[0].block, BlockId(static_cast<uint64_t>(condemned)));
  Advance(3'600'000);
  EXPECT_TRUE(services_->registry().UnknownReplicas(10).empty()) << "no news any more";
}

TEST_F(RegistryTest, WhatMayBeNewerThanARestoredStateIsLeftAlone) {
  const auto blocks = ThreeServersAndAFile(1);
  // As after a restore from a backup that was made before block 50 was given out.
  ASSERT_TRUE(services_->proposer()
                  .Propose(services_->proposer().epoch(), "test",
                           [](OperationContext& context) {
                             MutableTables tables(context.transaction);
                             tables.PutRestores({{{BlockId(50), BlockId(1000)}}});
                             tables.PutCounter(Counter::kNextBlock, 1000);
                             return Status::Ok();
                           })
                  .ok());
  auto held = blocks;
  held.insert(held.end(), {40, 50, 999});
  EXPECT_TRUE(Replicas(1, held).quarantine.empty());
  EXPECT_EQ(Replicas(1, held).quarantine, std::vector<int64_t>{40});
  // A replica that is ahead of the journal is neither missing nor in the way.
  EXPECT_TRUE(Replicas(2, blocks, 7).quarantine.empty());
  EXPECT_TRUE(Replicas(2, blocks, 7).quarantine.empty());
  EXPECT_EQ(StatusOf(2).missing_replicas, 0);
}

TEST_F(RegistryTest, AnUnknownReplicaThatWasGoneInBetweenStartsAnew) {
  ThreeServersAndAFile(1);
  DeleteTheFile();
  ASSERT_TRUE(Heartbeat(1, 1, Heartbeat(1).delete_replicas).delete_replicas.empty());
  const std::vector<int64_t> zombie{1};
  EXPECT_TRUE(Replicas(1, zombie).quarantine.empty());
  EXPECT_TRUE(Replicas(1, {}).quarantine.empty());
  EXPECT_TRUE(Replicas(1, zombie).quarantine.empty());
  EXPECT_EQ(Replicas(1, zombie).quarantine, zombie);
}

TEST_F(RegistryTest, ReportsOfStrangersAreRefused) {
  RegisterOk(1);
  wire::ReportReplicasRequest request;
  request.server_id = 1;
  request.incarnation = 2;
  wire::ReportReplicasResponse response;
  registry_->ReportReplicas(response, request);
  EXPECT_EQ(response.info.status.code, Code(StatusCode::kFailedPrecondition));
  request.incarnation = 1;
  request.range = -1;
  registry_->ReportReplicas(response, request);
  EXPECT_EQ(response.info.status.code, Code(StatusCode::kInvalidArgument));
  request.range = 0;
  request.replicas.emplace_back();
  request.replicas[0].block_id = 1 << 16;
  registry_->ReportReplicas(response, request);
  EXPECT_EQ(response.info.status.code, Code(StatusCode::kInvalidArgument));
}

TEST_F(RegistryTest, StatusCountsBlocksByReplicasOnLiveServers) {
  ThreeServersAndAFile(4);
  wire::GetStatusResponse response;
  admin_->GetStatus(response, {});
  ASSERT_EQ(response.blocks_by_replicas.size(), 1u);
  EXPECT_EQ(response.blocks_by_replicas[0].replicas, 3);
  EXPECT_EQ(response.blocks_by_replicas[0].blocks, 4);
  EXPECT_EQ(response.block_count, 4);
  EXPECT_EQ(response.session_count, 1);
  EXPECT_EQ(response.inode_count, 2);
  EXPECT_EQ(response.cluster_id, kClusterId);
  ASSERT_EQ(response.metaservers.size(), 1u);
  EXPECT_EQ(response.metaservers[0].role, "active");
  EXPECT_EQ(StatusOf(2).replica_count, 4);
  // One dies.
  Advance(4'000);
  Heartbeat(1);
  Heartbeat(3);
  Advance(2'000);
  wire::GetStatusResponse later;
  admin_->GetStatus(later, {});
  ASSERT_EQ(later.blocks_by_replicas.size(), 1u);
  EXPECT_EQ(later.blocks_by_replicas[0].replicas, 2);
  EXPECT_FALSE(StatusOf(2).alive);
  EXPECT_EQ(StatusOf(2).last_heartbeat_ms, 6'000);
  // A file more is seen at once in a small state.
  WriteFile(session_, CreateOk(session_, "g"), 2);
  EXPECT_EQ(StatusOf(1).replica_count, 6);
}

TEST_F(RegistryTest, FileInfoNamesLiveServers) {
  ThreeServersAndAFile(2);
  Advance(4'000);
  Heartbeat(1);
  Heartbeat(2);
  Advance(2'000);
  wire::GetFileInfoRequest request;
  request.path = "/f";
  wire::GetFileInfoResponse response;
  admin_->GetFileInfo(response, request);
  ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
  EXPECT_EQ(response.blocks.size(), 2u);
  EXPECT_EQ(response.servers.size(), 3u);
  std::sort(response.alive_servers.begin(), response.alive_servers.end());
  EXPECT_EQ(response.alive_servers, (std::vector<int32_t>{1, 2}));
}

TEST_F(RegistryTest, SpaceIsDividedByTheReplicas) {
  for (int i = 1; i <= 3; ++i) RegisterOk(i);
  wire::StatFileSystemResponse response;
  metadata_->StatFileSystem(response, {});
  EXPECT_EQ(response.total_bytes, int64_t{100} << 30);
  EXPECT_GT(response.available_bytes, int64_t{49} << 30);
  EXPECT_LT(response.available_bytes, int64_t{50} << 30);
  EXPECT_EQ(response.inode_count, 1);
}

TEST_F(RegistryTest, ADeposedMetaserverAnswersNobody) {
  RegisterOk(1);
  const int64_t session = OpenSession();
  consensus_->Depose();
  EXPECT_EQ(Create(CreateRequest(session, "a")).info.status.code, Code(StatusCode::kNotActive));
  EXPECT_EQ(Heartbeat(1).info.status.code, Code(StatusCode::kNotActive));
  EXPECT_EQ(Register(RegisterRequest(2)).info.status.code, Code(StatusCode::kNotActive));
  EXPECT_EQ(Renew(session).info.status.code, Code(StatusCode::kNotActive));
  EXPECT_EQ(Heartbeat(1).info.active_hint, "other:9400");
}

TEST_F(RegistryTest, ABlockWithBadRowsStopsNeitherNotesNorDeletions) {
  const auto blocks = ThreeServersAndAFile(2);
  ASSERT_TRUE(services_->proposer()
                  .Propose(services_->proposer().epoch(), "test",
                           [&](OperationContext& context) {
                             MutableTables tables(context.transaction);
                             tables.DeleteFileBlock(InodeId(static_cast<uint64_t>(inode_)), 0);
                             tables.PutDeleteTask(ServerId(2), BlockId(77), {});
                             return Status::Ok();
                           })
                  .ok());
  wire::HeartbeatRequest request;
  request.server_id = 2;
  request.incarnation = 1;
  for (const int64_t block : blocks) {
    wire::BadReplica bad;
    bad.block_id = block;
    bad.generation = 1;
    bad.reason = wire::BadReplicaReason::DAMAGED;
    request.bad_replicas.push_back(bad);
  }
  wire::HeartbeatResponse response;
  registry_->Heartbeat(response, request);
  ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
  ASSERT_EQ(response.delete_replicas.size(), 1u);
  EXPECT_EQ(response.delete_replicas[0].block_id, 77);
  const auto noted = tables().FindRepair(BlockId(static_cast<uint64_t>(blocks[1])));
  EXPECT_TRUE(noted.ok() && *noted);
}

TEST_F(RegistryTest, AnInventoryWaitsForAServerThatRegistersAgain) {
  const auto blocks = ThreeServersAndAFile(1);
  const auto id = services_->registry().StartInventory();
  ASSERT_TRUE(id.ok());
  const auto pending = [&] {
    const auto report = services_->registry().GetInventory(*id);
    EXPECT_TRUE(report.ok());
    return report.ok() ? report->pending : std::vector<ServerId>();
  };
  Digests(2, {DigestOf(blocks)});
  Digests(3, {DigestOf(blocks)});
  RegisterOk(1, 1);
  RegisterOk(2, 1);
  EXPECT_EQ(pending(), std::vector<ServerId>{ServerId(1)});
  // What was found before it registered does not count.
  Digests(1, {});
  Digests(1, {});
  RegisterOk(1, 1);
  Digests(1, {});
  EXPECT_EQ(pending(), std::vector<ServerId>{ServerId(1)});
  Digests(1, {DigestOf(blocks)});
  EXPECT_TRUE(pending().empty());
}

}  // namespace
}  // namespace tercet
