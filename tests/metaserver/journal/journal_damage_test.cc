// Flipped bytes, torn and lost pages: a journal comes back with what was synced, or refuses; it
// never comes back with something else.
#include <algorithm>

#include "metaserver/journal/journal_format.h"
#include "tests/metaserver/journal/journal_test_util.h"

namespace tercet {
namespace {

constexpr Epoch kEpoch{2};
constexpr char kFirstSegment[] = "/journal/segment-0000000000000001";
constexpr char kSecondSegment[] = "/journal/segment-0000000000000002";

std::string Payload(uint64_t index) {
  return "record " + std::to_string(index) + " " + std::string(index * 13 % 90, '#');
}

// Three batches of four records.
constexpr uint64_t kBatches = 3;
constexpr uint64_t kBatchRecords = 4;

void WriteBatches(Disk& disk, Random& random) {
  auto journal = MustOpen(disk, random);
  for (uint64_t batch = 0; batch < kBatches; ++batch) {
    for (uint64_t i = 0; i < kBatchRecords; ++i) {
      MustAppend(*journal, kEpoch, Payload(journal->range().last.value() + 1));
    }
    ASSERT_TRUE(journal->Sync().ok());
  }
}

// What is there must be a prefix of what was written.
void ExpectPrefix(const Journal& journal, uint64_t at_least, const std::string& what) {
  std::vector<CommittedRecord> records = ReadAll(journal);
  ASSERT_GE(records.size(), at_least) << what;
  ASSERT_LE(records.size(), kBatches * kBatchRecords) << what;
  for (const CommittedRecord& record : records) {
    ASSERT_EQ(record.payload, Payload(record.index.value())) << what;
    ASSERT_EQ(record.epoch, kEpoch) << what;
  }
}

TEST(JournalDamageTest, AFlippedByteAnywhereIsRefusedOrCutsWithinTheLastBatchOnly) {
  uint64_t refused = 0;
  uint64_t cut = 0;
  uint64_t harmless = 0;
  uint64_t end = 0;  // behind the records
  {
    SimDisk disk;
    SeededRandom random(7);
    WriteBatches(disk, random);
    end = kSegmentHeaderBytes;
    for (uint64_t i = 1; i <= kBatches * kBatchRecords; ++i) end += RecordBytes(Payload(i).size());
  }
  for (uint64_t offset = 0; offset < end + 64; ++offset) {
    if (offset == 128)
      offset = kSegmentHeaderBytes - 8;  // the header's unused part is all the same
    SimDisk disk;
    SeededRandom random(7);
    WriteBatches(disk, random);
    ASSERT_TRUE(disk.FlipByte(kFirstSegment, offset).ok());
    Result<std::unique_ptr<Journal>> journal = Journal::Open(disk, random, SmallJournal());
    const std::string what = "offset " + std::to_string(offset);
    if (!journal.ok()) {
      // A flipped version number looks like a newer version.
      ASSERT_TRUE(journal.code() == StatusCode::kCorruption ||
                  journal.code() == StatusCode::kVersionTooNew)
          << what << journal.status().ToString();
      ASSERT_NE(journal.status().message().find(kFirstSegment), std::string::npos);
      ASSERT_LT(offset, end);
      ++refused;
      continue;
    }
    ExpectPrefix(**journal, (kBatches - 1) * kBatchRecords, what);
    (*journal)->range().last == JournalIndex(kBatches * kBatchRecords) ? ++harmless : ++cut;
  }
  EXPECT_GT(refused, 300u);
  EXPECT_GT(cut, 100u);
  EXPECT_GT(harmless, 64u);
}

TEST(JournalDamageTest, DamageInAnEarlierSegmentIsRefusedEverywhereInItsRecords) {
  for (uint64_t offset = kSegmentHeaderBytes; offset < Journal::kMinSegmentBytes; offset += 97) {
    SimDisk disk;
    SeededRandom random(8);
    {
      auto journal = MustOpen(disk, random);
      // Few syncs: in the newest segment most of this would count as a torn tail.
      while (!disk.Exists(kSecondSegment).value()) {
        for (int i = 0; i < 128; ++i) MustAppend(*journal, kEpoch, std::string(64, 'z'));
        ASSERT_TRUE(journal->Sync().ok());
      }
    }
    ASSERT_TRUE(disk.FlipByte(kFirstSegment, offset).ok());
    Status status = Journal::Open(disk, random, SmallJournal()).status();
    ASSERT_EQ(status.code(), StatusCode::kCorruption) << "offset " << offset;
    ASSERT_NE(status.message().find(kFirstSegment), std::string::npos) << status.ToString();
  }
}

TEST(JournalDamageTest, ATornLastBatchIsCutOffAndDoesNotComeBack) {
  // Each record fills one page, so that a power cut keeps or drops it as a whole: behind the torn
  // place others of its batch lie just where the records that are appended next will end.
  constexpr size_t kPayloadBytes = SimDisk::kPageBytes - kRecordHeaderBytes;
  constexpr uint64_t kTornRecords = 12;
  uint64_t torn = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SimDisk disk;
    SeededRandom random(seed);
    auto journal = MustOpen(disk, random, SmallJournal(64 << 10));
    MustAppend(*journal, kEpoch, std::string(kPayloadBytes, 'd'));
    ASSERT_TRUE(journal->Sync().ok());
    for (uint64_t i = 0; i < kTornRecords; ++i) {
      MustAppend(*journal, kEpoch, std::string(kPayloadBytes, static_cast<char>('e' + i)));
    }
    disk.FailSync(1);
    ASSERT_FALSE(journal->Sync().ok());
    journal.reset();
    disk.Crash(random);
    journal = MustOpen(disk, random, SmallJournal(64 << 10));
    ASSERT_NE(journal, nullptr);
    const uint64_t recovered = journal->range().last.value();
    ASSERT_GE(recovered, 1u);
    if (recovered < 1 + kTornRecords) ++torn;
    // In the same epoch and with the indexes of the torn records: nothing but their absence tells
    // them apart.
    const JournalIndex next = MustAppend(*journal, kEpoch, std::string(kPayloadBytes, 'n'));
    ASSERT_EQ(next, JournalIndex(recovered + 1));
    ASSERT_TRUE(journal->Sync().ok());
    journal.reset();
    disk.Crash(random);
    journal = MustOpen(disk, random, SmallJournal(64 << 10));
    ASSERT_NE(journal, nullptr);
    std::vector<CommittedRecord> records = ReadAll(*journal);
    ASSERT_EQ(records.size(), next.value()) << "seed " << seed;
    ASSERT_EQ(records.back().payload[0], 'n');
  }
  EXPECT_GT(torn, 20u);
}

TEST(JournalDamageTest, AZeroedPageBeforeSyncedRecordsIsDamage) {
  SimDisk disk;
  SeededRandom random(9);
  {
    auto journal = MustOpen(disk, random, SmallJournal(64 << 10));
    for (int i = 0; i < 10; ++i) {
      MustAppend(*journal, kEpoch, std::string(3000, 'a' + i));
      ASSERT_TRUE(journal->Sync().ok());
    }
  }
  {
    auto file = disk.Open(kFirstSegment, OpenMode::kReadWrite).value();
    ASSERT_TRUE(file->WriteAt(4 * 4096, std::string(4096, '\0')).ok());
    ASSERT_TRUE(file->Sync().ok());
  }
  const uint64_t writes = disk.write_count();
  Status status = Journal::Open(disk, random, SmallJournal(64 << 10)).status();
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  EXPECT_NE(status.message().find("offset"), std::string::npos) << status.ToString();
  EXPECT_EQ(disk.write_count(), writes) << "a refused journal was changed";
}

TEST(JournalDamageTest, ASegmentThatLostItsEndIsRefused) {
  SimDisk disk;
  SeededRandom random(10);
  WriteBatches(disk, random);
  ASSERT_TRUE(disk.Open(kFirstSegment, OpenMode::kReadWrite).value()->Truncate(5000).ok());
  EXPECT_EQ(Journal::Open(disk, random, SmallJournal()).code(), StatusCode::kCorruption);
}

TEST(JournalDamageTest, ARecordThatRotsUnderARunningJournalIsNotRead) {
  SimDisk disk;
  SeededRandom random(11);
  WriteBatches(disk, random);
  auto journal = MustOpen(disk, random);
  ASSERT_TRUE(disk.FlipByte(kFirstSegment, kSegmentHeaderBytes + kRecordHeaderBytes).ok());
  Result<std::vector<CommittedRecord>> records = journal->ReadRecords(JournalIndex(1), 1);
  EXPECT_EQ(records.code(), StatusCode::kCorruption);
  EXPECT_TRUE(journal->ReadRecords(JournalIndex(2), 1).ok());
}

TEST(JournalDamageTest, AFlippedIdentityIsRefused) {
  for (uint64_t offset = 0; offset < 48; ++offset) {
    SimDisk disk;
    SeededRandom random(12);
    MustOpen(disk, random);
    ASSERT_TRUE(disk.FlipByte("/journal/identity", offset).ok());
    StatusCode code = Journal::Open(disk, random, SmallJournal()).code();
    EXPECT_TRUE(code == StatusCode::kCorruption || code == StatusCode::kVersionTooNew) << offset;
  }
}

}  // namespace
}  // namespace tercet
