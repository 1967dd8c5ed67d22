// A chunk server and a metadata group of several metaservers: whom it follows, and whose commands
// it carries out.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>

#include "chunkserver/service/chunkserver.h"
#include "common/env/posix_disk.h"
#include "common/rpc/frame.h"
#include "common/rpc/frame_connection.h"
#include "tercet_thrift/data_plane_types.h"
#include "tests/chunkserver/service/fake_registry.h"
#include "tests/chunkserver/store/store_test_util.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

class ChunkserverGroupTest : public testing::Test {
 protected:
  ChunkserverGroupTest() {
    std::filesystem::create_directory(folder_.path() + "/disk");
    config_.listen_host = "127.0.0.1";
    config_.listen_port = 0;
    config_.metrics_port = 0;
    config_.disks = {folder_.path() + "/disk"};
    config_.meta = {a_.address(), b_.address()};
    // So long that a call to a paused metaserver is not what helps.
    config_.registry_timeout = milliseconds(60'000);
    b_.With([&](auto& state) { SetStandby(state, a_.address()); });
  }

  static void SetStandby(FakeRegistryState& state, const std::string& hint) {
    state.active = false;
    state.active_hint = hint;
  }
  static void SetActive(FakeRegistryState& state, int64_t epoch) {
    state.active = true;
    state.epoch = epoch;
  }
  void Start() {
    auto server = Chunkserver::Start(config_, RealDisk(), RealClock(), SystemRandom());
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = std::move(server).value();
    // The first member is followed, and the other one knows the server.
    ASSERT_TRUE(a_.WaitUntil([](auto& state) { return state.heartbeats > 1; }));
    ASSERT_TRUE(b_.WaitUntil([](auto& state) { return state.standby_heartbeats > 0; }));
  }
  bool AwaitHeartbeats(FakeRegistry& registry, int more) {
    const int before = registry.With([](auto& state) { return state.heartbeats; });
    return registry.WaitUntil([=](auto& state) { return state.heartbeats >= before + more; });
  }
  bool AwaitRequests(FakeRegistry& registry, int more) {
    const int before = registry.With([](auto& state) { return state.requests; });
    return registry.WaitUntil([=](auto& state) { return state.requests >= before + more; });
  }
  static wire::DeleteReplicaTask Task(uint64_t block) {
    wire::DeleteReplicaTask task;
    task.block_id = static_cast<int64_t>(block);
    task.generation = 1;
    return task;
  }
  Status SayHello() {
    ASSIGN_OR_RETURN(auto connection, FrameConnection::Connect({"127.0.0.1", server_->data_port()},
                                                               milliseconds(5000)));
    wire::HelloHeader hello;
    hello.cluster_id = "cluster-one-----";
    hello.server_id = 3;
    hello.caller = "test";
    std::string header;
    EncodeFrameHeader(hello, &header);
    FramePrelude prelude;
    prelude.kind = wire::FrameKind::HELLO;
    RETURN_IF_ERROR(connection->Send(prelude, header, {}));
    RETURN_IF_ERROR(connection->Receive(&header).status());
    wire::HelloResponseHeader response;
    RETURN_IF_ERROR(DecodeFrameHeader(header, &response));
    return response.status.code == 0
               ? Status::Ok()
               : Status(static_cast<StatusCode>(response.status.code), response.status.message);
  }

  TemporaryFolder folder_;
  FakeRegistry a_;
  FakeRegistry b_;
  ChunkserverConfig config_;
  std::unique_ptr<Chunkserver> server_;
};

TEST_F(ChunkserverGroupTest, StandbysGetTheSameHeartbeatsButNoConfirmations) {
  Start();
  ASSERT_OK(WriteData(server_->store(), BlockId(10), 0, "ten"));
  a_.With([](auto& state) { state.tasks = {Task(10)}; });
  ASSERT_TRUE(a_.WaitUntil([](auto& state) { return !state.confirmed.empty(); }));
  const int before = b_.With([](auto& state) { return state.standby_heartbeats; });
  ASSERT_TRUE(b_.WaitUntil([&](auto& state) { return state.standby_heartbeats > before + 2; }));
  const auto told = b_.With([](auto& state) { return state.last_standby_heartbeat; });
  EXPECT_EQ(told.server_id, 3);
  ASSERT_EQ(told.disks.size(), 1u);
  EXPECT_GT(told.disks[0].available_bytes, 0);
  EXPECT_TRUE(told.deleted.empty());
  EXPECT_EQ(b_.With([](auto& state) { return state.registrations; }), 0);
}

TEST_F(ChunkserverGroupTest, APausedStandbyDelaysNoHeartbeatOfTheActive) {
  Start();
  b_.With([](auto& state) { state.frozen = true; });
  EXPECT_TRUE(AwaitHeartbeats(a_, 20));
  EXPECT_LE(b_.With([](auto& state) { return state.requests - state.standby_heartbeats; }), 5)
      << "nor do questions to it pile up";
}

TEST_F(ChunkserverGroupTest, NoticesTheEndOfTheActiveBetweenHeartbeats) {
  a_.With([](auto& state) { state.heartbeat_interval_ms = 60'000; });
  auto server = Chunkserver::Start(config_, RealDisk(), RealClock(), SystemRandom());
  ASSERT_TRUE(server.ok());
  server_ = std::move(server).value();
  ASSERT_TRUE(a_.WaitUntil([](auto& state) { return state.heartbeats > 0; }));
  ASSERT_TRUE(b_.WaitUntil([](auto& state) { return state.standby_heartbeats > 0; }));
  a_.Stop();
  ASSERT_TRUE(AwaitRequests(b_, 3));
  b_.With([](auto& state) { SetActive(state, 2); });
  ASSERT_TRUE(b_.WaitUntil([](auto& state) { return state.heartbeats > 0; }));
  EXPECT_EQ(b_.With([](auto& state) { return state.registrations; }), 0) << "it is known there";
  EXPECT_TRUE(server_->registered());
}

TEST_F(ChunkserverGroupTest, TheSuccessorsCommandsAreCarriedOutAndConfirmedToIt) {
  Start();
  ASSERT_OK(WriteData(server_->store(), BlockId(10), 0, "ten"));
  a_.Stop();
  b_.With([](auto& state) {
    SetActive(state, 2);
    state.tasks = {Task(10)};
  });
  ASSERT_TRUE(b_.WaitUntil([](auto& state) { return state.tasks.empty(); }));
  EXPECT_EQ(server_->store().Stat(BlockId(10)).code(), StatusCode::kNotFound);
  EXPECT_EQ(server_->store().highest_epoch(), Epoch(2));
}

TEST_F(ChunkserverGroupTest, AnActiveThatIsPausedIsLeftForItsSuccessor) {
  Start();
  a_.With([](auto& state) { state.frozen = true; });
  ASSERT_TRUE(AwaitRequests(b_, 3));
  b_.With([](auto& state) { SetActive(state, 2); });
  EXPECT_TRUE(AwaitHeartbeats(b_, 5));
  EXPECT_TRUE(server_->registered());
  // It goes on and takes itself for active still: what it commands is not done.
  ASSERT_OK(WriteData(server_->store(), BlockId(10), 0, "ten"));
  a_.With([](auto& state) {
    state.frozen = false;
    state.tasks = {Task(10)};
    state.register_again = true;
  });
  ASSERT_TRUE(AwaitHeartbeats(a_, 3));
  ASSERT_TRUE(AwaitHeartbeats(b_, 3));
  EXPECT_TRUE(server_->store().Stat(BlockId(10)).ok());
  EXPECT_TRUE(server_->registered());
  EXPECT_EQ(a_.With([](auto& state) { return state.confirmed.size(); }), 0u);
}

TEST_F(ChunkserverGroupTest, AStateOfThePastCommandsNobody) {
  a_.With([](auto& state) { state.epoch = 7; });
  Start();
  ASSERT_OK(WriteData(server_->store(), BlockId(10), 0, "ten"));
  a_.With([](auto& state) {
    state.epoch = 3;  // restored by hand, say by copying an old folder back
    state.tasks = {Task(10)};
    state.register_again = true;
    state.want_digests = true;
  });
  ASSERT_TRUE(AwaitHeartbeats(a_, 3));
  EXPECT_TRUE(server_->store().Stat(BlockId(10)).ok());
  EXPECT_TRUE(server_->registered());
  EXPECT_EQ(server_->store().highest_epoch(), Epoch(7));
}

TEST_F(ChunkserverGroupTest, ServesDataWithoutAnyMetaserver) {
  Start();
  a_.Stop();
  b_.With([](auto& state) { state.frozen = true; });
  ASSERT_TRUE(AwaitRequests(b_, 1));
  EXPECT_TRUE(server_->registered());
  ASSERT_OK(SayHello());
  ASSERT_OK(WriteData(server_->store(), BlockId(10), 0, "ten"));
}

TEST_F(ChunkserverGroupTest, WhileThereIsNoActiveAllAreAskedOftenButNotTooOften) {
  Start();
  const auto start = std::chrono::steady_clock::now();
  a_.With([&](auto& state) { SetStandby(state, b_.address()); });
  ASSERT_TRUE(AwaitRequests(a_, 12));
  EXPECT_GE(std::chrono::steady_clock::now() - start, 9 * RegistryAgent::kHurryInterval);
  b_.With([](auto& state) { SetActive(state, 2); });
  EXPECT_TRUE(AwaitHeartbeats(b_, 3));
}

TEST_F(ChunkserverGroupTest, RegistersWithTheActiveThoughTheFirstMetaserverIsPaused) {
  a_.With([](auto& state) { state.frozen = true; });
  b_.With([](auto& state) { SetActive(state, 1); });
  auto server = Chunkserver::Start(config_, RealDisk(), RealClock(), SystemRandom());
  ASSERT_TRUE(server.ok());
  server_ = std::move(server).value();
  EXPECT_TRUE(AwaitHeartbeats(b_, 2));
}

TEST_F(ChunkserverGroupTest, ASuccessorThatOnlyAHintNamesIsFollowed) {
  Start();
  FakeRegistry c;
  c.With([](auto& state) { SetActive(state, 2); });
  a_.Stop();
  b_.With([&](auto& state) {
    state.epoch = 2;
    SetStandby(state, c.address());
  });
  EXPECT_TRUE(AwaitHeartbeats(c, 2));
}

TEST_F(ChunkserverGroupTest, ReportsOfReplicasGoToTheActiveOfNow) {
  Start();
  a_.Stop();
  b_.With([](auto& state) {
    SetActive(state, 2);
    state.want_digests = true;
  });
  EXPECT_TRUE(b_.WaitUntil([](auto& state) { return !state.digest_reports.empty(); }));
}

}  // namespace
}  // namespace tercet
