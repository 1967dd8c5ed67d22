// What a metadata group needs of the journal beside data records: memberships, the summary for the
// consensus core, bounded retention; and journals of format 1.
#include "tests/metaserver/journal/journal_test_util.h"

namespace tercet {
namespace {

Membership SomeMembership(uint32_t next_id) {
  Membership membership;
  membership.members = {{MemberId(1), MemberKind::kMetaserver, true, "a:1"}};
  membership.next_id = MemberId(next_id);
  return membership;
}

class JournalGroupTest : public testing::Test {
 protected:
  JournalIndex AppendMembership(Journal& journal, Epoch epoch, uint32_t next_id) {
    const std::string payload = SomeMembership(next_id).Encode();
    Result<JournalIndex> index = journal.Append(epoch, payload, RecordKind::kMembership);
    if (index.code() == StatusCode::kNoSpace) {
      EXPECT_TRUE(journal.PrepareSpare().ok());
      index = journal.Append(epoch, payload, RecordKind::kMembership);
    }
    EXPECT_TRUE(index.ok()) << index.status().ToString();
    return index.ok() ? *index : JournalIndex();
  }
  static LogSummary MustSummarize(const Journal& journal, uint64_t base_index = 0) {
    Result<LogSummary> summary = journal.Summary(SomeMembership(99), JournalIndex(base_index));
    EXPECT_TRUE(summary.ok()) << summary.status().ToString();
    return summary.ok() ? *summary : LogSummary();
  }
  // Makes the closed journal's only segment one of format 1, as the version before wrote it.
  void MakeFormat1() {
    const std::string path = std::string(kFolder) + "/segment-0000000000000001";
    SegmentHeader header =
        SegmentHeader::Decode(ReadWholeFile(disk_, path, 1 << 20).value()).value();
    header.version = 1;
    auto file = disk_.Open(path, OpenMode::kReadWrite).value();
    ASSERT_TRUE(file->WriteAt(0, header.Encode()).ok());
    ASSERT_TRUE(file->Sync().ok());
  }

  SimDisk disk_;
  SeededRandom random_{1};
};

TEST_F(JournalGroupTest, TheSummaryTellsEpochsAndMemberships) {
  auto journal = MustOpen(disk_, random_);
  MustAppend(*journal, Epoch(1), "a");
  AppendMembership(*journal, Epoch(1), 2);  // 2
  MustAppend(*journal, Epoch(3), "b");
  AppendMembership(*journal, Epoch(3), 3);  // 4
  AppendMembership(*journal, Epoch(7), 4);  // 5
  MustAppend(*journal, Epoch(7), "c");
  ASSERT_TRUE(journal->Sync().ok());
  for (int reopened = 0; reopened < 2; ++reopened) {
    const LogSummary summary = MustSummarize(*journal);
    EXPECT_EQ(summary.first, JournalIndex(1));
    EXPECT_EQ(summary.last, JournalIndex(6));
    EXPECT_EQ(summary.base_epoch, Epoch(0));
    ASSERT_EQ(summary.runs.size(), 3u);
    EXPECT_EQ(summary.runs[1].first, JournalIndex(3));
    EXPECT_EQ(summary.runs[2].first, JournalIndex(5));
    EXPECT_EQ(summary.runs[2].epoch, Epoch(7));
    ASSERT_EQ(summary.memberships.size(), 3u);
    EXPECT_EQ(summary.memberships[1].first, JournalIndex(4));
    EXPECT_EQ(summary.memberships[1].second, SomeMembership(3));
    EXPECT_EQ(summary.base_membership, SomeMembership(99));
    // Of what the base covers nothing more is said.
    EXPECT_EQ(MustSummarize(*journal, 4).memberships.size(), 1u);
    const std::vector<CommittedRecord> records = ReadAll(*journal);
    ASSERT_EQ(records.size(), 6u);
    EXPECT_EQ(records[3].kind, RecordKind::kMembership);
    EXPECT_EQ(records[5].kind, RecordKind::kData);
    journal.reset();
    journal = MustOpen(disk_, random_);
  }
}

TEST_F(JournalGroupTest, WhatIsTakenBackLeavesTheSummary) {
  auto journal = MustOpen(disk_, random_);
  MustAppend(*journal, Epoch(1), "a");
  AppendMembership(*journal, Epoch(1), 2);
  AppendMembership(*journal, Epoch(2), 3);
  MustAppend(*journal, Epoch(4), "b");
  ASSERT_TRUE(journal->Sync().ok());
  ASSERT_TRUE(journal->TruncateAfter(JournalIndex(2)).ok());
  MustAppend(*journal, Epoch(5), "c");
  ASSERT_TRUE(journal->Sync().ok());
  for (int reopened = 0; reopened < 2; ++reopened) {
    const LogSummary summary = MustSummarize(*journal);
    ASSERT_EQ(summary.memberships.size(), 1u);
    EXPECT_EQ(summary.memberships[0].second, SomeMembership(2));
    ASSERT_EQ(summary.runs.size(), 2u);
    EXPECT_EQ(summary.runs[1].first, JournalIndex(3));
    EXPECT_EQ(summary.runs[1].epoch, Epoch(5));
    journal.reset();
    journal = MustOpen(disk_, random_);
  }
}

TEST_F(JournalGroupTest, ReleasedRecordsLeaveTheirEpochAsTheBase) {
  auto journal = MustOpen(disk_, random_);
  for (uint64_t epoch = 1; epoch <= 60; ++epoch) {
    AppendMembership(*journal, Epoch(epoch), 2);
    MustAppend(*journal, Epoch(epoch), std::string(900, 'x'));
    ASSERT_TRUE(journal->Sync().ok());
  }
  ASSERT_TRUE(journal->ReleaseBefore(JournalIndex(70)).ok());
  for (int reopened = 0; reopened < 2; ++reopened) {
    const LogSummary summary = MustSummarize(*journal);
    const uint64_t first = summary.first.value();
    ASSERT_GT(first, 20u);
    ASSERT_LE(first, 70u);
    EXPECT_EQ(summary.base_epoch, Epoch(first / 2));
    EXPECT_EQ(journal->EpochAt(JournalIndex(first - 1)).value(), Epoch(first / 2));
    EXPECT_EQ(summary.runs.front().first, summary.first);
    EXPECT_EQ(summary.runs.front().epoch, Epoch((first + 1) / 2));
    EXPECT_EQ(summary.runs.size(), 60 - (first + 1) / 2 + 1);
    EXPECT_GE(summary.memberships.front().first, summary.first);
    journal.reset();
    journal = MustOpen(disk_, random_);
  }
}

TEST_F(JournalGroupTest, AMalformedMembershipIsTold) {
  auto journal = MustOpen(disk_, random_);
  ASSERT_TRUE(journal->Append(Epoch(1), "nonsense", RecordKind::kMembership).ok());
  ASSERT_TRUE(journal->Sync().ok());
  Result<LogSummary> summary = journal->Summary(Membership(), JournalIndex());
  EXPECT_FALSE(summary.ok());
  EXPECT_NE(summary.status().message().find("record 1"), std::string::npos);
}

TEST_F(JournalGroupTest, FirstWithinBoundsWhatIsKept) {
  const uint64_t segment = Journal::kMinSegmentBytes;
  auto journal = MustOpen(disk_, random_);
  EXPECT_EQ(journal->FirstWithin(0), JournalIndex(1));
  while (journal->range().last < JournalIndex(100)) {
    MustAppend(*journal, Epoch(1), std::string(1000, 'x'));
    ASSERT_TRUE(journal->Sync().ok());
  }
  EXPECT_EQ(journal->FirstWithin(UINT64_MAX), JournalIndex(1));
  EXPECT_EQ(journal->FirstWithin(0), journal->FirstWithin(segment));
  EXPECT_GT(journal->FirstWithin(segment), JournalIndex(88));
  const JournalIndex first = journal->FirstWithin(3 * segment);
  EXPECT_LT(first, journal->FirstWithin(segment));
  EXPECT_GT(first, journal->FirstWithin(5 * segment));
  ASSERT_TRUE(journal->ReleaseBefore(first).ok());
  EXPECT_EQ(journal->range().first, first);
  const auto names = disk_.List(kFolder).value();
  EXPECT_EQ(std::count_if(names.begin(), names.end(),
                          [](const auto& name) { return name.starts_with("segment-"); }),
            3);
  // After a truncation into an earlier segment nothing is counted twice or forgotten.
  ASSERT_TRUE(journal->TruncateAfter(first).ok());
  MustAppend(*journal, Epoch(2), "y");
  ASSERT_TRUE(journal->Sync().ok());
  EXPECT_EQ(journal->FirstWithin(UINT64_MAX), first);
  EXPECT_EQ(journal->FirstWithin(segment), first.Next());
}

TEST_F(JournalGroupTest, AJournalOfFormat1GoesOnAndGetsMembershipsInANewSegment) {
  auto journal = MustOpen(disk_, random_);
  MustAppend(*journal, Epoch(1), "old");
  ASSERT_TRUE(journal->Sync().ok());
  journal.reset();
  MakeFormat1();
  journal = MustOpen(disk_, random_);
  MustAppend(*journal, Epoch(1), "still in the old segment");
  ASSERT_TRUE(journal->Sync().ok());
  EXPECT_EQ(journal->Append(Epoch(2), SomeMembership(2).Encode(), RecordKind::kMembership).code(),
            StatusCode::kNoSpace);
  EXPECT_EQ(AppendMembership(*journal, Epoch(2), 2), JournalIndex(3));
  MustAppend(*journal, Epoch(2), "new");
  ASSERT_TRUE(journal->Sync().ok());
  EXPECT_TRUE(disk_.Exists(std::string(kFolder) + "/segment-0000000000000002").value());
  journal.reset();
  disk_.Crash(random_);
  journal = MustOpen(disk_, random_);
  const std::vector<CommittedRecord> records = ReadAll(*journal);
  ASSERT_EQ(records.size(), 4u);
  EXPECT_EQ(records[0].payload, "old");
  EXPECT_EQ(records[2].kind, RecordKind::kMembership);
  EXPECT_EQ(records[3].payload, "new");
}

}  // namespace
}  // namespace tercet
