// The block store's behaviour, on the machine's disk and on the simulated one.
#include "chunkserver/store/block_store.h"

#include <gtest/gtest.h>

#include "chunkserver/store/disk_identity.h"
#include "chunkserver/store/store_disk.h"
#include "common/base/replica_digest.h"
#include "common/env/clock.h"
#include "tests/chunkserver/store/store_test_util.h"

namespace tercet {
namespace {

constexpr BlockId kBlock(7);
constexpr Generation kFirst(1);

template <typename Environment>
class BlockStoreTest : public testing::Test {
 protected:
  std::unique_ptr<BlockStore> Open(int disks = 1) {
    auto store = TryOpen(OptionsFor(environment_, disks));
    EXPECT_TRUE(store.ok()) << store.status().ToString();
    return store.ok() ? std::move(store).value() : nullptr;
  }
  Result<std::unique_ptr<BlockStore>> TryOpen(BlockStoreOptions options) {
    return BlockStore::Open(environment_.disk(), clock_, random_, std::move(options));
  }
  std::vector<std::string> Listed(const std::string& folder) {
    return environment_.disk().List(environment_.DiskPath(0) + "/" + folder).value();
  }

  Environment environment_;
  SimClock clock_;
  SeededRandom random_{1};
};

using Environments = testing::Types<PosixEnvironment, SimEnvironment>;
TYPED_TEST_SUITE(BlockStoreTest, Environments);

TYPED_TEST(BlockStoreTest, ReadsBackWhatWasWrittenAlsoAfterReopening) {
  const std::string data = Pattern(300'000, 1);
  auto store = this->Open();
  ASSERT_OK(WriteData(*store, kBlock, 12345, data));
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(ReadData(*store, kBlock, 12345, 300'000).value().substr(0, 300'000), data);
    EXPECT_EQ(ReadByPlan(*store, kBlock, 12345, 300'000).value().substr(0, 300'000), data);
    EXPECT_EQ(ReadData(*store, kBlock, 0, 12345).value(), std::string(12345, '\0'));
    EXPECT_EQ(store->Stat(kBlock)->length, 312345u);
    EXPECT_EQ(store->Stat(kBlock)->generation, kFirst);
    store.reset();
    store = this->Open();
  }
}

TYPED_TEST(BlockStoreTest, ReadsGiveWholePagesUpToTheEndOfTheData) {
  auto store = this->Open();
  ASSERT_OK(WriteData(*store, kBlock, 0, Pattern(5000, 2)));
  EXPECT_EQ(store->Read(kBlock, kFirst, 100, 10)->data.size(), 4096u);
  EXPECT_EQ(store->Read(kBlock, kFirst, 4090, 10)->data.size(), 8192u);
  EXPECT_EQ(store->Read(kBlock, kFirst, 4096, 1 << 20)->data.size(), 4096u);
  EXPECT_EQ(store->Read(kBlock, kFirst, 4999, 1)->data.size(), 4096u);
  EXPECT_EQ(store->Read(kBlock, kFirst, 5000, 1)->data.size(), 0u);
  EXPECT_EQ(store->Read(kBlock, kFirst, 1 << 30, 0xffffffff)->data.size(), 0u);
  EXPECT_EQ(store->PrepareRead(kBlock, kFirst, 4090, 10)->length, 8192u);
  EXPECT_EQ(store->PrepareRead(kBlock, kFirst, 8192, 10)->length, 0u);
}

TYPED_TEST(BlockStoreTest, GenerationIsCheckedOnEveryAccessAndBothAreNamed) {
  auto store = this->Open();
  ASSERT_OK(WriteData(*store, kBlock, 0, "data", true, Generation(5)));
  for (uint64_t wrong : {4, 6}) {
    const Generation generation(wrong);
    std::vector<Status> answers = {
        WriteData(*store, kBlock, 0, "new", true, generation),
        store->Read(kBlock, generation, 0, 4).status(),
        store->PrepareRead(kBlock, generation, 0, 4).status(),
        store->Truncate(kBlock, generation, 0),
        store->Sync(kBlock, generation),
    };
    for (const Status& answer : answers) {
      EXPECT_EQ(answer.code(), StatusCode::kStaleGeneration);
      EXPECT_NE(answer.message().find("generation " + std::to_string(wrong)), std::string::npos)
          << answer.message();
      EXPECT_NE(answer.message().find("has 5"), std::string::npos) << answer.message();
    }
  }
  EXPECT_EQ(store->Read(kBlock, Generation(5), 0, 4)->data.substr(0, 4), "data");
}

TYPED_TEST(BlockStoreTest, AMissingReplicaIsNotFoundUnlessAWriteMakesIt) {
  auto store = this->Open();
  EXPECT_EQ(store->Read(kBlock, kFirst, 0, 1).code(), StatusCode::kNotFound);
  EXPECT_EQ(store->PrepareRead(kBlock, kFirst, 0, 1).code(), StatusCode::kNotFound);
  EXPECT_EQ(store->Truncate(kBlock, kFirst, 0).code(), StatusCode::kNotFound);
  EXPECT_EQ(store->Sync(kBlock, kFirst).code(), StatusCode::kNotFound);
  EXPECT_EQ(store->Stat(kBlock).code(), StatusCode::kNotFound);
  EXPECT_EQ(store->Quarantine(kBlock, kFirst).code(), StatusCode::kNotFound);
  EXPECT_EQ(WriteData(*store, kBlock, 0, "x", false).code(), StatusCode::kNotFound);
  EXPECT_TRUE(store->RangeDigests().empty());
  ASSERT_OK(WriteData(*store, kBlock, 0, "", true));
  EXPECT_EQ(store->Stat(kBlock)->length, 0u);
  EXPECT_EQ(store->RangeDigests().size(), 1u);
}

TYPED_TEST(BlockStoreTest, BadArgumentsAreRefusedAndChangeNothing) {
  auto store = this->Open();
  const std::string page = Pattern(4096, 3);
  WriteArguments write{.block = kBlock, .generation = kFirst, .data = page, .create = true};
  EXPECT_EQ(store->Write(write).code(), StatusCode::kInvalidArgument) << "no checksums";
  const std::string crcs = PieceCrcs(0, page);
  write.piece_crcs = crcs;
  write.offset = 1;
  EXPECT_EQ(store->Write(write).code(), StatusCode::kInvalidArgument) << "two pages, one checksum";
  write.offset = kMaxBlockBytes;
  EXPECT_EQ(store->Write(write).code(), StatusCode::kInvalidArgument);
  write.offset = 0xffffffff;
  EXPECT_EQ(store->Write(write).code(), StatusCode::kInvalidArgument);
  write.offset = 0;
  std::string wrong = crcs;
  wrong[2] = static_cast<char>(wrong[2] ^ 1);
  write.piece_crcs = wrong;
  EXPECT_EQ(store->Write(write).code(), StatusCode::kCorruption);
  EXPECT_EQ(store->Stat(kBlock).code(), StatusCode::kNotFound);
  write.piece_crcs = crcs;
  write.offset = kMaxBlockBytes - 4096;
  ASSERT_OK(store->Write(write));
  EXPECT_EQ(store->Stat(kBlock)->length, kMaxBlockBytes);
  EXPECT_EQ(ReadData(*store, kBlock, kMaxBlockBytes - 4096, 4096).value(), page);
}

TYPED_TEST(BlockStoreTest, WhatIsBehindATruncationReadsAsZerosForEver) {
  auto store = this->Open();
  const std::string data = Pattern(20000, 4);
  ASSERT_OK(WriteData(*store, kBlock, 0, data));
  ASSERT_OK(store->Truncate(kBlock, kFirst, 5000));
  EXPECT_EQ(store->Stat(kBlock)->length, 5000u);
  ASSERT_OK(store->Truncate(kBlock, kFirst, 6000));
  EXPECT_EQ(store->Stat(kBlock)->length, 5000u) << "truncation only cuts";
  ASSERT_OK(WriteData(*store, kBlock, 19000, "end"));
  std::string expected = data.substr(0, 5000);
  expected.resize(19000, '\0');
  expected += "end";
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(ReadData(*store, kBlock, 0, 19003).value(), expected);
    store.reset();
    store = this->Open();
  }
}

TYPED_TEST(BlockStoreTest, HolesTakeNoSpaceAndReadAsZeros) {
  auto store = this->Open();
  const std::string data = Pattern(4096, 5);
  ASSERT_OK(WriteData(*store, kBlock, 60 << 20, data));
  ASSERT_OK(WriteData(*store, kBlock, 1 << 20, data));
  EXPECT_EQ(ReadByPlan(*store, kBlock, 2 << 20, 1 << 20).value(), std::string(1 << 20, '\0'));
  EXPECT_EQ(ReadData(*store, kBlock, 60 << 20, 4096).value(), data);
  struct stat info;
  const std::string path = store->Stat(kBlock)->file_path;
  if (::stat(path.c_str(), &info) == 0) {
    EXPECT_LT(info.st_blocks * 512, 100'000);
  }
}

TYPED_TEST(BlockStoreTest, LargeWritesAreCutIntoPiecesInside) {
  auto store = this->Open();
  const std::string data = Pattern(5'000'001, 6);
  ASSERT_OK(WriteData(*store, kBlock, 3001, data));
  EXPECT_EQ(ReadData(*store, kBlock, 3001, 5'000'001).value().substr(0, data.size()), data);
}

TYPED_TEST(BlockStoreTest, DeletedReplicasGoToTheTrashAndAreErasedAfterTheGracePeriod) {
  auto store = this->Open();
  ASSERT_OK(WriteData(*store, kBlock, 0, "data", true, Generation(3)));
  EXPECT_EQ(store->MoveToTrash(kBlock, Generation(2)).code(), StatusCode::kConflict);
  EXPECT_TRUE(store->Stat(kBlock).ok());
  auto plan = store->PrepareRead(kBlock, Generation(3), 0, 4);
  ASSERT_OK(store->MoveToTrash(kBlock, Generation(3)));
  ASSERT_OK(store->MoveToTrash(kBlock, Generation(3)));
  ASSERT_OK(store->SyncDeletions());
  EXPECT_EQ(store->Stat(kBlock).code(), StatusCode::kNotFound);
  EXPECT_TRUE(store->RangeDigests().empty());
  std::string bytes(4, '\0');
  EXPECT_EQ(plan->file->ReadAt(plan->file_offset, bytes).value(), 4u);
  EXPECT_EQ(bytes, "data") << "a read that had begun goes on";

  EXPECT_EQ(this->Listed("trash").size(), 1u);
  this->clock_.Advance(std::chrono::seconds(599));
  EXPECT_EQ(store->PurgeTrash(600'000), 0u);
  this->clock_.Advance(std::chrono::seconds(2));
  EXPECT_EQ(store->PurgeTrash(600'000), 1u);
  EXPECT_TRUE(this->Listed("trash").empty());

  ASSERT_OK(WriteData(*store, kBlock, 0, "anew", true, Generation(4)));
  EXPECT_EQ(store->Stat(kBlock)->generation, Generation(4));
}

TYPED_TEST(BlockStoreTest, QuarantinedReplicasAreErasedAfterTheirRetentionOnly) {
  auto store = this->Open();
  ASSERT_OK(WriteData(*store, kBlock, 0, "data"));
  EXPECT_EQ(store->Quarantine(kBlock, Generation(2)).code(), StatusCode::kConflict);
  ASSERT_OK(store->Quarantine(kBlock, kFirst));
  EXPECT_EQ(store->Stat(kBlock).code(), StatusCode::kNotFound);
  EXPECT_GT(store->Disks()[0].quarantine_bytes, 0u);
  this->clock_.Advance(std::chrono::hours(30 * 24 - 1));
  EXPECT_EQ(store->PurgeTrash(0), 0u);
  EXPECT_EQ(this->Listed("quarantine").size(), 1u);
  this->clock_.Advance(std::chrono::hours(2));
  EXPECT_EQ(store->PurgeTrash(0), 1u);
  EXPECT_TRUE(this->Listed("quarantine").empty());
  EXPECT_EQ(store->Disks()[0].quarantine_bytes, 0u);
}

TYPED_TEST(BlockStoreTest, DigestsFollowEveryChangeAndSurviveReopening) {
  auto store = this->Open(2);
  auto digest_of = [](std::vector<ReplicaInfo> replicas) {
    uint64_t digest = 0;
    for (const auto& replica : replicas) digest ^= ReplicaDigest(replica.block, replica.generation);
    return digest;
  };
  const BlockId far((uint64_t{9} << kReplicaRangeBits) + 5);
  ASSERT_OK(WriteData(*store, BlockId(1), 0, "a", true, Generation(1)));
  ASSERT_OK(WriteData(*store, BlockId(2), 0, "b", true, Generation(2)));
  ASSERT_OK(WriteData(*store, far, 0, "c", true, Generation(3)));
  for (int round = 0; round < 2; ++round) {
    auto digests = store->RangeDigests();
    ASSERT_EQ(digests.size(), 2u);
    EXPECT_EQ(digests[0].range, 0u);
    EXPECT_EQ(digests[0].replica_count, 2u);
    EXPECT_EQ(digests[0].digest,
              digest_of({{BlockId(1), Generation(1)}, {BlockId(2), Generation(2)}}));
    EXPECT_EQ(digests[1].range, 9u);
    EXPECT_EQ(digests[1].digest, digest_of({{far, Generation(3)}}));
    EXPECT_EQ(store->ListReplicas(0).value(),
              (std::vector<ReplicaInfo>{{BlockId(1), Generation(1)}, {BlockId(2), Generation(2)}}));
    EXPECT_EQ(store->ListReplicas(9).value(), (std::vector<ReplicaInfo>{{far, Generation(3)}}));
    EXPECT_TRUE(store->ListReplicas(1).value().empty());
    store.reset();
    store = this->Open(2);
  }
  ASSERT_OK(store->MoveToTrash(BlockId(1), Generation(1)));
  EXPECT_EQ(store->RangeDigests()[0].digest, digest_of({{BlockId(2), Generation(2)}}));
}

TYPED_TEST(BlockStoreTest, TheIndexIsRebuiltFromTheFilesAfterACrashOfTheMachine) {
  const std::string data = Pattern(10000, 7);
  auto store = this->Open();
  for (uint64_t id = 1; id <= 2500; id += 7) {
    ASSERT_OK(WriteData(*store, BlockId(id), 0, id < 20 ? data : "x", true, kFirst));
  }
  const auto digests = store->RangeDigests();
  const auto count = store->Disks()[0].replica_count;
  store.reset();

  std::filesystem::remove_all(this->environment_.IndexPath(0));  // lost
  store = this->Open();
  ASSERT_EQ(store->RangeDigests().size(), digests.size());
  EXPECT_EQ(store->RangeDigests()[0].digest, digests[0].digest);
  EXPECT_EQ(store->Disks()[0].replica_count, count);
  EXPECT_EQ(ReadData(*store, BlockId(8), 0, 10000).value().substr(0, 10000), data);
}

TYPED_TEST(BlockStoreTest, AnIndexThatWasInUseWhenTheMachineStoppedIsNotTrusted) {
  auto store = this->Open();
  ASSERT_OK(WriteData(*store, BlockId(1), 0, "one"));
  ASSERT_OK(WriteData(*store, BlockId(2), 0, "two"));
  const std::string path = store->Stat(BlockId(2))->file_path;
  // A copy of the index in use stands for what a power cut leaves.
  const std::string index = this->environment_.IndexPath(0);
  std::filesystem::copy(index, index + ".kept");
  store.reset();
  std::filesystem::remove_all(index);
  std::filesystem::rename(index + ".kept", index);
  ASSERT_OK(this->environment_.disk().Remove(path));

  BlockStoreOptions same_boot = OptionsFor(this->environment_, 1);
  BlockStoreOptions next_boot = same_boot;
  next_boot.boot_id = "boot-2";
  auto trusted = this->TryOpen(same_boot);
  ASSERT_TRUE(trusted.ok());
  EXPECT_EQ((*trusted)->ListReplicas(0)->size(), 2u);
  std::filesystem::copy(index, index + ".kept");
  trusted->reset();
  std::filesystem::remove_all(index);
  std::filesystem::rename(index + ".kept", index);
  auto rebuilt = this->TryOpen(next_boot);
  ASSERT_TRUE(rebuilt.ok());
  EXPECT_EQ((*rebuilt)->ListReplicas(0)->size(), 1u);
}

TYPED_TEST(BlockStoreTest, ADamagedIndexIsRebuilt) {
  auto store = this->Open();
  for (uint64_t id = 1; id <= 100; ++id) ASSERT_OK(WriteData(*store, BlockId(id), 0, "x"));
  store.reset();
  int damaged = 0;
  for (const auto& entry : std::filesystem::directory_iterator(this->environment_.IndexPath(0))) {
    if (entry.path().extension() != ".log" && entry.path().extension() != ".ldb") continue;
    if (entry.file_size() < 100) continue;
    auto file = RealDisk().Open(entry.path(), OpenMode::kReadWrite);
    ASSERT_TRUE(file.ok());
    ASSERT_OK((*file)->WriteAt(entry.file_size() / 2, "rotten"));
    ++damaged;
  }
  ASSERT_GT(damaged, 0);
  store = this->Open();
  EXPECT_EQ(store->ListReplicas(0)->size(), 100u);
}

TYPED_TEST(BlockStoreTest, AnIndexThatLostItsEndInACrashOfTheMachineIsRebuilt) {
  auto store = this->Open();
  for (uint64_t id = 1; id <= 100; ++id) ASSERT_OK(WriteData(*store, BlockId(id), 0, "x"));
  store.reset();
  for (const auto& entry : std::filesystem::directory_iterator(this->environment_.IndexPath(0))) {
    if (entry.path().extension() != ".log") continue;
    std::filesystem::resize_file(entry.path(), entry.file_size() / 2);
  }
  BlockStoreOptions options = OptionsFor(this->environment_, 1);
  options.boot_id = "boot-2";
  auto reopened = this->TryOpen(options);
  ASSERT_TRUE(reopened.ok()) << reopened.status().ToString();
  EXPECT_EQ((*reopened)->ListReplicas(0)->size(), 100u);
}

TYPED_TEST(BlockStoreTest, AReplicaWhoseFileIsGoneLeavesTheIndex) {
  auto store = this->Open();
  ASSERT_OK(WriteData(*store, kBlock, 0, "x"));
  const std::string path = store->Stat(kBlock)->file_path;
  store.reset();
  ASSERT_OK(this->environment_.disk().Remove(path));
  store = this->Open();
  EXPECT_EQ(store->RangeDigests().size(), 1u);
  EXPECT_EQ(ReadData(*store, kBlock, 0, 1).code(), StatusCode::kNotFound);
  EXPECT_TRUE(store->RangeDigests().empty()) << "the next report tells that it is missing";
}

using PosixBlockStoreTest = BlockStoreTest<PosixEnvironment>;

TEST_F(PosixBlockStoreTest, AFolderInTheReplicasPlaceIsDamageAndGoesOutOfTheWay) {
  auto store = this->Open();
  ASSERT_OK(WriteData(*store, kBlock, 0, "x"));
  const std::string path = store->Stat(kBlock)->file_path;
  store.reset();
  ASSERT_OK(this->environment_.disk().Remove(path));
  ASSERT_TRUE(std::filesystem::create_directory(path));
  store = this->Open();
  EXPECT_EQ(store->Stat(kBlock).code(), StatusCode::kCorruption);
  EXPECT_EQ(store->TakeBadReplicas(10),
            (std::vector<BadReplicaFound>{{kBlock, kFirst, ReplicaFault::kDamaged}}));
  EXPECT_TRUE(store->Disks().at(0).healthy);
  auto base = store->OpenPullBase(kBlock, Generation(2), Generation(3), 1, /*verify=*/false);
  ASSERT_TRUE(base.ok()) << base.status().ToString();
  EXPECT_EQ(base->table.length, 0u);
  EXPECT_EQ(this->Listed("quarantine").size(), 1u);
}

TYPED_TEST(BlockStoreTest, AFileTheIndexDoesNotKnowIsQuarantinedWhenTheBlockIsMade) {
  auto store = this->Open();
  ASSERT_OK(WriteData(*store, kBlock, 0, "x"));
  const std::string path = store->Stat(kBlock)->file_path;
  ASSERT_OK(store->MoveToTrash(kBlock, kFirst));
  const std::string trashed =
      this->environment_.DiskPath(0) + "/trash/" + this->Listed("trash").at(0);
  ASSERT_OK(this->environment_.disk().Rename(trashed, path));
  ASSERT_OK(WriteData(*store, kBlock, 0, "new"));
  EXPECT_EQ(ReadData(*store, kBlock, 0, 3).value(), "new");
  EXPECT_EQ(this->Listed("quarantine").size(), 1u);
}

TYPED_TEST(BlockStoreTest, NewReplicasGoToAnotherDiskWhenOneHasNoRoom) {
  BlockStoreOptions options = OptionsFor(this->environment_, 2);
  options.reserve_bytes = uint64_t{1} << 60;  // more than there is
  auto store = this->TryOpen(options);
  ASSERT_TRUE(store.ok());
  EXPECT_EQ(WriteData(**store, kBlock, 0, "x").code(), StatusCode::kNoSpace);
  EXPECT_EQ((*store)->Stat(kBlock).code(), StatusCode::kNotFound);
  EXPECT_EQ((*store)->Disks()[0].available_bytes, 0u);
  EXPECT_TRUE((*store)->Disks()[0].healthy);
}

TYPED_TEST(BlockStoreTest, IdentitiesStayAndTellTheCluster) {
  auto store = this->Open(2);
  const std::string server = store->server_uuid();
  const std::string disk = store->Disks()[0].disk_uuid;
  EXPECT_EQ(server.size(), 16u);
  EXPECT_NE(disk, store->Disks()[1].disk_uuid);
  EXPECT_EQ(store->cluster_id(), "");
  ASSERT_OK(store->SetClusterId("cluster-one-----"));
  ASSERT_OK(store->SetClusterId("cluster-one-----"));
  EXPECT_EQ(store->SetClusterId("cluster-two-----").code(), StatusCode::kWrongCluster);
  store.reset();
  store = this->Open(2);
  EXPECT_EQ(store->server_uuid(), server);
  EXPECT_EQ(store->Disks()[0].disk_uuid, disk);
  EXPECT_EQ(store->cluster_id(), "cluster-one-----");
}

TYPED_TEST(BlockStoreTest, ADiskOfAnotherClusterOrServerIsRefused) {
  const BlockStoreOptions both = OptionsFor(this->environment_, 2);
  BlockStoreOptions first = both, second = both;
  first.disks = {both.disks[0]};
  second.disks = {both.disks[1]};
  std::string server;
  {
    auto store = this->TryOpen(first).value();
    server = store->server_uuid();
    ASSERT_OK(store->SetClusterId("cluster-one-----"));
  }
  { ASSERT_TRUE(this->TryOpen(second).ok()); }
  auto mixed = this->TryOpen(both);
  EXPECT_EQ(mixed.code(), StatusCode::kFailedPrecondition) << mixed.status().ToString();

  const std::string identity = both.disks[1].path + "/identity";
  ASSERT_OK(
      WriteFileAtomically(this->environment_.disk(), identity,
                          EncodeDiskIdentity({server, std::string(16, 'd'), "cluster-two-----"})));
  mixed = this->TryOpen(both);
  EXPECT_EQ(mixed.code(), StatusCode::kWrongCluster);
  EXPECT_NE(mixed.status().message().find(both.disks[1].path), std::string::npos);

  const std::string copy =
      ReadWholeFile(this->environment_.disk(), both.disks[0].path + "/identity", 1000).value();
  ASSERT_OK(WriteFileAtomically(this->environment_.disk(), identity, copy));
  EXPECT_EQ(this->TryOpen(both).code(), StatusCode::kIdentityInUse);
}

TYPED_TEST(BlockStoreTest, UnfitFoldersAreRefusedWithAReason) {
  BlockStoreOptions options = OptionsFor(this->environment_, 1);
  auto store = this->TryOpen(options).value();
  auto second = this->TryOpen(options);
  EXPECT_EQ(second.code(), StatusCode::kBusy) << second.status().ToString();
  ASSERT_OK(WriteData(*store, kBlock, 0, "x"));
  store.reset();

  ASSERT_OK(this->environment_.disk().Remove(options.disks[0].path + "/identity"));
  auto lost = this->TryOpen(options);
  EXPECT_EQ(lost.code(), StatusCode::kFailedPrecondition) << lost.status().ToString();
  EXPECT_NE(lost.status().message().find("identity"), std::string::npos);

  options.disks[0].path += "/not-there";
  auto missing = this->TryOpen(options);
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find("not-there"), std::string::npos);
}

TYPED_TEST(BlockStoreTest, TheHighestEpochIsRememberedAndLowerOnesRefused) {
  auto store = this->Open(2);
  EXPECT_EQ(store->highest_epoch(), Epoch(0));
  ASSERT_OK(store->ObserveEpoch(Epoch(5)));
  ASSERT_OK(store->ObserveEpoch(Epoch(5)));
  EXPECT_EQ(store->ObserveEpoch(Epoch(4)).code(), StatusCode::kStaleEpoch);
  store.reset();
  ASSERT_OK(this->environment_.disk().Remove(this->environment_.DiskPath(0) + "/epoch"));
  store = this->Open(2);
  EXPECT_EQ(store->highest_epoch(), Epoch(5));
  EXPECT_EQ(store->ObserveEpoch(Epoch(4)).code(), StatusCode::kStaleEpoch);
}

TYPED_TEST(BlockStoreTest, ManyMoreReplicasThanMayBeOpenAreServed) {
  BlockStoreOptions options = OptionsFor(this->environment_, 1);
  options.max_open_replicas = 16;
  auto store = this->TryOpen(options).value();
  for (uint64_t id = 1; id <= 200; ++id) {
    ASSERT_OK(WriteData(*store, BlockId(id), 0, "block " + std::to_string(id)));
  }
  for (uint64_t id = 1; id <= 200; ++id) {
    const std::string wanted = "block " + std::to_string(id);
    EXPECT_EQ(ReadData(*store, BlockId(id), 0, wanted.size()).value(), wanted);
  }
}

}  // namespace
}  // namespace tercet
