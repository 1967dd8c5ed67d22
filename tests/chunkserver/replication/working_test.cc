// Slow disks and stopped processes: the ones are waited for, the others are found soon, and told
// apart by WORKING frames.
#include <gtest/gtest.h>
#include <poll.h>

#include <thread>

#include "chunkserver/replication/downstream_link.h"
#include "common/env/posix_disk.h"
#include "tests/chunkserver/replication/fake_server.h"
#include "tests/chunkserver/replication/held_disk.h"
#include "tests/chunkserver/replication/test_chain.h"

namespace tercet {
namespace {

using namespace testing_support;  // NOLINT: a test's own helpers
using std::chrono::milliseconds;

constexpr BlockId kBlock{77};
constexpr Generation kFirst{1};
constexpr milliseconds kInterval{15};
constexpr milliseconds kProgress{600};
/// Frames come at least kInterval apart: with so many of them the deadline has passed.
constexpr size_t kEnough = 60;

/// A chain 1 → 2 → 3 whose tail has a disk that can be held.
class WorkingTest : public testing::Test {
 protected:
  virtual DataPlaneOptions Options() {
    DataPlaneOptions options;
    options.progress_deadline = kProgress;
    options.working_interval = kInterval;
    options.disk_deadline = milliseconds(600'000);
    return options;
  }
  void SetUp() override {
    for (uint32_t id = 1; id <= 3; ++id) {
      servers_.push_back(
          std::make_unique<TestServer>(ServerId(id), Options(), id == 3 ? &disk_ : nullptr));
    }
  }
  void TearDown() override { disk_.Release(); }

  std::vector<wire::ChainHop> Behind() const { return {servers_[1]->hop(), servers_[2]->hop()}; }
  uint64_t FailuresAt(size_t server) {
    return servers_[server]->data_plane().counters().downstream_failures.load();
  }

  HeldDisk disk_{RealDisk()};
  std::vector<std::unique_ptr<TestServer>> servers_;
};

TEST_F(WorkingTest, SlowDiskAtTheTailIsWaitedForByAll) {
  RawClient client(*servers_[0]);
  const std::string data = Pattern(1, 10'000);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "x", .downstream = Behind()}).status.ok());
  disk_.Hold();
  const uint64_t id =
      client.SendWrite({.block = kBlock, .data = data, .downstream = Behind(), .sync = true});
  client.AwaitWorking(kEnough);
  EXPECT_EQ(disk_.waiting(), 1);
  disk_.Release();
  auto answer = client.Receive();
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_EQ(answer->request_id, id);
  EXPECT_TRUE(answer->status.ok()) << answer->status.ToString();
  EXPECT_EQ(FailuresAt(0), 0u);
  EXPECT_EQ(FailuresAt(1), 0u);
  for (auto& server : servers_) EXPECT_TRUE(server->Contents(kBlock) == data);
}

TEST_F(WorkingTest, SlowDiskBehindFullSocketsIsWaitedForToo) {
  RawClient client(*servers_[0]);
  const std::string data = Pattern(2, 1 << 20);
  disk_.Hold();
  constexpr uint32_t kFrames = 24;
  for (uint32_t i = 0; i < kFrames; ++i) {
    client.SendWrite({.block = kBlock, .offset = i << 20, .data = data, .downstream = Behind()});
  }
  client.AwaitWorking(kEnough);
  disk_.Release();
  for (uint32_t i = 0; i < kFrames; ++i) {
    auto answer = client.Receive();
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    EXPECT_TRUE(answer->status.ok()) << answer->status.ToString();
  }
  EXPECT_EQ(FailuresAt(0), 0u);
  EXPECT_EQ(FailuresAt(1), 0u);
}

TEST_F(WorkingTest, SlowReadSaysThatItIsWorkedOn) {
  RawClient client(*servers_[2]);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "slow"}).status.ok());
  disk_.Hold();
  client.SendRead(kBlock, kFirst, 0, 4);
  client.AwaitWorking(3);
  disk_.Release();
  auto answer = client.Receive();
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_EQ(answer->payload.substr(0, 4), "slow");
}

TEST_F(WorkingTest, WhoIsOwedNothingGetsNothing) {
  RawClient idle(*servers_[2]);
  ASSERT_TRUE(idle.Write({.block = BlockId(1), .data = "y"}).status.ok());
  RawClient busy(*servers_[2]);
  disk_.Hold();
  busy.SendWrite({.block = kBlock, .data = "x"});
  busy.AwaitWorking(10);
  pollfd entry{idle.connection().socket(), POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 0), 0);
}

TEST_F(WorkingTest, StoppedTailIsNamedAndNobodyElseSuffers) {
  FakeServer fake(FakeServer::Behaviour::kSwallow);
  RawClient client(*servers_[0]);
  std::vector<wire::ChainHop> chain = Behind();
  chain.push_back(fake.hop());
  const Answer answer = client.Write({.block = kBlock, .data = "x", .downstream = chain});
  EXPECT_EQ(answer.status.code(), StatusCode::kDeadlineExceeded) << answer.status.ToString();
  EXPECT_EQ(answer.failed_server, ServerId(9));
  EXPECT_EQ(FailuresAt(0), 0u);
  EXPECT_EQ(FailuresAt(1), 0u);
  EXPECT_EQ(FailuresAt(2), 1u);
}

TEST_F(WorkingTest, StoppedMiddleIsNamed) {
  FakeServer fake(FakeServer::Behaviour::kSwallow);
  RawClient client(*servers_[0]);
  const Answer answer = client.Write(
      {.block = kBlock, .data = "x", .downstream = {servers_[1]->hop(), fake.hop(), Behind()[1]}});
  EXPECT_EQ(answer.status.code(), StatusCode::kDeadlineExceeded) << answer.status.ToString();
  EXPECT_EQ(answer.failed_server, ServerId(9));
  EXPECT_EQ(FailuresAt(0), 0u);
}

class HangingDiskTest : public WorkingTest {
 protected:
  DataPlaneOptions Options() override {
    DataPlaneOptions options = WorkingTest::Options();
    options.disk_deadline = milliseconds(150);
    return options;
  }
};

TEST_F(HangingDiskTest, DiskThatHangsIsFoundInTheEnd) {
  RawClient client(*servers_[0]);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "x", .downstream = Behind()}).status.ok());
  disk_.Hold();
  const Answer answer = client.Write({.block = kBlock, .data = "y", .downstream = Behind()});
  EXPECT_EQ(answer.status.code(), StatusCode::kDeadlineExceeded) << answer.status.ToString();
  EXPECT_EQ(answer.failed_server, ServerId(3));
  EXPECT_EQ(FailuresAt(0), 0u);
  EXPECT_EQ(FailuresAt(1), 1u);
}

TEST_F(HangingDiskTest, PeerThatOnlySaysThatItWorksIsGivenUpInTheEnd) {
  FakeServer fake(FakeServer::Behaviour::kOnlyWorking);
  RawClient client(*servers_[0]);
  const Answer answer = client.Write({.block = kBlock, .data = "x", .downstream = {fake.hop()}});
  EXPECT_EQ(answer.status.code(), StatusCode::kDeadlineExceeded) << answer.status.ToString();
  EXPECT_EQ(answer.failed_server, ServerId(9));
}

// ---- whoever was stopped itself ----

class Recorder final : public OperationOwner {
 public:
  void OperationDone(ChainOperation& operation) override { status = operation.status(); }
  Status status;
};

TEST(LinkDeadlineTest, ProcessThatDidNotRunBlamesNobody) {
  FakeServer fake(FakeServer::Behaviour::kSwallow);
  DataPlaneCounters counters;
  LinkOptions options;
  options.peer = {"127.0.0.1", static_cast<uint16_t>(fake.hop().port)};
  options.peer_id = ServerId(9);
  options.progress_deadline = milliseconds(200);
  DownstreamLink link(options, counters);
  auto owner = std::make_shared<Recorder>();
  auto operation = std::make_shared<ChainOperation>(owner, wire::FrameKind::SYNC, BlockId(1),
                                                    Generation(1), 1, 0, ServerId(1),
                                                    /*arrived_nanos=*/0, /*taken_nanos=*/0);
  operation->AddDownstreamPart();
  operation->FinishLocal(Status::Ok());
  std::string header;
  EncodeFrameHeader(wire::SyncHeader(), &header);
  link.Submit(operation, header, nullptr, 0);
  EXPECT_TRUE(Eventually([&] { return fake.frames() == 1; }));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(Eventually(
      [&] { return std::chrono::steady_clock::now() - begin > 2 * options.progress_deadline; }));
  // Nobody looked meanwhile.
  link.RestartDeadline();
  link.CheckDeadline();
  EXPECT_FALSE(link.failed());
  EXPECT_TRUE(Eventually([&] {
    link.CheckDeadline();
    return link.failed();
  }));
  EXPECT_EQ(owner->status.code(), StatusCode::kDeadlineExceeded) << owner->status.ToString();
  EXPECT_TRUE(link.let_down());
}

// ---- after a failure ----

/// What is queued for a server that does not answer would hang for ever.
class LostPeerTest : public ChainTest {
 protected:
  DataPlaneOptions Options() override {
    DataPlaneOptions options;
    options.progress_deadline = milliseconds(600'000);
    options.reconnect_interval = milliseconds(10);
    return options;
  }
  const DataPlaneCounters& Counters() { return servers_[0]->data_plane().counters(); }
};

TEST_F(LostPeerTest, RequestsAreRefusedAtOnceUntilItAnswersAgain) {
  FakeServer fake(FakeServer::Behaviour::kCloseOnWrite);
  RawClient client(*servers_[0]);
  const WriteSpec write{.block = kBlock, .data = "x", .downstream = {fake.hop()}};
  EXPECT_EQ(client.Write(write).status.code(), StatusCode::kUnavailable);
  fake.Behave(FakeServer::Behaviour::kNoGreeting);
  // One of the attempts may have been greeted before: then it is found out anew.
  EXPECT_TRUE(Eventually([&] {
    const Answer answer = client.Write(write);
    EXPECT_EQ(answer.status.code(), StatusCode::kUnavailable) << answer.status.ToString();
    EXPECT_EQ(answer.failed_server, ServerId(9));
    return Counters().refused_while_down.load() >= 20;
  }));
  // Other blocks, which would use other links, as well.
  for (uint64_t block = 1; block <= 16; ++block) {
    WriteSpec other = write;
    other.block = BlockId(block);
    EXPECT_EQ(client.Write(other).status.code(), StatusCode::kUnavailable);
  }
  EXPECT_LE(fake.frames(), 4u);
}

TEST_F(LostPeerTest, ItIsConnectedToAgainInTheBackground) {
  RawClient client(*servers_[0]);
  const auto chain = Behind();
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "one", .downstream = chain}).status.ok());
  const uint64_t opened = Counters().links_opened.load();
  servers_[1]->StopAll();
  // The link may have been noticed to be broken before, while nothing was under way; then this is
  // the first attempt to reach the server, and also fails.
  EXPECT_EQ(client.Write({.block = kBlock, .data = "two", .downstream = chain}).status.code(),
            StatusCode::kUnavailable);
  servers_[1]->Restart();
  EXPECT_TRUE(Eventually([&] { return Counters().links_opened.load() > opened; }));
  const Answer answer = client.Write({.block = kBlock, .data = "three", .downstream = chain});
  EXPECT_TRUE(answer.status.ok()) << answer.status.ToString();
  ExpectReplicas(kBlock, "three");
}

TEST_F(LostPeerTest, ServerThatCameBackElsewhereIsUsedAtOnce) {
  RawClient client(*servers_[0]);
  auto lost = std::make_unique<TestServer>(ServerId(7), Options());
  const wire::ChainHop old = lost->hop();
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "one", .downstream = {old}}).status.ok());
  lost.reset();
  EXPECT_FALSE(client.Write({.block = kBlock, .data = "two", .downstream = {old}}).status.ok());
  TestServer back(ServerId(7), Options());
  ASSERT_NE(back.port(), static_cast<uint16_t>(old.port));
  const Answer answer =
      client.Write({.block = kBlock, .data = "three", .downstream = {back.hop()}});
  EXPECT_TRUE(answer.status.ok()) << answer.status.ToString();
  EXPECT_EQ(back.Contents(kBlock), "three");
}

}  // namespace
}  // namespace tercet
