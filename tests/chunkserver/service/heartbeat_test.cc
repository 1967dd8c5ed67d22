// What a chunk server tells with its heartbeats, and does by their answers.
#include "chunkserver/store/replica_format.h"
#include "tests/chunkserver/service/data_client.h"
#include "tests/chunkserver/service/service_fixture.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

class HeartbeatTest : public ServiceFixture {
 protected:
  void FlipByte(const std::string& path, uint64_t offset) {
    auto file = RealDisk().Open(path, OpenMode::kReadWrite);
    ASSERT_OK(file.status());
    std::string byte(1, '\0');
    ASSERT_EQ((*file)->ReadAt(offset, byte).value(), 1u);
    byte[0] = static_cast<char>(~byte[0]);
    ASSERT_OK((*file)->WriteAt(offset, byte));
  }
  void Damage(Chunkserver& server, uint64_t id) {
    auto stat = server.store().Stat(BlockId(id));
    ASSERT_OK(stat.status());
    FlipByte(stat->file_path, kDataOffset + 1);
  }
  void SetDisk(const wire::DiskReport& disk, wire::DiskState::type state) {
    wire::DiskCommand command;
    command.disk_uuid = disk.disk_uuid;
    command.state = state;
    registry_.With([&](auto& registry) { registry.disk_commands = {command}; });
  }
  wire::DiskReport Disk(size_t i) {
    return registry_.With([&](auto& state) { return state.last_heartbeat.disks.at(i); });
  }
  bool AwaitDisks(const std::function<bool(const std::vector<wire::DiskReport>&)>& condition) {
    return registry_.WaitUntil([&](auto& state) {
      return state.last_heartbeat.disks.size() == 2 && condition(state.last_heartbeat.disks);
    });
  }
};

TEST_F(HeartbeatTest, LabelsAreToldWithTheRegistration) {
  config_.labels = {{"rack", "r1"}, {"zone", "z-2"}};
  auto server = StartRegistered();
  EXPECT_EQ(registry_.With([](auto& state) { return state.last_registration.labels; }),
            config_.labels);
}

TEST_F(HeartbeatTest, TellsWhatIsOnTheDisks) {
  auto server = StartRegistered();
  ASSERT_OK(WriteData(server->store(), BlockId(10), 0, std::string(1 << 20, 'x')));
  ASSERT_OK(WriteData(server->store(), BlockId(11), 0, std::string(1 << 20, 'y')));
  EXPECT_TRUE(AwaitDisks([](const auto& disks) {
    return disks[0].replica_bytes + disks[1].replica_bytes >= 2 << 20 &&
           disks[0].replica_count + disks[1].replica_count == 2;
  }));
  ASSERT_OK(server->store().MoveToTrash(BlockId(10), Generation(1)));
  ASSERT_OK(server->store().Quarantine(BlockId(11), Generation(1)));
  EXPECT_TRUE(AwaitDisks([](const auto& disks) {
    return disks[0].trash_bytes + disks[1].trash_bytes >= 1 << 20 &&
           disks[0].quarantine_bytes + disks[1].quarantine_bytes >= 1 << 20 &&
           disks[0].replica_count + disks[1].replica_count == 0;
  }));
}

TEST_F(HeartbeatTest, TellsWhatClientsAskFor) {
  auto server = StartRegistered();
  ASSERT_OK(WriteData(server->store(), BlockId(10), 0, "data"));
  auto client = DataClient::Connect(server->data_port());
  ASSERT_OK(client.status());
  bool told = false;
  for (int i = 0; i < 2000 && !told; ++i) {
    ASSERT_OK((*client)->Read(BlockId(10)));
    RealClock().SleepFor(milliseconds(1));
    told = registry_.With([](auto& state) {
      return state.last_heartbeat.load.client_requests_per_second > 0 &&
             state.last_heartbeat.load.read_p99_us > 0;
    });
  }
  EXPECT_TRUE(told);
}

TEST_F(HeartbeatTest, ABadReplicaIsToldUntilTheActiveHasAnswered) {
  auto server = StartRegistered();
  ASSERT_OK(WriteData(server->store(), BlockId(10), 0, "ten", true, Generation(3)));
  Damage(*server, 10);
  registry_.With([](auto& state) { state.bad_replica_reports_to_fail = 2; });
  EXPECT_EQ(server->store().Read(BlockId(10), Generation(3), 0, 3).code(), StatusCode::kCorruption);
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return !state.bad_replicas.empty(); }));
  ASSERT_TRUE(AwaitHeartbeats(3));
  registry_.With([](auto& state) {
    EXPECT_EQ(state.unanswered_bad_replicas.size(), 2u);
    ASSERT_EQ(state.bad_replicas.size(), 1u) << "what was answered is not repeated";
    EXPECT_EQ(state.bad_replicas[0].block_id, 10);
    EXPECT_EQ(state.bad_replicas[0].generation, 3);
    EXPECT_EQ(state.bad_replicas[0].reason, wire::BadReplicaReason::DAMAGED);
  });
}

TEST_F(HeartbeatTest, AReplicaThatIsGoneIsTold) {
  auto server = StartRegistered();
  ASSERT_OK(WriteData(server->store(), BlockId(10), 0, "ten"));
  const std::string path = server->store().Stat(BlockId(10))->file_path;
  server.reset();
  std::filesystem::remove(path);
  server = StartRegistered();
  EXPECT_FALSE(server->store().Read(BlockId(10), Generation(1), 0, 3).ok());
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return !state.bad_replicas.empty(); }));
  registry_.With([](auto& state) {
    EXPECT_EQ(state.bad_replicas[0].block_id, 10);
    EXPECT_EQ(state.bad_replicas[0].reason, wire::BadReplicaReason::MISSING);
  });
}

TEST_F(HeartbeatTest, ADoubtThatNobodyResolvedIsTold) {
  SimClock clock;
  auto server = StartRegistered(clock);
  for (uint64_t id : {10, 11}) ASSERT_OK(WriteData(server->store(), BlockId(id), 0, "data"));
  server->store().NoteDoubtful(BlockId(10), Generation(1));
  server->store().NoteDoubtful(BlockId(11), Generation(1));
  // A writer recovers one of them.
  ASSERT_OK(server->store().Seal(BlockId(10), Generation(2), false, false, false).status());
  ASSERT_TRUE(AwaitHeartbeats(3));
  EXPECT_TRUE(registry_.With([](auto& state) { return state.bad_replicas.empty(); }));
  clock.Advance(std::chrono::seconds(11));
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return !state.bad_replicas.empty(); }));
  registry_.With([](auto& state) {
    ASSERT_EQ(state.bad_replicas.size(), 1u);
    EXPECT_EQ(state.bad_replicas[0].block_id, 11);
    EXPECT_EQ(state.bad_replicas[0].generation, 1);
    EXPECT_EQ(state.bad_replicas[0].reason, wire::BadReplicaReason::DOUBTFUL);
  });
}

TEST_F(HeartbeatTest, StandbysAreNotToldBadReplicas) {
  FakeRegistry standby;
  standby.With([&](auto& state) {
    state.active = false;
    state.active_hint = registry_.address();
  });
  config_.meta.push_back(standby.address());
  auto server = StartRegistered();
  ASSERT_OK(WriteData(server->store(), BlockId(10), 0, "ten"));
  Damage(*server, 10);
  EXPECT_FALSE(server->store().Read(BlockId(10), Generation(1), 0, 3).ok());
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return !state.bad_replicas.empty(); }));
  const int before = standby.With([](auto& state) { return state.standby_heartbeats; });
  ASSERT_TRUE(
      standby.WaitUntil([&](auto& state) { return state.standby_heartbeats > before + 2; }));
  EXPECT_TRUE(
      standby.With([](auto& state) { return state.last_standby_heartbeat.bad_replicas.empty(); }));
}

TEST_F(HeartbeatTest, TheActivesScrubPeriodIsInForceAtOnceAndFindingsAreTold) {
  config_.scrub_period = milliseconds(0);
  registry_.With([](auto& state) { state.limits.scrub_period_s = 0; });
  auto server = StartRegistered();
  for (uint64_t id = 10; id < 20; ++id) {
    ASSERT_OK(WriteData(server->store(), BlockId(id), 0, "data"));
  }
  Damage(*server, 17);
  ASSERT_TRUE(AwaitHeartbeats(3));
  EXPECT_TRUE(registry_.With([](auto& state) { return state.bad_replicas.empty(); }));
  registry_.With([](auto& state) { state.limits.scrub_period_s = 1; });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return !state.bad_replicas.empty(); }));
  EXPECT_EQ(registry_.With([](auto& state) { return state.bad_replicas[0].block_id; }), 17);
  EXPECT_TRUE(AwaitDisks([](const auto& disks) {
    return disks[0].scrubbed_since_ns > 0 && disks[1].scrubbed_since_ns > 0;
  }));
  EXPECT_GT(registry_.With([](auto& state) { return state.last_heartbeat.load.scrubbed_bytes; }),
            0);
  EXPECT_TRUE(registry_.WaitUntil([&](auto&) {
    const std::string text = MetricsText();
    return text.find("tercet_scrub_age_seconds{disk=\"" + DiskPath(0)) != std::string::npos &&
           text.find("tercet_scrub_findings_total{disk=\"" + DiskPath(0)) != std::string::npos;
  }));
}

TEST_F(HeartbeatTest, ADrainingDiskIsEmptied) {
  auto server = StartRegistered();
  for (uint64_t id = 10; id < 30; ++id) {
    ASSERT_OK(WriteData(server->store(), BlockId(id), 0, "data"));
  }
  ASSERT_TRUE(AwaitDisks([](const auto& disks) {
    return disks[0].replica_count > 0 && disks[1].replica_count > 0;
  })) << "both are used";
  SetDisk(Disk(0), wire::DiskState::DRAINING);
  ASSERT_TRUE(AwaitDisks([](const auto& disks) {
    return disks[0].state == wire::DiskState::DRAINING && disks[0].replica_count == 0 &&
           disks[1].replica_count == 20;
  }));
  EXPECT_TRUE(Disk(0).healthy);
  ASSERT_OK(WriteData(server->store(), BlockId(50), 0, "data"));
  EXPECT_EQ(server->store().Stat(BlockId(50))->disk_path, DiskPath(1)) << "it takes no new ones";
  registry_.With([](auto& state) { state.disk_commands.clear(); });
  ASSERT_TRUE(
      AwaitDisks([](const auto& disks) { return disks[0].state == wire::DiskState::IN_SERVICE; }));
}

TEST_F(HeartbeatTest, ADrainingDiskWithoutRoomElsewhereSaysSo) {
  auto server = StartRegistered();
  ASSERT_OK(WriteData(server->store(), BlockId(10), 0, "data"));
  const size_t full = server->store().Stat(BlockId(10))->disk_path == DiskPath(0) ? 0 : 1;
  EXPECT_FALSE(Disk(full).no_room);
  registry_.With([&](auto& state) {
    for (const wire::DiskReport& disk : state.last_heartbeat.disks) {
      wire::DiskCommand command;
      command.disk_uuid = disk.disk_uuid;
      command.state = wire::DiskState::DRAINING;
      state.disk_commands.push_back(command);
    }
  });
  EXPECT_TRUE(AwaitDisks([&](const auto& disks) { return disks[full].no_room; }));
  EXPECT_FALSE(Disk(1 - full).no_room) << "nothing is left on it";
}

TEST_F(HeartbeatTest, AnEjectedDiskStaysSoUntilARestart) {
  auto server = StartRegistered();
  SetDisk(Disk(1), wire::DiskState::EJECTED);
  const size_t before = registry_.With([](auto& state) { return state.digest_reports.size(); });
  ASSERT_TRUE(AwaitDisks([](const auto& disks) {
    return disks[1].state == wire::DiskState::EJECTED && !disks[1].healthy;
  }));
  EXPECT_TRUE(registry_.WaitUntil([&](auto& state) {
    return state.digest_reports.size() > before;
  })) << "what was on it is told to be missing at once";
  registry_.With([](auto& state) { state.disk_commands.clear(); });
  ASSERT_TRUE(AwaitHeartbeats(4));
  EXPECT_EQ(Disk(1).state, wire::DiskState::EJECTED);
  EXPECT_EQ(Disk(0).state, wire::DiskState::IN_SERVICE);
  server.reset();
  server = StartRegistered();
  EXPECT_TRUE(AwaitDisks([](const auto& disks) {
    return disks[1].state == wire::DiskState::IN_SERVICE && disks[1].healthy;
  }));
}

TEST_F(HeartbeatTest, CommandsForUnknownDisksDoNoHarm) {
  auto server = StartRegistered();
  wire::DiskReport unknown;
  unknown.disk_uuid = std::string(16, '?');
  SetDisk(unknown, wire::DiskState::EJECTED);
  ASSERT_TRUE(AwaitHeartbeats(3));
  EXPECT_TRUE(Disk(0).healthy);
  EXPECT_TRUE(Disk(1).healthy);
}

TEST_F(HeartbeatTest, AReplicaThatGotAnotherGenerationMeanwhileIsNotQuarantined) {
  auto server = StartRegistered();
  ASSERT_OK(WriteData(server->store(), BlockId(10), 0, "ten"));
  ASSERT_OK(WriteData(server->store(), BlockId(11), 0, "eleven"));
  registry_.With([](auto& state) {
    state.differing_ranges = {0};
    state.quarantine = {10, 11};
    state.replica_reports_held = true;
    state.want_digests = true;
  });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return !state.replica_reports.empty(); }));
  ASSERT_OK(server->store().Seal(BlockId(10), Generation(2), false, false, false).status());
  registry_.With([](auto& state) { state.replica_reports_held = false; });
  // In order of the blocks: 10 comes first.
  ASSERT_TRUE(registry_.WaitUntil(
      [&](auto&) { return server->store().Stat(BlockId(11)).code() == StatusCode::kNotFound; }));
  auto kept = server->store().Stat(BlockId(10));
  ASSERT_OK(kept.status());
  EXPECT_EQ(kept->generation, Generation(2));
}

}  // namespace
}  // namespace tercet
