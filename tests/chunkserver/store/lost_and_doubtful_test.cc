// Replicas that may have been lost are not made anew by a late write; those that may differ from
// others in what nobody acknowledged are told of.
#include <gtest/gtest.h>

#include "chunkserver/store/block_store.h"
#include "chunkserver/store/doubtful_replicas.h"
#include "chunkserver/store/doubts_file.h"
#include "common/base/hex.h"
#include "common/env/clock.h"
#include "tests/chunkserver/store/crash_fixture.h"

namespace tercet {
namespace {

constexpr BlockId kBlock(7);
constexpr Generation kFirst(1);
using Found = std::vector<BadReplicaFound>;

class LostAndDoubtful : public CrashingStoreTest {
 protected:
  using CrashingStoreTest::CrashingStoreTest;
  Status Create(BlockId block, Generation generation = kFirst) {
    return WriteData(*store_, block, 0, "data", /*create=*/true, generation);
  }
  std::vector<BadReplicaFound> Doubts(size_t max = 100) {
    auto found = store_->TakeBadReplicas(max);
    std::erase_if(found, [](const auto& bad) { return bad.fault != ReplicaFault::kDoubtful; });
    return found;
  }
  std::vector<BadReplicaFound> DoubtsLater() {
    clock_.Advance(std::chrono::milliseconds(DoubtfulReplicas::kDelayMs));
    return Doubts();
  }
  static BadReplicaFound Doubtful(BlockId block, Generation generation = kFirst) {
    return {block, generation, ReplicaFault::kDoubtful};
  }
};

// ---- the create floor ----

TEST_F(LostAndDoubtful, AWriteMakesNoReplicaBelowTheFloorAndOthersAsEver) {
  ASSERT_OK(Create(BlockId(3)));
  store_->RaiseCreateFloor(kBlock);
  store_->RaiseCreateFloor(BlockId(5));  // only ever raised
  EXPECT_EQ(Create(BlockId(6)).code(), StatusCode::kNotFound);
  EXPECT_EQ(store_->Stat(BlockId(6)).code(), StatusCode::kNotFound) << "nothing was made";
  EXPECT_TRUE(Create(kBlock).ok());
  EXPECT_TRUE(Create(BlockId(3)).ok()) << "one that is there is written to";
  auto sealed = store_->Seal(BlockId(6), Generation(2), /*create_if_absent=*/true, false, false);
  ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
  EXPECT_FALSE(sealed->absent);
  EXPECT_TRUE(Create(BlockId(6), Generation(2)).ok());
  EXPECT_TRUE(store_->OpenPullBase(BlockId(4), kFirst, kFirst, 4, false).ok());
}

TEST_F(LostAndDoubtful, AReplicaWhoseFileIsLostIsNotMadeAnewByAWrite) {
  ASSERT_OK(Create(kBlock));
  const std::string path = store_->Stat(kBlock)->file_path;
  store_.reset();
  ASSERT_OK(disk().Remove(path));
  Open();
  EXPECT_EQ(Create(kBlock).code(), StatusCode::kNotFound);
  EXPECT_EQ(Create(kBlock).code(), StatusCode::kNotFound) << "also when the index knows it no more";
  EXPECT_TRUE(Create(kBlock.Next()).ok());
}

class TwoDisksLostAndDoubtful : public LostAndDoubtful {
 protected:
  TwoDisksLostAndDoubtful() : LostAndDoubtful(2) {}
};

TEST_F(TwoDisksLostAndDoubtful, NothingThatAnEjectedDiskMayHaveHeldIsMadeAnewByAWrite) {
  ASSERT_OK(Create(BlockId(20)));
  ASSERT_OK(store_->MoveToTrash(BlockId(20), kFirst));
  ASSERT_OK(Create(BlockId(10)));
  store_.reset();
  Open();
  EXPECT_TRUE(Create(BlockId(4)).ok());
  ASSERT_OK(store_->EjectDisk(store_->Disks()[1].disk_uuid));
  EXPECT_EQ(Create(BlockId(5)).code(), StatusCode::kNotFound);
  EXPECT_TRUE(Create(BlockId(11)).ok());
}

// ---- doubts ----

TEST_F(LostAndDoubtful, ADoubtIsToldAfterTenSecondsUntilItIsAcknowledged) {
  ASSERT_OK(Create(kBlock));
  store_->NoteDoubtful(kBlock, kFirst);
  EXPECT_TRUE(Doubts().empty());
  clock_.Advance(std::chrono::milliseconds(DoubtfulReplicas::kDelayMs - 1));
  store_->NoteDoubtful(kBlock, kFirst);
  EXPECT_TRUE(Doubts().empty());
  clock_.Advance(std::chrono::milliseconds(1));
  const auto told = Doubts();
  EXPECT_EQ(told, Found{Doubtful(kBlock)}) << "from the first time that it was noted";
  EXPECT_EQ(Doubts(), told) << "the heartbeat may not have arrived";
  store_->AcknowledgeBadReplicas(told);
  EXPECT_TRUE(Doubts().empty());
  clock_.Advance(std::chrono::milliseconds(DoubtfulReplicas::kDelayMs - 2));
  EXPECT_TRUE(Doubts().empty());
  clock_.Advance(std::chrono::milliseconds(1));
  EXPECT_EQ(Doubts(), told) << "a comparison may have come before what it was noted for last";
  store_->AcknowledgeBadReplicas(told);
  EXPECT_TRUE(DoubtsLater().empty());
  // Nothing keeps quiet about the same replica when it is in doubt again.
  store_->NoteDoubtful(kBlock, kFirst);
  EXPECT_EQ(DoubtsLater(), told);
}

TEST_F(LostAndDoubtful, ADoubtNotedAgainWhileItIsToldIsToldAgain) {
  ASSERT_OK(Create(kBlock));
  store_->NoteDoubtful(kBlock, kFirst);
  const auto told = DoubtsLater();
  ASSERT_EQ(told.size(), 1u);
  store_->NoteDoubtful(kBlock, kFirst);
  store_->AcknowledgeBadReplicas(told);
  EXPECT_TRUE(Doubts().empty());
  EXPECT_EQ(DoubtsLater(), told);
  store_->AcknowledgeBadReplicas(told);
  EXPECT_TRUE(DoubtsLater().empty());
}

TEST_F(LostAndDoubtful, ADoubtIsVoidWhenTheReplicaHasAnotherGenerationOrIsGone) {
  for (uint64_t i = 1; i <= 5; ++i) {
    ASSERT_OK(Create(BlockId(i)));
    store_->NoteDoubtful(BlockId(i), kFirst);
  }
  ASSERT_OK(store_->Seal(BlockId(1), Generation(2), false, false, false).status());
  ASSERT_OK(store_->MoveToTrash(BlockId(2), kFirst));
  ASSERT_OK(store_->OpenPullBase(BlockId(3), Generation(2), Generation(2), 4, false).status());
  // A doubt about a later generation takes the place of an older one, and not the reverse.
  ASSERT_OK(store_->Seal(BlockId(4), Generation(2), false, false, false).status());
  store_->NoteDoubtful(BlockId(4), Generation(2));
  store_->NoteDoubtful(BlockId(4), kFirst);
  store_->NoteDoubtful(BlockId(6), kFirst);         // was never here
  store_->NoteDoubtful(BlockId(5), Generation(0));  // of a copy that is nobody's
  EXPECT_EQ(DoubtsLater(), (Found{Doubtful(BlockId(5)), Doubtful(BlockId(4), Generation(2))}));
}

TEST_F(LostAndDoubtful, DoubtsAndOtherBadReplicasDoNotKeepEachOtherWaiting) {
  for (uint64_t i = 1; i <= 20; ++i) {
    ASSERT_OK(Create(BlockId(i)));
    store_->NoteDoubtful(BlockId(i), kFirst);
  }
  clock_.Advance(std::chrono::seconds(11));
  for (uint64_t i = 1; i <= 20; ++i) {
    environment_.FlipByte(store_->Stat(BlockId(i))->file_path, kDataOffset);
    EXPECT_EQ(store_->Read(BlockId(i), kFirst, 0, 4).code(), StatusCode::kCorruption);
  }
  EXPECT_EQ(store_->TakeBadReplicas(10).size(), 10u);
  EXPECT_EQ(Doubts(10).size(), 5u);
}

// ---- doubts over restarts ----

TEST_F(LostAndDoubtful, WhatWasWrittenOfLateIsDoubtfulAfterACrashOfTheProcess) {
  ASSERT_OK(Create(BlockId(1)));
  ASSERT_OK(Create(BlockId(2)));
  store_->Maintain();  // settled
  ASSERT_OK(Create(BlockId(5)));
  clock_.Advance(std::chrono::seconds(31));
  store_->Maintain();
  ASSERT_OK(Create(BlockId(2)));
  ASSERT_OK(Create(BlockId(3)));
  ASSERT_OK(store_->OpenPullBase(BlockId(4), kFirst, kFirst, 100, false).status());
  Kill();
  EXPECT_TRUE(Doubts().empty()) << "the writer may be about to recover it";
  EXPECT_EQ(DoubtsLater(),
            (Found{Doubtful(BlockId(2)), Doubtful(BlockId(3)), Doubtful(BlockId(5))}))
      << "the write that made the last one may have been under way when its era was settled";
}

TEST_F(LostAndDoubtful, WhatWasSettledLastIsDoubtfulAfterACrashOfTheMachine) {
  ASSERT_OK(Create(BlockId(1)));
  store_->Maintain();
  ASSERT_OK(Create(BlockId(2)));
  clock_.Advance(std::chrono::seconds(31));
  store_->Maintain();
  CutPower();
  EXPECT_EQ(DoubtsLater(), Found{Doubtful(BlockId(2))});
}

TEST_F(LostAndDoubtful, AnOrderlyRestartMakesNothingDoubtful) {
  ASSERT_OK(Create(BlockId(1)));
  store_.reset();
  Open();
  EXPECT_TRUE(DoubtsLater().empty());
}

TEST_F(LostAndDoubtful, SuspectsAreToldAsSuch) {
  ASSERT_OK(Create(BlockId(1)));
  ASSERT_OK(store_->Sync(BlockId(1), kFirst));
  store_->NoteDoubtful(BlockId(1), kFirst);
  store_->Maintain();
  ASSERT_OK(Create(BlockId(1)));
  CutPower();
  EXPECT_TRUE(DoubtsLater().empty());
  EXPECT_EQ(store_->TakeBadReplicas(10), (Found{{BlockId(1), kFirst, ReplicaFault::kSuspect}}));
}

TEST_F(LostAndDoubtful, DoubtsThatWereNotToldOutliveAnyNumberOfRestarts) {
  ASSERT_OK(Create(BlockId(1)));
  ASSERT_OK(Create(BlockId(2)));
  ASSERT_OK(store_->Sync(BlockId(1), kFirst));
  ASSERT_OK(store_->Sync(BlockId(2), kFirst));
  store_->NoteDoubtful(BlockId(1), kFirst);
  // Two rounds, so that nothing but the file tells of what was written.
  store_->Maintain();
  ASSERT_OK(Create(BlockId(3)));
  clock_.Advance(std::chrono::seconds(31));
  for (int i = 0; i < 3; ++i) store_->Maintain();
  Kill();
  EXPECT_EQ(Doubts(), Found());
  for (int i = 0; i < 3; ++i) store_->Maintain();
  CutPower();
  store_.reset();
  Open();
  const Found told = DoubtsLater();
  EXPECT_EQ(told, (Found{Doubtful(BlockId(1)), Doubtful(BlockId(3))}))
      << "and that of which the era was settled last";
  store_->AcknowledgeBadReplicas(told);
  store_->Maintain();
  Kill();
  EXPECT_TRUE(DoubtsLater().empty());
}

TEST_F(LostAndDoubtful, DoubtsOfACrashOutliveAnotherOneRightAfterIt) {
  ASSERT_OK(Create(BlockId(1)));
  Kill();
  // It is verified, and everything is settled.
  for (int i = 0; i < 3; ++i) store_->Maintain();
  Kill();
  EXPECT_EQ(DoubtsLater(), (Found{Doubtful(BlockId(1))}));
}

TEST_F(LostAndDoubtful, DoubtsAreWrittenDownWhenTheServerStops) {
  ASSERT_OK(Create(BlockId(1)));
  store_->NoteDoubtful(BlockId(1), kFirst);
  store_.reset();
  Open();
  EXPECT_EQ(DoubtsLater(), (Found{Doubtful(BlockId(1))}));
}

TEST_F(LostAndDoubtful, ADamagedFileOfDoubtsKeepsNobodyFromStarting) {
  ASSERT_OK(Create(BlockId(1)));
  store_->NoteDoubtful(BlockId(1), kFirst);
  store_.reset();
  environment_.FlipByte("/disk0/doubts", 20);
  Open();
  EXPECT_TRUE(DoubtsLater().empty());
}

TEST_F(TwoDisksLostAndDoubtful, DoubtsAreNotForgottenWithADisk) {
  ASSERT_OK(Create(BlockId(1)));
  store_->NoteDoubtful(BlockId(1), kFirst);
  store_->Maintain();
  const bool on_first = store_->Stat(BlockId(1))->disk_path == "/disk0";
  store_.reset();
  ASSERT_OK(disk().Remove(on_first ? "/disk0/doubts" : "/disk1/doubts"));
  Open();
  EXPECT_EQ(DoubtsLater(), (Found{Doubtful(BlockId(1))}));
}

TEST(DoubtsFileTest, IsAsDocumented) {
  const std::vector<ReplicaInfo> doubts{{BlockId(0x1234), Generation(7)},
                                        {BlockId(5), Generation(1)}};
  const std::string bytes = EncodeDoubts(doubts);
  EXPECT_EQ(HexOf(bytes),
            "5452435444425431"
            "01000000"
            "02000000"
            "3412000000000000"
            "0700000000000000"
            "0500000000000000"
            "0100000000000000"
            "19d6590b");
  auto decoded = DecodeDoubts(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(*decoded, doubts);
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(~flipped[i]);
    EXPECT_EQ(DecodeDoubts(flipped).code(), StatusCode::kCorruption) << i;
    EXPECT_EQ(DecodeDoubts(bytes.substr(0, i)).code(), StatusCode::kCorruption) << i;
  }
}

}  // namespace
}  // namespace tercet
