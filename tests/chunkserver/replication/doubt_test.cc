// Writes that end in the middle: which servers note that their replica may differ from others, and
// which replicas a late write does not make.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/env/posix_disk.h"
#include "tests/chunkserver/replication/fake_server.h"
#include "tests/chunkserver/replication/held_disk.h"
#include "tests/chunkserver/replication/test_chain.h"

namespace tercet {
namespace {

using namespace testing_support;  // NOLINT: a test's own helpers
using std::chrono::milliseconds;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

constexpr BlockId kBlock{77};
constexpr Generation kFirst{1};

/// Three servers whose stores' clock is the test's.
class DoubtTest : public testing::Test {
 protected:
  void SetUp() override {
    DataPlaneOptions options;
    options.progress_deadline = milliseconds(400);
    for (uint32_t id = 1; id <= 3; ++id) {
      servers_.push_back(std::make_unique<TestServer>(ServerId(id), options, nullptr, &clock_));
    }
  }
  std::vector<wire::ChainHop> Behind() const { return {servers_[1]->hop(), servers_[2]->hop()}; }
  /// What server `i` + 1 tells after a while.
  std::vector<BadReplicaFound> DoubtsOf(size_t i) {
    clock_.Advance(std::chrono::seconds(11));
    return servers_[i]->store().TakeBadReplicas(100);
  }
  static BadReplicaFound Doubt(BlockId block = kBlock, Generation generation = kFirst) {
    return {block, generation, ReplicaFault::kDoubtful};
  }

  SimClock clock_;
  std::vector<std::unique_ptr<TestServer>> servers_;
};

TEST_F(DoubtTest, WhoPassedItOnToALostServerIsInDoubt) {
  FakeServer lost(FakeServer::Behaviour::kCloseOnWrite);
  RawClient client(*servers_[0]);
  ASSERT_FALSE(
      client.Write({.block = kBlock, .data = "one", .downstream = {servers_[1]->hop(), lost.hop()}})
          .status.ok());
  // The last one that has it, and all before that one: whichever of them lives on tells.
  EXPECT_THAT(DoubtsOf(0), ElementsAre(Doubt()));
  EXPECT_THAT(DoubtsOf(1), ElementsAre(Doubt()));
}

TEST_F(DoubtTest, AcknowledgedWritesLeaveNone) {
  RawClient client(*servers_[0]);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "one", .downstream = Behind()}).status.ok());
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "two", .downstream = Behind(), .sync = true})
                  .status.ok());
  ASSERT_TRUE(client.Truncate(kBlock, kFirst, 1, Behind()).status.ok());
  ASSERT_TRUE(client.Sync(kBlock, kFirst, Behind()).status.ok());
  for (size_t i = 0; i < 3; ++i) EXPECT_THAT(DoubtsOf(i), IsEmpty()) << "server " << i + 1;
}

TEST_F(DoubtTest, ATruncationThatIsRefusedBehindLeavesOne) {
  RawClient client(*servers_[0]);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "one", .downstream = Behind()}).status.ok());
  ASSERT_TRUE(servers_[1]->store().MoveToTrash(kBlock, kFirst).ok());
  EXPECT_EQ(client.Truncate(kBlock, kFirst, 1, Behind()).status.code(), StatusCode::kNotFound);
  EXPECT_THAT(DoubtsOf(0), ElementsAre(Doubt()));
  EXPECT_THAT(DoubtsOf(1), IsEmpty());
  EXPECT_THAT(DoubtsOf(2), IsEmpty()) << "it never came there";
}

TEST_F(DoubtTest, AFailedSyncLeavesNone) {
  RawClient client(*servers_[0]);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "one", .downstream = Behind()}).status.ok());
  servers_[1]->StopAll();
  EXPECT_FALSE(client.Sync(kBlock, kFirst, Behind()).status.ok());
  EXPECT_THAT(DoubtsOf(0), IsEmpty()) << "nothing was changed";
}

TEST_F(DoubtTest, WhatIsRefusedBeforeAnythingIsChangedLeavesNone) {
  RawClient client(*servers_[0]);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "one", .downstream = Behind()}).status.ok());
  EXPECT_EQ(
      client
          .Write(
              {.block = kBlock, .generation = Generation(2), .data = "two", .downstream = Behind()})
          .status.code(),
      StatusCode::kStaleGeneration);
  EXPECT_THAT(DoubtsOf(0), IsEmpty());
  // Once the next server is known to be lost nothing is begun any more.
  servers_[1]->StopAll();
  const auto& refused = servers_[0]->data_plane().counters().refused_while_down;
  EXPECT_TRUE(Eventually([&] {
    client.Write({.block = BlockId(78), .data = "x", .downstream = Behind()});
    return refused.load() > 0;
  }));
  const uint64_t before = refused.load();
  EXPECT_FALSE(client.Write({.block = kBlock, .data = "two", .downstream = Behind()}).status.ok());
  EXPECT_EQ(refused.load(), before + 1);
  EXPECT_THAT(DoubtsOf(0), Not(Contains(Doubt())));
}

TEST_F(DoubtTest, AnOwnDiskThatFailsInMidWriteLeavesOneBefore) {
  RawClient client(*servers_[0]);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "one", .downstream = Behind()}).status.ok());
  for (const StoreDiskStatus& disk : servers_[2]->store().Disks()) {
    ASSERT_TRUE(servers_[2]->store().EjectDisk(disk.disk_uuid).ok());
  }
  EXPECT_FALSE(client.Write({.block = kBlock, .data = "two", .downstream = Behind()}).status.ok());
  EXPECT_THAT(DoubtsOf(0), ElementsAre(Doubt()));
  EXPECT_THAT(DoubtsOf(1), ElementsAre(Doubt()));
}

TEST_F(DoubtTest, ARecoveryTakesItAway) {
  RawClient client(*servers_[0]);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "one", .downstream = Behind()}).status.ok());
  servers_[2]->StopAll();
  ASSERT_FALSE(client.Write({.block = kBlock, .data = "two", .downstream = Behind()}).status.ok());
  for (size_t i = 0; i < 2; ++i) {
    RawClient active(*servers_[i]);
    ASSERT_TRUE(active.Seal(SealOf(kBlock, Generation(2))).status.ok());
    EXPECT_THAT(DoubtsOf(i), IsEmpty()) << "server " << i + 1;
  }
}

TEST_F(DoubtTest, AServerMakesNoReplicaThatItMayHaveLost) {
  servers_[1]->store().RaiseCreateFloor(kBlock.Next());
  RawClient client(*servers_[0]);
  const Answer refused = client.Write({.block = kBlock, .data = "one", .downstream = Behind()});
  EXPECT_EQ(refused.status.code(), StatusCode::kNotFound) << refused.status.ToString();
  EXPECT_EQ(refused.failed_server, ServerId(2));
  EXPECT_EQ(servers_[1]->store().Stat(kBlock).code(), StatusCode::kNotFound);
  EXPECT_EQ(servers_[2]->store().Stat(kBlock).code(), StatusCode::kNotFound)
      << "it is not passed on";
  EXPECT_TRUE(
      client.Write({.block = kBlock.Next(), .data = "one", .downstream = Behind()}).status.ok());
  // The active makes the replica.
  RawClient active(*servers_[1]);
  wire::SealHeader seal = SealOf(kBlock, Generation(2));
  seal.create_if_absent = true;
  EXPECT_TRUE(active.Seal(seal).status.ok());
  EXPECT_TRUE(
      active.Write({.block = kBlock, .generation = Generation(2), .data = "two"}).status.ok());
}

TEST(MarkBeforePassingOnTest, WhatIsPassedOnIsMarkedBefore) {
  // One link, so that what was sent before is there before.
  DataPlaneOptions options;
  options.links_per_peer = 1;
  HeldDisk disk(RealDisk(), "activity");
  TestServer head(ServerId(1), options, &disk);
  TestServer tail(ServerId(2), options);
  {
    RawClient client(head);
    ASSERT_TRUE(
        client.Write({.block = kBlock, .data = "one", .downstream = {tail.hop()}}).status.ok());
  }
  head.Restart();  // the replica's era is settled: its next change needs a mark
  RawClient client(head);
  RawClient other(head);
  // A replica of this era needs no mark.
  const WriteSpec unmarked{.block = BlockId(5), .data = "x", .downstream = {tail.hop()}};
  ASSERT_TRUE(other.Write(unmarked).status.ok());
  const uint64_t writes = tail.data_plane().counters().writes.load();
  disk.Hold();
  client.SendWrite({.block = kBlock, .data = "two", .downstream = {tail.hop()}});
  EXPECT_TRUE(Eventually([&] { return disk.waiting() == 1; }));
  EXPECT_TRUE(other.Write(unmarked).status.ok());
  EXPECT_EQ(tail.data_plane().counters().writes.load(), writes + 1)
      << "should the head crash now, only the mark would tell that the replicas may differ";
  disk.Release();
  auto answer = client.Receive();
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_TRUE(answer->status.ok()) << answer->status.ToString();
  EXPECT_EQ(tail.Contents(kBlock), "two");
}

}  // namespace
}  // namespace tercet
