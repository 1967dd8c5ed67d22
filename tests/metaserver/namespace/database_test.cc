#include "metaserver/namespace/database.h"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "common/env/posix_disk.h"
#include "tests/metaserver/namespace/state_test_util.h"

namespace tercet {
namespace {

class DatabaseTest : public testing::Test {
 protected:
  DatabaseTest() : database_(MustOpenDatabase(folder_.path())) {}

  TemporaryFolder folder_;
  std::unique_ptr<Database> database_;
};

TEST_F(DatabaseTest, AppliedRecordsAreReadAndKept) {
  const std::vector<CommittedRecord> records{Record(1, Put("a", "1")), Record(2, Put("b", "2")),
                                             Record(3, Delete("a"))};
  ASSERT_TRUE(database_->Apply(records).ok());
  EXPECT_EQ(database_->applied_index(), JournalIndex(3));
  EXPECT_EQ(ScanAll(database_->committed()), (Rows{{"b", "2"}}));
  database_.reset();
  database_ = MustOpenDatabase(folder_.path());
  EXPECT_EQ(database_->applied_index(), JournalIndex(3));
  EXPECT_EQ(database_->applied_epoch(), Epoch(1));
  EXPECT_EQ(MustGet(database_->committed(), "a"), std::nullopt);
  EXPECT_EQ(MustGet(database_->committed(), "b"), "2");
}

TEST_F(DatabaseTest, AGapIsRefusedAndNothingOfTheSpanApplied) {
  EXPECT_EQ(ApplyOne(*database_, 2, Put("a", "1")).code(), StatusCode::kInternal);
  const std::vector<CommittedRecord> records{Record(1, Put("a", "1")), Record(3, Put("b", "2"))};
  EXPECT_EQ(database_->Apply(records).code(), StatusCode::kInternal);
  EXPECT_EQ(database_->applied_index(), JournalIndex(0));
  EXPECT_TRUE(ScanAll(database_->committed()).empty());
  EXPECT_TRUE(ApplyOne(*database_, 1, Put("a", "1")).ok());
}

TEST_F(DatabaseTest, ARecordThatIsNoWriteSetOrTouchesTheDatabasesRowsIsRefused) {
  const CommittedRecord garbage{JournalIndex(1), Epoch(1), "\x01 garbage"};
  EXPECT_EQ(database_->Apply({&garbage, 1}).code(), StatusCode::kCorruption);
  EXPECT_EQ(ApplyOne(*database_, 1, Put(std::string("\0applied", 8), "x")).code(),
            StatusCode::kCorruption);
  EXPECT_EQ(database_->applied_index(), JournalIndex(0));
}

TEST_F(DatabaseTest, SyncAppliedReachesWhatWasApplied) {
  ASSERT_TRUE(ApplyOne(*database_, 1, Put("a", "1")).ok());
  EXPECT_EQ(database_->SyncApplied().value(), JournalIndex(1));
}

TEST_F(DatabaseTest, ASnapshotStaysAsItWas) {
  ASSERT_TRUE(ApplyOne(*database_, 1, Put("a", "1")).ok());
  auto snapshot = database_->TakeSnapshot();
  ASSERT_TRUE(ApplyOne(*database_, 2, Put("a", "2")).ok());
  ASSERT_TRUE(ApplyOne(*database_, 3, Put("b", "3")).ok());
  EXPECT_EQ(ScanAll(*snapshot), (Rows{{"a", "1"}}));
  EXPECT_EQ(ScanAll(database_->committed()), (Rows{{"a", "2"}, {"b", "3"}}));
}

TEST_F(DatabaseTest, ProposedRecordsAreSeenByTheProposerOnly) {
  ASSERT_TRUE(ApplyOne(*database_, 1, Put("a", "1")).ok());
  database_->AddProposed(JournalIndex(2), Put("b", "2"));
  database_->AddProposed(JournalIndex(3), Delete("a"));
  EXPECT_EQ(database_->newest_proposed(), JournalIndex(3));
  EXPECT_EQ(ScanAll(database_->committed()), (Rows{{"a", "1"}}));
  EXPECT_EQ(ScanAll(database_->proposed()), (Rows{{"b", "2"}}));
  EXPECT_EQ(MustGet(database_->proposed(), "a"), std::nullopt);
  ASSERT_TRUE(ApplyOne(*database_, 2, Put("b", "2")).ok());
  ASSERT_TRUE(ApplyOne(*database_, 3, Delete("a")).ok());
  EXPECT_EQ(database_->newest_proposed(), JournalIndex(0));
  EXPECT_EQ(ScanAll(database_->proposed()), (Rows{{"b", "2"}}));
}

TEST_F(DatabaseTest, OfAKeyTheNewestProposalIsSeenUntilItIsApplied) {
  for (uint64_t index = 1; index <= 3; ++index) {
    database_->AddProposed(JournalIndex(index), Put("key", std::to_string(index)));
  }
  for (uint64_t index = 1; index <= 3; ++index) {
    EXPECT_EQ(MustGet(database_->proposed(), "key"), "3");
    ASSERT_TRUE(ApplyOne(*database_, index, Put("key", std::to_string(index))).ok());
    EXPECT_EQ(MustGet(database_->committed(), "key"), std::to_string(index));
  }
  EXPECT_EQ(MustGet(database_->proposed(), "key"), "3");
}

TEST_F(DatabaseTest, ARecordAppliedBeforeItIsAddedLeavesNothingBehind) {
  ASSERT_TRUE(ApplyOne(*database_, 1, Put("key", "1")).ok());
  database_->AddProposed(JournalIndex(1), Put("key", "1"));
  ASSERT_TRUE(ApplyOne(*database_, 2, Put("key", "2")).ok());
  EXPECT_EQ(MustGet(database_->proposed(), "key"), "2");
  EXPECT_EQ(database_->newest_proposed(), JournalIndex(0));
}

TEST_F(DatabaseTest, AKeyThatComesTwiceInOneRecordHasItsLastValue) {
  WriteSet set = Put("key", "first");
  set.entries.push_back({"key", "second"});
  database_->AddProposed(JournalIndex(1), set);
  EXPECT_EQ(MustGet(database_->proposed(), "key"), "second");
  ASSERT_TRUE(ApplyOne(*database_, 1, set).ok());
  EXPECT_EQ(MustGet(database_->committed(), "key"), "second");
  EXPECT_EQ(database_->newest_proposed(), JournalIndex(0));
}

TEST_F(DatabaseTest, DroppedProposalsAreGone) {
  ASSERT_TRUE(ApplyOne(*database_, 1, Put("a", "1")).ok());
  database_->AddProposed(JournalIndex(2), Put("a", "2"));
  database_->DropProposed();
  EXPECT_EQ(MustGet(database_->proposed(), "a"), "1");
  EXPECT_EQ(database_->newest_proposed(), JournalIndex(0));
  // Another active's record with that index.
  ASSERT_TRUE(ApplyOne(*database_, 2, Put("a", "other")).ok());
  EXPECT_EQ(MustGet(database_->proposed(), "a"), "other");
}

// A counter and a set of rows, each step built on what is proposed. Whenever the proposer looks it
// must find all of its own steps, applied or not.
TEST_F(DatabaseTest, AProposerNeverMissesItsOwnRecordsWhileAnotherThreadApplies) {
  constexpr uint64_t kSteps = 3000;
  std::mutex mutex;
  std::vector<CommittedRecord> queue;  // guarded by mutex
  std::atomic<bool> done{false};
  std::thread applying([&] {
    while (true) {
      const bool last_round = done;
      std::vector<CommittedRecord> records;
      {
        std::lock_guard lock(mutex);
        records.swap(queue);
      }
      ASSERT_TRUE(database_->Apply(records).ok());
      if (records.empty() && last_round) return;
    }
  });
  std::thread reading([&] {
    std::string before;
    while (!done) {
      std::string now = MustGet(database_->committed(), "counter").value_or("");
      EXPECT_GE(now, before);
      before = now;
    }
  });
  for (uint64_t step = 1; step <= kSteps; ++step) {
    Transaction transaction(database_->proposed());
    const std::string expected = step == 1 ? "" : std::to_string(10000 + step - 1);
    EXPECT_EQ(MustGet(transaction, "counter").value_or(""), expected);
    if (step % 16 == 0) {
      EXPECT_EQ(ScanAll(transaction, "row", "rox").size(), (step - 1) % 50);
    }
    transaction.Put("counter", std::to_string(10000 + step));
    if (step % 50 == 0) {
      for (uint64_t row = 1; row < 50; ++row) transaction.Delete("row" + std::to_string(row));
    } else {
      transaction.Put("row" + std::to_string(step % 50), "");
    }
    const WriteSet set = transaction.Take();
    {
      std::lock_guard lock(mutex);
      queue.push_back(Record(step, set));
    }
    database_->AddProposed(JournalIndex(step), set);  // may already be applied
  }
  done = true;
  applying.join();
  reading.join();
  EXPECT_EQ(database_->newest_proposed(), JournalIndex(0));
  EXPECT_EQ(ScanAll(database_->proposed()), ScanAll(database_->committed()));
}

TEST_F(DatabaseTest, ADatabaseThatIsOpenElsewhereIsBusy) {
  Result<std::unique_ptr<Database>> second = TryOpen(folder_.path());
  EXPECT_EQ(second.code(), StatusCode::kBusy);
  EXPECT_NE(second.status().message().find(folder_.path()), std::string::npos);
  EXPECT_TRUE(ApplyOne(*database_, 1, Put("a", "1")).ok());
}

TEST_F(DatabaseTest, ANewerFormatIsRefusedAndNothingIsChanged) {
  database_.reset();
  const std::string format = folder_.path() + "/format";
  ASSERT_TRUE(WriteFileAtomically(RealDisk(), format, "tercet-state 2\n").ok());
  auto names = [&] {
    std::vector<std::string> list = RealDisk().List(folder_.path()).value();
    std::sort(list.begin(), list.end());
    return list;
  };
  const std::vector<std::string> before = names();
  Status status = TryOpen(folder_.path()).status();
  EXPECT_EQ(status.code(), StatusCode::kVersionTooNew);
  EXPECT_NE(status.message().find("newer"), std::string::npos);
  EXPECT_EQ(names(), before);
  for (const char* text :
       {"", "tercet-state", "tercet-state x\n", "tercet-state 0\n", "else 1\n"}) {
    ASSERT_TRUE(WriteFileAtomically(RealDisk(), format, text).ok());
    EXPECT_EQ(TryOpen(folder_.path()).code(), StatusCode::kCorruption) << text;
  }
  ASSERT_TRUE(RealDisk().Remove(format).ok());
  EXPECT_EQ(TryOpen(folder_.path()).code(), StatusCode::kCorruption);
}

TEST_F(DatabaseTest, AFolderThatCannotBeMadeIsAnError) {
  const std::string file = folder_.path() + "/a-file";
  std::ofstream(file) << "x";
  EXPECT_FALSE(TryOpen(file + "/state").ok());
}

}  // namespace
}  // namespace tercet
