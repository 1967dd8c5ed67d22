#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

class SetServerStateTest : public ReplicaTest {
 protected:
  ServerRecord Row(uint32_t server) const { return **tables().FindServer(ServerId(server)); }
  Status SetDiskState(uint32_t server, const std::string& uuid, uint8_t state) {
    return Do([&](OperationContext& context) {
      return EvaluateSetDiskState(context, ServerId(server), uuid, state);
    });
  }
  std::vector<std::string> Disks(uint32_t server) const {
    std::vector<std::string> uuids;
    EXPECT_TRUE(tables()
                    .ScanDisks(ServerId(server),
                               [&](ServerId, std::string_view uuid, const DiskRecord&) {
                                 uuids.emplace_back(uuid);
                                 return true;
                               })
                    .ok());
    return uuids;
  }
  const std::string kDisk = "disk-uuid-000001";
  const std::string kOtherDisk = "disk-uuid-000002";
};

TEST_F(SetServerStateTest, IsJournaledWithItsTime) {
  ASSERT_OK(SetServerState(2, ServiceState::kDraining, 0, 77));
  const int64_t began = now_ns;
  EXPECT_EQ(Row(2).state, ServiceState::kDraining);
  EXPECT_EQ(Row(2).state_since_ns, began);
  EXPECT_EQ(Row(2).drain_replicas_at_start, 77u);
  // Again: it goes on as it was.
  ASSERT_OK(SetServerState(2, ServiceState::kDraining, 0, 50));
  EXPECT_TRUE(last_changes.entries.empty());
  ASSERT_OK(SetServerState(2, ServiceState::kInService));
  EXPECT_EQ(Row(2).drain_replicas_at_start, 0u);
}

TEST_F(SetServerStateTest, MaintenanceEndsByItself) {
  const int64_t end = now_ns + 1'000'000'000;
  ASSERT_OK(SetServerState(2, ServiceState::kMaintenance, end));
  EXPECT_EQ(Row(2).StateAt(end - 1), ServiceState::kMaintenance);
  EXPECT_EQ(Row(2).StateAt(end), ServiceState::kInService);
  const int64_t since = Row(2).state_since_ns;
  ASSERT_OK(SetServerState(2, ServiceState::kMaintenance, 0));
  EXPECT_EQ(Row(2).state_since_ns, since) << "it was longer in maintenance than that";
  EXPECT_EQ(Row(2).StateAt(end + 1), ServiceState::kMaintenance);
}

TEST_F(SetServerStateTest, RemovedIsForGood) {
  ASSERT_OK(SetServerState(2, ServiceState::kRemoved));
  EXPECT_CODE(kFailedPrecondition, SetServerState(2, ServiceState::kInService));
  EXPECT_CODE(kFailedPrecondition, SetServerState(2, ServiceState::kDraining));
  ASSERT_OK(SetServerState(2, ServiceState::kRemoved));
  wire::RegisterServerRequest request;
  request.server_uuid = "server-uuid-0002";
  request.host = "10.0.0.1";
  request.port = 7000;
  auto registered = Do(EvaluateRegisterServer, request);
  EXPECT_CODE(kFailedPrecondition, registered);
  EXPECT_NE(registered.status().message().find("removed"), std::string::npos);
}

TEST_F(SetServerStateTest, RegistrationKeepsTheState) {
  ASSERT_OK(SetServerState(2, ServiceState::kDraining, 0, 7));
  wire::RegisterServerRequest request;
  request.server_uuid = "server-uuid-0002";
  request.host = "10.0.0.9";
  request.port = 7009;
  request.labels = {{"rack", "r1"}};
  ASSERT_OK(Do(EvaluateRegisterServer, request));
  EXPECT_EQ(Row(2).host, "10.0.0.9");
  EXPECT_EQ(Row(2).state, ServiceState::kDraining);
  EXPECT_EQ(Row(2).drain_replicas_at_start, 7u);
  EXPECT_EQ(Row(2).labels.at("rack"), "r1");
}

TEST_F(SetServerStateTest, UnknownServersAndStatesAreRefused) {
  EXPECT_CODE(kNotFound, SetServerState(99, ServiceState::kDraining));
  EXPECT_CODE(kInvalidArgument, SetServerState(1, static_cast<ServiceState>(4)));
  EXPECT_CODE(kInvalidArgument, SetServerState(1, ServiceState::kMaintenance, -1));
  EXPECT_CODE(kNotFound, SetDiskState(99, kDisk, 1));
  EXPECT_CODE(kInvalidArgument, SetDiskState(1, "short", 1));
  EXPECT_CODE(kInvalidArgument, SetDiskState(1, kDisk, 3));
}

TEST_F(SetServerStateTest, DisksOutOfServiceHaveRows) {
  ASSERT_OK(SetDiskState(2, kDisk, 1));
  ASSERT_OK(SetDiskState(2, kOtherDisk, 2));
  ASSERT_OK(SetDiskState(3, kDisk, 1));
  EXPECT_EQ(Disks(2), (std::vector<std::string>{kDisk, kOtherDisk}));
  EXPECT_EQ((*tables().FindDisk(ServerId(2), kOtherDisk))->state, DiskCommandState::kEjected);
  ASSERT_OK(SetDiskState(2, kDisk, 1));
  EXPECT_TRUE(last_changes.entries.empty());
  ASSERT_OK(SetDiskState(2, kDisk, 0));
  EXPECT_EQ(Disks(2), std::vector<std::string>{kOtherDisk});
  ASSERT_OK(SetDiskState(2, kDisk, 0));
}

TEST_F(SetServerStateTest, TasksOfARemovedServerAreDropped) {
  MakeFile("a", 5);
  ASSERT_EQ(Reconfigure(blocks[4], 1, {1, 3}), 2u);  // 2 is held
  ASSERT_OK(Truncate(file, 0));
  MakeFile("b");
  ASSERT_EQ(Reconfigure(blocks[0], 1, {1, 3}), 2u);
  const auto drop = [&](int max) {
    return Do([&](OperationContext& context) {
      return EvaluateDropDeleteTasks(context, ServerId(2), max);
    });
  };
  EXPECT_EQ(drop(10)->removed, 0) << "it is not removed";
  ASSERT_OK(SetServerState(2, ServiceState::kRemoved));
  auto first = drop(3);
  ASSERT_OK(first);
  EXPECT_EQ(first->removed, 3);
  EXPECT_FALSE(first->done);
  auto second = drop(3);
  EXPECT_EQ(second->removed, 2);
  EXPECT_TRUE(second->done);
  EXPECT_EQ(Tasks(blocks[0]), "2:2h");
  EXPECT_EQ(BlockRow(file, 0).stale, Servers({2}));
}

TEST_F(SetServerStateTest, TheEndOfMaintenanceUndoesNoOtherCommand) {
  const auto end_maintenance = [&] {
    const auto over =
        Do([&](OperationContext& context) { return EvaluateEndMaintenance(context, ServerId(2)); });
    EXPECT_TRUE(over.ok()) << over.status().ToString();
    return over.ok() && *over;
  };
  const int64_t end = now_ns + 1'000'000'000;
  ASSERT_OK(SetServerState(2, ServiceState::kMaintenance, end));
  EXPECT_FALSE(end_maintenance()) << "it lasts";
  now_ns = end;
  // Longer, and drained, since somebody saw that it was over.
  ASSERT_OK(SetServerState(2, ServiceState::kMaintenance, end + 1'000'000'000));
  EXPECT_FALSE(end_maintenance());
  EXPECT_EQ(Row(2).state, ServiceState::kMaintenance);
  ASSERT_OK(SetServerState(2, ServiceState::kDraining));
  now_ns = end + 2'000'000'000;
  EXPECT_FALSE(end_maintenance());
  EXPECT_EQ(Row(2).state, ServiceState::kDraining);
  ASSERT_OK(SetServerState(2, ServiceState::kMaintenance, now_ns + 10'000));
  now_ns += 20'000;
  EXPECT_TRUE(end_maintenance());
  EXPECT_EQ(Row(2).state, ServiceState::kInService);
  EXPECT_FALSE(end_maintenance());
}

}  // namespace
}  // namespace tercet
