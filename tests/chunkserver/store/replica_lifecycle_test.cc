// Sealing, copies, promotion and doom: one test per rule of block_store.h.
#include <gtest/gtest.h>

#include "chunkserver/store/block_store.h"
#include "common/env/clock.h"
#include "tests/chunkserver/store/store_test_util.h"

namespace tercet {
namespace {

constexpr BlockId kBlock(7);
constexpr Generation kNone(0);

class ReplicaLifecycle : public testing::Test {
 protected:
  ReplicaLifecycle() : options_(AllSimulated(environment_, 1)) { Open(); }
  void Open() {
    auto store = BlockStore::Open(disk(), clock_, random_, options_);
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = std::move(store).value();
  }
  void CutPower() {
    disk().Crash(chance_);
    disk().FailPathsUnder("/disk0");  // what belongs to a dead process does nothing any more
    store_.reset();
    disk().ClearFailedPaths();
    options_.boot_id += "'";
    Open();
  }
  SimDisk& disk() { return environment_.disk(); }
  Status Write(Generation generation, const std::string& data, bool create = false) {
    return WriteData(*store_, kBlock, 0, data, create, generation);
  }
  StatusCode ReadCode(Generation generation) {
    return store_->Read(kBlock, generation, 0, 10).code();
  }
  /// A step at a time, as a scrub does.
  uint64_t FindLost() {
    uint64_t lost = 0;
    for (LostFilesFound step; !step.disk_end;) {
      auto found = store_->FindLostFiles(store_->Disks()[0].disk_uuid, step.last, 2);
      EXPECT_TRUE(found.ok()) << found.status().ToString();
      if (!found.ok()) return lost;
      step = *found;
      lost += step.lost;
    }
    return lost;
  }
  std::string Content(Generation generation, size_t size) {
    auto pages = store_->Read(kBlock, generation, 0, kMaxBlockBytes);
    EXPECT_TRUE(pages.ok()) << pages.status().ToString();
    return pages.ok() ? pages->data.substr(0, size) : "";
  }

  SimEnvironment environment_;
  SimClock clock_;
  SeededRandom random_{1}, chance_{5};
  BlockStoreOptions options_;
  std::unique_ptr<BlockStore> store_;
};

TEST_F(ReplicaLifecycle, ASealedReplicaRefusesTheOldGenerationAlsoAfterAPowerCut) {
  const std::string data = Pattern(10'000, 1);
  ASSERT_OK(Write(Generation(1), data, true));
  ASSERT_OK(store_->Sync(kBlock, Generation(1)));
  store_->Maintain();
  auto sealed = store_->Seal(kBlock, Generation(4), false, false, false);
  ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
  EXPECT_FALSE(sealed->absent);
  EXPECT_EQ(sealed->before, Generation(1));
  EXPECT_EQ(sealed->length, 10'000u);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(Write(Generation(1), "late").code(), StatusCode::kStaleGeneration);
    EXPECT_EQ(ReadCode(Generation(1)), StatusCode::kStaleGeneration);
    EXPECT_TRUE(Content(Generation(4), 10'000) == data);
    EXPECT_EQ(store_->ListReplicas(0).value(), (std::vector<ReplicaInfo>{{kBlock, Generation(4)}}));
    CutPower();
  }
}

TEST_F(ReplicaLifecycle, SealingTellsTheSameOfEqualReplicasOnly) {
  ASSERT_OK(Write(Generation(1), Pattern(10'000, 1), true));
  ASSERT_OK(WriteData(*store_, BlockId(8), 0, Pattern(10'000, 1), true, Generation(1)));
  ASSERT_OK(WriteData(*store_, BlockId(9), 0, Pattern(10'000, 2), true, Generation(1)));
  const auto one = store_->Seal(kBlock, Generation(2), false, true, false).value();
  const auto same = store_->Seal(BlockId(8), Generation(2), false, true, false).value();
  const auto other = store_->Seal(BlockId(9), Generation(2), false, true, false).value();
  EXPECT_EQ(one.table_crc, same.table_crc);
  EXPECT_NE(one.table_crc, other.table_crc);
  const auto table = store_->Table(kBlock, Generation(2)).value();
  EXPECT_EQ(Crc32c(table.page_crcs), one.table_crc);
  EXPECT_EQ(table.length, 10'000u);
  EXPECT_EQ(store_->Table(kBlock, Generation(1)).code(), StatusCode::kStaleGeneration);
}

TEST_F(ReplicaLifecycle, SealingAgainIsFineAndLowerIsRefused) {
  ASSERT_OK(Write(Generation(3), "data", true));
  ASSERT_OK(store_->Seal(kBlock, Generation(5), false, false, false).status());
  ASSERT_OK(store_->Seal(kBlock, Generation(5), false, false, false).status());
  EXPECT_EQ(store_->Seal(kBlock, Generation(4), true, false, true).code(),
            StatusCode::kStaleGeneration);
}

TEST_F(ReplicaLifecycle, SealingMakesAnEmptyReplicaOnlyWhenToldTo) {
  EXPECT_TRUE(store_->Seal(kBlock, Generation(2), false, false, false)->absent);
  auto sealed = store_->Seal(kBlock, Generation(2), true, false, false);
  ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
  EXPECT_FALSE(sealed->absent);
  EXPECT_EQ(sealed->before, kNone);
  EXPECT_FALSE(sealed->suspect);
  EXPECT_EQ(sealed->length, 0u);
  CutPower();
  EXPECT_EQ(Write(Generation(1), "late", true).code(), StatusCode::kStaleGeneration);
  EXPECT_EQ(store_->Stat(kBlock)->generation, Generation(2));
  // After a crash what is not here may have been lost.
  EXPECT_TRUE(store_->Seal(BlockId(8), Generation(2), true, false, false)->suspect);
}

TEST_F(ReplicaLifecycle, SealingWithVerifyCountsDamageAndReportsIt) {
  ASSERT_OK(Write(Generation(1), Pattern(5 * kPageBytes, 1), true));
  environment_.FlipByte(store_->Stat(kBlock)->file_path, kDataOffset + 2 * kPageBytes + 5);
  auto sealed = store_->Seal(kBlock, Generation(2), false, true, false);
  ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
  EXPECT_EQ(sealed->damaged_pages, 1u);
  EXPECT_EQ(store_->TakeBadReplicas(10),
            (std::vector<BadReplicaFound>{{kBlock, Generation(2), ReplicaFault::kDamaged}}));
}

TEST_F(ReplicaLifecycle, ACopyIsServedByNobodyBeforeItIsPromoted) {
  auto base = store_->OpenPullBase(kBlock, Generation(3), kNone, 10'000, false);
  ASSERT_TRUE(base.ok()) << base.status().ToString();
  EXPECT_EQ(base->table.generation, kNone);
  EXPECT_EQ(base->table.length, 0u);
  const std::string data = Pattern(10'000, 1);
  ASSERT_OK(Write(kNone, data));
  EXPECT_EQ(ReadCode(Generation(3)), StatusCode::kNotFound);
  EXPECT_EQ(store_->Stat(kBlock).code(), StatusCode::kNotFound);
  EXPECT_TRUE(store_->RangeDigests().empty());
  EXPECT_TRUE(store_->ListReplicas(0)->empty());
  EXPECT_TRUE(store_->Seal(kBlock, Generation(4), false, false, false)->absent);
  EXPECT_EQ(store_->Promote(kBlock, Generation(3), Generation(4)).code(),
            StatusCode::kInvalidArgument);
  ASSERT_OK(store_->Promote(kBlock, kNone, Generation(4)));
  CutPower();
  EXPECT_EQ(Content(Generation(4), 10'000), data);
  EXPECT_EQ(store_->RangeDigests().size(), 1u);
  EXPECT_TRUE(store_->TakeBadReplicas(10).empty());
}

TEST_F(ReplicaLifecycle, WhatIsHereDecidesWhatACopyStartsFrom) {
  // Below the source's generation: it left its chain, and its pages are the base.
  ASSERT_OK(Write(Generation(1), Pattern(10'000, 1), true));
  auto base = store_->OpenPullBase(kBlock, Generation(3), kNone, 10'000, true);
  ASSERT_TRUE(base.ok()) << base.status().ToString();
  EXPECT_EQ(base->table.generation, kNone);
  EXPECT_EQ(base->table.length, 10'000u);
  EXPECT_EQ(base->damaged, std::vector<bool>(3, false));
  EXPECT_EQ(ReadCode(Generation(1)), StatusCode::kNotFound);
  // Incomplete: it is gone on with, to prepare or to finish.
  ASSERT_OK(store_->OpenPullBase(kBlock, Generation(4), kNone, 10'000, false).status());
  ASSERT_OK(store_->OpenPullBase(kBlock, Generation(5), Generation(5), 10'000, false).status());
  ASSERT_OK(store_->Promote(kBlock, kNone, Generation(5)));
  // Sealed with the generation of the finish: in place.
  base = store_->OpenPullBase(kBlock, Generation(5), Generation(5), 10'000, false);
  ASSERT_TRUE(base.ok()) << base.status().ToString();
  EXPECT_EQ(base->table.generation, Generation(5));
  EXPECT_TRUE(base->damaged.empty());
  ASSERT_OK(store_->Promote(kBlock, Generation(5), Generation(5)));
  // Anything else is another's.
  EXPECT_EQ(store_->OpenPullBase(kBlock, Generation(5), kNone, 10, false).code(),
            StatusCode::kConflict);
  EXPECT_EQ(store_->OpenPullBase(kBlock, Generation(4), Generation(4), 10, false).code(),
            StatusCode::kConflict);
}

TEST_F(ReplicaLifecycle, DamageOfABaseIsTold) {
  ASSERT_OK(Write(Generation(1), Pattern(5 * kPageBytes, 1), true));
  environment_.FlipByte(store_->Stat(kBlock)->file_path, kDataOffset + kPageBytes);
  ASSERT_OK(store_->Seal(kBlock, Generation(2), false, false, false).status());
  auto base = store_->OpenPullBase(kBlock, Generation(2), Generation(2), 5 * kPageBytes, true);
  ASSERT_TRUE(base.ok()) << base.status().ToString();
  EXPECT_EQ(base->damaged, (std::vector<bool>{false, true, false, false, false}));
}

TEST_F(ReplicaLifecycle, ABaseWithADamagedHeaderIsPutAway) {
  ASSERT_OK(Write(Generation(1), "data", true));
  const std::string path = store_->Stat(kBlock)->file_path;
  store_.reset();
  environment_.FlipByte(path, 20);
  Open();
  EXPECT_EQ(ReadCode(Generation(1)), StatusCode::kCorruption);
  auto base = store_->OpenPullBase(kBlock, Generation(2), kNone, 100, false);
  ASSERT_TRUE(base.ok()) << base.status().ToString();
  EXPECT_EQ(base->table.length, 0u);
  EXPECT_EQ(disk().List("/disk0/quarantine")->size(), 1u);
}

TEST_F(ReplicaLifecycle, ACopyThatNobodyGoesOnWithGoesToTheTrashAfterAnHour) {
  ASSERT_OK(store_->OpenPullBase(kBlock, Generation(3), kNone, 10'000, false).status());
  for (int round = 0; round < 3; ++round) {
    clock_.Advance(std::chrono::minutes(40));
    ASSERT_OK(Write(kNone, "more"));  // somebody does
    store_->Maintain();
  }
  EXPECT_EQ(store_->Disks()[0].replica_count, 1u);
  store_.reset();
  Open();  // a restart forgets when it was touched, not that it is there
  clock_.Advance(std::chrono::minutes(61));
  store_->Maintain();
  EXPECT_EQ(store_->Disks()[0].replica_count, 0u);
  EXPECT_EQ(disk().List("/disk0/trash")->size(), 1u);
}

TEST_F(ReplicaLifecycle, ADoomedReplicaIsNotServedUntilItIsPromotedBeyond) {
  ASSERT_OK(Write(Generation(2), "data", true));
  store_->Doom(kBlock, Generation(2));
  EXPECT_EQ(ReadCode(Generation(2)), StatusCode::kNotFound);
  EXPECT_EQ(Write(Generation(2), "x").code(), StatusCode::kNotFound);
  EXPECT_EQ(Write(Generation(2), "x", true).code(), StatusCode::kNotFound);
  EXPECT_TRUE(store_->Seal(kBlock, Generation(3), false, false, false)->absent);
  // A late first write of the chain that was left makes no new replica.
  store_->Doom(BlockId(8), Generation(1));
  EXPECT_EQ(WriteData(*store_, BlockId(8), 0, "x", true, Generation(1)).code(),
            StatusCode::kNotFound);
  ASSERT_OK(WriteData(*store_, BlockId(8), 0, "x", true, Generation(2)));
  // It is a base as before.
  ASSERT_OK(store_->OpenPullBase(kBlock, Generation(4), Generation(4), 4, false).status());
  ASSERT_OK(store_->Promote(kBlock, kNone, Generation(4)));
  EXPECT_EQ(Content(Generation(4), 4), "data");
  store_->Doom(kBlock, Generation(4));
  EXPECT_EQ(ReadCode(Generation(4)), StatusCode::kNotFound);
  store_->ForgetDooms();
  EXPECT_EQ(Content(Generation(4), 4), "data");
}

TEST_F(ReplicaLifecycle, VerifyingPagesFindsAndReportsDamage) {
  ASSERT_OK(Write(Generation(1), Pattern(600 * kPageBytes, 1), true));
  const std::string path = store_->Stat(kBlock)->file_path;
  EXPECT_TRUE(store_->VerifyPages(kBlock, Generation(1), 0, 1000)->empty());
  environment_.FlipByte(path, kDataOffset + 300 * kPageBytes);
  environment_.FlipByte(path, kDataOffset + 599 * kPageBytes);
  EXPECT_TRUE(store_->VerifyPages(kBlock, Generation(1), 0, 256)->empty());
  EXPECT_EQ(store_->VerifyPages(kBlock, Generation(1), 256, 256).value(),
            std::vector<uint32_t>{300});
  EXPECT_EQ(store_->VerifyPages(kBlock, Generation(1), 512, 256).value(),
            std::vector<uint32_t>{599});
  EXPECT_TRUE(store_->VerifyPages(kBlock, Generation(1), 768, 256)->empty());
  EXPECT_EQ(store_->TakeBadReplicas(10).size(), 1u) << "told once";
}

TEST_F(ReplicaLifecycle, BadReplicasAreOfferedUntilAcknowledgedAndAgainWhenFoundLater) {
  ASSERT_OK(Write(Generation(1), Pattern(3 * kPageBytes, 1), true));
  const std::string path = store_->Stat(kBlock)->file_path;
  environment_.FlipByte(path, kDataOffset + 5);
  const std::vector<BadReplicaFound> wanted{{kBlock, Generation(1), ReplicaFault::kDamaged}};
  EXPECT_EQ(ReadCode(Generation(1)), StatusCode::kCorruption);
  EXPECT_EQ(store_->TakeBadReplicas(10), wanted);
  EXPECT_EQ(store_->TakeBadReplicas(10), wanted) << "the heartbeat may not have arrived";
  store_->AcknowledgeBadReplicas(wanted);
  EXPECT_EQ(ReadCode(Generation(1)), StatusCode::kCorruption);
  EXPECT_TRUE(store_->TakeBadReplicas(10).empty());
  clock_.Advance(std::chrono::seconds(61));
  EXPECT_EQ(ReadCode(Generation(1)), StatusCode::kCorruption);
  EXPECT_EQ(store_->TakeBadReplicas(10), wanted);
  ASSERT_OK(store_->MoveToTrash(kBlock, Generation(1)));
  EXPECT_TRUE(store_->TakeBadReplicas(10).empty());
}

TEST_F(ReplicaLifecycle, AReplicaWithoutItsFileIsReportedAsMissing) {
  ASSERT_OK(Write(Generation(6), "data", true));
  ASSERT_OK(WriteData(*store_, BlockId(8), 0, "data", true, Generation(6)));
  const std::string path = store_->Stat(kBlock)->file_path;
  const std::string other = store_->Stat(BlockId(8))->file_path;
  store_.reset();
  ASSERT_OK(disk().Remove(path));
  ASSERT_OK(disk().Remove(other));
  Open();
  EXPECT_EQ(ReadCode(Generation(6)), StatusCode::kNotFound);
  EXPECT_EQ(store_->TakeBadReplicas(10),
            (std::vector<BadReplicaFound>{{kBlock, Generation(6), ReplicaFault::kMissing}}));
  EXPECT_TRUE(store_->Seal(BlockId(8), Generation(7), true, false, false)->suspect)
      << "an empty one in its place is not to be trusted";
}

TEST_F(ReplicaLifecycle, LostFilesAreFoundWithoutReadingEvenWhenTheyAreOpen) {
  ASSERT_OK(Write(Generation(6), "data", true));
  ASSERT_OK(WriteData(*store_, BlockId(8), 0, "data", true, Generation(6)));
  ASSERT_OK(WriteData(*store_, BlockId(5'000), 0, "data", true, Generation(6)));  // another folder
  EXPECT_EQ(FindLost(), 0u);
  EXPECT_TRUE(store_->TakeBadReplicas(10).empty());
  const std::string path = store_->Stat(kBlock)->file_path;
  const std::string far = store_->Stat(BlockId(5'000))->file_path;
  ASSERT_OK(disk().Remove(path));
  ASSERT_OK(disk().Remove(far));
  EXPECT_EQ(FindLost(), 2u);
  EXPECT_EQ(
      store_->TakeBadReplicas(10),
      (std::vector<BadReplicaFound>{{kBlock, Generation(6), ReplicaFault::kMissing},
                                    {BlockId(5'000), Generation(6), ReplicaFault::kMissing}}));
  EXPECT_EQ(ReadCode(Generation(6)), StatusCode::kNotFound);
  EXPECT_TRUE(store_->Stat(BlockId(8)).ok());
  EXPECT_EQ(FindLost(), 0u);
}

}  // namespace
}  // namespace tercet
