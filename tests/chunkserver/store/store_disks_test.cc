// Several disks: states, moving, duplicates, swapped disks, full ones, and what is on them in
// bytes.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "chunkserver/store/block_store.h"
#include "chunkserver/store/disk_identity.h"
#include "common/env/clock.h"
#include "tests/chunkserver/store/store_test_util.h"

namespace tercet {
namespace {

constexpr BlockId kBlock(7);
constexpr Generation kFirst(1);

template <typename Environment>
class StoreDisksOf : public testing::Test {
 protected:
  StoreDisksOf() { Open(); }
  void Open(int disks = 2) {
    store_.reset();
    auto store =
        BlockStore::Open(environment_.disk(), clock_, random_, OptionsFor(environment_, disks));
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = std::move(store).value();
  }
  StoreDiskStatus On(int disk) { return store_->Disks().at(static_cast<size_t>(disk)); }
  /// Which disk has the block.
  int DiskOf(BlockId block) {
    return store_->Stat(block)->disk_path == environment_.DiskPath(0) ? 0 : 1;
  }

  Environment environment_;
  SimClock clock_;
  SeededRandom random_{1};
  std::unique_ptr<BlockStore> store_;
};
using Environments = testing::Types<PosixEnvironment, SimEnvironment>;
TYPED_TEST_SUITE(StoreDisksOf, Environments);
using StoreDisks = StoreDisksOf<SimEnvironment>;

TYPED_TEST(StoreDisksOf, ADrainingDiskTakesNothingNewAndIsEmptiedByMoves) {
  BlockStore& store = *this->store_;
  std::map<BlockId, std::string> contents;
  for (uint64_t id = 1; id <= 12; ++id) {
    contents[BlockId(id)] = Pattern(id * 3001, id);
    ASSERT_OK(WriteData(store, BlockId(id), 0, contents[BlockId(id)]));
  }
  const std::string uuid = this->On(0).disk_uuid;
  ASSERT_OK(store.SetDiskState(uuid, StoreDiskState::kDraining));
  EXPECT_EQ(this->On(0).state, StoreDiskState::kDraining);
  EXPECT_EQ(this->On(0).available_bytes, 0u);
  const uint64_t before = this->On(0).replica_count;
  ASSERT_GT(before, 0u) << "the test needs replicas there";
  for (uint64_t id = 20; id <= 30; ++id) ASSERT_OK(WriteData(store, BlockId(id), 0, "new"));
  EXPECT_EQ(this->On(0).replica_count, before);

  BlockId after(0);
  while (true) {
    const auto replicas = store.ListDisk(uuid, after, 3).value();
    if (replicas.empty()) break;
    for (const ReplicaInfo& replica : replicas) {
      ASSERT_OK(store.MoveToDisk(replica.block, ""));
      after = replica.block;
    }
  }
  EXPECT_EQ(this->On(0).replica_count, 0u);
  EXPECT_EQ(this->On(0).replica_bytes, 0u);
  for (int round = 0; round < 2; ++round) {
    for (const auto& [block, content] : contents) {
      EXPECT_EQ(ReadData(*this->store_, block, 0, kMaxBlockBytes)->substr(0, content.size()),
                content);
    }
    this->Open();
  }
  // It is in service again after the start: states are commands, not kept.
  EXPECT_EQ(this->On(0).state, StoreDiskState::kInService);
}

TYPED_TEST(StoreDisksOf, AMoveGoesOnWhileTheBlockIsWritten) {
  std::string content = Pattern(3 << 20, 1);
  ASSERT_OK(WriteData(*this->store_, kBlock, 0, content));
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (uint64_t i = 0; i < 60 || !done; ++i) {
      const auto offset = static_cast<uint32_t>(i * 50'021 % (3 << 20));
      const std::string data = Pattern(10'000, i);
      Status written = WriteData(*this->store_, kBlock, offset, data);
      EXPECT_TRUE(written.ok()) << written.ToString();
      content.resize(std::max(content.size(), offset + data.size()), '\0');
      content.replace(offset, data.size(), data);
    }
  });
  for (int i = 0; i < 4; ++i) {
    const int from = this->DiskOf(kBlock);
    ASSERT_OK(this->store_->MoveToDisk(kBlock, this->On(1 - from).disk_uuid));
    EXPECT_EQ(this->DiskOf(kBlock), 1 - from);
  }
  done = true;
  writer.join();
  EXPECT_EQ(
      ReadData(*this->store_, kBlock, 0, kMaxBlockBytes)->substr(0, content.size()) == content,
      true);
  this->Open();
  EXPECT_EQ(
      ReadData(*this->store_, kBlock, 0, kMaxBlockBytes)->substr(0, content.size()) == content,
      true);
  EXPECT_EQ(this->On(0).replica_count + this->On(1).replica_count, 1u);
}

TEST_F(StoreDisks, ADamagedReplicaIsNotMoved) {
  ASSERT_OK(WriteData(*store_, kBlock, 0, Pattern(20'000, 1)));
  environment_.FlipByte(store_->Stat(kBlock)->file_path, kDataOffset + 5000);
  const int disk = DiskOf(kBlock);
  EXPECT_EQ(store_->MoveToDisk(kBlock, "").code(), StatusCode::kCorruption);
  EXPECT_EQ(DiskOf(kBlock), disk);
  EXPECT_EQ(On(1 - disk).replica_count, 0u);
  EXPECT_EQ(store_->TakeBadReplicas(5).size(), 1u);
}

TEST_F(StoreDisks, ADiskEjectedByCommandComesBackWithTheNextStartAndDuplicatesAreResolved) {
  ASSERT_OK(WriteData(*store_, kBlock, 0, "old"));
  const int old_disk = DiskOf(kBlock);
  const std::string uuid = On(old_disk).disk_uuid;
  ASSERT_OK(store_->EjectDisk(uuid));
  EXPECT_EQ(On(old_disk).state, StoreDiskState::kEjected);
  EXPECT_FALSE(On(old_disk).healthy);
  EXPECT_EQ(store_->Read(kBlock, kFirst, 0, 3).code(), StatusCode::kIo);
  // Its replica counts as lost: the block can be copied to the other disk.
  auto base = store_->OpenPullBase(kBlock, Generation(3), Generation(3), 3, false);
  ASSERT_TRUE(base.ok()) << base.status().ToString();
  ASSERT_OK(WriteData(*store_, kBlock, 0, "new", false, Generation(0)));
  ASSERT_OK(store_->Promote(kBlock, Generation(0), Generation(3)));
  EXPECT_EQ(store_->SetDiskState(uuid, StoreDiskState::kInService).code(),
            StatusCode::kFailedPrecondition);
  Open();
  EXPECT_TRUE(On(old_disk).healthy);
  EXPECT_EQ(store_->Stat(kBlock)->generation, Generation(3));
  EXPECT_EQ(On(old_disk).replica_count, 0u);
  EXPECT_EQ(environment_.disk().List(environment_.DiskPath(old_disk) + "/quarantine")->size(), 1u);
}

TEST_F(StoreDisks, ADiskThatFailedDoesNotComeBackByCommand) {
  const std::string uuid = On(0).disk_uuid;
  environment_.disk().FailPathsUnder("/disk0");
  store_->CheckDisks();
  ASSERT_FALSE(On(0).healthy);
  environment_.disk().ClearFailedPaths();
  EXPECT_EQ(store_->SetDiskState(uuid, StoreDiskState::kDraining).code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->SetDiskState("another", StoreDiskState::kDraining).code(),
            StatusCode::kNotFound);
}

TEST_F(StoreDisks, OfABlockOnTwoDisksTheHigherGenerationIsKeptAtTheStart) {
  ASSERT_OK(WriteData(*store_, kBlock, 0, "older"));
  const std::string path = store_->Stat(kBlock)->file_path;
  const int disk = DiskOf(kBlock);
  store_.reset();
  const std::string copy = ReadWholeFile(environment_.disk(), path, 1 << 20).value();
  Open();
  ASSERT_OK(store_->Seal(kBlock, Generation(5), false, false, false).status());
  ASSERT_OK(store_->MoveToDisk(kBlock, ""));
  store_.reset();
  // The disk's old content comes back, its index as well.
  auto file = environment_.disk().Open(path, OpenMode::kCreateExclusive).value();
  ASSERT_OK(file->WriteAt(0, copy));
  std::filesystem::remove_all(environment_.IndexPath(disk));
  Open();
  EXPECT_EQ(store_->Stat(kBlock)->generation, Generation(5));
  EXPECT_EQ(DiskOf(kBlock), 1 - disk);
  EXPECT_EQ(store_->RangeDigests()[0].replica_count, 1u);
  EXPECT_EQ(environment_.disk().List(environment_.DiskPath(disk) + "/quarantine")->size(), 1u);
}

TEST_F(StoreDisks, ADiskThatIsSwappedForAnothersIsEjectedWhileTheServerRuns) {
  ASSERT_OK(WriteData(*store_, kBlock, 0, "data"));
  const std::string other =
      EncodeDiskIdentity({store_->server_uuid(), std::string(16, 'X'), std::string()});
  store_->CheckDisks();
  EXPECT_TRUE(On(0).healthy);
  ASSERT_OK(WriteFileAtomically(environment_.disk(), "/disk0/identity", other));
  store_->CheckDisks();
  EXPECT_FALSE(On(0).healthy);
  EXPECT_TRUE(On(1).healthy);
}

TEST_F(StoreDisks, BytesAreCountedWhateverHappensToReplicas) {
  Open(1);
  auto wanted = [](std::vector<uint32_t> lengths) {
    uint64_t bytes = 0;
    for (uint32_t length : lengths) bytes += ReplicaBytes(length);
    return bytes;
  };
  ASSERT_OK(WriteData(*store_, BlockId(1), 0, Pattern(5000, 1)));
  ASSERT_OK(WriteData(*store_, BlockId(2), 0, Pattern(100, 2)));
  ASSERT_OK(WriteData(*store_, BlockId(2), 100'000, Pattern(3'000'000, 2)));
  EXPECT_EQ(On(0).replica_bytes, wanted({5000, 3'100'000}));
  Open(1);
  EXPECT_EQ(On(0).replica_bytes, wanted({5000, 3'100'000}));
  ASSERT_OK(store_->Truncate(BlockId(2), kFirst, 50'000));
  ASSERT_OK(WriteData(*store_, BlockId(3), 0, Pattern(9000, 1)));
  ASSERT_OK(WriteData(*store_, BlockId(3), 9000, Pattern(9000, 1)));
  EXPECT_EQ(On(0).replica_bytes, wanted({5000, 50'000, 18'000}));
  // A killed process: rows of what was written last are not up to date.
  environment_.disk().KillProcess();
  environment_.disk().FailPathsUnder("/disk0");  // what is dead does nothing any more
  store_->CheckDisks();
  store_.reset();
  environment_.disk().ClearFailedPaths();
  Open(1);
  EXPECT_EQ(On(0).replica_bytes, wanted({5000, 50'000, 18'000}));
  ASSERT_OK(store_->MoveToTrash(BlockId(2), kFirst));
  EXPECT_EQ(On(0).replica_bytes, wanted({5000, 18'000}));
  EXPECT_EQ(On(0).trash_bytes, wanted({50'000}));
  store_->Maintain();
  Open(1);
  EXPECT_EQ(On(0).replica_bytes, wanted({5000, 18'000}));
  EXPECT_EQ(On(0).trash_bytes, wanted({50'000}));
  EXPECT_EQ(store_->PurgeTrash(0), 1u);
  EXPECT_EQ(On(0).trash_bytes, 0u);
}

TEST_F(StoreDisks, ADiskFilledToTheBrimIsUsedAgainOnceItIsEmptied) {
  store_.reset();
  BlockStoreOptions options = AllSimulated(environment_, 1);
  auto opened = BlockStore::Open(environment_.disk(), clock_, random_, options);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  store_ = std::move(opened).value();
  environment_.disk().SetCapacity(8 << 20);
  std::vector<BlockId> made;
  Status last = Status::Ok();
  for (uint64_t id = 1; id < 200 && last.ok(); ++id) {
    last = WriteData(*store_, BlockId(id), 0, Pattern(100'000, id));
    if (last.ok()) made.push_back(BlockId(id));
    clock_.Advance(std::chrono::seconds(1));
    store_->Maintain();
  }
  EXPECT_EQ(last.code(), StatusCode::kNoSpace);
  // To the brim: replicas that are there grow until nothing is left.
  for (uint32_t at = 100'000; last.code() != StatusCode::kIo && at < (16 << 20); at += 4096) {
    last = WriteData(*store_, made[0], at, Pattern(4096, at));
    if (last.code() == StatusCode::kNoSpace) break;
  }
  EXPECT_EQ(last.code(), StatusCode::kNoSpace);
  EXPECT_TRUE(On(0).healthy);
  ASSERT_OK(WriteData(*store_, made[1], 0, Pattern(100'000, 7)));  // no more room is needed
  ASSERT_OK(store_->Sync(made[1], kFirst));
  ASSERT_OK(store_->Seal(made[2], Generation(2), false, true, false).status());
  store_->Maintain();
  EXPECT_TRUE(On(0).healthy);
  // What is deleted makes room at once when it is needed.
  for (size_t i = 3; i < made.size(); ++i) ASSERT_OK(store_->MoveToTrash(made[i], kFirst));
  ASSERT_OK(WriteData(*store_, BlockId(1000), 0, Pattern(1 << 20, 1)));
  EXPECT_EQ(environment_.disk().List("/disk0/trash")->size(), 0u);
  EXPECT_EQ(ReadData(*store_, made[1], 0, 100'000)->substr(0, 100'000), Pattern(100'000, 7));
  store_.reset();
  opened = BlockStore::Open(environment_.disk(), clock_, random_, options);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  store_ = std::move(opened).value();
  EXPECT_EQ(ReadData(*store_, BlockId(1000), 0, 1 << 20).value(), Pattern(1 << 20, 1));
}

}  // namespace
}  // namespace tercet
