// The checkers of the simulator must see what is wrong: a checker that accepts everything proves
// nothing.
#include <gtest/gtest.h>

#include "tests/sim/checker.h"
#include "tests/sim/history.h"
#include "tests/sim/simulation.h"

namespace tercet::sim {
namespace {

constexpr uint32_t kFirstList = 100;

struct HistoryTest : testing::Test {
  HistoryEntry& Add(CallKind kind, SimTime began, SimTime answered, uint64_t version,
                    std::string value, uint32_t row = 1) {
    HistoryEntry entry;
    entry.call.kind = kind;
    entry.call.row = row;
    entry.began = began;
    entry.answered = answered;
    entry.version = version;
    if (kind == CallKind::kRead) {
      entry.value = std::move(value);
    } else {
      entry.call.value = std::move(value);
      entry.call.sequence = ++sequence;
      if (version > 0) entry.call.expected_version = version - 1;
    }
    history.push_back(entry);
    return history.back();
  }
  std::string Check() const { return CheckHistory(history, kFirstList); }

  std::vector<HistoryEntry> history;
  uint64_t sequence = 0;
};

TEST_F(HistoryTest, AcceptsCallsThatOverlap) {
  Add(CallKind::kWrite, 0, 100, 1, "a");
  Add(CallKind::kRead, 10, 20, 0, "");
  Add(CallKind::kRead, 30, 40, 1, "a");
  Add(CallKind::kWrite, 50, 150, 2, "b");
  Add(CallKind::kRead, 60, 70, 1, "a");
  Add(CallKind::kRead, 200, 210, 2, "b");
  EXPECT_EQ(Check(), "");
}

TEST_F(HistoryTest, FindsAStaleRead) {
  Add(CallKind::kWrite, 0, 10, 1, "a");
  Add(CallKind::kWrite, 20, 30, 2, "b");
  Add(CallKind::kRead, 40, 50, 1, "a");
  EXPECT_NE(Check().find("a stale answer"), std::string::npos);
}

TEST_F(HistoryTest, FindsReadsThatGoBack) {
  Add(CallKind::kWrite, 0, 100, 1, "a");
  Add(CallKind::kRead, 10, 20, 1, "a");
  Add(CallKind::kRead, 30, 40, 0, "");
  EXPECT_NE(Check().find("a stale answer"), std::string::npos);
}

TEST_F(HistoryTest, FindsAReadOfWhatIsYetToBeWritten) {
  Add(CallKind::kRead, 0, 10, 1, "a");
  Add(CallKind::kWrite, 20, 30, 1, "a");
  EXPECT_NE(Check(), "");
}

TEST_F(HistoryTest, FindsTwoChangesThatBuildOnTheSameVersion) {
  Add(CallKind::kCompareAndSet, 0, 100, 1, "a");
  Add(CallKind::kCompareAndSet, 0, 100, 1, "b");
  EXPECT_NE(Check().find("both made version 1"), std::string::npos);
}

TEST_F(HistoryTest, FindsALostWrite) {
  Add(CallKind::kWrite, 0, 10, 1, "a");
  Add(CallKind::kWrite, 20, 30, 1, "b");
  EXPECT_NE(Check(), "");
}

TEST_F(HistoryTest, FindsATokenThatWasAppendedTwice) {
  Add(CallKind::kAppend, 0, 10, 1, "token--1", kFirstList);
  Add(CallKind::kAppend, 0, 10, 2, "token--2", kFirstList);
  Add(CallKind::kRead, 20, 30, 3, "token--1token--2token--1", kFirstList);
  EXPECT_NE(Check(), "");
}

TEST_F(HistoryTest, LetsAnUnansweredWriteHaveItsEffectLater) {
  Add(CallKind::kWrite, 0, HistoryEntry::kNever, 0, "a");
  Add(CallKind::kRead, 10, 20, 0, "");
  Add(CallKind::kRead, 30, 40, 1, "a");
  EXPECT_EQ(Check(), "");
}

TEST_F(HistoryTest, FindsAnUnansweredWriteThatCameBeforeItBegan) {
  Add(CallKind::kWrite, 0, 5, 2, "b");
  Add(CallKind::kWrite, 10, HistoryEntry::kNever, 0, "a");
  Add(CallKind::kRead, 20, 30, 1, "a");
  EXPECT_NE(Check(), "");
}

TEST_F(HistoryTest, FindsACompareAndSetThatIgnoredTheVersion) {
  Add(CallKind::kWrite, 0, 10, 1, "a");
  Add(CallKind::kCompareAndSet, 20, 30, 2, "b").call.expected_version = 0;
  EXPECT_NE(Check().find("another version"), std::string::npos);
}

TEST_F(HistoryTest, FindsTheEffectOfWhatWasRefused) {
  Add(CallKind::kWriteIfOdd, 0, 10, 0, "a").done = false;
  history.back().version = 6;
  Add(CallKind::kRead, 20, 30, 8, "a");
  EXPECT_NE(Check().find("was not applied"), std::string::npos);
}

struct CheckerTest : testing::Test {
  static CommittedRecord Record(uint64_t index, uint64_t epoch, const std::string& payload) {
    return {JournalIndex(index), Epoch(epoch), payload};
  }

  EventQueue queue;
  Trace trace{queue, Trace::Mode::kOff};
  Checker checker{trace};
};

TEST_F(CheckerTest, FindsTwoLeadersOfAnEpoch) {
  auto log = [](JournalIndex) { return static_cast<const LogEntry*>(nullptr); };
  checker.NoteLeader(1, Epoch(3), JournalIndex(0), log);
  checker.NoteLeader(1, Epoch(3), JournalIndex(0), log);
  EXPECT_EQ(checker.failure(), "");
  checker.NoteLeader(2, Epoch(3), JournalIndex(0), log);
  EXPECT_NE(checker.failure().find("election safety"), std::string::npos);
}

TEST_F(CheckerTest, FindsLogsThatDoNotMatch) {
  checker.NoteAppended(1, Record(5, 2, "a"), Epoch(1));
  checker.NoteAppended(2, Record(5, 2, "a"), Epoch(1));
  EXPECT_EQ(checker.failure(), "");
  checker.NoteAppended(3, Record(5, 2, "b"), Epoch(1));
  EXPECT_NE(checker.failure().find("log matching"), std::string::npos);
}

TEST_F(CheckerTest, FindsALeaderWithoutACommittedRecord) {
  const CommittedRecord record = Record(1, 1, WriteSet{"", {{"k", "v"}}}.Encode());
  checker.NoteCommitted(1, Epoch(1), record.index, LogEntry::Of(record), [&] { return record; });
  // Of an earlier epoch: it need not have it.
  checker.NoteLeader(2, Epoch(1), JournalIndex(0),
                     [](JournalIndex) { return static_cast<const LogEntry*>(nullptr); });
  EXPECT_EQ(checker.failure(), "");
  checker.NoteLeader(3, Epoch(2), JournalIndex(0),
                     [](JournalIndex) { return static_cast<const LogEntry*>(nullptr); });
  EXPECT_NE(checker.failure().find("leader completeness"), std::string::npos);
}

TEST_F(CheckerTest, FindsACommittedRecordThatChanged) {
  const CommittedRecord record = Record(1, 1, WriteSet{"", {{"k", "v"}}}.Encode());
  const CommittedRecord other = Record(1, 2, record.payload);
  checker.NoteCommitted(1, Epoch(1), record.index, LogEntry::Of(record), [&] { return record; });
  checker.NoteCommitted(2, Epoch(2), other.index, LogEntry::Of(other), [&] { return other; });
  EXPECT_NE(checker.failure(), "");
}

TEST(SimulationTest, ASeedReplaysExactly) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Outcome first = Simulation(seed, Trace::Mode::kOff).Run();
    const Outcome second = Simulation(seed, Trace::Mode::kKeep).Run();
    EXPECT_EQ(first.failure, "") << first.scenario;
    EXPECT_EQ(first.hash, second.hash) << first.scenario;
    EXPECT_EQ(first.calls, second.calls);
  }
}

}  // namespace
}  // namespace tercet::sim
