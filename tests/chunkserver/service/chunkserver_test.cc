// A chunk server, in process, with a metaserver that the test steers.
#include <filesystem>

#include "common/base/replica_digest.h"
#include "common/env/posix_disk.h"
#include "common/rpc/frame.h"
#include "common/rpc/frame_connection.h"
#include "tercet_thrift/data_plane_types.h"
#include "tests/chunkserver/service/service_fixture.h"

namespace tercet {
namespace {

class ChunkserverTest : public ServiceFixture {};

TEST_F(ChunkserverTest, RegistersAndSendsHeartbeatsWithItsDisks) {
  auto server = StartRegistered();
  registry_.With([&](auto& state) {
    EXPECT_EQ(state.last_registration.server_uuid, server->store().server_uuid());
    EXPECT_EQ(state.last_registration.host, "127.0.0.1");
    EXPECT_EQ(state.last_registration.port, server->data_port());
    EXPECT_EQ(state.last_registration.cluster_id, "");
    EXPECT_EQ(state.last_heartbeat.server_id, 3);
    EXPECT_EQ(state.last_heartbeat.incarnation, state.last_registration.incarnation);
    ASSERT_EQ(state.last_heartbeat.disks.size(), 2u);
    EXPECT_EQ(state.last_heartbeat.disks[0].path, DiskPath(0));
    EXPECT_GT(state.last_heartbeat.disks[0].total_bytes, 0);
    EXPECT_TRUE(state.last_heartbeat.disks[0].healthy);
  });
  EXPECT_EQ(server->store().cluster_id(), "cluster-one-----");
}

TEST_F(ChunkserverTest, KeepsItsIdentityOverARestartAndTellsItsCluster) {
  StartRegistered().reset();
  const auto first = registry_.With([](auto& state) { return state.last_registration; });
  auto server = StartRegistered();
  const auto second = registry_.With([](auto& state) { return state.last_registration; });
  EXPECT_EQ(second.server_uuid, first.server_uuid);
  EXPECT_EQ(second.cluster_id, "cluster-one-----");
  EXPECT_NE(second.incarnation, first.incarnation);
}

TEST_F(ChunkserverTest, ServesTheDataPlaneOfItsClusterOnceRegistered) {
  auto server = StartRegistered();
  for (const auto& [cluster, code] : {std::pair{"cluster-one-----", StatusCode::kOk},
                                      std::pair{"cluster-two-----", StatusCode::kWrongCluster}}) {
    auto connection = FrameConnection::Connect({"127.0.0.1", server->data_port()},
                                               std::chrono::milliseconds(2000));
    ASSERT_TRUE(connection.ok()) << connection.status().ToString();
    wire::HelloHeader hello;
    hello.cluster_id = cluster;
    hello.server_id = 3;
    hello.caller = "test";
    std::string header;
    EncodeFrameHeader(hello, &header);
    FramePrelude prelude;
    prelude.kind = wire::FrameKind::HELLO;
    ASSERT_OK((*connection)->Send(prelude, header, {}));
    auto answer = (*connection)->Receive(&header);
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    wire::HelloResponseHeader response;
    ASSERT_OK(DecodeFrameHeader(header, &response));
    EXPECT_EQ(response.status.code, static_cast<int32_t>(code)) << response.status.message;
  }
}

TEST_F(ChunkserverTest, CarriesOutDeletionsAndConfirmsThem) {
  auto server = StartRegistered();
  ASSERT_OK(WriteData(server->store(), BlockId(10), 0, "ten"));
  ASSERT_OK(WriteData(server->store(), BlockId(11), 0, "eleven", true, Generation(5)));
  ASSERT_OK(WriteData(server->store(), BlockId(12), 0, "twelve"));
  registry_.With([](auto& state) { state.tasks = {Task(10, 1), Task(11, 4), Task(99, 1)}; });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.tasks.empty(); }));
  EXPECT_EQ(server->store().Stat(BlockId(10)).code(), StatusCode::kNotFound);
  EXPECT_TRUE(server->store().Stat(BlockId(11)).ok()) << "newer than what was to go";
  EXPECT_TRUE(server->store().Stat(BlockId(12)).ok());
  const size_t confirmed = registry_.With([](auto& state) { return state.confirmed.size(); });
  EXPECT_EQ(confirmed, 3u);
  const int now = registry_.With([](auto& state) { return state.heartbeats; });
  ASSERT_TRUE(registry_.WaitUntil([&](auto& state) { return state.heartbeats > now + 2; }));
  EXPECT_EQ(registry_.With([](auto& state) { return state.confirmed.size(); }), confirmed)
      << "a confirmation that was answered is not repeated";
}

TEST_F(ChunkserverTest, RefusesCommandsOfALowerEpochAlsoAfterARestart) {
  registry_.With([](auto& state) { state.epoch = 7; });
  StartRegistered().reset();
  auto server = StartRegistered();
  ASSERT_OK(WriteData(server->store(), BlockId(10), 0, "ten"));
  EXPECT_EQ(server->store().highest_epoch(), Epoch(7));
  server.reset();
  registry_.With([](auto& state) {
    state.epoch = 6;
    state.tasks = {Task(10, 1)};
  });
  server = Start();
  const int now = registry_.With([](auto& state) { return state.registrations; });
  ASSERT_TRUE(registry_.WaitUntil([&](auto& state) { return state.registrations > now + 1; }))
      << "a deposed active's answers do not count: it tries again";
  EXPECT_FALSE(server->registered());
  EXPECT_TRUE(server->store().Stat(BlockId(10)).ok());
  registry_.With([](auto& state) { state.epoch = 8; });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.tasks.empty(); }));
  EXPECT_EQ(server->store().highest_epoch(), Epoch(8));
}

TEST_F(ChunkserverTest, RegistersAgainWhenToldSo) {
  auto server = StartRegistered();
  registry_.With([](auto& state) {
    state.register_again = true;
    state.server_id = 4;
  });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.last_heartbeat.server_id == 4; }));
  EXPECT_EQ(registry_.With([](auto& state) { return state.registrations; }), 2);
}

TEST_F(ChunkserverTest, ReportsDigestsAndDetailsAndQuarantinesWhatTheJournalDoesNotKnow) {
  auto server = StartRegistered();
  ASSERT_OK(WriteData(server->store(), BlockId(10), 0, "ten", true, Generation(2)));
  ASSERT_OK(WriteData(server->store(), BlockId(11), 0, "eleven"));
  registry_.With([](auto& state) {
    state.digest_reports.clear();
    state.differing_ranges = {0};
    state.quarantine = {11, 77};
    state.want_digests = true;
  });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return !state.replica_reports.empty(); }));
  registry_.With([](auto& state) {
    const auto& ranges = state.digest_reports.back().ranges;
    ASSERT_EQ(ranges.size(), 1u);
    EXPECT_EQ(ranges[0].replica_count, 2);
    EXPECT_EQ(
        static_cast<uint64_t>(ranges[0].digest),
        ReplicaDigest(BlockId(10), Generation(2)) ^ ReplicaDigest(BlockId(11), Generation(1)));
    const auto& report = state.replica_reports.back();
    ASSERT_EQ(report.replicas.size(), 2u);
    EXPECT_EQ(report.replicas[0].block_id, 10);
    EXPECT_EQ(report.replicas[0].generation, 2);
    state.want_digests = true;
  });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) {
    return !state.digest_reports.empty() &&
           (state.digest_reports.back().ranges.empty() ||
            state.digest_reports.back().ranges[0].replica_count == 1);
  }));
  EXPECT_EQ(server->store().Stat(BlockId(11)).code(), StatusCode::kNotFound);
  EXPECT_TRUE(server->store().Stat(BlockId(10)).ok());
}

TEST_F(ChunkserverTest, FollowsTheActiveAmongTheMetaservers) {
  FakeRegistry other;
  config_.meta = {"127.0.0.1:1", registry_.address()};  // the first one does not answer
  registry_.With([&](auto& state) {
    state.active = false;
    state.active_hint = other.address();  // not in the list at all
  });
  auto server = Start();
  ASSERT_TRUE(other.WaitUntil([](auto& state) { return state.heartbeats > 0; }));

  registry_.With([](auto& state) {
    state.active = true;
    state.epoch = 2;
    state.register_again = true;
  });
  other.With([](auto& state) { state.active = false; });
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.heartbeats > 2; }));
  EXPECT_EQ(server->store().highest_epoch(), Epoch(2));
}

TEST_F(ChunkserverTest, WaitsForAMetaserverThatComesLaterAndOutlivesItsRestart) {
  const uint16_t port = registry_.port();
  registry_.Stop();
  auto server = Start();
  {
    FakeRegistry late(port);
    ASSERT_TRUE(late.WaitUntil([](auto& state) { return state.heartbeats > 0; }));
  }
  FakeRegistry again(port);
  again.With([](auto& state) { state.register_again = true; });
  ASSERT_TRUE(again.WaitUntil([](auto& state) { return state.registrations > 0; }));
}

TEST_F(ChunkserverTest, ARefusedRegistrationEndsTheServerWithAReason) {
  registry_.With([](auto& state) {
    state.register_status =
        Status(StatusCode::kIdentityInUse, "chunk server 3 has this identity already");
  });
  config_.identity_patience = std::chrono::milliseconds(0);
  auto server = Start();
  const Status end = server->Wait();
  EXPECT_EQ(end.code(), StatusCode::kIdentityInUse);
  EXPECT_NE(end.message().find("chunk server 3 has this identity"), std::string::npos);
}

TEST_F(ChunkserverTest, WaitsForAnEarlierRunOfItselfToBeTakenForDead) {
  registry_.With([](auto& state) {
    state.register_status = Status(StatusCode::kIdentityInUse, "alive at another address");
  });
  config_.identity_patience = std::chrono::minutes(10);
  auto server = Start();
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.refusals > 2; }));
  registry_.With([](auto& state) { state.register_status = Status::Ok(); });
  EXPECT_TRUE(registry_.WaitUntil([](auto& state) { return state.heartbeats > 0; }));
}

TEST_F(ChunkserverTest, AMetaserverOfAnotherClusterEndsTheServer) {
  StartRegistered().reset();
  registry_.With([](auto& state) { state.cluster_id = "cluster-two-----"; });
  auto server = Start();
  const Status end = server->Wait();
  EXPECT_EQ(end.code(), StatusCode::kWrongCluster) << end.ToString();
  EXPECT_EQ(server->store().cluster_id(), "cluster-one-----");
}

TEST_F(ChunkserverTest, ATemporaryRefusalIsTriedAgain) {
  registry_.With([](auto& state) {
    state.register_status = Status(StatusCode::kUnavailable, "may still be alive: retry");
  });
  auto server = Start();
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) { return state.refusals > 2; }));
  registry_.With([](auto& state) { state.register_status = Status::Ok(); });
  EXPECT_TRUE(registry_.WaitUntil([](auto& state) { return state.heartbeats > 0; }));
}

TEST_F(ChunkserverTest, ErasesTheTrashAfterTheGracePeriod) {
  config_.trash_grace = std::chrono::milliseconds(0);
  config_.trash_interval = std::chrono::milliseconds(100);
  auto server = StartRegistered();
  ASSERT_OK(WriteData(server->store(), BlockId(10), 0, "ten"));
  registry_.With([](auto& state) { state.tasks = {Task(10, 1)}; });
  ASSERT_TRUE(registry_.WaitUntil([&](auto& state) {
    return state.tasks.empty() && std::filesystem::is_empty(DiskPath(0) + "/trash") &&
           std::filesystem::is_empty(DiskPath(1) + "/trash");
  }));
}

TEST_F(ChunkserverTest, UnfitDisksAndPortsAreRefusedInOneLine) {
  auto running = StartRegistered();
  auto error_of = [&](const ChunkserverConfig& config) {
    auto server = Chunkserver::Start(config, RealDisk(), RealClock(), SystemRandom());
    EXPECT_FALSE(server.ok());
    const std::string message = server.ok() ? "" : server.status().message();
    EXPECT_EQ(message.find('\n'), std::string::npos);
    return message;
  };
  EXPECT_NE(error_of(config_).find("used by another chunk server"), std::string::npos);

  TemporaryFolder fresh;
  ChunkserverConfig config = config_;
  config.disks = {fresh.path()};
  config.listen_port = running->data_port();
  EXPECT_NE(error_of(config).find(std::to_string(running->data_port())), std::string::npos);

  config.listen_port = 0;
  config.disks = {fresh.path() + "/none"};
  EXPECT_NE(error_of(config).find("/none"), std::string::npos);

  config.disks = {fresh.path()};
  std::filesystem::create_directory(fresh.path() + "/somebody-elses");
  std::filesystem::remove(fresh.path() + "/identity");
  const std::string error = error_of(config);
  EXPECT_NE(error.find("holds '"), std::string::npos) << error;
}

TEST_F(ChunkserverTest, ADiskThatVanishesIsReportedAndTheLossOfAllEndsTheServer) {
  auto server = StartRegistered();
  std::filesystem::rename(DiskPath(0), DiskPath(0) + ".unmounted");
  ASSERT_TRUE(registry_.WaitUntil([](auto& state) {
    const auto& disks = state.last_heartbeat.disks;
    return disks.size() == 2 && !disks[0].healthy;
  }));
  EXPECT_TRUE(registry_.With([](auto& state) { return state.last_heartbeat.disks[1].healthy; }));
  std::filesystem::rename(DiskPath(1), DiskPath(1) + ".unmounted");
  EXPECT_EQ(server->Wait().code(), StatusCode::kIo);
}

TEST(ChunkserverConfig, NamesWhatIsWrong) {
  auto load = [](const std::string& text) {
    ChunkserverConfig config;
    ConfigSchema schema;
    config.Describe(schema);
    return schema.LoadText(text, "c.toml");
  };
  EXPECT_TRUE(load("meta = ['a:1']\ndisks = ['/x']").ok());
  EXPECT_FALSE(load("disks = ['/x']").ok());
  EXPECT_FALSE(load("meta = ['a:1']").ok());
  EXPECT_NE(load("meta = ['nonsense']\ndisks = ['/x']").message().find("nonsense"),
            std::string::npos);
  EXPECT_NE(load("meta = ['a:1']\ndisks = ['/x', '/x']").message().find("/x"), std::string::npos);
  EXPECT_NE(load("meta = ['a:1']\ndisks = ['/x']\nlisten = {prot = 1}").message().find("prot"),
            std::string::npos);
}

TEST(ChunkserverConfig, AdvertisesWhatOthersCanReach) {
  ChunkserverConfig config;
  config.listen_host = "10.0.0.7";
  EXPECT_EQ(config.AdvertisedAddress(9500)->ToString(), "10.0.0.7:9500");
  config.advertise_host = "store7";
  config.advertise_port = 19500;
  EXPECT_EQ(config.AdvertisedAddress(9500)->ToString(), "store7:19500");
  config.advertise_host = "";
  config.listen_host = "0.0.0.0";
  EXPECT_NE(config.AdvertisedAddress(9500)->host, "0.0.0.0");
}

}  // namespace
}  // namespace tercet
