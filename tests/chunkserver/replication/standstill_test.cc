// Servers that are each other's heads, middles and tails, with far less memory than what clients
// send at once.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/chunkserver/replication/test_chain.h"

namespace tercet {
namespace {

using namespace testing_support;  // NOLINT: a test's own helpers

class StandstillTest : public ChainTest {
 protected:
  DataPlaneOptions Options() override {
    DataPlaneOptions options = ChainTest::Options();
    options.buffer_bytes = 8 << 20;
    options.links_per_peer = 1;
    return options;
  }
};

TEST_F(StandstillTest, ChainsInAllDirectionsGoOnWhenMemoryIsUsedUp) {
  constexpr size_t kClientsPerHead = 16;
  constexpr size_t kFrames = 16;
  constexpr size_t kFrameBytes = 1 << 20;
  std::atomic<size_t> written{0};
  std::vector<std::thread> clients;
  for (size_t head = 0; head < servers_.size(); ++head) {
    for (size_t i = 0; i < kClientsPerHead; ++i) {
      clients.emplace_back([&, head, i] {
        RawClient client(*servers_[head]);
        const std::string data = Pattern(head * 100 + i, kFrameBytes);
        WriteSpec spec{.block = BlockId(head * 100 + i + 1), .data = data};
        // Half of them past the next server, so that each one is a middle and a tail to each other.
        const size_t step = i % 2 == 0 ? 1 : 2;
        for (size_t hop = 1; hop < servers_.size(); ++hop) {
          spec.downstream.push_back(servers_[(head + step * hop) % servers_.size()]->hop());
        }
        for (size_t frame = 0; frame < kFrames; ++frame) client.SendWrite(spec);
        for (size_t frame = 0; frame < kFrames; ++frame) {
          auto answer = client.Receive();
          ASSERT_TRUE(answer.ok()) << answer.status().ToString();
          EXPECT_TRUE(answer->status.ok())
              << answer->status.ToString() << ", failed server " << answer->failed_server.value();
          if (answer->status.ok()) ++written;
        }
      });
    }
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(written, servers_.size() * kClientsPerHead * kFrames);
}

}  // namespace
}  // namespace tercet
