// Writes, syncs and truncations down a chain of three servers.
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <thread>

#include "common/env/sim_disk.h"
#include "tests/chunkserver/replication/test_chain.h"

namespace tercet {
namespace {

using namespace testing_support;  // NOLINT: a test's own helpers

constexpr BlockId kBlock{77};
constexpr Generation kFirst{1};

TEST_F(ChainTest, WriteReachesEveryReplicaBitForBit) {
  RawClient client(*servers_[0]);
  const std::string data = Pattern(1, 300'001);
  const Answer answer =
      client.Write({.block = kBlock, .offset = 12'345, .data = data, .downstream = Behind()});
  EXPECT_TRUE(answer.status.ok()) << answer.status.ToString();
  EXPECT_EQ(answer.failed_server, ServerId());
  ExpectReplicas(kBlock, std::string(12'345, '\0') + data);
}

TEST_F(ChainTest, WriteToTheTailAloneNeedsNoOther) {
  RawClient client(*servers_[2]);
  EXPECT_TRUE(client.Write({.block = kBlock, .data = "abc"}).status.ok());
  EXPECT_EQ(servers_[2]->Contents(kBlock), "abc");
  EXPECT_EQ(servers_[0]->store().Stat(kBlock).code(), StatusCode::kNotFound);
}

TEST_F(ChainTest, ManyFramesInFlightAreAllAppliedAndAnswered) {
  RawClient client(*servers_[0]);
  constexpr size_t kFrame = 1 << 20;
  constexpr size_t kFrames = 24;
  const std::string data = Pattern(2, kFrame * kFrames);
  std::set<uint64_t> waiting;
  for (size_t i = 0; i < kFrames; ++i) {
    waiting.insert(client.SendWrite({.block = kBlock,
                                     .offset = static_cast<uint32_t>(i * kFrame),
                                     .data = std::string_view(data).substr(i * kFrame, kFrame),
                                     .downstream = Behind()}));
  }
  while (!waiting.empty()) {
    auto answer = client.Receive();
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    EXPECT_TRUE(answer->status.ok()) << answer->status.ToString();
    EXPECT_EQ(waiting.erase(answer->request_id), 1u);
  }
  ExpectReplicas(kBlock, data);
}

// Overlapping writes by several connections: whatever the order is, it has to be the same
// everywhere.
TEST_F(ChainTest, SeveralWritersOfOneBlockLeaveIdenticalReplicas) {
  constexpr int kWriters = 3;
  constexpr int kWrites = 200;
  std::vector<std::thread> writers;
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer] {
      RawClient client(*servers_[0]);
      std::mt19937 random(static_cast<unsigned>(writer));
      for (int i = 0; i < kWrites; ++i) {
        // All within a few pages, so that nearly every write overlaps another writer's.
        const std::string data(1 + random() % 20'000, static_cast<char>('a' + writer));
        client.SendWrite({.block = kBlock,
                          .offset = static_cast<uint32_t>(random() % 30'000),
                          .data = data,
                          .downstream = Behind(),
                          .sync = i % 50 == 0});
      }
      for (int i = 0; i < kWrites; ++i) {
        auto answer = client.Receive();
        ASSERT_TRUE(answer.ok()) << answer.status().ToString();
        EXPECT_TRUE(answer->status.ok()) << answer->status.ToString();
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  ExpectIdenticalReplicas(kBlock);
}

TEST_F(ChainTest, BlocksOfSeveralConnectionsShareLinksWithoutMixingUp) {
  constexpr uint64_t kBlocks = 12;
  std::vector<std::thread> writers;
  for (uint64_t id = 1; id <= kBlocks; ++id) {
    writers.emplace_back([&, id] {
      RawClient client(*servers_[0]);
      const std::string data = Pattern(id, 200'000);
      for (uint32_t at = 0; at < data.size(); at += 50'000) {
        client.SendWrite({.block = BlockId(id),
                          .offset = at,
                          .data = std::string_view(data).substr(at, 50'000),
                          .downstream = Behind()});
      }
      for (int i = 0; i < 4; ++i) {
        auto answer = client.Receive();
        ASSERT_TRUE(answer.ok()) << answer.status().ToString();
        EXPECT_TRUE(answer->status.ok()) << answer->status.ToString();
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  for (uint64_t id = 1; id <= kBlocks; ++id) ExpectReplicas(BlockId(id), Pattern(id, 200'000));
}

TEST_F(ChainTest, WriteWithoutCreateToNothingIsRefusedBeforeItIsPassedOn) {
  RawClient client(*servers_[0]);
  const Answer answer =
      client.Write({.block = kBlock, .data = "x", .downstream = Behind(), .create = false});
  EXPECT_EQ(answer.status.code(), StatusCode::kNotFound);
  EXPECT_EQ(answer.failed_server, ServerId(1));
  EXPECT_EQ(servers_[0]->data_plane().counters().links_opened.load(), 0u);
}

TEST_F(ChainTest, StaleGenerationIsRefusedWhereverInTheChainItIs) {
  RawClient head(*servers_[0]);
  RawClient tail(*servers_[2]);
  ASSERT_TRUE(
      tail.Write({.block = kBlock, .generation = Generation(5), .data = "new"}).status.ok());
  const Answer answer = head.Write({.block = kBlock, .data = "old", .downstream = Behind()});
  EXPECT_EQ(answer.status.code(), StatusCode::kStaleGeneration);
  EXPECT_EQ(answer.failed_server, ServerId(3));
  EXPECT_EQ(servers_[2]->Contents(kBlock, Generation(5)), "new");

  const Answer at_head = head.Write(
      {.block = kBlock, .generation = Generation(2), .data = "xyz", .downstream = Behind()});
  EXPECT_EQ(at_head.status.code(), StatusCode::kStaleGeneration);
  EXPECT_EQ(at_head.failed_server, ServerId(1));
  EXPECT_EQ(head.Sync(kBlock, Generation(2), Behind()).status.code(), StatusCode::kStaleGeneration);
  EXPECT_EQ(head.Truncate(kBlock, Generation(2), 0, Behind()).status.code(),
            StatusCode::kStaleGeneration);
  EXPECT_EQ(servers_[0]->data_plane().counters().stale_generations.load(), 4u);
}

TEST_F(ChainTest, PayloadThatWasDamagedOnTheWayChangesNothing) {
  RawClient client(*servers_[0]);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "good", .downstream = Behind()}).status.ok());
  const Answer answer = client.Write({.block = kBlock,
                                      .data = "evil",
                                      .downstream = Behind(),
                                      .piece_crcs = PieceCrcs(0, "good")});
  EXPECT_EQ(answer.status.code(), StatusCode::kCorruption);
  EXPECT_EQ(answer.failed_server, ServerId(1));
  ExpectReplicas(kBlock, "good");
}

TEST_F(ChainTest, NonsenseIsRefusedAndTheConnectionGoesOn) {
  RawClient client(*servers_[0]);
  const std::string data(8192, 'x');
  // Beyond the block's end.
  EXPECT_EQ(
      client.Write({.block = kBlock, .offset = kMaxBlockBytes - 1, .data = data}).status.code(),
      StatusCode::kInvalidArgument);
  // Nothing to write.
  EXPECT_EQ(client.Write({.block = kBlock}).status.code(), StatusCode::kInvalidArgument);
  // Too few checksums.
  EXPECT_EQ(client.Write({.block = kBlock, .data = data, .piece_crcs = "abcd"}).status.code(),
            StatusCode::kInvalidArgument);
  // A chain that comes back.
  EXPECT_EQ(client
                .Write({.block = kBlock,
                        .data = data,
                        .downstream = {servers_[1]->hop(), servers_[0]->hop()}})
                .status.code(),
            StatusCode::kInvalidArgument);
  // A hop without an address.
  wire::ChainHop nowhere;
  nowhere.server_id = 9;
  EXPECT_EQ(client.Write({.block = kBlock, .data = data, .downstream = {nowhere}}).status.code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(client.Write({.block = kBlock, .data = data, .downstream = Behind()}).status.ok());
  ExpectReplicas(kBlock, data);
}

TEST_F(ChainTest, TruncateCutsEveryReplica) {
  RawClient client(*servers_[0]);
  const std::string data = Pattern(3, 20'000);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = data, .downstream = Behind()}).status.ok());
  const Answer cut = client.Truncate(kBlock, kFirst, 5'000, Behind());
  EXPECT_TRUE(cut.status.ok()) << cut.status.ToString();
  ExpectReplicas(kBlock, data.substr(0, 5'000));
  ASSERT_TRUE(client.Write({.block = kBlock, .offset = 9'000, .data = "z", .downstream = Behind()})
                  .status.ok());
  ExpectReplicas(kBlock, data.substr(0, 5'000) + std::string(4'000, '\0') + "z");
}

TEST_F(ChainTest, WriteAndTruncateInFlightKeepTheirOrder) {
  RawClient client(*servers_[0]);
  const std::string data = Pattern(4, 100'000);
  for (int round = 0; round < 30; ++round) {
    client.SendWrite({.block = kBlock, .data = data, .downstream = Behind()});
    client.SendTruncate(kBlock, kFirst, 1'000, Behind());
  }
  for (int i = 0; i < 60; ++i) {
    auto answer = client.Receive();
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    EXPECT_TRUE(answer->status.ok()) << answer->status.ToString();
  }
  ExpectReplicas(kBlock, data.substr(0, 1'000));
}

TEST_F(ChainTest, SyncReachesEveryDisk) {
  RawClient client(*servers_[0]);
  ASSERT_TRUE(client.Write({.block = kBlock, .data = "abc", .downstream = Behind()}).status.ok());
  for (const auto& server : servers_) EXPECT_EQ(server->store().counters().syncs.load(), 0u);
  EXPECT_TRUE(client.Sync(kBlock, kFirst, Behind()).status.ok());
  for (const auto& server : servers_) EXPECT_EQ(server->store().counters().syncs.load(), 1u);
  EXPECT_TRUE(client.Write({.block = kBlock, .data = "def", .downstream = Behind(), .sync = true})
                  .status.ok());
  for (const auto& server : servers_) EXPECT_EQ(server->store().counters().syncs.load(), 2u);
}

TEST_F(ChainTest, SyncsOfManyBlocksInFlightAreAllAnswered) {
  RawClient client(*servers_[0]);
  constexpr uint64_t kBlocks = 40;
  for (uint64_t id = 1; id <= kBlocks; ++id) {
    client.SendWrite({.block = BlockId(id), .data = "abc", .downstream = Behind(), .sync = true});
    client.SendSync(BlockId(id), kFirst, Behind());
  }
  for (uint64_t i = 0; i < 2 * kBlocks; ++i) {
    auto answer = client.Receive();
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    EXPECT_TRUE(answer->status.ok()) << answer->status.ToString();
  }
  for (const auto& server : servers_) {
    EXPECT_EQ(server->store().counters().syncs.load(), 2 * kBlocks);
  }
}

}  // namespace
}  // namespace tercet
