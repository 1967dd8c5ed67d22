// Chains in which a server is dead, stands still, or comes back.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "common/env/random.h"
#include "common/env/sim_disk.h"
#include "tests/chunkserver/replication/fake_server.h"
#include "tests/chunkserver/replication/test_chain.h"

namespace tercet {
namespace {

using namespace testing_support;  // NOLINT: a test's own helpers
using std::chrono::milliseconds;

constexpr BlockId kBlock{77};
constexpr Generation kFirst{1};

/// Failures are found soon.
class ChainFailureTest : public ChainTest {
 protected:
  DataPlaneOptions Options() override {
    DataPlaneOptions options;
    options.progress_deadline = milliseconds(400);
    return options;
  }
};

TEST_F(ChainFailureTest, DeadTailIsNamedAndIsUsedAgainWhenItIsBack) {
  RawClient client(*servers_[0]);
  const auto chain = Behind();
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "one", .downstream = chain}).status.ok());
  servers_[2]->StopAll();
  const Answer failed = client.Write({.block = kBlock, .data = "two", .downstream = chain});
  EXPECT_EQ(failed.status.code(), StatusCode::kUnavailable) << failed.status.ToString();
  EXPECT_EQ(failed.failed_server, ServerId(3));
  servers_[2]->Restart();
  // One attempt may still hit the connection that broke.
  EXPECT_TRUE(Eventually([&] {
    return client.Write({.block = kBlock, .data = "three", .downstream = chain}).status.ok();
  }));
  ExpectReplicas(kBlock, "three");
}

TEST_F(ChainFailureTest, ServerThatSwallowsFramesIsFoundByTheDeadline) {
  FakeServer fake(FakeServer::Behaviour::kSwallow);
  RawClient client(*servers_[0]);
  const Answer answer = client.Write({.block = kBlock, .data = "x", .downstream = {fake.hop()}});
  EXPECT_EQ(answer.status.code(), StatusCode::kDeadlineExceeded) << answer.status.ToString();
  EXPECT_EQ(answer.failed_server, ServerId(9));
  EXPECT_EQ(servers_[0]->data_plane().counters().downstream_failures.load(), 1u);
}

TEST_F(ChainFailureTest, PortThatAcceptsButNeverGreetsIsFoundByTheDeadline) {
  FakeServer fake(FakeServer::Behaviour::kSwallow);
  wire::ChainHop hop = fake.hop();
  const int listening = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(::bind(listening, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listening, 16), 0);
  ASSERT_EQ(::getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size), 0);
  hop.port = ntohs(address.sin_port);
  RawClient client(*servers_[0]);
  const Answer answer = client.Write({.block = kBlock, .data = "x", .downstream = {hop}});
  EXPECT_EQ(answer.status.code(), StatusCode::kDeadlineExceeded) << answer.status.ToString();
  EXPECT_EQ(answer.failed_server, ServerId(9));
  ::close(listening);
}

TEST_F(ChainFailureTest, TheFarthestFailureIsTheOneReported) {
  FakeServer fake(FakeServer::Behaviour::kSwallow);
  RawClient client(*servers_[0]);
  const Answer answer =
      client.Write({.block = kBlock, .data = "x", .downstream = {servers_[1]->hop(), fake.hop()}});
  EXPECT_EQ(answer.status.code(), StatusCode::kDeadlineExceeded) << answer.status.ToString();
  EXPECT_EQ(answer.failed_server, ServerId(9));
  // The link to the server in the middle is as good as before.
  EXPECT_EQ(servers_[0]->data_plane().counters().downstream_failures.load(), 0u);
}

TEST_F(ChainFailureTest, BrokenLinkEndsEverythingInFlightOnIt) {
  FakeServer fake(FakeServer::Behaviour::kCloseOnWrite);
  RawClient client(*servers_[0]);
  std::set<uint64_t> waiting;
  for (int i = 0; i < 10; ++i) {
    waiting.insert(client.SendWrite({.block = kBlock, .data = "x", .downstream = {fake.hop()}}));
  }
  while (!waiting.empty()) {
    auto answer = client.Receive();
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    EXPECT_FALSE(answer->status.ok());
    EXPECT_EQ(answer->failed_server, ServerId(9));
    EXPECT_EQ(waiting.erase(answer->request_id), 1u);
  }
}

TEST_F(ChainFailureTest, WrongServerAtTheAddressIsNotWrittenTo) {
  RawClient client(*servers_[0]);
  wire::ChainHop hop = servers_[1]->hop();
  hop.server_id = 5;
  const Answer answer = client.Write({.block = kBlock, .data = "x", .downstream = {hop}});
  EXPECT_EQ(answer.status.code(), StatusCode::kUnavailable) << answer.status.ToString();
  EXPECT_EQ(answer.failed_server, ServerId(5));
  EXPECT_EQ(servers_[1]->store().Stat(kBlock).code(), StatusCode::kNotFound);
}

TEST_F(ChainFailureTest, FullDiskInTheChainIsReportedWithItsServer) {
  SimDisk full;
  TestServer tail(ServerId(4), Options(), &full);
  full.SetCapacity(1);
  RawClient client(*servers_[0]);
  const Answer answer = client.Write({.block = kBlock, .data = "x", .downstream = {tail.hop()}});
  EXPECT_EQ(answer.status.code(), StatusCode::kNoSpace) << answer.status.ToString();
  EXPECT_EQ(answer.failed_server, ServerId(4));
}

TEST_F(ChainFailureTest, WhatWasSyncedSurvivesAPowerCutOfTheWholeChain) {
  SimDisk disks[3];
  std::vector<std::unique_ptr<TestServer>> servers;
  std::vector<wire::ChainHop> chain;
  for (uint32_t i = 0; i < 3; ++i) {
    servers.push_back(std::make_unique<TestServer>(ServerId(11 + i), Options(), &disks[i]));
    if (i > 0) chain.push_back(servers.back()->hop());
  }
  const std::string data = Pattern(5, 500'000);
  {
    RawClient client(*servers[0]);
    ASSERT_TRUE(client.Write({.block = kBlock, .data = data, .downstream = chain}).status.ok());
    ASSERT_TRUE(client.Sync(kBlock, kFirst, chain).status.ok());
  }
  SeededRandom random(6);
  for (uint32_t i = 0; i < 3; ++i) {
    servers[i]->StopAll();
    disks[i].Crash(random);
    servers[i]->RestartMachine();
    EXPECT_TRUE(servers[i]->Contents(kBlock) == data) << "on server " << servers[i]->id();
  }
}

/// A downstream that stands still must be told by the refusal alone: the deadline is far away.
class StandStillTest : public ChainTest {
 protected:
  DataPlaneOptions Options() override {
    DataPlaneOptions options;
    options.progress_deadline = milliseconds(600'000);
    options.stall_refusal = milliseconds(400);
    options.max_queued_bytes_per_link = 4 << 20;
    options.buffer_bytes = 64 << 20;
    return options;
  }
};

TEST_F(StandStillTest, OtherChainsOfTheSameConnectionGoOn) {
  FakeServer fake(FakeServer::Behaviour::kStandStill);
  RawClient client(*servers_[0]);
  const std::string data = Pattern(7, 1 << 20);
  std::set<uint64_t> good;
  // Far more than sockets and the queue take.
  for (int i = 0; i < 60; ++i) {
    client.SendWrite({.block = kBlock, .data = data, .downstream = {fake.hop()}});
    if (i % 6 == 0) {
      good.insert(client.SendWrite({.block = BlockId(5), .data = data, .downstream = Behind()}));
    }
  }
  while (!good.empty()) {
    auto answer = client.Receive();
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    if (good.erase(answer->request_id) == 1) {
      EXPECT_TRUE(answer->status.ok()) << answer->status.ToString();
    } else {
      EXPECT_EQ(answer->status.code(), StatusCode::kUnavailable) << answer->status.ToString();
      EXPECT_EQ(answer->failed_server, ServerId(9));
    }
  }
  EXPECT_GT(servers_[0]->data_plane().counters().refused_for_stall.load(), 0u);
  ExpectReplicas(BlockId(5), data);
}

TEST_F(StandStillTest, StopDoesNotWaitForWhatStandsStill) {
  FakeServer fake(FakeServer::Behaviour::kStandStill);
  RawClient client(*servers_[0]);
  const std::string data = Pattern(8, 1 << 20);
  for (int i = 0; i < 3; ++i) {
    client.SendWrite({.block = kBlock, .data = data, .downstream = {fake.hop()}});
  }
  EXPECT_TRUE(Eventually([&] { return servers_[0]->data_plane().counters().writes.load() == 3; }));
  servers_[0]->data_plane().Stop();
  // Either nothing or failures came back, but the connection has ended.
  for (auto answer = client.Receive(); answer.ok(); answer = client.Receive()) {
    EXPECT_FALSE(answer->status.ok());
  }
}

class BackPressureTest : public ChainTest {
 protected:
  DataPlaneOptions Options() override {
    DataPlaneOptions options;
    options.max_pending_per_connection = 4;
    options.progress_deadline = milliseconds(600'000);
    return options;
  }
};

TEST_F(BackPressureTest, NoMoreIsReadThanMayBePending) {
  FakeServer fake(FakeServer::Behaviour::kSwallow);
  RawClient client(*servers_[0]);
  for (int i = 0; i < 20; ++i) {
    client.SendWrite({.block = kBlock, .data = "x", .downstream = {fake.hop()}});
  }
  EXPECT_TRUE(Eventually([&] { return fake.frames() >= 4; }));
  // A fifth frame may have been read, but is not begun while four are unanswered. A connection that
  // is not stuck answers this meanwhile:
  RawClient other(*servers_[0]);
  EXPECT_TRUE(other.Write({.block = BlockId(3), .data = "y", .downstream = Behind()}).status.ok());
  EXPECT_EQ(fake.frames(), 4u);
}

/// One operation at a time, so that frames lie in the buffer.
class GoneSenderTest : public BackPressureTest {
 protected:
  DataPlaneOptions Options() override {
    DataPlaneOptions options = BackPressureTest::Options();
    options.max_pending_per_connection = 1;
    return options;
  }
};

TEST_F(GoneSenderTest, FramesOfASenderThatHasGoneAreNotApplied) {
  auto fake = std::make_unique<FakeServer>(FakeServer::Behaviour::kSwallow);
  {
    RawClient client(*servers_[0]);
    client.SendWrite({.block = kBlock, .data = "x", .downstream = {fake->hop()}});
    client.SendWrite({.block = BlockId(5), .data = "late"});
    EXPECT_TRUE(
        Eventually([&] { return servers_[0]->data_plane().counters().writes.load() == 2; }));
  }
  // The client has closed. Now the first operation fails, and the second one's turn comes.
  fake.reset();
  EXPECT_TRUE(Eventually(
      [&] { return servers_[0]->data_plane().counters().connections_open.load() == 0; }));
  EXPECT_EQ(servers_[0]->store().Stat(BlockId(5)).code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace tercet
