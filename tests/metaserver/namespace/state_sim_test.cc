// The state database on the simulated disk: what survives a power cut at any change is a prefix of
// the applied batches, at least up to the last SyncApplied; and nothing waits for another thread.
#include "common/env/random.h"
#include "common/env/sim_disk.h"
#include "tests/metaserver/namespace/state_test_util.h"

namespace tercet {
namespace {

constexpr char kStatePath[] = "/state";

DatabaseOptions SimOptions(SimDisk& disk) {
  DatabaseOptions options;
  options.path = kStatePath;
  options.disk = &disk;
  options.write_buffer_bytes = 64 << 10;  // LevelDB's least: logs and tables change often
  options.block_cache_bytes = 256 << 10;
  return options;
}

// The same for the same seed and index, as a journal would give it again.
WriteSet Step(uint64_t seed, uint64_t index) {
  SeededRandom random(seed * 1'000'003 + index);
  WriteSet set;
  for (uint64_t entries = 1 + random.Below(4); entries > 0; --entries) {
    std::string key = "row" + std::to_string(random.Below(200));
    if (random.Below(4) == 0) {
      set.entries.push_back({key, std::nullopt});
    } else {
      set.entries.push_back({key, random.Bytes(random.Below(6000))});
    }
  }
  return set;
}

void ApplyTo(Rows* rows, const WriteSet& set) {
  for (const WriteSetEntry& entry : set.entries) {
    if (entry.value) {
      (*rows)[entry.key] = *entry.value;
    } else {
      rows->erase(entry.key);
    }
  }
}

// One life: records from where the state is; false when the disk failed.
bool Live(Database& database, uint64_t seed, Random& random, uint64_t* synced, uint64_t* last) {
  for (uint64_t steps = random.Below(120); steps > 0; --steps) {
    if (random.Below(8) == 0) {
      Result<JournalIndex> index = database.SyncApplied();
      if (!index.ok()) return false;
      *synced = std::max(*synced, index->value());
      continue;
    }
    std::vector<CommittedRecord> records;
    const uint64_t applied = database.applied_index().value();
    for (uint64_t i = 1 + random.Below(3); i > 0; --i) {
      const uint64_t index = applied + records.size() + 1;
      records.push_back(Record(index, Step(seed, index)));
    }
    *last = std::max(*last, records.back().index.value());
    if (!database.Apply(records).ok()) return false;
  }
  return true;
}

void RunLives(uint64_t seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  SimDisk disk;
  SeededRandom random(seed);
  Rows model;
  uint64_t model_index = 0;
  uint64_t synced = 0;
  uint64_t last = 0;
  for (int life = 0; life < 8; ++life) {
    const bool faulty = life < 7;
    const bool power_cut = random.Below(4) > 0;
    if (faulty && power_cut) disk.CutPowerAfter(1 + random.Below(150));
    if (faulty && random.Below(6) == 0) disk.FailSync(1 + random.Below(20));
    Result<std::unique_ptr<Database>> database = Database::Open(SimOptions(disk));
    if (database.ok()) {
      const uint64_t applied = (*database)->applied_index().value();
      ASSERT_GE(applied, synced);
      ASSERT_LE(applied, last);
      if (applied < model_index) {
        model.clear();
        model_index = 0;
      }
      while (model_index < applied) ApplyTo(&model, Step(seed, ++model_index));
      Status scanned =
          (*database)->committed().Scan("\x01", "\xff", [](auto, auto) { return true; });
      if (scanned.ok()) {  // else the power went meanwhile
        ASSERT_EQ(ScanAll((*database)->committed()), model);
      }
      last = applied;
      Live(**database, seed, random, &synced, &last);
    } else {
      ASSERT_EQ(database.code(), StatusCode::kIo) << database.status().ToString();
      ASSERT_TRUE(faulty);
    }
    if (database.ok()) std::move(database).value().reset();
    power_cut || disk.power_is_cut() ? disk.Crash(random) : disk.KillProcess();
    disk.FailSync(0);
  }
}

TEST(StateSimTest, RandomLivesKeepAPrefixOfWhatWasApplied) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    RunLives(seed);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(StateSimTest, TheSameCallsMakeTheSameChanges) {
  uint64_t writes[2] = {};
  for (uint64_t& count : writes) {
    SimDisk disk;
    SeededRandom random(5);
    auto database = Database::Open(SimOptions(disk)).value();
    uint64_t synced = 0;
    uint64_t last = 0;
    for (int i = 0; i < 6; ++i) {
      ASSERT_TRUE(Live(*database, 5, random, &synced, &last));
    }
    database.reset();
    count = disk.write_count() * 1'000'000 + disk.sync_count();
  }
  EXPECT_EQ(writes[0], writes[1]);
}

// Levels are merged while records are applied, so the disk does not fill with dead rows.
TEST(StateSimTest, QueuedCompactionsKeepUp) {
  SimDisk disk;
  auto database = Database::Open(SimOptions(disk)).value();
  SeededRandom random(9);
  for (uint64_t index = 1; index <= 4000; ++index) {
    ASSERT_TRUE(ApplyOne(*database, index,
                         Put("row" + std::to_string(random.Below(30)), random.Bytes(2000)))
                    .ok());
  }
  uint64_t bytes = 0;
  const std::vector<std::string> names = disk.List(kStatePath).value();
  for (const std::string& name : names) {
    bytes += disk.Open(std::string(kStatePath) + "/" + name, OpenMode::kReadOnly)
                 .value()
                 ->Size()
                 .value();
  }
  EXPECT_LT(bytes, 2u << 20) << "of 8 MB that were written, 60 KB are alive";
}

TEST(StateSimTest, ASecondDatabaseInTheFolderIsRefused) {
  SimDisk disk;
  auto database = Database::Open(SimOptions(disk)).value();
  EXPECT_EQ(Database::Open(SimOptions(disk)).code(), StatusCode::kBusy);
  disk.KillProcess();
  EXPECT_TRUE(Database::Open(SimOptions(disk)).ok());
}

}  // namespace
}  // namespace tercet
