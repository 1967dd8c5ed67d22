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
  RecordKind kind = RecordKind::kData;
};

Membership SomeMembership(uint64_t number) {
  Membership membership;
  membership.members = {{MemberId(1), MemberKind::kMetaserver, true, std::to_string(number)}};
  membership.next_id = MemberId(2);
  return membership;
}

// What the journal may hold. A life is from an Open to a crash.
class Model {
 public:
  uint64_t base() const { return base_; }
  uint64_t synced() const { return synced_; }
  uint64_t last() const { return base_ + records_.size(); }

  void Append(Epoch epoch, std::string payload, RecordKind kind = RecordKind::kData) {
    records_.push_back({epoch, std::move(payload), kind});
  }
  void Synced() { synced_ = last(); }
  void Releasing(uint64_t before) { released_ = std::max(released_, before); }
  void Truncating(uint64_t after) { truncating_ = after; }
  void Truncated() {
    CutTo(*truncating_);
    truncating_.reset();
  }
  void Resetting(uint64_t index, Epoch epoch) { resetting_ = {index, epoch}; }
  void Reset() {
    records_.clear();
    base_ = synced_ = released_ = resetting_->first;
    base_epoch_ = resetting_->second;
    resetting_.reset();
  }

  // Compares with what came back, and goes on from that.
  void Check(const Journal& journal) {
    const JournalRange range = journal.range();
    ASSERT_EQ(range.durable, range.last);
    const uint64_t last = range.last.value();
    if (resetting_ && range.first == range.last.Next() && last == resetting_->first &&
        range.last_epoch == resetting_->second) {
      Reset();
    }
    ASSERT_LE(range.first.value(), std::max<uint64_t>(released_, base_ + 1));
    if (!(truncating_ && last == *truncating_)) {
      ASSERT_GE(last, synced_);
      ASSERT_LE(last, this->last());
    }
    CheckRecords(journal, range);
    if (testing::Test::HasFatalFailure()) return;
    CutTo(last);
    truncating_.reset();
    resetting_.reset();
  }

 private:
  Epoch EpochOf(uint64_t index) const {
    return index == base_ ? base_epoch_ : records_[index - base_ - 1].epoch;
  }

  void CutTo(uint64_t index) {
    records_.resize(index - base_);
    synced_ = index;
  }

  void CheckRecords(const Journal& journal, const JournalRange& range) const {
    const std::vector<CommittedRecord> records = ReadAll(journal, 4000);
    ASSERT_EQ(records.size(), range.last.Next().value() - range.first.value());
    std::vector<std::pair<JournalIndex, Membership>> memberships;
    for (const CommittedRecord& record : records) {
      const ModelRecord& expected = records_[record.index.value() - base_ - 1];
      ASSERT_EQ(record.payload, expected.payload) << "record " << record.index;
      ASSERT_EQ(record.epoch, expected.epoch) << "record " << record.index;
      ASSERT_EQ(record.kind, expected.kind) << "record " << record.index;
      ASSERT_EQ(journal.EpochAt(record.index).value(), expected.epoch);
      if (record.kind != RecordKind::kMembership) continue;
      memberships.emplace_back(record.index, Membership::Decode(record.payload).value());
    }
    ASSERT_EQ(range.last_epoch, EpochOf(range.last.value()));
    const Result<LogSummary> summary = journal.Summary(Membership(), JournalIndex());
    ASSERT_TRUE(summary.ok()) << summary.status().ToString();
    ASSERT_EQ(summary->first, range.first);
    ASSERT_EQ(summary->last, range.last);
    ASSERT_EQ(summary->base_epoch, EpochOf(range.first.value() - 1));
    ASSERT_EQ(summary->memberships, memberships);
    CheckRuns(*summary);
  }

  void CheckRuns(const LogSummary& summary) const {
    ASSERT_EQ(summary.runs.empty(), summary.first > summary.last);
    size_t run = 0;
    for (JournalIndex index = summary.first; index <= summary.last; index = index.Next()) {
      if (run + 1 < summary.runs.size() && summary.runs[run + 1].first == index) ++run;
      ASSERT_LE(summary.runs[run].first, index);
      ASSERT_EQ(summary.runs[run].epoch, EpochOf(index.value()));
    }
    ASSERT_TRUE(summary.runs.empty() || run + 1 == summary.runs.size());
  }

  uint64_t base_ = 0;  // the index before records_[0]
  Epoch base_epoch_;
  std::vector<ModelRecord> records_;
  uint64_t synced_ = 0;
  uint64_t released_ = 0;  // records below may be gone
  std::optional<uint64_t> truncating_;
  std::optional<std::pair<uint64_t, Epoch>> resetting_;
};

bool AppendStep(Journal& journal, Model& model, Random& random, Epoch epoch, bool large) {
  std::string payload(random.Below(large ? 9000 : 700), 'a' + random.Below(26));
  RecordKind kind = RecordKind::kData;
  if (random.Below(8) == 0) {
    kind = RecordKind::kMembership;
    payload = SomeMembership(random.Next()).Encode();
  }
  Result<JournalIndex> index = journal.Append(epoch, payload, kind);
  if (index.code() == StatusCode::kNoSpace) return journal.PrepareSpare().ok();
  if (!index.ok()) return false;
  EXPECT_EQ(index->value(), model.last() + 1);
  model.Append(epoch, std::move(payload), kind);
  return true;
}

bool TruncateStep(Journal& journal, Model& model, Random& random) {
  if (model.synced() != model.last()) return true;
  const uint64_t lowest = journal.range().first.value() - 1;
  const uint64_t after = lowest + random.Below(model.last() - lowest + 1);
  model.Truncating(after);
  Status status = journal.TruncateAfter(JournalIndex(after));
  if (status.code() == StatusCode::kNoSpace) return journal.PrepareSpare().ok();
  if (!status.ok()) return false;
  model.Truncated();
  return true;
}

bool ResetStep(Journal& journal, Model& model, Random& random, Epoch epoch) {
  const uint64_t index = model.base() + random.Below(200);
  const Epoch base_epoch(1 + random.Below(epoch.value()));
  model.Resetting(index, base_epoch);
  if (!journal.ResetTo(JournalIndex(index), base_epoch).ok()) return false;
  model.Reset();
  return true;
}

// One random step; false when the disk failed, which ends the life.
bool Step(Journal& journal, Model& model, Random& random, Epoch epoch) {
  const uint64_t kind = random.Below(100);
  if (kind < 55) return AppendStep(journal, model, random, epoch, kind < 5);
  if (kind < 85) {
    if (!journal.Sync().ok()) return false;
    model.Synced();
    return true;
  }
  if (kind < 90) return journal.PrepareSpare().ok();
  if (kind < 95) {
    const uint64_t before = random.Below(model.synced() + 2);
    model.Releasing(before);
    return journal.ReleaseBefore(JournalIndex(before)).ok();
  }
  if (kind < 99) return TruncateStep(journal, model, random);
  return ResetStep(journal, model, random, epoch);
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
    if (i == 36) {
      model.Resetting(90, Epoch(1));
      if (!journal.ResetTo(JournalIndex(90), Epoch(1)).ok()) return false;
      model.Reset();
    }
  }
  return true;
}

// The process dies between giving a segment its name and syncing the folder; the next one appends
// to that segment, and then the power goes.
TEST(JournalCrashTest, ASegmentWhoseNameWasNotSyncedIsKeptOnceItWasOpened) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SeededRandom random(seed);
    SimDisk disk;
    std::unique_ptr<Journal> journal = MustOpen(disk, random);
    const std::string payload(3000, 'x');
    while (journal->Append(Epoch(1), payload).ok()) {
    }
    ASSERT_TRUE(journal->PrepareSpare().ok());
    ASSERT_TRUE(journal->Sync().ok());
    // The next record begins a segment: its header is synced, its folder is not.
    MustAppend(*journal, Epoch(1), payload);
    disk.FailSync(2);
    ASSERT_EQ(journal->Sync().code(), StatusCode::kIo);
    disk.KillProcess();
    journal = MustOpen(disk, random);
    const JournalIndex last = MustAppend(*journal, Epoch(1), payload);
    ASSERT_TRUE(journal->Sync().ok());
    disk.Crash(random);
    journal = MustOpen(disk, random);
    ASSERT_EQ(journal->range().last, last) << "seed " << seed;
  }
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
