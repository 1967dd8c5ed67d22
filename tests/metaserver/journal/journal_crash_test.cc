// Power cuts and killed processes at random and at every point: what was synced is there, what was
// not is there up to some record and no further, and nothing else is.
#include <algorithm>
#include <optional>

#include "tests/metaserver/journal/journal_test_util.h"

namespace tercet {
namespace {

struct ModelRecord {
  Epoch epoch;
  std::string payload;
};

// What the journal may hold. A life is from an Open to a crash.
class Model {
 public:
  uint64_t synced() const { return synced_; }
  uint64_t last() const { return records_.size(); }
  uint64_t released() const { return released_; }

  void Append(Epoch epoch, std::string payload) { records_.push_back({epoch, std::move(payload)}); }
  void Synced() { synced_ = records_.size(); }
  void Releasing(uint64_t before) { released_ = std::max(released_, before); }
  void Truncating(uint64_t after) { truncating_ = after; }
  void Truncated() {
    records_.resize(*truncating_);
    synced_ = *truncating_;
    truncating_.reset();
  }

  // Compares with what came back, and goes on from that.
  void Check(const Journal& journal) {
    JournalRange range = journal.range();
    ASSERT_EQ(range.durable, range.last);
    ASSERT_LE(range.first.value(), std::max<uint64_t>(released_, 1));
    uint64_t last = range.last.value();
    if (!(truncating_ && last == *truncating_)) {
      ASSERT_GE(last, synced_);
      ASSERT_LE(last, records_.size());
    }
    std::vector<CommittedRecord> records = ReadAll(journal, 4000);
    ASSERT_EQ(records.size(), last + 1 - range.first.value());
    for (const CommittedRecord& record : records) {
      const ModelRecord& expected = records_[record.index.value() - 1];
      ASSERT_EQ(record.payload, expected.payload) << "record " << record.index;
      ASSERT_EQ(record.epoch, expected.epoch) << "record " << record.index;
    }
    if (last > 0) {
      ASSERT_EQ(range.last_epoch, records_[last - 1].epoch);
    }
    records_.resize(last);
    synced_ = last;
    truncating_.reset();
  }

 private:
  std::vector<ModelRecord> records_;
  uint64_t synced_ = 0;
  uint64_t released_ = 0;  // records below may be gone
  std::optional<uint64_t> truncating_;
};

// One random step; false when the disk failed, which ends the life.
bool Step(Journal& journal, Model& model, Random& random, Epoch epoch) {
  const uint64_t kind = random.Below(100);
  if (kind < 55) {
    std::string payload(random.Below(kind < 5 ? 9000 : 700), 'a' + random.Below(26));
    Result<JournalIndex> index = journal.Append(epoch, payload);
    if (index.code() == StatusCode::kNoSpace) return journal.PrepareSpare().ok();
    if (!index.ok()) return false;
    EXPECT_EQ(index->value(), model.last() + 1);
    model.Append(epoch, std::move(payload));
  } else if (kind < 85) {
    if (!journal.Sync().ok()) return false;
    model.Synced();
  } else if (kind < 90) {
    return journal.PrepareSpare().ok();
  } else if (kind < 96) {
    const uint64_t before = random.Below(model.synced() + 2);
    model.Releasing(before);
    return journal.ReleaseBefore(JournalIndex(before)).ok();
  } else {
    if (model.synced() != model.last()) return true;
    const uint64_t lowest = journal.range().first.value() - 1;
    const uint64_t after = lowest + random.Below(model.last() - lowest + 1);
    model.Truncating(after);
    Status status = journal.TruncateAfter(JournalIndex(after));
    if (status.code() == StatusCode::kNoSpace) return journal.PrepareSpare().ok();
    if (!status.ok()) return false;
    model.Truncated();
  }
  return true;
}

void RunLives(uint64_t seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  SimDisk disk;
  SeededRandom random(seed);
  Model model;
  for (int life = 0; life < 12; ++life) {
    const bool power_cut = random.Below(3) > 0;
    if (power_cut) disk.CutPowerAfter(1 + random.Below(120));
    if (random.Below(6) == 0) disk.FailSync(1 + random.Below(40));
    Result<std::unique_ptr<Journal>> journal = Journal::Open(disk, random, SmallJournal());
    if (journal.ok()) {
      model.Check(**journal);
      if (testing::Test::HasFatalFailure()) return;
      const Epoch epoch = (*journal)->range().last_epoch.Next();
      const uint64_t steps = random.Below(150);
      for (uint64_t i = 0; i < steps && Step(**journal, model, random, epoch); ++i) {
      }
      std::move(journal).value().reset();
    } else {
      // Only the faults of this test may keep it from opening.
      ASSERT_EQ(journal.code(), StatusCode::kIo) << journal.status().ToString();
    }
    power_cut ? disk.Crash(random) : disk.KillProcess();
    disk.FailSync(0);
  }
  Result<std::unique_ptr<Journal>> journal = Journal::Open(disk, random, SmallJournal());
  ASSERT_TRUE(journal.ok()) << journal.status().ToString();
  model.Check(**journal);
}

TEST(JournalCrashTest, RandomLivesKeepWhatWasSynced) {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    RunLives(seed);
    if (HasFatalFailure()) return;
  }
}

// A fixed story that makes, rolls, truncates, releases and recycles segments, cut at each of its
// changes.
bool Story(Journal& journal, Model& model) {
  const Epoch epoch = journal.range().last_epoch.Next();
  for (int i = 0; i < 40; ++i) {
    std::string payload(1500, 'a' + i % 26);
    Result<JournalIndex> index = journal.Append(epoch, payload);
    if (index.code() == StatusCode::kNoSpace) {
      if (!journal.PrepareSpare().ok()) return false;
      index = journal.Append(epoch, payload);
    }
    if (!index.ok()) return false;
    model.Append(epoch, std::move(payload));
    if (i % 3 == 2) {
      if (!journal.Sync().ok()) return false;
      model.Synced();
    }
    if (i == 20) {
      model.Truncating(15);
      if (!journal.Sync().ok() || !journal.PrepareSpare().ok()) return false;
      if (!journal.TruncateAfter(JournalIndex(15)).ok()) return false;
      model.Truncated();
    }
    if (i == 30) {
      model.Releasing(19);
      if (!journal.ReleaseBefore(JournalIndex(19)).ok()) return false;
    }
  }
  return true;
}

TEST(JournalCrashTest, APowerCutAtEveryPointOfAStoryIsSurvived) {
  bool finished = false;
  uint64_t cut = 1;
  for (; !finished; ++cut) {
    SCOPED_TRACE("power cut after change " + std::to_string(cut));
    SimDisk disk;
    SeededRandom random(cut);
    Model model;
    disk.CutPowerAfter(cut);
    Result<std::unique_ptr<Journal>> journal = Journal::Open(disk, random, SmallJournal());
    if (journal.ok()) finished = Story(**journal, model);
    if (journal.ok()) std::move(journal).value().reset();
    disk.Crash(random);
    // A second cut while it recovers.
    disk.CutPowerAfter(1 + cut % 5);
    (void)Journal::Open(disk, random, SmallJournal()).ok();
    disk.Crash(random);
    Result<std::unique_ptr<Journal>> again = Journal::Open(disk, random, SmallJournal());
    ASSERT_TRUE(again.ok()) << again.status().ToString();
    model.Check(**again);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(cut, 60u);
}

}  // namespace
}  // namespace tercet
