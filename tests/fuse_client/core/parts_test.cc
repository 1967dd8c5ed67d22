// The small parts: slots, budgets, pools, caches, the table of open inodes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "fuse_client/core/attribute_cache.h"
#include "fuse_client/core/block_map.h"
#include "fuse_client/core/memory_budget.h"
#include "fuse_client/core/open_inodes.h"
#include "fuse_client/core/slot_pool.h"
#include "fuse_client/core/worker_pool.h"

namespace tercet {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(SlotPoolTest, ASlotCarriesOneMutationAtATimeAndSequencesGrow) {
  SlotPool pool(4);
  std::mutex mutex;
  std::set<int32_t> in_use;
  int64_t newest[4] = {};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        auto lease = pool.Acquire();
        ASSERT_TRUE(lease.ok());
        {
          std::lock_guard lock(mutex);
          ASSERT_TRUE(in_use.insert(lease->slot()).second);
          ASSERT_GT(lease->sequence(), newest[lease->slot()]);
          newest[lease->slot()] = lease->sequence();
        }
        std::this_thread::yield();
        std::lock_guard lock(mutex);
        in_use.erase(lease->slot());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(SlotPoolTest, StopEndsTheWaitForASlot) {
  SlotPool pool(1);
  auto lease = pool.Acquire();
  ASSERT_TRUE(lease.ok());
  std::thread waiter([&] { EXPECT_EQ(pool.Acquire().code(), StatusCode::kCancelled); });
  pool.Stop();
  waiter.join();
}

TEST(MemoryBudgetTest, WaitsUntilMemoryComesBackAndAsksForIt) {
  MemoryBudget budget(100);
  ASSERT_TRUE(budget.Acquire(80, [] { FAIL() << "there was room"; }));
  EXPECT_FALSE(budget.TryAcquire(30));
  int asked = 0;
  ASSERT_TRUE(budget.Acquire(30, [&] {
    if (++asked == 1) budget.Release(80);
  }));
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(budget.used_bytes(), 30u);
  std::thread stopper([&] { budget.Stop(); });
  EXPECT_FALSE(budget.Acquire(100, [] {}));
  stopper.join();
}

TEST(WorkerPoolTest, RunAllNeedsNoFreeThread) {
  WorkerPool pool("test", 1, 16);
  std::mutex blocker;
  blocker.lock();
  ASSERT_TRUE(pool.TrySubmit([&] { std::lock_guard wait(blocker); }));
  std::atomic<int> done{0};
  pool.RunAll(10, [&](size_t) { ++done; });
  EXPECT_EQ(done, 10);
  blocker.unlock();
}

TEST(WorkerPoolTest, AFullQueueRefusesAndStopRunsWhatIsQueued) {
  WorkerPool pool("test", 1, 2);
  std::mutex blocker;
  blocker.lock();
  std::atomic<int> ran{0};
  std::atomic<bool> started{false};
  ASSERT_TRUE(pool.TrySubmit([&] {
    started = true;
    std::lock_guard wait(blocker);
  }));
  while (!started) std::this_thread::yield();
  EXPECT_TRUE(pool.TrySubmit([&] { ++ran; }));
  EXPECT_TRUE(pool.TrySubmit([&] { ++ran; }));
  EXPECT_FALSE(pool.TrySubmit([&] { ++ran; }));
  blocker.unlock();
  pool.Stop();
  EXPECT_EQ(ran, 2);
  EXPECT_FALSE(pool.TrySubmit([] {}));
}

wire::Attributes AttributesOf(int64_t inode, int64_t version) {
  wire::Attributes attributes;
  attributes.inode = inode;
  attributes.change_version = version;
  return attributes;
}

TEST(AttributeCacheTest, OlderAttributesDoNotReplaceNewerOnes) {
  AttributeCache cache(100);
  cache.Update(AttributesOf(5, 7));
  EXPECT_EQ(cache.Update(AttributesOf(5, 6)).change_version, 7);
  EXPECT_EQ(cache.Update(AttributesOf(5, 8)).change_version, 8);
  EXPECT_EQ(cache.Find(InodeId(5), std::chrono::hours(1))->change_version, 8);
  EXPECT_FALSE(cache.Find(InodeId(5), std::chrono::milliseconds(-1)));
}

TEST(AttributeCacheTest, StaysWithinItsCapacityAndKeepsWhatIsUsed) {
  AttributeCache cache(100);
  for (int64_t i = 1; i <= 10'000; ++i) {
    cache.Update(AttributesOf(i, 1));
    ASSERT_TRUE(cache.Find(InodeId(1), std::chrono::hours(1))) << i;
  }
  int kept = 0;
  for (uint64_t i = 1; i <= 10'000; ++i) {
    kept += cache.Find(InodeId(i), std::chrono::hours(1)).has_value() ? 1 : 0;
  }
  EXPECT_LE(kept, 100);
  EXPECT_GE(kept, 40);
}

wire::BlockInfo InfoOf(int64_t index, int64_t id) {
  wire::BlockInfo info;
  info.block_index = index;
  info.block_id = id;
  info.generation = 1;
  info.chain = {1, 2};
  return info;
}

TEST(BlockMapTest, WhatIsNotListedIsAHoleAndWhatWasNotAskedForIsUnknown) {
  BlockMap map;
  map.Learn(10, 3, {InfoOf(11, 5)});
  EXPECT_EQ(map.Find(9), nullptr);
  EXPECT_TRUE(map.Find(10)->is_hole());
  EXPECT_EQ(map.Find(11)->id, BlockId(5));
  EXPECT_TRUE(map.Find(12)->is_hole());
  EXPECT_EQ(map.Find(13), nullptr);
}

TEST(BlockMapTest, BlocksOfAnOpenAreKnownUpToTheLastOne) {
  BlockMap map;
  map.LearnFirst(2, {InfoOf(0, 5), InfoOf(7, 6)});
  EXPECT_TRUE(map.Find(3)->is_hole());
  EXPECT_EQ(map.Find(7)->id, BlockId(6));
  EXPECT_EQ(map.Find(8), nullptr);
}

TEST(BlockMapTest, ReservedAndTrimmedBlocksOutliveWhatTheMetaserverSays) {
  BlockMap map;
  FileBlock reserved = BlockFromWire(InfoOf(0, 5));
  reserved.reserved = true;
  reserved.has_data = true;
  map.Put(0, reserved);
  FileBlock trimmed = BlockFromWire(InfoOf(1, 6));
  trimmed.trimmed = true;
  map.Put(1, trimmed);
  map.ForgetCommitted();
  wire::BlockInfo cut = InfoOf(1, 6);
  cut.__set_valid_bytes(100);
  cut.generation = 2;
  map.Learn(0, 2, {cut});
  EXPECT_EQ(map.Find(0)->id, BlockId(5));
  EXPECT_FALSE(map.Find(1)->valid_bytes);
  EXPECT_EQ(map.Find(1)->generation, Generation(2));
  const uint64_t changes = map.changes();
  map.NoteCommitted(0, BlockId(5));
  map.NoteCommitted(1, BlockId(6));
  EXPECT_GT(map.changes(), changes);
  map.ForgetCommitted();
  EXPECT_EQ(map.Find(0), nullptr);
  EXPECT_EQ(map.Find(1), nullptr);
}

class OpenInodesTest : public testing::Test {
 protected:
  OpenInodes inodes_{std::make_shared<PieceBufferPool>(1)};
};

TEST_F(OpenInodesTest, ACondemnedInodeThatIsNotUsedIsReleasedAndNeverUsedAgain) {
  EXPECT_EQ(inodes_.Condemn({7}), 1u);
  EXPECT_THAT(inodes_.TakeReleased(10), ElementsAre(7));
  EXPECT_THAT(inodes_.TakeReleased(10), IsEmpty());
  EXPECT_EQ(inodes_.Use(InodeId(7)).code(), StatusCode::kStaleHandle);
  // The answer was lost, and the metaserver asks again.
  EXPECT_EQ(inodes_.Condemn({7}), 1u);
  EXPECT_THAT(inodes_.TakeReleased(10), ElementsAre(7));
}

TEST_F(OpenInodesTest, ACondemnedInodeInUseStaysUntilItsLastUse) {
  auto first = inodes_.Use(InodeId(7));
  auto second = inodes_.Use(InodeId(7));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(*first, *second);
  EXPECT_EQ(inodes_.Condemn({7}), 0u);
  EXPECT_FALSE(inodes_.Unuse(*first));
  EXPECT_THAT(inodes_.TakeReleased(10), IsEmpty());
  EXPECT_TRUE(inodes_.Use(InodeId(7)).ok());
  EXPECT_FALSE(inodes_.Unuse(*first));
  EXPECT_TRUE(inodes_.Unuse(*first));
  EXPECT_THAT(inodes_.TakeReleased(10), ElementsAre(7));
  EXPECT_EQ(inodes_.Use(InodeId(7)).code(), StatusCode::kStaleHandle);
}

TEST_F(OpenInodesTest, PromisesAreRememberedUpToABound) {
  for (int64_t i = 1; i <= 150'000; ++i) inodes_.Condemn({i});
  EXPECT_EQ(inodes_.Use(InodeId(150'000)).code(), StatusCode::kStaleHandle);
  EXPECT_TRUE(inodes_.Use(InodeId(1)).ok());
}

}  // namespace
}  // namespace tercet
