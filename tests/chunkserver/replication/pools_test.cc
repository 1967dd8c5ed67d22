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
#include "tests/chunkserver/replication/test_chain.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

TEST(BufferPoolTest, BuffersArePageAlignedAndLargeEnough) {
  BufferPool pool(16 << 20);
  for (const size_t bytes : {size_t{1}, size_t{8'192}, size_t{8'193}, size_t{65'536},
                             size_t{65'537}, size_t{kMaxFramePayloadBytes}}) {
    auto buffer = pool.Acquire(bytes, 0);
    ASSERT_NE(buffer, nullptr);
    EXPECT_GE(buffer->capacity(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 4096, 0u);
    std::memset(buffer->data(), 1, bytes);
  }
  EXPECT_EQ(pool.Acquire(kMaxFramePayloadBytes + 4096, 0), nullptr);
  EXPECT_EQ(pool.bytes_in_use(), 0u);
}

TEST(BufferPoolTest, WaitsAtTheLimitUntilABufferComesBack) {
  BufferPool pool(2 << 20);
  auto first = pool.Acquire(kMaxFramePayloadBytes, 0);
  std::atomic<bool> got{false};
  std::thread waiter([&] {
    auto second = pool.Acquire(kMaxFramePayloadBytes, 0);
    EXPECT_NE(second, nullptr);
    got = true;
  });
  auto small = pool.Acquire(100, 0);  // there is room for this one
  EXPECT_NE(small, nullptr);
  EXPECT_FALSE(got);
  first.reset();
  waiter.join();
  EXPECT_TRUE(got);
}

TEST(BufferPoolTest, CloseEndsWaiting) {
  BufferPool pool(1);
  auto first = pool.Acquire(kMaxFramePayloadBytes, 0);
  std::thread waiter([&] { EXPECT_EQ(pool.Acquire(kMaxFramePayloadBytes, 0), nullptr); });
  pool.Close();
  waiter.join();
  EXPECT_EQ(pool.Acquire(1, 0), nullptr);
}

constexpr size_t kLarge = kMaxFramePayloadBytes;

/// Takes large buffers of one class until the next one would have to wait.
std::vector<std::shared_ptr<PayloadBuffer>> TakeAll(BufferPool& pool, size_t hops) {
  const std::atomic<bool> do_not_wait{true};
  std::vector<std::shared_ptr<PayloadBuffer>> taken;
  while (auto buffer = pool.Acquire(kLarge, hops, &do_not_wait)) taken.push_back(buffer);
  return taken;
}

TEST(BufferPoolTest, FramesWithMoreHopsToGoLeaveRoomToThoseWithFewer) {
  BufferPool pool(64 << 20);
  std::vector<std::vector<std::shared_ptr<PayloadBuffer>>> held;
  size_t above = 0;
  for (size_t hops = BufferPool::kMaxHops + 1; hops-- > 0;) {
    SCOPED_TRACE(hops);
    held.push_back(TakeAll(pool, hops));
    // Even when all that have longer to go have taken what they can get.
    EXPECT_GE(held.back().size(), 1u);
    EXPECT_GT(pool.bytes_in_use(), above);
    EXPECT_LE(pool.bytes_in_use(), pool.LimitOf(hops));
    above = pool.bytes_in_use();
  }
  EXPECT_TRUE(TakeAll(pool, 100).empty());
  held.clear();
  EXPECT_EQ(pool.bytes_in_use(), 0u);
  const auto all = TakeAll(pool, 0);
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all.size(), (64u << 20) / all.front()->capacity());
}

TEST(BufferPoolTest, WhoWaitsForItsClassDoesNotHoldUpThoseWithFewerHopsToGo) {
  BufferPool pool(16 << 20);
  auto heads = TakeAll(pool, 2);
  std::atomic<bool> served{false};
  std::thread waiter([&] {
    EXPECT_NE(pool.Acquire(kLarge, 2), nullptr);
    served = true;
  });
  for (int i = 0; i < 100; ++i) {
    EXPECT_NE(pool.Acquire(kLarge, 1), nullptr);
    EXPECT_NE(pool.Acquire(kLarge, 0), nullptr);
  }
  EXPECT_FALSE(served);
  heads.pop_back();
  waiter.join();
}

TEST(BufferPoolTest, WhoWaitsIsNotOvertakenByThoseWhoWantTheSameRoom) {
  BufferPool pool(16 << 20);
  auto all = TakeAll(pool, 0);
  std::atomic<bool> served{false};
  std::thread first([&] {
    auto buffer = pool.Acquire(kLarge, 1);
    EXPECT_NE(buffer, nullptr);
    served = true;
  });
  // There is room for a small one, but once the first one waits what is free is meant for it.
  const std::atomic<bool> do_not_wait{true};
  EXPECT_TRUE(
      testing_support::Eventually([&] { return pool.Acquire(1, 0, &do_not_wait) == nullptr; }));
  EXPECT_FALSE(served);
  all.pop_back();
  first.join();
  EXPECT_GT(pool.last_wait_ended_nanos(), 0);
  EXPECT_NE(pool.Acquire(1, 0, &do_not_wait), nullptr);
}

TEST(BufferPoolTest, WaitingEndsWhenTheCallerCloses) {
  BufferPool pool(2 << 20);
  auto all = TakeAll(pool, 0);
  std::atomic<bool> closing{false};
  std::thread waiter([&] { EXPECT_EQ(pool.Acquire(kLarge, 0, &closing), nullptr); });
  std::thread other([&] { EXPECT_NE(pool.Acquire(kLarge, 0), nullptr); });
  closing = true;
  pool.WakeClosing();
  waiter.join();
  all.clear();
  other.join();
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
