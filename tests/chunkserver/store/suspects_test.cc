// What becomes of replicas after crashes of the process and of the machine, and the activity file.
#include <gtest/gtest.h>

#include <thread>

#include "chunkserver/store/activity_log.h"
#include "chunkserver/store/block_store.h"
#include "chunkserver/store/disk_recovery.h"
#include "common/base/hex.h"
#include "common/env/clock.h"
#include "tests/chunkserver/store/crash_fixture.h"

namespace tercet {
namespace {

constexpr BlockId kOld(1), kNew(2);
constexpr Generation kFirst(1);

class Suspects : public CrashingStoreTest {
 protected:
  /// A replica that was settled.
  void MakeOld() {
    ASSERT_OK(WriteData(*store_, kOld, 0, old_data_));
    store_->Maintain();
  }
  StatusCode ReadCode(BlockId block) { return store_->Read(block, kFirst, 0, 100).code(); }
  std::vector<ReplicaInfo> Listed() { return store_->Suspects(BlockId(0), 100).value(); }

  const std::string old_data_ = Pattern(20'000, 1);
};

TEST_F(Suspects, ANewReplicaCostsNoSyncAndTheFirstOverwriteOfAnOldOneOne) {
  MakeOld();
  uint64_t syncs = disk().sync_count();
  ASSERT_OK(WriteData(*store_, kNew, 0, Pattern(4096, 2)));
  ASSERT_OK(WriteData(*store_, kNew, 4096, Pattern(40'960, 2)));
  ASSERT_OK(WriteData(*store_, kNew, 0, Pattern(4096, 3)));
  EXPECT_EQ(disk().sync_count(), syncs);
  ASSERT_OK(WriteData(*store_, kOld, 0, "over"));
  EXPECT_EQ(disk().sync_count(), syncs + 1);
  ASSERT_OK(WriteData(*store_, kOld, 0, "and over"));
  store_->Maintain();
  syncs = disk().sync_count();
  ASSERT_OK(WriteData(*store_, kOld, 0, "again"));
  EXPECT_EQ(disk().sync_count(), syncs) << "a mark stays while there are writes in every era";
  store_->Maintain();
  store_->Maintain();
  ASSERT_OK(WriteData(*store_, kNew, 0, "x"));
  store_->Maintain();
  syncs = disk().sync_count();
  ASSERT_OK(WriteData(*store_, kOld, 0, "after a calm"));
  EXPECT_EQ(disk().sync_count(), syncs + 1);
}

TEST_F(Suspects, OnlyWhatWasWrittenSinceIsSuspectAfterAPowerCut) {
  MakeOld();
  ASSERT_OK(WriteData(*store_, BlockId(3), 0, "untouched since"));
  store_->Maintain();
  ASSERT_OK(WriteData(*store_, kOld, 0, "over"));
  ASSERT_OK(WriteData(*store_, kNew, 0, "new"));
  ASSERT_OK(store_->Sync(kNew, kFirst));
  CutPower();
  EXPECT_EQ(ReadCode(kOld), StatusCode::kUnavailable);
  EXPECT_EQ(ReadCode(kNew), StatusCode::kUnavailable);
  EXPECT_EQ(ReadData(*store_, BlockId(3), 0, 15).value(), "untouched since");
  EXPECT_EQ(Listed(), (std::vector<ReplicaInfo>{{kOld, kFirst}, {kNew, kFirst}}));
  EXPECT_EQ(store_->Disks()[0].suspect_count, 2u);
  EXPECT_EQ(store_->TakeBadReplicas(10),
            (std::vector<BadReplicaFound>{{kOld, kFirst, ReplicaFault::kSuspect},
                                          {kNew, kFirst, ReplicaFault::kSuspect}}));
  // It stays so over any restart, and in the reports.
  store_.reset();
  Open();
  EXPECT_EQ(Listed().size(), 2u);
  Kill();
  EXPECT_EQ(Listed().size(), 2u);
  CutPower();
  EXPECT_EQ(Listed().size(), 2u);
  EXPECT_EQ(store_->RangeDigests()[0].replica_count, 3u);
  ASSERT_TRUE(store_->Seal(kOld, Generation(2), false, true, false)->suspect);
  EXPECT_EQ(store_->Read(kOld, Generation(2), 0, 1).code(), StatusCode::kUnavailable);
}

TEST_F(Suspects, DamagedHeadersDoNotKeepOtherReplicasFromBeingVerified) {
  constexpr uint64_t kBlocks = 20;
  std::vector<std::string> paths(1);
  for (uint64_t id = 1; id <= kBlocks; ++id) {
    ASSERT_OK(WriteData(*store_, BlockId(id), 0, "data"));
    paths.push_back(store_->Stat(BlockId(id))->file_path);
  }
  store_->Maintain();
  for (uint64_t id = 1; id <= kBlocks; ++id) {
    ASSERT_OK(WriteData(*store_, BlockId(id), 0, "over"));
  }
  Kill();
  for (uint64_t id = 1; id <= kBlocks; ++id) {
    environment_.FlipByte(paths[id], id == 7 ? kDataOffset : 20);
  }
  for (int i = 0; i < 10; ++i) store_->Maintain();
  EXPECT_EQ(store_->TakeBadReplicas(100).size(), kBlocks);
}

TEST_F(Suspects, AreGoodAgainWhenCopiedOrAccepted) {
  MakeOld();
  ASSERT_OK(WriteData(*store_, kOld, 0, "over"));
  ASSERT_OK(WriteData(*store_, kNew, 0, Pattern(9000, 3)));
  ASSERT_OK(store_->Sync(kNew, kFirst));
  CutPower();
  auto accepted = store_->Seal(kNew, Generation(2), false, false, true);
  ASSERT_TRUE(accepted.ok()) << accepted.status().ToString();
  EXPECT_FALSE(accepted->suspect);
  EXPECT_EQ(accepted->length, 9000u);
  ASSERT_OK(store_->Seal(kOld, Generation(2), false, false, false).status());
  auto base = store_->OpenPullBase(kOld, Generation(2), Generation(2), 20'000, false);
  ASSERT_TRUE(base.ok()) << base.status().ToString();
  EXPECT_EQ(base->damaged.size(), 5u) << "a suspect base is always looked at";
  EXPECT_EQ(store_->Read(kOld, Generation(2), 0, 1).code(), StatusCode::kUnavailable);
  ASSERT_OK(WriteData(*store_, kOld, 0, old_data_, false, Generation(2)));
  // A copy that is not finished makes nothing good.
  Kill();
  EXPECT_TRUE(store_->Seal(kOld, Generation(3), false, false, false)->suspect);
  ASSERT_OK(store_->OpenPullBase(kOld, Generation(3), Generation(3), 20'000, false).status());
  ASSERT_OK(WriteData(*store_, kOld, 0, old_data_, false, Generation(3)));
  ASSERT_OK(store_->Promote(kOld, Generation(3), Generation(3)));
  CutPower();
  EXPECT_TRUE(Listed().empty());
  EXPECT_EQ(store_->Read(kOld, Generation(3), 0, 20'000)->data.substr(0, 20'000), old_data_);
  EXPECT_EQ(store_->Read(kNew, Generation(2), 0, 9000)->data.substr(0, 9000), Pattern(9000, 3));
}

TEST_F(Suspects, AllAreWhenTheActivityFileIsLostInACrashOfTheMachine) {
  MakeOld();
  store_->Maintain();
  disk().Crash(chance_);
  Abandon();
  environment_.FlipByte("/disk0/activity", 20);
  options_.boot_id = "boot-2";
  Open();
  EXPECT_EQ(Listed().size(), 1u);
  CutPower();
  EXPECT_EQ(Listed().size(), 1u);
  ASSERT_OK(WriteData(*store_, kNew, 0, "new"));
  store_->Maintain();
  CutPower();
  EXPECT_EQ(Listed().size(), 1u) << "what came later is not concerned";
}

TEST_F(Suspects, NoneAreWhenTheActivityFileIsLostOtherwise) {
  MakeOld();
  store_.reset();
  environment_.FlipByte("/disk0/activity", 20);
  Open();
  EXPECT_EQ(ReadData(*store_, kOld, 0, 100).value(), old_data_.substr(0, 100));
  ASSERT_OK(WriteData(*store_, kOld, 0, "over"));
  disk().KillProcess();
  Abandon();
  ASSERT_OK(disk().Remove("/disk0/activity"));
  Open();
  EXPECT_EQ(ReadData(*store_, kOld, 0, 4).value(), "over");
  CutPower();
  EXPECT_EQ(Listed().size(), 1u) << "it was not durable yet";
}

TEST_F(Suspects, WhatWasOpenWhenTheProcessWasKilledIsVerifiedAtItsFirstUse) {
  MakeOld();
  ASSERT_OK(WriteData(*store_, kOld, 0, "over"));
  ASSERT_OK(WriteData(*store_, kNew, 0, Pattern(3 * kPageBytes, 3)));
  ASSERT_OK(WriteData(*store_, BlockId(3), 0, Pattern(3 * kPageBytes, 4)));
  const std::string old_path = store_->Stat(kOld)->file_path;
  const std::string new_path = store_->Stat(kNew)->file_path;
  disk().KillProcess();
  Abandon();
  environment_.FlipByte(old_path, kDataOffset + 4 * kPageBytes);
  environment_.FlipByte(new_path, kDataOffset + 2 * kPageBytes);
  Open();
  // The first page is sound and is served; the damage elsewhere is found all the same.
  EXPECT_EQ(ReadData(*store_, kOld, 0, 4).value(), "over");
  EXPECT_EQ(ReadCode(kNew), StatusCode::kOk);
  EXPECT_EQ(ReadCode(BlockId(3)), StatusCode::kOk);
  EXPECT_EQ(store_->TakeBadReplicas(10),
            (std::vector<BadReplicaFound>{{kOld, kFirst, ReplicaFault::kDamaged},
                                          {kNew, kFirst, ReplicaFault::kDamaged}}));
  EXPECT_EQ(store_->Read(kNew, kFirst, 2 * kPageBytes, 1).code(), StatusCode::kCorruption);
}

TEST_F(Suspects, ARowInTheMiddleOfAChangeIsPutRightByItsHeader) {
  MakeOld();
  for (uint64_t nth : {1, 2, 3, 4, 5, 6}) {
    const Generation before = store_->Stat(kOld)->generation;
    disk().FailWrite(nth);
    const bool sealed =
        store_->Seal(kOld, Generation(before.value() + 1), false, false, false).ok();
    disk().FailWrite(0);
    Kill();
    const Generation now = store_->Stat(kOld)->generation;
    EXPECT_TRUE(now == before || now == before.Next());
    EXPECT_TRUE(!sealed || now == before.Next());
    const std::vector<ReplicaInfo> listed = store_->ListReplicas(0).value();
    EXPECT_EQ(listed, (std::vector<ReplicaInfo>{{kOld, now}})) << "without any access to it";
  }
}

// ---- the activity file ----

ActivityState ExampleState() {
  ActivityState state;
  state.all_marked = true;
  state.current = Era(7);
  state.settled = Era(5);
  state.verify = {{Era(2), Era(3)}};
  state.suspects = {{Era(1), Era(1)}};
  state.boot_id = "boot";
  return state;
}

TEST(ActivityRecordTest, ComesBackAsWrittenAndMatchesTheDocumentedBytes) {
  ActivityRecord record{ExampleState(), {}};
  for (uint64_t i = 1; i <= 100; ++i) record.marks.push_back({BlockId(i), i % 2 == 0, i % 3 == 0});
  auto back = DecodeActivity(EncodeActivity(record));
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(back->state, record.state);
  EXPECT_EQ(back->marks, record.marks);

  const std::string state = EncodeActivityState(ExampleState());
  ASSERT_EQ(state.size(), 512u);
  EXPECT_EQ(HexOf(state.substr(0, 36)),
            "5452435441435431"  // magic
            "01000000"          // version
            "02000000"          // flags: all marked
            "07000000"          // current
            "05000000"          // settled
            "01000000"          // ranges to verify
            "0200000003000000");
  EXPECT_EQ(HexOf(state.substr(156, 12)), "010000000100000001000000") << "suspect ranges";
  EXPECT_EQ(HexOf(state.substr(288, 5)), "04626f6f74") << "boot id";
  EXPECT_EQ(HexOf(state.substr(508)), "34b56929");
  std::vector<ActivityMark> marks(kMarksPerSector);
  marks[0] = {BlockId(0x1234), true, false};
  const std::string sector = EncodeMarkSector(1, marks.data());
  EXPECT_EQ(HexOf(sector.substr(0, 28)),
            "01000000"          // sector
            "0000000000000000"  //
            "3412000000000000"  // block
            "01000000"          // flags: suspect
            "00000000");
  EXPECT_EQ(HexOf(sector.substr(508)), "38a30b79");
}

TEST(ActivityRecordTest, EveryFlippedBitIsNoticed) {
  ActivityRecord record{ExampleState(), {{BlockId(5), false, true}}};
  const std::string good = EncodeActivity(record);
  for (size_t bit = 0; bit < 2 * kActivitySectorBytes * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    ASSERT_FALSE(DecodeActivity(bad).ok()) << "bit " << bit;
  }
  EXPECT_FALSE(DecodeActivity(good.substr(0, good.size() - 1)).ok());
}

TEST(ActivityRecordTest, TooManyRangesAreJoinedWhereTheyAreClosest) {
  std::vector<EraRange> ranges;
  for (uint32_t i = 0; i < kMaxEraRanges; ++i) AddEraRange(&ranges, {Era(i * 10), Era(i * 10)});
  AddEraRange(&ranges, {Era(52), Era(53)});
  EXPECT_EQ(ranges.size(), kMaxEraRanges);
  EXPECT_TRUE(AnyContains(ranges, Era(51)));
  EXPECT_FALSE(AnyContains(ranges, Era(54)));
  EXPECT_TRUE(AnyContains(ranges, Era(150)));
}

TEST(ActivityLogTest, WhenThereAreTooManyMarksEveryReplicaCountsAsMarked) {
  SimDisk disk;
  ActivityRecord record;
  record.state.current = Era(2);
  record.state.settled = Era(1);
  auto log = ActivityLog::Start(disk, "/activity", record, false).value();
  for (uint64_t i = 1; i <= kMaxMarks; ++i) ASSERT_OK(log->Cover(BlockId(i), Era(1)).status());
  EXPECT_FALSE(log->overflowed());
  ASSERT_OK(log->Cover(BlockId(100'000), Era(1)).status());
  EXPECT_TRUE(log->overflowed());
  const uint64_t syncs = disk.sync_count();
  ASSERT_OK(log->Cover(BlockId(100'001), Era(1)).status());
  EXPECT_EQ(disk.sync_count(), syncs);
  EXPECT_TRUE(ReadActivity(disk, "/activity")->state.all_marked);

  auto round = log->BeginRound();
  ASSERT_TRUE(round.has_value());
  // Still relied upon after the round began: it must not go with it.
  ASSERT_OK(log->Cover(BlockId(100'002), Era(1)).status());
  ASSERT_OK(log->FinishRound(*round));
  EXPECT_TRUE(ReadActivity(disk, "/activity")->state.all_marked);
  EXPECT_EQ(ReadActivity(disk, "/activity")->marks.size(), kMaxMarks);
  round = log->BeginRound();
  ASSERT_OK(log->FinishRound(*round));
  EXPECT_FALSE(ReadActivity(disk, "/activity")->state.all_marked);
  EXPECT_TRUE(ReadActivity(disk, "/activity")->marks.empty());
  EXPECT_FALSE(log->BeginRound().has_value()) << "nothing is left to do";
}

TEST(ActivityLogTest, AnAbandonedRoundIsPartOfTheNext) {
  SimDisk disk;
  ActivityRecord record;
  record.state.current = Era(2);
  auto log = ActivityLog::Start(disk, "/activity", record, false).value();
  EXPECT_FALSE(log->BeginRound().has_value());
  EXPECT_EQ(log->Enter(kNew), Era(2));
  auto round = log->BeginRound();
  ASSERT_TRUE(round.has_value());
  EXPECT_FALSE(round->all);
  log->AbandonRound(std::move(*round));
  round = log->BeginRound();
  ASSERT_TRUE(round.has_value());
  EXPECT_TRUE(round->all);
  EXPECT_EQ(round->era, Era(3));
  EXPECT_TRUE(round->written.contains(kNew));
}

TEST(DiskRecoveryTest, TellsHowTheLastRunEnded) {
  ActivityState activity;
  activity.boot_id = "a";
  IndexState index;
  index.boot_id = "a";
  EXPECT_EQ(HowRunEnded(activity, index, "a"), RunEnd::kProcessCrash);
  EXPECT_EQ(HowRunEnded(activity, index, "b"), RunEnd::kMachineCrash);
  activity.clean = true;
  EXPECT_EQ(HowRunEnded(activity, index, "b"), RunEnd::kClean);
  EXPECT_EQ(HowRunEnded(std::nullopt, index, "a"), RunEnd::kProcessCrash);
  EXPECT_EQ(HowRunEnded(std::nullopt, index, "b"), RunEnd::kMachineCrash);
  index.clean = true;
  EXPECT_EQ(HowRunEnded(std::nullopt, index, "b"), RunEnd::kClean);
  EXPECT_EQ(HowRunEnded(std::nullopt, std::nullopt, "a"), RunEnd::kMachineCrash);
}

}  // namespace
}  // namespace tercet
