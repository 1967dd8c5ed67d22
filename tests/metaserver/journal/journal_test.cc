#include "metaserver/journal/journal.h"

#include <algorithm>

#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "tests/metaserver/journal/journal_test_util.h"

namespace tercet {
namespace {

constexpr Epoch kEpoch{3};

std::string SegmentPath(uint64_t sequence) {
  std::string digits = std::to_string(sequence);
  return std::string(kFolder) + "/segment-" + std::string(16 - digits.size(), '0') + digits;
}

class JournalTest : public testing::Test {
 protected:
  // Fills more than `segments` segments with records of about 1 KiB.
  void Fill(Journal& journal, uint64_t segments) {
    while (journal.range().last.value() < segments * 12) {
      MustAppend(journal, kEpoch, Payload(journal.range().last.value() + 1));
      ASSERT_TRUE(journal.Sync().ok());
    }
  }
  static std::string Payload(uint64_t index) {
    return std::to_string(index) + std::string(1000, static_cast<char>('a' + index % 26));
  }
  std::vector<std::string> Names(const std::string& prefix) {
    std::vector<std::string> names = disk_.List(kFolder).value();
    std::erase_if(names, [&](const std::string& name) { return !name.starts_with(prefix); });
    std::sort(names.begin(), names.end());
    return names;
  }
  Status OpenStatus(JournalOptions options = SmallJournal()) {
    return Journal::Open(disk_, random_, std::move(options)).status();
  }
  std::string ReadFile(const std::string& path) {
    return ReadWholeFile(disk_, path, 1 << 20).value();
  }

  SimDisk disk_;
  SeededRandom random_{1};
};

TEST_F(JournalTest, ANewJournalIsEmpty) {
  auto journal = MustOpen(disk_, random_);
  JournalRange range = journal->range();
  EXPECT_EQ(range.first, JournalIndex(1));
  EXPECT_EQ(range.last, JournalIndex(0));
  EXPECT_EQ(range.last_epoch, Epoch(0));
  EXPECT_TRUE(ReadAll(*journal).empty());
  EXPECT_EQ(journal->EpochAt(JournalIndex(0)).code(), StatusCode::kNotFound);
}

TEST_F(JournalTest, SyncedRecordsAreThereAfterAReopen) {
  {
    auto journal = MustOpen(disk_, random_);
    EXPECT_EQ(MustAppend(*journal, Epoch(1), "first"), JournalIndex(1));
    EXPECT_EQ(MustAppend(*journal, Epoch(1), ""), JournalIndex(2));
    EXPECT_TRUE(ReadAll(*journal).empty()) << "read before it was durable";
    ASSERT_TRUE(journal->Sync().ok());
    EXPECT_EQ(MustAppend(*journal, Epoch(4), std::string(5000, 'x')), JournalIndex(3));
    ASSERT_TRUE(journal->Sync().ok());
    EXPECT_EQ(ReadAll(*journal).size(), 3u);
  }
  disk_.Crash(random_);
  auto journal = MustOpen(disk_, random_);
  std::vector<CommittedRecord> records = ReadAll(*journal);
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].payload, "first");
  EXPECT_EQ(records[1].payload, "");
  EXPECT_EQ(records[2].payload, std::string(5000, 'x'));
  EXPECT_EQ(records[2].epoch, Epoch(4));
  EXPECT_EQ(journal->EpochAt(JournalIndex(2)).value(), Epoch(1));
  EXPECT_EQ(journal->range().last_epoch, Epoch(4));
}

TEST_F(JournalTest, ManyRecordsTakeOneWriteAndOneSync) {
  auto journal = MustOpen(disk_, random_);
  for (int i = 0; i < 50; ++i) MustAppend(*journal, kEpoch, "a record");
  uint64_t writes = disk_.write_count();
  uint64_t syncs = disk_.sync_count();
  ASSERT_TRUE(journal->Sync().ok());
  EXPECT_EQ(disk_.write_count() - writes, 1u);
  EXPECT_EQ(disk_.sync_count() - syncs, 1u);
}

TEST_F(JournalTest, RecordsGoOnOverManySegments) {
  {
    auto journal = MustOpen(disk_, random_);
    Fill(*journal, 5);
    EXPECT_GE(Names("segment-").size(), 5u);
  }
  auto journal = MustOpen(disk_, random_);
  std::vector<CommittedRecord> records = ReadAll(*journal, 20000);
  ASSERT_EQ(records.size(), 60u);
  for (const CommittedRecord& record : records) {
    EXPECT_EQ(record.payload, Payload(record.index.value()));
  }
}

TEST_F(JournalTest, ReadRecordsGivesAtLeastOneRecordAndThenKeepsToTheLimit) {
  auto journal = MustOpen(disk_, random_);
  Fill(*journal, 2);
  EXPECT_EQ(journal->ReadRecords(JournalIndex(5), 1)->size(), 1u);
  EXPECT_EQ(journal->ReadRecords(JournalIndex(5), 3500)->size(), 4u);
  EXPECT_TRUE(journal->ReadRecords(JournalIndex(25), 1000)->empty());
}

TEST_F(JournalTest, AFullSegmentWithoutASpareRefusesAndChangesNothing) {
  auto journal = MustOpen(disk_, random_);
  Status refused;
  uint64_t accepted = 0;
  while (refused.ok()) {
    Result<JournalIndex> index = journal->Append(kEpoch, Payload(accepted + 1));
    if (index.ok()) ++accepted;
    refused = index.status();
  }
  EXPECT_EQ(refused.code(), StatusCode::kNoSpace);
  EXPECT_EQ(journal->range().last, JournalIndex(accepted));
  ASSERT_TRUE(journal->Sync().ok());
  ASSERT_TRUE(journal->PrepareSpare().ok());
  EXPECT_TRUE(journal->has_spare());
  EXPECT_EQ(journal->Append(kEpoch, Payload(accepted + 1)).value(), JournalIndex(accepted + 1));
  ASSERT_TRUE(journal->Sync().ok());
  EXPECT_EQ(ReadAll(*journal).size(), accepted + 1);
}

TEST_F(JournalTest, AFullDiskRefusesTheNextSegmentAndLetsItBeMadeLater) {
  auto journal = MustOpen(disk_, random_);
  disk_.SetCapacity(Journal::kMinSegmentBytes + 3 * 4096);
  EXPECT_EQ(journal->PrepareSpare().code(), StatusCode::kNoSpace);
  EXPECT_TRUE(Names("spare").empty());
  MustAppend(*journal, kEpoch, "the current segment still takes records");
  EXPECT_TRUE(journal->Sync().ok());
  disk_.SetCapacity(1 << 20);
  EXPECT_TRUE(journal->PrepareSpare().ok());
}

TEST_F(JournalTest, ReleasedSegmentsAreRecycledAndTheirRecordsNeverComeBack) {
  auto journal = MustOpen(disk_, random_);
  Fill(*journal, 4);
  ASSERT_TRUE(journal->ReleaseBefore(JournalIndex(30)).ok());
  JournalRange range = journal->range();
  EXPECT_GT(range.first, JournalIndex(1));
  EXPECT_LE(range.first, JournalIndex(30));
  EXPECT_EQ(journal->ReadRecords(JournalIndex(1), 100).code(), StatusCode::kNotFound);
  EXPECT_EQ(journal->EpochAt(JournalIndex(range.first.value() - 1)).value(), kEpoch);
  EXPECT_TRUE(journal->has_spare());
  // The recycled file is full of old records, up to its end.
  const uint64_t syncs = disk_.sync_count();
  Fill(*journal, 5);
  EXPECT_GT(disk_.sync_count(), syncs);
  journal.reset();
  disk_.Crash(random_);
  journal = MustOpen(disk_, random_);
  std::vector<CommittedRecord> records = ReadAll(*journal);
  ASSERT_FALSE(records.empty());
  EXPECT_EQ(records.front().index, range.first);
  EXPECT_EQ(records.back().index, JournalIndex(60));
  for (const CommittedRecord& record : records) {
    EXPECT_EQ(record.payload, Payload(record.index.value()));
  }
}

TEST_F(JournalTest, ManyRoundsOfReleaseNeedNoNewFiles) {
  auto journal = MustOpen(disk_, random_);
  Fill(*journal, 3);
  for (uint64_t segments = 4; segments < 40; ++segments) {
    ASSERT_TRUE(journal->ReleaseBefore(journal->range().last.Next()).ok());
    Fill(*journal, segments);
    EXPECT_LE(Names("segment-").size() + Names("spare-").size(), 5u);
  }
}

TEST_F(JournalTest, TheNewestSegmentIsNeverReleased) {
  auto journal = MustOpen(disk_, random_);
  Fill(*journal, 3);
  ASSERT_TRUE(journal->ReleaseBefore(JournalIndex(1000)).ok());
  EXPECT_EQ(Names("segment-").size(), 1u);
  journal.reset();
  journal = MustOpen(disk_, random_);
  EXPECT_EQ(journal->range().last, JournalIndex(36));
  EXPECT_EQ(journal->range().last_epoch, kEpoch);
}

TEST_F(JournalTest, TruncatedRecordsStayAwayAndOthersTakeTheirIndexes) {
  {
    auto journal = MustOpen(disk_, random_);
    Fill(*journal, 3);
    ASSERT_TRUE(journal->PrepareSpare().ok());
    ASSERT_TRUE(journal->TruncateAfter(JournalIndex(7)).ok());
    EXPECT_EQ(journal->range().last, JournalIndex(7));
    EXPECT_EQ(MustAppend(*journal, Epoch(9), "another eighth"), JournalIndex(8));
    ASSERT_TRUE(journal->Sync().ok());
  }
  disk_.Crash(random_);
  auto journal = MustOpen(disk_, random_);
  std::vector<CommittedRecord> records = ReadAll(*journal);
  ASSERT_EQ(records.size(), 8u);
  EXPECT_EQ(records[6].payload, Payload(7));
  EXPECT_EQ(records[7].payload, "another eighth");
  EXPECT_EQ(journal->EpochAt(JournalIndex(7)).value(), kEpoch);
  EXPECT_EQ(journal->EpochAt(JournalIndex(8)).value(), Epoch(9));
}

TEST_F(JournalTest, TruncationAndReleaseTogetherKeepTheRest) {
  {
    auto journal = MustOpen(disk_, random_);
    Fill(*journal, 3);
    ASSERT_TRUE(journal->PrepareSpare().ok());
    ASSERT_TRUE(journal->TruncateAfter(JournalIndex(14)).ok());
    MustAppend(*journal, Epoch(9), "another fifteenth");
    ASSERT_TRUE(journal->Sync().ok());
    ASSERT_TRUE(journal->ReleaseBefore(JournalIndex(15)).ok());
    EXPECT_EQ(journal->range().first, JournalIndex(15));
    EXPECT_EQ(journal->EpochAt(JournalIndex(14)).value(), kEpoch);
  }
  auto journal = MustOpen(disk_, random_);
  EXPECT_EQ(journal->range().first, JournalIndex(15));
  EXPECT_EQ(journal->EpochAt(JournalIndex(14)).value(), kEpoch);
  std::vector<CommittedRecord> records = ReadAll(*journal);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].payload, "another fifteenth");
}

TEST_F(JournalTest, EpochsNeverGoBackAndOversizedRecordsAreRefused) {
  JournalOptions options = SmallJournal();
  options.max_payload_bytes = 100;
  auto journal = MustOpen(disk_, random_, options);
  MustAppend(*journal, Epoch(5), "x");
  EXPECT_EQ(journal->Append(Epoch(4), "x").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(journal->Append(Epoch(5), std::string(101, 'x')).code(), StatusCode::kArgumentTooBig);
  EXPECT_EQ(journal->range().last, JournalIndex(1));
}

TEST_F(JournalTest, AfterAFailedSyncNothingIsWrittenAnyMore) {
  auto journal = MustOpen(disk_, random_);
  MustAppend(*journal, kEpoch, "durable");
  ASSERT_TRUE(journal->Sync().ok());
  MustAppend(*journal, kEpoch, "lost or not");
  disk_.FailSync(1);
  EXPECT_EQ(journal->Sync().code(), StatusCode::kIo);
  const uint64_t writes = disk_.write_count();
  EXPECT_FALSE(journal->Append(kEpoch, "later").ok());
  EXPECT_FALSE(journal->Sync().ok());
  EXPECT_FALSE(journal->PrepareSpare().ok());
  EXPECT_EQ(journal->range().durable, JournalIndex(1));
  EXPECT_EQ(disk_.write_count(), writes);
}

// After a failed fdatasync the kernel takes the pages for clean: a recovery that trusted what it
// reads, and synced without writing, would report a record that a power cut takes away.
TEST_F(JournalTest, WhatWasRecoveredAfterAFailedSyncSurvivesAPowerCut) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SimDisk disk;
    SeededRandom random(seed);
    auto journal = MustOpen(disk, random);
    MustAppend(*journal, kEpoch, "durable");
    ASSERT_TRUE(journal->Sync().ok());
    MustAppend(*journal, kEpoch, std::string(6000, 'y'));
    disk.FailSync(1);
    ASSERT_FALSE(journal->Sync().ok());
    journal.reset();
    disk.KillProcess();
    journal = MustOpen(disk, random);
    const JournalIndex recovered = journal->range().durable;
    journal.reset();
    disk.Crash(random);
    journal = MustOpen(disk, random);
    ASSERT_EQ(journal->range().durable, recovered) << "seed " << seed;
    ASSERT_EQ(ReadAll(*journal).size(), recovered.value());
  }
}

TEST_F(JournalTest, ASecondProcessIsRefused) {
  auto journal = MustOpen(disk_, random_);
  Status status = OpenStatus();
  EXPECT_EQ(status.code(), StatusCode::kBusy);
  EXPECT_NE(status.message().find(kFolder), std::string::npos);
}

TEST_F(JournalTest, AFolderOfAnotherClusterOrServerIsRefused) {
  MustOpen(disk_, random_);
  JournalOptions options = SmallJournal();
  options.identity.cluster_id = "ANOTHER-CLUSTER-";
  EXPECT_EQ(OpenStatus(options).code(), StatusCode::kWrongCluster);
  options = SmallJournal();
  options.identity.server_uuid = "SERVER-B-SERVER-";
  EXPECT_EQ(OpenStatus(options).code(), StatusCode::kFailedPrecondition);
  options.identity = {};
  auto journal = MustOpen(disk_, random_, options);
  EXPECT_EQ(journal->identity().cluster_id, kTestIdentity.cluster_id);
  EXPECT_EQ(journal->identity().server_uuid, kTestIdentity.server_uuid);
}

TEST_F(JournalTest, ANewFolderGetsRandomIdsWhereNoneAreGiven) {
  JournalOptions options = SmallJournal();
  options.identity = {};
  NodeIdentity identity = MustOpen(disk_, random_, options)->identity();
  EXPECT_EQ(identity.cluster_id.size(), 16u);
  EXPECT_NE(identity.cluster_id, identity.server_uuid);
  EXPECT_EQ(MustOpen(disk_, random_, options)->identity().cluster_id, identity.cluster_id);
}

TEST_F(JournalTest, ASegmentOfAnotherClusterIsRefused) {
  {
    auto journal = MustOpen(disk_, random_);
    Fill(*journal, 2);
  }
  SimDisk other;
  JournalOptions options = SmallJournal();
  options.identity.cluster_id = "ANOTHER-CLUSTER-";
  {
    auto journal = MustOpen(other, random_, options);
    Fill(*journal, 2);
  }
  std::string foreign = ReadWholeFile(other, SegmentPath(2), 1 << 20).value();
  ASSERT_TRUE(disk_.Open(SegmentPath(2), OpenMode::kReadWrite).value()->WriteAt(0, foreign).ok());
  EXPECT_EQ(OpenStatus().code(), StatusCode::kWrongCluster);
}

TEST_F(JournalTest, AJournalOfANewerVersionIsRefusedAndLeftAsItIs) {
  {
    auto journal = MustOpen(disk_, random_);
    Fill(*journal, 2);
  }
  char version[4];
  EncodeFixed32(version, kJournalFormatVersion + 1);
  {
    auto file = disk_.Open(SegmentPath(2), OpenMode::kReadWrite).value();
    ASSERT_TRUE(file->WriteAt(8, std::string_view(version, 4)).ok());
  }
  const uint64_t writes = disk_.write_count();
  Status status = OpenStatus();
  EXPECT_EQ(status.code(), StatusCode::kVersionTooNew);
  EXPECT_NE(status.message().find("newer"), std::string::npos);
  EXPECT_EQ(disk_.write_count(), writes);
}

TEST_F(JournalTest, AMissingSegmentOrIdentityIsDamageAndNothingIsChanged) {
  {
    auto journal = MustOpen(disk_, random_);
    Fill(*journal, 4);
  }
  const std::string bytes = ReadFile(SegmentPath(2));
  ASSERT_TRUE(disk_.Remove(SegmentPath(2)).ok());
  const uint64_t writes = disk_.write_count();
  Status status = OpenStatus();
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  EXPECT_NE(status.message().find(SegmentPath(2)), std::string::npos);
  EXPECT_EQ(disk_.write_count(), writes);
  ASSERT_TRUE(WriteFileAtomically(disk_, SegmentPath(2), bytes).ok());
  ASSERT_TRUE(OpenStatus().ok());
  ASSERT_TRUE(disk_.Remove(std::string(kFolder) + "/identity").ok());
  EXPECT_EQ(OpenStatus().code(), StatusCode::kCorruption);
}

TEST_F(JournalTest, ChangingTheSegmentSizeKeepsOldSegmentsReadable) {
  {
    auto journal = MustOpen(disk_, random_);
    Fill(*journal, 2);
    ASSERT_TRUE(journal->PrepareSpare().ok());
  }
  {
    auto journal = MustOpen(disk_, random_, SmallJournal(64 << 10));
    EXPECT_FALSE(journal->has_spare()) << "a spare of the old size was kept";
    Fill(*journal, 8);
    EXPECT_EQ(ReadAll(*journal).size(), 96u);
    ASSERT_TRUE(journal->ReleaseBefore(JournalIndex(96)).ok());
  }
  auto journal = MustOpen(disk_, random_);
  EXPECT_EQ(journal->range().last, JournalIndex(96));
}

TEST_F(JournalTest, OptionsOutOfBoundsAreRefused) {
  EXPECT_EQ(OpenStatus(SmallJournal(4096)).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(OpenStatus(SmallJournal((16 << 10) + 8)).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(OpenStatus(SmallJournal(2ull << 30)).code(), StatusCode::kInvalidArgument);
  JournalOptions options = SmallJournal();
  options.identity.cluster_id = "short";
  EXPECT_EQ(OpenStatus(options).code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tercet
