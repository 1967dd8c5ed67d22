// States made of rows from elsewhere: over cuts, changes of the source and crashes they end as the
// state that the records say.
#include "metaserver/namespace/state_builder.h"

#include <algorithm>

#include "common/env/random.h"
#include "common/env/sim_disk.h"
#include "tests/metaserver/namespace/state_test_util.h"
#include "tests/metaserver/ops/map_view.h"

namespace tercet {
namespace {

constexpr char kPath[] = "/state.next";

DatabaseOptions SimOptions(SimDisk& disk, const std::string& path = kPath) {
  DatabaseOptions options;
  options.path = path;
  options.disk = &disk;
  options.write_buffer_bytes = 64 << 10;
  options.block_cache_bytes = 256 << 10;
  return options;
}

StateBase SomeBase(uint64_t index) {
  StateBase base;
  base.cluster_id = "CLUSTER-CLUSTER-";
  base.group_id = 7;
  base.index = JournalIndex(index);
  base.epoch = Epoch(1);
  base.membership.members = {{MemberId(1), MemberKind::kMetaserver, true, "a:1"}};
  base.membership.next_id = MemberId(2);
  base.membership_index = JournalIndex(3);
  return base;
}

std::unique_ptr<StateBuilder> MustOpenBuilder(SimDisk& disk) {
  Result<std::unique_ptr<StateBuilder>> builder = StateBuilder::Open(SimOptions(disk));
  EXPECT_TRUE(builder.ok()) << builder.status().ToString();
  return builder.ok() ? std::move(builder).value() : nullptr;
}

std::string RowsOf(const Rows& rows) {
  std::string out;
  for (const auto& [key, value] : rows) AppendStateRow(&out, key, value);
  return out;
}

WriteSet Step(uint64_t seed, uint64_t index) {
  SeededRandom random(seed * 1'000'003 + index);
  WriteSet set;
  for (uint64_t entries = 1 + random.Below(5); entries > 0; --entries) {
    std::string key = "row" + std::to_string(random.Below(60));
    if (random.Below(3) == 0) {
      set.entries.push_back({key, std::nullopt});
    } else {
      set.entries.push_back({key, std::to_string(index) + std::string(random.Below(300), 'v')});
    }
  }
  return set;
}

class StateBuilderTest : public testing::Test {
 protected:
  SimDisk disk_;
  SeededRandom random_{1};
};

TEST_F(StateBuilderTest, RowsBecomeAState) {
  auto builder = MustOpenBuilder(disk_);
  EXPECT_FALSE(builder->begun());
  EXPECT_EQ(builder->Put(RowsOf({{"a", "1"}}), "a").code(), StatusCode::kInternal);
  ASSERT_TRUE(builder->Begin(SomeBase(40)).ok());
  EXPECT_TRUE(builder->begun());
  EXPECT_EQ(builder->after_key(), "");
  ASSERT_TRUE(builder->Put(RowsOf({{"a", "1"}, {"b", ""}}), "b").ok());
  ASSERT_TRUE(builder->Put("", "").ok());
  ASSERT_TRUE(builder->Put(RowsOf({{"c", "3"}}), "c").ok());
  EXPECT_EQ(builder->row_count(), 3u);
  EXPECT_EQ(builder->after_key(), "c");
  ASSERT_TRUE(builder->Finish().ok());
  EXPECT_FALSE(builder->Put(RowsOf({{"d", "4"}}), "d").ok());

  auto database = Database::Open(SimOptions(disk_)).value();
  EXPECT_EQ(database->applied_index(), JournalIndex(40));
  EXPECT_EQ(database->applied_epoch(), Epoch(1));
  EXPECT_EQ(database->consistent_from(), JournalIndex(40));
  EXPECT_EQ(ScanAll(database->committed()), (Rows{{"a", "1"}, {"b", ""}, {"c", "3"}}));
  ASSERT_TRUE(ApplyOne(*database, 41, Put("d", "4")).ok());
}

TEST_F(StateBuilderTest, AFolderThatIsNotFinishedIsNoState) {
  {
    auto builder = MustOpenBuilder(disk_);
    EXPECT_EQ(Database::Open(SimOptions(disk_)).code(), StatusCode::kFailedPrecondition);
    ASSERT_TRUE(builder->Begin(SomeBase(40)).ok());
    ASSERT_TRUE(builder->Put(RowsOf({{"a", "1"}}), "a").ok());
  }
  EXPECT_EQ(Database::Open(SimOptions(disk_)).code(), StatusCode::kFailedPrecondition);
  auto builder = MustOpenBuilder(disk_);
  EXPECT_TRUE(builder->begun());
  EXPECT_EQ(builder->after_key(), "a");
  EXPECT_EQ(builder->row_count(), 1u);
}

TEST_F(StateBuilderTest, AFinishedFolderTellsItsBaseAndTakesNothing) {
  {
    auto builder = MustOpenBuilder(disk_);
    ASSERT_TRUE(builder->Begin(SomeBase(40)).ok());
    ASSERT_TRUE(builder->GoOn(JournalIndex(55)).ok());
    ASSERT_TRUE(builder->Finish().ok());
  }
  disk_.Crash(random_);
  auto builder = MustOpenBuilder(disk_);
  ASSERT_NE(builder, nullptr);
  EXPECT_TRUE(builder->finished());
  const StateBase& base = builder->base();
  EXPECT_EQ(base.cluster_id, SomeBase(40).cluster_id);
  EXPECT_EQ(base.group_id, 7u);
  EXPECT_EQ(base.index, JournalIndex(40));
  EXPECT_EQ(base.epoch, Epoch(1));
  EXPECT_EQ(base.consistent_from, JournalIndex(55));
  EXPECT_EQ(base.membership, SomeBase(40).membership);
  EXPECT_EQ(base.membership_index, JournalIndex(3));
  EXPECT_FALSE(builder->Begin(SomeBase(60)).ok());
  EXPECT_FALSE(builder->Put(RowsOf({{"a", "1"}}), "a").ok());
}

TEST_F(StateBuilderTest, AStateThatWasNotFetchedIsLeftAlone) {
  { auto database = Database::Open(SimOptions(disk_)).value(); }
  EXPECT_EQ(StateBuilder::Open(SimOptions(disk_)).code(), StatusCode::kFailedPrecondition);
}

TEST_F(StateBuilderTest, RowsOutOfOrderOrMalformedAreRefusedWhole) {
  auto builder = MustOpenBuilder(disk_);
  ASSERT_TRUE(builder->Begin(SomeBase(40)).ok());
  ASSERT_TRUE(builder->Put(RowsOf({{"m", "1"}}), "m").ok());
  const auto expect_refused = [&](const std::string& rows, const std::string& last_key) {
    EXPECT_EQ(builder->Put(rows, last_key).code(), StatusCode::kCorruption);
    EXPECT_EQ(builder->after_key(), "m");
    EXPECT_EQ(builder->row_count(), 1u);
  };
  expect_refused(RowsOf({{"m", "2"}}), "m");
  expect_refused(RowsOf({{"a", "2"}}), "a");
  expect_refused(RowsOf({{"o", "2"}}) + RowsOf({{"n", "2"}}), "n");
  expect_refused(RowsOf({{"n", "2"}}), "o");
  expect_refused("", "n");
  expect_refused(RowsOf({{std::string("\0applied", 8), "2"}}), std::string("\0applied", 8));
  expect_refused(RowsOf({{"", "2"}}), "");
  const std::string rows = RowsOf({{"n", "2"}, {"o", "3"}});
  for (size_t size = 1; size < rows.size(); ++size) {
    if (size == RowsOf({{"n", "2"}}).size()) continue;
    expect_refused(rows.substr(0, size), "o");
  }
  EXPECT_TRUE(builder->Put(rows, "o").ok());
}

TEST_F(StateBuilderTest, OnlyLaterSnapshotsMayFollow) {
  auto builder = MustOpenBuilder(disk_);
  ASSERT_TRUE(builder->Begin(SomeBase(40)).ok());
  EXPECT_EQ(builder->GoOn(JournalIndex(39)).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(builder->GoOn(JournalIndex(60)).ok());
  EXPECT_TRUE(builder->GoOn(JournalIndex(50)).ok());
  EXPECT_EQ(builder->base().consistent_from, JournalIndex(60));
}

TEST_F(StateBuilderTest, AFailedWriteEndsIt) {
  auto builder = MustOpenBuilder(disk_);
  ASSERT_TRUE(builder->Begin(SomeBase(40)).ok());
  disk_.FailSync(1);
  EXPECT_FALSE(builder->GoOn(JournalIndex(41)).ok());
  EXPECT_FALSE(builder->Put(RowsOf({{"a", "1"}}), "a").ok());
  EXPECT_FALSE(builder->Finish().ok());
}

// All of a fetch, with whatever may happen to it. The journal is what Step gives.
class Fetch {
 public:
  explicit Fetch(uint64_t seed) : seed_(seed), random_(seed) { newest_ = 1 + random_.Below(40); }

  void Run() {
    for (int life = 0; !finished_; ++life) {
      ASSERT_LT(life, 1000);
      if (random_.Below(3) > 0) disk_.CutPowerAfter(random_.Below(60));
      Live();
      if (testing::Test::HasFatalFailure()) return;
      disk_.Crash(random_);
    }
    CheckState();
  }

 private:
  MapView StateAt(uint64_t index) const {
    MapView view;
    for (uint64_t i = 1; i <= index; ++i) view.Apply(Step(seed_, i));
    return view;
  }

  // A process that fetches until it is done or the power goes.
  void Live() {
    Result<std::unique_ptr<StateBuilder>> opened = StateBuilder::Open(SimOptions(disk_));
    if (!opened.ok()) {
      ASSERT_EQ(opened.code(), StatusCode::kIo) << opened.status().ToString();
      return;
    }
    StateBuilder& builder = **opened;
    finished_ = builder.finished();
    while (!finished_) {
      // A server: it has records that the newest may lack, but none is behind the base.
      uint64_t snapshot = 1 + random_.Below(newest_);
      ASSERT_TRUE(!begun_durably_ || builder.begun());
      if (builder.begun() && !begun_durably_) {  // a Begin that failed has come through
        begun_durably_ = true;
        base_ = builder.base().index.value();
      }
      if (builder.begun()) {
        snapshot = std::max(snapshot, builder.base().index.value());
        if (!builder.GoOn(JournalIndex(snapshot)).ok()) return;
      } else {
        if (!builder.Begin(SomeBase(snapshot)).ok()) return;
        begun_durably_ = true;
        base_ = snapshot;
      }
      ASSERT_TRUE(!begun_durably_ || builder.base().index.value() == base_);
      if (!ReadSome(builder, StateAt(snapshot))) return;
      newest_ += random_.Below(20);
    }
  }

  // From one server, until it is cut or all is read; false when the disk failed.
  bool ReadSome(StateBuilder& builder, const MapView& view) {
    for (uint64_t calls = 1 + random_.Below(4); calls > 0; --calls) {
      const Result<StateRows> rows = ReadStateRows(view, builder.after_key(), random_.Below(700));
      EXPECT_TRUE(rows.ok());
      if (!builder.Put(rows->rows, rows->last_key).ok()) return false;
      newest_ += random_.Below(4);
      if (!rows->end) continue;
      consistent_from_ = builder.base().consistent_from.value();
      finished_ = builder.Finish().ok();
      return finished_;
    }
    return true;
  }

  void CheckState() {
    Result<std::unique_ptr<Database>> opened = Database::Open(SimOptions(disk_));
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    Database& database = **opened;
    const uint64_t base = database.applied_index().value();
    EXPECT_EQ(base, base_);
    ASSERT_EQ(database.consistent_from().value(), consistent_from_);
    for (uint64_t index = base + 1; index <= consistent_from_; ++index) {
      ASSERT_TRUE(ApplyOne(database, index, Step(seed_, index)).ok());
    }
    const MapView expected = StateAt(consistent_from_);
    ASSERT_EQ(ScanAll(database.committed()), Rows(expected.rows.begin(), expected.rows.end()));
    mixed = consistent_from_ > base;
  }

 public:
  bool mixed = false;

 private:
  const uint64_t seed_;
  SimDisk disk_;
  SeededRandom random_;
  uint64_t newest_ = 0;  // record of the group
  uint64_t base_ = 0;
  bool begun_durably_ = false;
  bool finished_ = false;
  uint64_t consistent_from_ = 0;
};

TEST(StateFetchTest, CutsCrashesAndOtherServersEndInTheStateOfTheRecords) {
  int mixed = 0;
  for (uint64_t seed = 1; seed <= 250; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Fetch fetch(seed);
    fetch.Run();
    if (testing::Test::HasFailure()) return;
    mixed += fetch.mixed ? 1 : 0;
  }
  EXPECT_GT(mixed, 100) << "too few fetches had several snapshots to prove anything";
}

// The records in between are needed: without them such a state is of no moment.
TEST(StateFetchTest, WithoutTheRecordsAMixedStateIsOfNoMoment) {
  SimDisk disk;
  MapView early;
  early.rows = {{"a", "1"}, {"b", "1"}};
  MapView late;
  late.rows = {{"a", "2"}, {"b", "2"}};
  auto builder = StateBuilder::Open(SimOptions(disk)).value();
  ASSERT_TRUE(builder->Begin(SomeBase(1)).ok());
  const StateRows first = ReadStateRows(early, "", 0).value();
  ASSERT_EQ(first.last_key, "a");
  ASSERT_TRUE(builder->Put(first.rows, first.last_key).ok());
  ASSERT_TRUE(builder->GoOn(JournalIndex(2)).ok());
  const StateRows second = ReadStateRows(late, "a", 0).value();
  ASSERT_TRUE(builder->Put(second.rows, second.last_key).ok());
  ASSERT_TRUE(builder->Finish().ok());
  auto database = Database::Open(SimOptions(disk)).value();
  EXPECT_EQ(ScanAll(database->committed()), (Rows{{"a", "1"}, {"b", "2"}}));
  EXPECT_LT(database->applied_index(), database->consistent_from());
  ASSERT_TRUE(ApplyOne(*database, 2, Put("a", "2")).ok());
  EXPECT_EQ(database->applied_index(), database->consistent_from());
}

TEST(StateRowsTest, PagesHoldAllRowsOnceAndNotTheDatabasesOwn) {
  SimDisk disk;
  auto database = Database::Open(SimOptions(disk)).value();
  Rows rows;
  for (uint64_t index = 1; index <= 300; ++index) {
    const std::string key = "k" + std::to_string(index * 7919 % 1000) + std::string(1, '\0');
    rows[key] = std::string(index % 50, 'v');
    ASSERT_TRUE(ApplyOne(*database, index, Put(key, rows[key])).ok());
  }
  for (size_t max_bytes : {0, 1, 100, 5000, 1 << 20}) {
    Rows read;
    std::string after;
    for (bool end = false; !end;) {
      const StateRows page = ReadStateRows(database->committed(), after, max_bytes).value();
      size_t in_page = 0;
      ASSERT_TRUE(VisitStateRows(page.rows, [&](std::string_view key, std::string_view value) {
                    EXPECT_TRUE(read.emplace(key, value).second);
                    ++in_page;
                    return Status::Ok();
                  }).ok());
      EXPECT_GE(in_page, 1u);
      EXPECT_LT(page.rows.size(), max_bytes + 200);
      after = page.last_key;
      end = page.end;
    }
    EXPECT_EQ(read, rows);
  }
  const StateRows behind = ReadStateRows(database->committed(), rows.rbegin()->first, 100).value();
  EXPECT_TRUE(behind.end);
  EXPECT_EQ(behind.rows, "");
  EXPECT_EQ(behind.last_key, "");
}

TEST(MembershipRecordTest, OnlyTheAppliedIndexMoves) {
  SimDisk disk;
  auto database = Database::Open(SimOptions(disk)).value();
  ASSERT_TRUE(ApplyOne(*database, 1, Put("a", "1")).ok());
  CommittedRecord membership{JournalIndex(2), Epoch(4), "no write set", RecordKind::kMembership};
  ASSERT_TRUE(database->Apply({&membership, 1}).ok());
  EXPECT_EQ(database->applied_index(), JournalIndex(2));
  EXPECT_EQ(database->applied_epoch(), Epoch(4));
  EXPECT_EQ(ScanAll(database->committed()), (Rows{{"a", "1"}}));
  EXPECT_EQ(database->consistent_from(), JournalIndex(0));
  database.reset();
  database = Database::Open(SimOptions(disk)).value();
  EXPECT_EQ(database->applied_index(), JournalIndex(2));
}

}  // namespace
}  // namespace tercet
