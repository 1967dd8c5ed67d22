// What a crash may leave of LevelDB's write-ahead log: whatever it is, the database comes back as
// the records up to its applied index made it, or does not open.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/env/posix_disk.h"
#include "common/env/random.h"
#include "tests/metaserver/namespace/state_test_util.h"

namespace tercet {
namespace {

namespace fs = std::filesystem;

std::string Contents(const std::string& path) {
  std::stringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

void Replace(const std::string& path, const std::string& contents) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << contents;
}

WriteSet Step(uint64_t index) {
  WriteSet set;
  set.entries.push_back({"row" + std::to_string(index % 17), std::to_string(index)});
  set.entries.push_back(
      {"gone" + std::to_string((index + 3) % 5), std::string(index * 7 % 600, 'v')});
  set.entries.push_back({"gone" + std::to_string(index % 5), std::nullopt});
  return set;
}

Rows StateAfter(uint64_t records) {
  Rows rows;
  for (uint64_t index = 1; index <= records; ++index) {
    for (const WriteSetEntry& entry : Step(index).entries) {
      if (entry.value) {
        rows[entry.key] = *entry.value;
      } else {
        rows.erase(entry.key);
      }
    }
  }
  return rows;
}

constexpr uint64_t kRecords = 150;

class StateCrashTest : public testing::Test {
 protected:
  StateCrashTest() {
    const std::string live = folder_.path() + "/live";
    auto database = MustOpenDatabase(live);
    for (uint64_t index = 1; index <= kRecords; ++index) {
      EXPECT_TRUE(ApplyOne(*database, index, Step(index)).ok());
    }
    // As a killed process leaves it.
    fs::copy(live, crashed_, fs::copy_options::recursive);
    for (const auto& entry : fs::directory_iterator(crashed_)) {
      if (entry.path().extension() == ".log") log_ = entry.path().filename().string();
    }
    contents_ = Contents(crashed_ + "/" + log_);
    EXPECT_GT(contents_.size(), 32768u) << "the log should span two of LevelDB's blocks";
  }

  // Opens a copy of the crashed folder whose log is `log`; the number of records that came back.
  uint64_t RecordsIn(const std::string& log) {
    const std::string copy = folder_.path() + "/copy";
    fs::remove_all(copy);
    fs::copy(crashed_, copy, fs::copy_options::recursive);
    Replace(copy + "/" + log_, log);
    auto database = MustOpenDatabase(copy);
    if (database == nullptr) return UINT64_MAX;
    const uint64_t records = database->applied_index().value();
    EXPECT_LE(records, kRecords);
    EXPECT_EQ(ScanAll(database->committed()), StateAfter(records)) << records << " records";
    // It goes on from there.
    EXPECT_TRUE(ApplyOne(*database, records + 1, Step(records + 1)).ok());
    return records;
  }

  TemporaryFolder folder_;
  const std::string crashed_ = folder_.path() + "/crashed";
  std::string log_;
  std::string contents_;
};

TEST_F(StateCrashTest, AKilledProcessLosesNothing) { EXPECT_EQ(RecordsIn(contents_), kRecords); }

TEST_F(StateCrashTest, AnEmptyOrMissingEndIsAPrefix) {
  EXPECT_EQ(RecordsIn(""), 0u);
  uint64_t previous = 0;
  for (size_t size = 1; size < contents_.size(); size += 1511) {
    const uint64_t records = RecordsIn(contents_.substr(0, size));
    EXPECT_GE(records, previous);
    previous = records;
  }
  EXPECT_GT(previous, kRecords - 5);
}

// LevelDB by itself would skip the page and apply what is behind it.
TEST_F(StateCrashTest, APageThatWasNotWrittenEndsThePrefix) {
  uint64_t previous = 0;
  for (size_t page = 0; page * 4096 < contents_.size(); ++page) {
    std::string log = contents_;
    const size_t size = std::min<size_t>(4096, log.size() - page * 4096);
    log.replace(page * 4096, size, size, '\0');
    const uint64_t records = RecordsIn(log);
    EXPECT_LT(records, kRecords) << "page " << page;
    EXPECT_GE(records, previous);
    previous = records;
  }
  EXPECT_GT(previous, 0u);
}

TEST_F(StateCrashTest, AFlippedByteEndsThePrefix) {
  SeededRandom random(4);
  for (int round = 0; round < 40; ++round) {
    std::string log = contents_;
    const size_t at = random.Below(log.size());
    log[at] = static_cast<char>(log[at] ^ 0x10);
    EXPECT_LT(RecordsIn(log), kRecords) << "offset " << at;
  }
}

TEST_F(StateCrashTest, ADamagedLogBeforeOneWithDataIsRefused) {
  std::string log = contents_;
  log[log.size() / 2] ^= 1;
  Replace(crashed_ + "/" + log_, log);
  std::string later = log_;
  later[5] = '9';  // a higher number
  Replace(crashed_ + "/" + later, contents_);
  Status status = TryOpen(crashed_).status();
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  EXPECT_NE(status.message().find(log_), std::string::npos) << status.ToString();
  Replace(crashed_ + "/" + later, "");
  EXPECT_TRUE(TryOpen(crashed_).ok());
}

TEST_F(StateCrashTest, ADamagedTableIsNeverReadAsGood) {
  const std::string folder = folder_.path() + "/live";
  {
    auto database = MustOpenDatabase(folder);  // writes the log out into a table
    EXPECT_EQ(database->applied_index(), JournalIndex(kRecords));
  }
  std::string table;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".ldb") table = entry.path().string();
  }
  ASSERT_FALSE(table.empty());
  const std::string good = Contents(table);
  const Rows expected = StateAfter(kRecords);
  uint64_t noticed = 0;
  for (size_t at = 0; at < good.size(); at += 101) {
    std::string damaged = good;
    damaged[at] ^= 1;
    Replace(table, damaged);
    Result<std::unique_ptr<Database>> database = TryOpen(folder);
    Status status = database.status();
    Rows rows;
    if (status.ok()) {
      status = (*database)->committed().Scan("\x01", "\xff",
                                             [&](std::string_view key, std::string_view value) {
                                               rows.emplace(key, value);
                                               return true;
                                             });
    }
    if (status.ok()) {
      ASSERT_EQ(rows, expected) << "offset " << at;
    } else {
      ++noticed;
      ASSERT_NE(status.message().find(folder), std::string::npos);
    }
  }
  EXPECT_GT(noticed, 5u);
}

}  // namespace
}  // namespace tercet
