// Buffers, sync threads, per-block locks and link names.
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <thread>
#include <vector>

#include "chunkserver/replication/block_order.h"
#include "chunkserver/replication/buffer_pool.h"
#include "chunkserver/replication/link_registry.h"
#include "chunkserver/replication/sync_pool.h"
#include "common/rpc/frame.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

TEST(BufferPoolTest, BuffersArePageAlignedAndLargeEnough) {
  BufferPool pool(16 << 20);
  for (const size_t bytes : {size_t{1}, size_t{8'192}, size_t{8'193}, size_t{65'536},
                             size_t{65'537}, size_t{kMaxFramePayloadBytes}}) {
    auto buffer = pool.Acquire(bytes);
    ASSERT_NE(buffer, nullptr);
    EXPECT_GE(buffer->capacity(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 4096, 0u);
    std::memset(buffer->data(), 1, bytes);
  }
  EXPECT_EQ(pool.Acquire(kMaxFramePayloadBytes + 4096), nullptr);
  EXPECT_EQ(pool.bytes_in_use(), 0u);
}

TEST(BufferPoolTest, WaitsAtTheLimitUntilABufferComesBack) {
  BufferPool pool(2 << 20);
  auto first = pool.Acquire(kMaxFramePayloadBytes);
  std::atomic<bool> got{false};
  std::thread waiter([&] {
    auto second = pool.Acquire(kMaxFramePayloadBytes);
    EXPECT_NE(second, nullptr);
    got = true;
  });
  auto small = pool.Acquire(100);  // there is room for this one
  EXPECT_NE(small, nullptr);
  EXPECT_FALSE(got);
  first.reset();
  waiter.join();
  EXPECT_TRUE(got);
}

TEST(BufferPoolTest, CloseEndsWaiting) {
  BufferPool pool(1);
  auto first = pool.Acquire(kMaxFramePayloadBytes);
  std::thread waiter([&] { EXPECT_EQ(pool.Acquire(kMaxFramePayloadBytes), nullptr); });
  pool.Close();
  waiter.join();
  EXPECT_EQ(pool.Acquire(1), nullptr);
}

TEST(SyncPoolTest, RunsEverythingAlsoWhatIsQueuedAtStop) {
  std::atomic<int> done{0};
  SyncPool pool(3, 1000);
  for (int i = 0; i < 500; ++i) pool.Submit([&] { ++done; });
  pool.Stop();
  EXPECT_EQ(done, 500);
  pool.Submit([&] { ++done; });
  EXPECT_EQ(done, 501);
}

TEST(SyncPoolTest, RunsInTheCallersThreadWhenTheQueueIsFull) {
  SyncPool pool(1, 1);
  std::mutex gate;
  std::atomic<bool> begun{false};
  gate.lock();
  pool.Submit([&] {
    begun = true;
    std::lock_guard wait(gate);
  });
  while (!begun) std::this_thread::yield();
  pool.Submit([] {});  // queued
  std::thread::id ran_on;
  pool.Submit([&] { ran_on = std::this_thread::get_id(); });
  EXPECT_EQ(ran_on, std::this_thread::get_id());
  gate.unlock();
}

TEST(BlockOrderTest, ExcludesWithinABlockOnly) {
  BlockOrder order;
  int unprotected = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 2'000; ++k) {
        BlockOrder::Guard guard(order, BlockId(7));
        ++unprotected;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(unprotected, 8'000);
  // All other blocks can be taken while one is held, those of the same shard too.
  BlockOrder::Guard held(order, BlockId(1));
  for (uint64_t id = 2; id < 100; ++id) BlockOrder::Guard other(order, BlockId(id));
}

class FakeConnection final : public ServedConnection {
 public:
  void Serve() override {}
  void Shutdown() override { shut_down_ = true; }
  bool shut_down() const { return shut_down_; }

 private:
  std::atomic<bool> shut_down_{false};
};

TEST(LinkRegistryTest, NewerWaitsUntilTheOlderHasLeft) {
  LinkRegistry registry;
  FakeConnection older;
  FakeConnection newer;
  ASSERT_TRUE(registry.Enter("link", 1, &older, milliseconds(0)).ok());
  std::atomic<bool> left{false};
  std::thread leaver([&] {
    while (!older.shut_down()) std::this_thread::yield();
    left = true;
    registry.Leave("link", &older);
  });
  EXPECT_TRUE(registry.Enter("link", 2, &newer, milliseconds(60'000)).ok());
  EXPECT_TRUE(left);
  leaver.join();
}

TEST(LinkRegistryTest, RefusesWhenTheOlderStaysOrIsNotOlder) {
  LinkRegistry registry;
  FakeConnection first;
  FakeConnection second;
  ASSERT_TRUE(registry.Enter("link", 5, &first, milliseconds(0)).ok());
  EXPECT_EQ(registry.Enter("link", 5, &second, milliseconds(0)).code(), StatusCode::kConflict);
  EXPECT_EQ(registry.Enter("link", 4, &second, milliseconds(0)).code(), StatusCode::kConflict);
  EXPECT_FALSE(first.shut_down());
  EXPECT_EQ(registry.Enter("link", 6, &second, milliseconds(1)).code(), StatusCode::kUnavailable);
  registry.Leave("link", &second);  // was never in: changes nothing
  EXPECT_EQ(registry.Enter("link", 5, &second, milliseconds(0)).code(), StatusCode::kConflict);
}

}  // namespace
}  // namespace tercet
