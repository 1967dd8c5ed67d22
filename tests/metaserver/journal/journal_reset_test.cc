// A journal that begins anew behind a base: old or new after any crash, and nothing of the old one
// in the new.
#include <algorithm>

#include "common/env/disk.h"
#include "tests/metaserver/journal/journal_test_util.h"

namespace tercet {
namespace {

constexpr Epoch kEpoch{3};
constexpr JournalIndex kBase{5000};
constexpr Epoch kBaseEpoch{2};  // below the old journal's: that had records nobody else has

class JournalResetTest : public testing::Test {
 protected:
  // A few segments of records, the last ones not synced.
  static std::unique_ptr<Journal> MakeOld(SimDisk& disk, Random& random) {
    auto journal = MustOpen(disk, random);
    for (int i = 0; i < 40; ++i) {
      MustAppend(*journal, kEpoch, std::string(1000, 'o'));
      if (i % 5 == 4) {
        EXPECT_TRUE(journal->Sync().ok());
      }
    }
    EXPECT_TRUE(journal->PrepareSpare().ok());
    for (int i = 0; i < 3; ++i) MustAppend(*journal, kEpoch, "never synced");
    return journal;
  }
  static bool IsNew(const Journal& journal) {
    const JournalRange range = journal.range();
    return range.first == kBase.Next() && range.last >= kBase;
  }
  size_t CountNames(const std::string& prefix) {
    const std::vector<std::string> names = disk_.List(kFolder).value();
    return static_cast<size_t>(std::count_if(
        names.begin(), names.end(), [&](const auto& name) { return name.starts_with(prefix); }));
  }

  SimDisk disk_;
  SeededRandom random_{1};
};

TEST_F(JournalResetTest, TheJournalGoesOnBehindTheBase) {
  auto journal = MakeOld(disk_, random_);
  ASSERT_TRUE(journal->ResetTo(kBase, kBaseEpoch).ok());
  const auto check_empty = [&] {
    const JournalRange range = journal->range();
    EXPECT_EQ(range.first, kBase.Next());
    EXPECT_EQ(range.last, kBase);
    EXPECT_EQ(range.durable, kBase);
    EXPECT_EQ(range.last_epoch, kBaseEpoch);
    EXPECT_EQ(journal->EpochAt(kBase).value(), kBaseEpoch);
    EXPECT_EQ(journal->EpochAt(JournalIndex(20)).code(), StatusCode::kNotFound);
    EXPECT_EQ(journal->ReadRecords(JournalIndex(20), 100).code(), StatusCode::kNotFound);
    EXPECT_TRUE(ReadAll(*journal).empty());
  };
  check_empty();
  EXPECT_EQ(CountNames("segment-"), 1u);
  EXPECT_LE(CountNames("spare-"), Journal::kMaxSpares);
  journal.reset();
  disk_.Crash(random_);
  journal = MustOpen(disk_, random_);
  check_empty();
  EXPECT_EQ(MustAppend(*journal, kBaseEpoch, "first"), kBase.Next());
  for (int i = 0; i < 40; ++i) MustAppend(*journal, kEpoch, std::string(1000, 'n'));
  ASSERT_TRUE(journal->Sync().ok());
  journal.reset();
  disk_.Crash(random_);
  journal = MustOpen(disk_, random_);
  const std::vector<CommittedRecord> records = ReadAll(*journal);
  ASSERT_EQ(records.size(), 41u);
  EXPECT_EQ(records[0].payload, "first");
  EXPECT_EQ(records[40].index, JournalIndex(kBase.value() + 41));
}

TEST_F(JournalResetTest, ASegmentThatWasTakenButNeverStartedGoes) {
  auto journal = MustOpen(disk_, random_);
  // Fills the first segment and half of the next, without a sync.
  for (int i = 0; i < 20; ++i) MustAppend(*journal, kEpoch, std::string(1000, 'o'));
  ASSERT_TRUE(journal->ResetTo(kBase, kBaseEpoch).ok());
  EXPECT_EQ(CountNames("segment-"), 1u);
  EXPECT_LE(CountNames("spare-"), Journal::kMaxSpares);
  EXPECT_EQ(MustAppend(*journal, kBaseEpoch, "first"), kBase.Next());
  ASSERT_TRUE(journal->Sync().ok());
  journal.reset();
  journal = MustOpen(disk_, random_);
  ASSERT_EQ(ReadAll(*journal).size(), 1u);
}

TEST_F(JournalResetTest, APowerCutAtEveryStepLeavesTheOldOrTheNewJournal) {
  int old_ones = 0;
  int new_ones = 0;
  bool finished = false;
  for (uint64_t cut = 0; !finished; ++cut) {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      SCOPED_TRACE("power cut after change " + std::to_string(cut) + ", seed " +
                   std::to_string(seed));
      SimDisk disk;
      SeededRandom random(seed * 1000 + cut);
      auto journal = MakeOld(disk, random);
      disk.CutPowerAfter(cut);
      finished = journal->ResetTo(kBase, kBaseEpoch).ok();
      journal.reset();
      disk.Crash(random);
      // Another cut while it is recovered.
      disk.CutPowerAfter(random.Below(6));
      (void)Journal::Open(disk, random, SmallJournal()).ok();
      disk.Crash(random);
      journal = MustOpen(disk, random);
      ASSERT_NE(journal, nullptr);
      if (IsNew(*journal)) {
        ++new_ones;
        EXPECT_TRUE(ReadAll(*journal).empty());
        EXPECT_EQ(MustAppend(*journal, kBaseEpoch, "first"), kBase.Next());
      } else {
        ++old_ones;
        ASSERT_FALSE(finished);
        EXPECT_GE(journal->range().last, JournalIndex(40));
        EXPECT_EQ(ReadAll(*journal).size(), journal->range().last.value());
        // The reset is done again and holds.
        ASSERT_TRUE(journal->ResetTo(kBase, kBaseEpoch).ok());
        MustAppend(*journal, kBaseEpoch, "first");
      }
      ASSERT_TRUE(journal->Sync().ok());
      journal.reset();
      disk.Crash(random);
      journal = MustOpen(disk, random);
      ASSERT_EQ(ReadAll(*journal).size(), 1u);
      EXPECT_TRUE(IsNew(*journal));
    }
  }
  EXPECT_GT(old_ones, 8);
  EXPECT_GT(new_ones, 8);
}

TEST_F(JournalResetTest, WithoutRoomNothingIsChanged) {
  auto journal = MakeOld(disk_, random_);
  // The spare is used up, then the disk is full.
  while (journal->Append(kEpoch, std::string(1000, 'o')).ok()) {
  }
  ASSERT_TRUE(journal->Sync().ok());
  const JournalRange before = journal->range();
  disk_.SetCapacity(1);
  EXPECT_EQ(journal->ResetTo(kBase, kBaseEpoch).code(), StatusCode::kNoSpace);
  EXPECT_EQ(journal->range().last, before.last);
  EXPECT_EQ(ReadAll(*journal).size(), before.last.value());
  disk_.SetCapacity(UINT64_MAX);
  EXPECT_TRUE(journal->ResetTo(kBase, kBaseEpoch).ok());
}

TEST_F(JournalResetTest, AFailedResetEndsTheJournalUntilItIsOpenedAnew) {
  auto journal = MakeOld(disk_, random_);
  disk_.FailSync(1);
  EXPECT_EQ(journal->ResetTo(kBase, kBaseEpoch).code(), StatusCode::kIo);
  EXPECT_FALSE(journal->Append(kEpoch, "x").ok());
  EXPECT_FALSE(journal->Sync().ok());
  journal.reset();
  journal = MustOpen(disk_, random_);
  EXPECT_FALSE(IsNew(*journal));
}

TEST_F(JournalResetTest, AnEmptyJournalCanBeginAnywhereAndAgain) {
  auto journal = MustOpen(disk_, random_);
  ASSERT_TRUE(journal->ResetTo(kBase, kBaseEpoch).ok());
  ASSERT_TRUE(journal->ResetTo(JournalIndex(9000), Epoch(4)).ok());
  ASSERT_TRUE(journal->ResetTo(JournalIndex(7000), Epoch(4)).ok());
  journal.reset();
  journal = MustOpen(disk_, random_);
  EXPECT_EQ(journal->range().last, JournalIndex(7000));
  // Behind the end of the void part another truncation is refused as ever.
  EXPECT_EQ(journal->TruncateAfter(JournalIndex(6999)).code(), StatusCode::kInvalidArgument);
}

// The segments of a journal that begins anew may lie behind ones that a crash kept from going.
TEST_F(JournalResetTest, DamageInVoidSegmentsDoesNotMatterMissingOnesNeither) {
  auto journal = MakeOld(disk_, random_);
  ASSERT_TRUE(journal->Sync().ok());
  // Before the old segments go: stop in the middle.
  uint64_t cut = 1;
  for (;; ++cut) {
    SimDisk disk;
    SeededRandom random(2);
    auto old = MakeOld(disk, random);
    disk.CutPowerAfter(cut);
    (void)old->ResetTo(kBase, kBaseEpoch).ok();
    old.reset();
    const bool kept_power = !disk.power_is_cut();
    disk.Crash(random);
    ASSERT_FALSE(kept_power) << "no cut left the new segment beside old ones";
    const std::vector<std::string> names = disk.List(kFolder).value();
    std::vector<std::string> segments;
    for (const auto& name : names) {
      if (name.starts_with("segment-")) segments.push_back(name);
    }
    std::sort(segments.begin(), segments.end());
    const std::string newest = std::string(kFolder) + "/" + segments.back();
    Result<SegmentHeader> header =
        SegmentHeader::Decode(ReadWholeFile(disk, newest, 1 << 20).value());
    if (!header.ok() || !header->begins_journal || segments.size() < 3) continue;
    ASSERT_TRUE(disk.FlipByte(std::string(kFolder) + "/" + segments[0], 5000).ok());
    ASSERT_TRUE(disk.Remove(std::string(kFolder) + "/" + segments[1]).ok());
    auto again = MustOpen(disk, random);
    ASSERT_NE(again, nullptr);
    EXPECT_TRUE(IsNew(*again));
    break;
  }
}

}  // namespace
}  // namespace tercet
