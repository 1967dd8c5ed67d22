// Full, failing and crashing disks. The simulated disk brings them about.
#include <gtest/gtest.h>

#include "chunkserver/store/block_store.h"
#include "common/env/clock.h"
#include "tests/chunkserver/store/store_test_util.h"

namespace tercet {
namespace {

constexpr BlockId kBlock(7);
constexpr Generation kFirst(1);

class BlockStoreFaults : public testing::Test {
 protected:
  std::unique_ptr<BlockStore> Open(int disks, const std::string& boot_id = "boot-1") {
    BlockStoreOptions options = OptionsFor(environment_, disks);
    options.boot_id = boot_id;
    options.on_disk_failed = [this](const std::string& path, const Status&) {
      failed_disks_.push_back(path);
    };
    auto store = BlockStore::Open(environment_.disk(), clock_, random_, options);
    EXPECT_TRUE(store.ok()) << store.status().ToString();
    return store.ok() ? std::move(store).value() : nullptr;
  }
  SimDisk& disk() { return environment_.disk(); }

  SimEnvironment environment_;
  SimClock clock_;
  SeededRandom random_{1};
  std::vector<std::string> failed_disks_;
};

TEST_F(BlockStoreFaults, AFourKilobyteOverwriteIsThreeWrites) {
  auto store = Open(1);
  ASSERT_OK(WriteData(*store, kBlock, 0, Pattern(1 << 20, 1)));
  const uint64_t before = disk().write_count();
  ASSERT_OK(WriteData(*store, kBlock, 8192, Pattern(4096, 2)));
  EXPECT_EQ(disk().write_count() - before, 3u);
  ASSERT_OK(WriteData(*store, kBlock, 0, Pattern(1 << 20, 3)));
  EXPECT_EQ(disk().write_count() - before, 6u);
}

TEST_F(BlockStoreFaults, AFullDiskRefusesWritesAndKeepsWhatItHas) {
  auto store = Open(1);
  const std::string data = Pattern(100'000, 1);
  ASSERT_OK(WriteData(*store, kBlock, 0, data));
  disk().SetCapacity(400'000);
  EXPECT_EQ(WriteData(*store, kBlock, 100'000, Pattern(1 << 20, 2)).code(), StatusCode::kNoSpace);
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_EQ(WriteData(*store, BlockId(8), 0, Pattern(1 << 20, 3)).code(), StatusCode::kNoSpace);
  EXPECT_EQ(store->Stat(BlockId(8)).code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadData(*store, kBlock, 0, 100'000).value().substr(0, 100'000), data);
  EXPECT_TRUE(store->Disks()[0].healthy);
  ASSERT_OK(WriteData(*store, kBlock, 0, Pattern(50'000, 4)));
  disk().SetCapacity(UINT64_MAX);
  ASSERT_OK(WriteData(*store, kBlock, 100'000, Pattern(1 << 20, 2)));
}

TEST_F(BlockStoreFaults, TheTrashGivesWayWhenTheDiskIsFull) {
  auto store = Open(1);
  ASSERT_OK(WriteData(*store, BlockId(1), 0, Pattern(1 << 20, 1)));
  ASSERT_OK(WriteData(*store, BlockId(2), 0, "small"));
  ASSERT_OK(store->MoveToTrash(BlockId(1), kFirst));
  EXPECT_EQ(store->PurgeTrash(600'000), 0u) << "there is room";
  disk().SetCapacity((1 << 20) + 300'000);
  clock_.Advance(std::chrono::seconds(1));
  ASSERT_OK(WriteData(*store, BlockId(2), 0, Pattern(900'000, 2)));
  EXPECT_TRUE(disk().List("/disk0/trash").value().empty());
  ASSERT_OK(store->MoveToTrash(BlockId(2), kFirst));
  clock_.Advance(std::chrono::seconds(1));
  ASSERT_OK(WriteData(*store, BlockId(3), 0, Pattern(900'000, 3)));
}

TEST_F(BlockStoreFaults, ADiskWithErrorsIsEjectedAndTheOthersGoOn) {
  auto store = Open(2);
  ASSERT_OK(WriteData(*store, BlockId(1), 0, "one"));
  const std::string bad = store->Stat(BlockId(1))->disk_path;
  BlockId elsewhere(2);
  do {
    elsewhere = elsewhere.Next();
    ASSERT_OK(WriteData(*store, elsewhere, 0, "two"));
  } while (store->Stat(elsewhere)->disk_path == bad);

  disk().FailPathsUnder(bad);
  EXPECT_EQ(ReadData(*store, BlockId(1), 0, 3).code(), StatusCode::kIo);
  EXPECT_EQ(failed_disks_, std::vector<std::string>{bad});
  disk().ClearFailedPaths();
  EXPECT_EQ(ReadData(*store, BlockId(1), 0, 3).code(), StatusCode::kIo) << "ejected for good";
  EXPECT_EQ(WriteData(*store, BlockId(1), 0, "new").code(), StatusCode::kIo);
  EXPECT_EQ(store->MoveToTrash(BlockId(1), kFirst).code(), StatusCode::kIo);
  EXPECT_EQ(ReadData(*store, elsewhere, 0, 3).value(), "two");
  for (uint64_t id = 100; id < 110; ++id) {
    ASSERT_OK(WriteData(*store, BlockId(id), 0, "x"));
    EXPECT_NE(store->Stat(BlockId(id))->disk_path, bad);
  }
  int healthy = 0;
  for (const auto& status : store->Disks()) healthy += status.healthy ? 1 : 0;
  EXPECT_EQ(healthy, 1);
  const std::vector<ReplicaInfo> listed = store->ListReplicas(0).value();
  for (const ReplicaInfo& replica : listed) EXPECT_NE(replica.block, BlockId(1));

  store.reset();
  store = Open(2);
  EXPECT_EQ(ReadData(*store, BlockId(1), 0, 3).value(), "one") << "a restart tries it again";
}

TEST_F(BlockStoreFaults, ADiskThatFailsAtTheStartIsLeftOut) {
  auto store = Open(2);
  ASSERT_OK(WriteData(*store, kBlock, 0, "x"));
  store.reset();
  disk().FailPathsUnder("/disk0");
  store = Open(2);
  ASSERT_NE(store, nullptr);
  EXPECT_EQ(failed_disks_, std::vector<std::string>{"/disk0"});
  ASSERT_OK(WriteData(*store, BlockId(99), 0, "x"));
}

TEST_F(BlockStoreFaults, AFailedSyncIsNeverFollowedByASuccessfulOne) {
  auto store = Open(1);
  ASSERT_OK(WriteData(*store, kBlock, 0, "x"));
  disk().FailSync(1);
  EXPECT_EQ(store->Sync(kBlock, kFirst).code(), StatusCode::kIo);
  EXPECT_EQ(store->Sync(kBlock, kFirst).code(), StatusCode::kIo);
}

TEST_F(BlockStoreFaults, AFailedWriteOfAnyStepLeavesOldOrNewPagesAndEjects) {
  for (uint64_t step = 1; step <= 3; ++step) {
    SimEnvironment environment;
    auto store =
        BlockStore::Open(environment.disk(), clock_, random_, OptionsFor(environment, 1)).value();
    const std::string before = Pattern(4096, 1), after = Pattern(4096, 2);
    ASSERT_OK(WriteData(*store, kBlock, 0, before));
    environment.disk().FailWrite(step);
    EXPECT_EQ(WriteData(*store, kBlock, 0, after).code(), StatusCode::kIo);
    store.reset();
    store =
        BlockStore::Open(environment.disk(), clock_, random_, OptionsFor(environment, 1)).value();
    EXPECT_EQ(ReadData(*store, kBlock, 0, 4096).value(), step == 3 ? after : before);
  }
}

/// A power cut after a sync: all that was synced is there. What was written later makes the replica
/// suspect; accepted as it is, each of its pages is one that was written.
TEST_F(BlockStoreFaults, WhatWasSyncedSurvivesAPowerCut) {
  const std::string synced = Pattern(200'000, 1);
  const std::string later = Pattern(200'000, 2);
  uint32_t damaged = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SimEnvironment environment;
    BlockStoreOptions options = AllSimulated(environment, 1);
    auto store = BlockStore::Open(environment.disk(), clock_, random_, options).value();
    ASSERT_OK(WriteData(*store, BlockId(1), 0, synced));
    ASSERT_OK(store->Sync(BlockId(1), kFirst));
    ASSERT_OK(WriteData(*store, BlockId(2), 0, synced));
    ASSERT_OK(store->Sync(BlockId(2), kFirst));
    store->Maintain();
    ASSERT_OK(WriteData(*store, BlockId(2), 0, later));
    ASSERT_OK(WriteData(*store, BlockId(3), 0, later));
    SeededRandom chance(seed);
    environment.disk().Crash(chance);
    store.reset();
    options.boot_id = "boot-2";
    auto reopened = BlockStore::Open(environment.disk(), clock_, random_, options);
    ASSERT_TRUE(reopened.ok()) << reopened.status().ToString();
    store = std::move(reopened).value();
    EXPECT_EQ(ReadData(*store, BlockId(1), 0, 200'000).value().substr(0, 200'000), synced);
    EXPECT_EQ(ReadData(*store, BlockId(2), 0, 4096).code(), StatusCode::kUnavailable);
    const StatusCode unsynced = ReadData(*store, BlockId(3), 0, 4096).code();
    EXPECT_TRUE(unsynced == StatusCode::kUnavailable || unsynced == StatusCode::kNotFound);

    auto sealed = store->Seal(BlockId(2), kFirst, false, true, true);
    ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
    damaged += sealed->damaged_pages;
    EXPECT_FALSE(sealed->suspect);
    for (uint32_t at = 0; at + 4096 <= 200'000; at += 4096) {
      auto page = ReadData(*store, BlockId(2), at, 4096);
      ASSERT_TRUE(page.ok()) << page.status().ToString();
      for (uint32_t sector = 0; sector < 4096; sector += 512) {
        const std::string seen = page->substr(sector, 512);
        EXPECT_TRUE(seen == synced.substr(at + sector, 512) ||
                    seen == later.substr(at + sector, 512));
      }
    }
  }
  EXPECT_GT(damaged, 0u) << "the power cuts did not tear anything: the test shows nothing";
}

TEST_F(BlockStoreFaults, DeletionsThatWereSyncedSurviveAPowerCut) {
  auto store = Open(1);
  ASSERT_OK(WriteData(*store, kBlock, 0, "x"));
  ASSERT_OK(store->Sync(kBlock, kFirst));
  ASSERT_OK(store->MoveToTrash(kBlock, kFirst));
  ASSERT_OK(store->SyncDeletions());
  SeededRandom chance(3);
  disk().Crash(chance);
  store.reset();
  store = Open(1, "boot-2");
  EXPECT_EQ(store->Stat(kBlock).code(), StatusCode::kNotFound);
  EXPECT_EQ(disk().List("/disk0/trash").value().size(), 1u);
}

TEST_F(BlockStoreFaults, AScanQuarantinesReplicasWithDamagedHeaders) {
  auto store = Open(1);
  ASSERT_OK(WriteData(*store, BlockId(1), 0, "one"));
  ASSERT_OK(WriteData(*store, BlockId(2), 0, "two"));
  const std::string path = store->Stat(BlockId(1))->file_path;
  store.reset();
  environment_.FlipByte(path, 30);
  std::filesystem::remove_all(environment_.IndexPath(0));
  store = Open(1);
  EXPECT_EQ(store->ListReplicas(0).value(), (std::vector<ReplicaInfo>{{BlockId(2), kFirst}}));
  EXPECT_EQ(disk().List("/disk0/quarantine").value().size(), 1u);
}

}  // namespace
}  // namespace tercet
