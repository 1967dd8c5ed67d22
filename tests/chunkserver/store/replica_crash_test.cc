// A process killed at any point of a change, and bits that rot at any place of the file.
#include <gtest/gtest.h>

#include "common/env/clock.h"
#include "tests/chunkserver/store/store_test_util.h"

namespace tercet {
namespace {

/// Passes calls on until `budget` steps were done, then fails all. Every changing call is a step,
/// and so is every page after the first of a write: the process may be killed between any two of
/// them. What was done before stays, as the page cache does.
class KilledDisk final : public Disk {
 public:
  explicit KilledDisk(Disk& base) : base_(base) {}
  void KillAfter(uint64_t steps) { budget_ = steps; }
  void LiveOn() { budget_ = UINT64_MAX; }
  bool was_killed() const { return killed_; }

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override;
  Status Rename(const std::string& from, const std::string& to) override {
    RETURN_IF_ERROR(Step());
    return base_.Rename(from, to);
  }
  Status Remove(const std::string& path) override {
    RETURN_IF_ERROR(Step());
    return base_.Remove(path);
  }
  Status MakeDirectories(const std::string& path) override { return base_.MakeDirectories(path); }
  Status SyncDirectory(const std::string& path) override { return base_.SyncDirectory(path); }
  Result<std::vector<std::string>> List(const std::string& path) override {
    return base_.List(path);
  }
  Result<bool> Exists(const std::string& path) override { return base_.Exists(path); }
  Result<DiskSpace> Space(const std::string& path) override { return base_.Space(path); }
  Result<std::unique_ptr<DiskFileSystem>> OpenFileSystem(const std::string& path) override {
    return base_.OpenFileSystem(path);
  }
  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    return base_.Lock(path);
  }

  Status Step() {
    if (budget_ == 0) {
      killed_ = true;
      return Status(StatusCode::kIo, "killed");
    }
    --budget_;
    return Status::Ok();
  }

 private:
  Disk& base_;
  uint64_t budget_ = UINT64_MAX;
  bool killed_ = false;
};

class KilledFile final : public File {
 public:
  KilledFile(KilledDisk& disk, std::unique_ptr<File> base) : disk_(disk), base_(std::move(base)) {}
  Result<size_t> ReadAt(uint64_t offset, std::span<char> out) const override {
    return base_->ReadAt(offset, out);
  }
  Status WriteAt(uint64_t offset, std::string_view data) override {
    while (!data.empty()) {
      RETURN_IF_ERROR(disk_.Step());
      const size_t size = std::min<size_t>(data.size(), kPageBytes - offset % kPageBytes);
      RETURN_IF_ERROR(base_->WriteAt(offset, data.substr(0, size)));
      offset += size;
      data.remove_prefix(size);
    }
    return Status::Ok();
  }
  Status WriteVectorAt(uint64_t, std::span<const iovec>) override {
    return Status(StatusCode::kNotSupported, "not used by the store");
  }
  Status Sync() override { return base_->Sync(); }
  Status Truncate(uint64_t size) override {
    RETURN_IF_ERROR(disk_.Step());
    return base_->Truncate(size);
  }
  Status Allocate(uint64_t size) override { return base_->Allocate(size); }
  Result<uint64_t> Size() const override { return base_->Size(); }

 private:
  KilledDisk& disk_;
  std::unique_ptr<File> base_;
};

Result<std::unique_ptr<File>> KilledDisk::Open(const std::string& path, OpenMode mode) {
  if (mode == OpenMode::kCreate || mode == OpenMode::kCreateExclusive) RETURN_IF_ERROR(Step());
  ASSIGN_OR_RETURN(std::unique_ptr<File> file, base_.Open(path, mode));
  return std::unique_ptr<File>(std::make_unique<KilledFile>(*this, std::move(file)));
}

constexpr BlockId kBlock(42);

/// One change, tried with a kill after every possible number of steps.
struct CrashCase {
  const char* name;
  std::string before;  // the replica's content; empty: not there
  uint32_t offset;
  std::string data;       // what is written at offset
  bool truncate = false;  // cut at offset instead
};

void PrintTo(const CrashCase& test, std::ostream* out) { *out << test.name; }

std::string After(const CrashCase& test) {
  std::string content = test.before;
  if (test.truncate) {
    content.resize(std::min<size_t>(content.size(), test.offset));
  } else {
    content.resize(std::max(content.size(), test.offset + test.data.size()), '\0');
    content.replace(test.offset, test.data.size(), test.data);
  }
  return content;
}

class ReplicaCrash : public testing::TestWithParam<CrashCase> {};

/// Every page must be the old or the new one: none damaged, none mixed.
void CheckPages(BlockStore& store, const CrashCase& test) {
  const std::string after = After(test);
  const size_t size = std::max(test.before.size(), after.size());
  auto seen = ReadData(store, kBlock, 0, kMaxBlockBytes);
  ASSERT_TRUE(seen.ok()) << seen.status().ToString();
  seen->resize(std::max(size, seen->size()), '\0');
  std::string before = test.before, wanted = after;
  before.resize(seen->size(), '\0');
  wanted.resize(seen->size(), '\0');
  for (size_t at = 0; at < seen->size(); at += kPageBytes) {
    const std::string page = seen->substr(at, kPageBytes);
    ASSERT_TRUE(page == before.substr(at, kPageBytes) || page == wanted.substr(at, kPageBytes))
        << "page " << at / kPageBytes << " is neither the old nor the new one";
  }
}

TEST_P(ReplicaCrash, LeavesEveryPageOldOrNewAndTheReplicaUsable) {
  const CrashCase& test = GetParam();
  bool finished = false;
  uint64_t steps = 0;
  for (; !finished; ++steps) {
    ASSERT_LT(steps, 5000u);
    SCOPED_TRACE("killed after steps=" + std::to_string(steps));
    PosixEnvironment environment;
    const BlockStoreOptions options = OptionsFor(environment, 1);
    KilledDisk disk(environment.disk());
    {
      auto store = BlockStore::Open(disk, RealClock(), SystemRandom(), options).value();
      if (!test.before.empty()) ASSERT_OK(WriteData(*store, kBlock, 0, test.before));
      disk.KillAfter(steps);
      Status status = test.truncate ? store->Truncate(kBlock, Generation(1), test.offset)
                                    : WriteData(*store, kBlock, test.offset, test.data);
      finished = !disk.was_killed();
      EXPECT_EQ(status.ok(), finished) << status.ToString();
    }
    disk.LiveOn();
    auto store = BlockStore::Open(disk, RealClock(), SystemRandom(), options).value();
    if (finished) {
      EXPECT_EQ(ReadData(*store, kBlock, 0, kMaxBlockBytes).value().substr(0, After(test).size()),
                After(test));
    } else if (store->Stat(kBlock).ok()) {
      CheckPages(*store, test);
    } else {
      ASSERT_EQ(store->Stat(kBlock).code(), StatusCode::kNotFound);
      ASSERT_TRUE(test.before.empty()) << "the replica is gone";
    }
    // Whatever was left, the change can be made again, and now holds.
    if (test.truncate) {
      ASSERT_OK(store->Truncate(kBlock, Generation(1), test.offset));
    } else {
      ASSERT_OK(WriteData(*store, kBlock, test.offset, test.data));
    }
    std::string again = ReadData(*store, kBlock, 0, kMaxBlockBytes).value();
    again.resize(std::max(again.size(), After(test).size()), '\0');
    EXPECT_EQ(again.substr(0, After(test).size()), After(test));
    EXPECT_EQ(again.find_first_not_of('\0', After(test).size()), std::string::npos);
  }
  EXPECT_GE(steps, 3u) << "a change has at least three steps";
}

INSTANTIATE_TEST_SUITE_P(
    Changes, ReplicaCrash,
    testing::Values(CrashCase{"create_small", "", 0, Pattern(100, 1)},
                    CrashCase{"create_with_hole", "", 50000, Pattern(9000, 2)},
                    CrashCase{"overwrite_one_page", Pattern(40960, 3), 8192, Pattern(4096, 4)},
                    CrashCase{"overwrite_within_page", Pattern(40960, 5), 8200, Pattern(100, 6)},
                    CrashCase{"overwrite_across_pages", Pattern(40960, 7), 5000, Pattern(20000, 8)},
                    CrashCase{"extend_last_page", Pattern(5000, 9), 5000, Pattern(500, 10)},
                    CrashCase{"extend_behind_hole", Pattern(5000, 11), 30000, Pattern(10000, 12)},
                    CrashCase{"table_of_several_pages", Pattern(2'200'000, 13), 2'080'000,
                              Pattern(40000, 14)},
                    CrashCase{"truncate_within_page", Pattern(40000, 15), 10000, "", true},
                    CrashCase{"truncate_at_page", Pattern(40000, 16), 8192, "", true},
                    CrashCase{"truncate_to_nothing", Pattern(40000, 17), 0, "", true},
                    CrashCase{"truncate_long_table", Pattern(2'200'000, 18), 1000, "", true}),
    [](const auto& info) { return std::string(info.param.name); });

/// A replica is moved to another disk, and the process killed meanwhile; later it is written to,
/// and the machine crashes, so that the indexes are made again from all files there are.
TEST(MoveCrash, LeavesNoCopyThatComesBackWithOldData) {
  constexpr Generation kFirst(1);
  const std::string old_data = Pattern(20'000, 1), new_data = Pattern(20'000, 2);
  bool finished = false;
  for (uint64_t steps = 0; !finished; ++steps) {
    ASSERT_LT(steps, 1000u);
    SCOPED_TRACE("killed after steps=" + std::to_string(steps));
    SimEnvironment environment;
    SimClock clock;
    SeededRandom random(1), chance(steps);
    BlockStoreOptions options = AllSimulated(environment, 2);
    KilledDisk disk(environment.disk());
    {
      auto store = BlockStore::Open(disk, clock, random, options).value();
      ASSERT_OK(WriteData(*store, kBlock, 0, old_data));
      store->Maintain();
      disk.KillAfter(steps);
      const Status moved = store->MoveToDisk(kBlock, "");
      finished = !disk.was_killed();
      EXPECT_TRUE(moved.ok() || !finished) << moved.ToString();
      disk.KillAfter(0);
      environment.disk().KillProcess();
    }
    disk.LiveOn();
    {
      auto store = BlockStore::Open(disk, clock, random, options).value();
      auto seen = ReadData(*store, kBlock, 0, kMaxBlockBytes);
      ASSERT_TRUE(seen.ok()) << seen.status().ToString();
      EXPECT_TRUE(seen->substr(0, old_data.size()) == old_data);
      ASSERT_OK(WriteData(*store, kBlock, 0, new_data, false));
      EXPECT_EQ(store->Disks()[0].replica_count + store->Disks()[1].replica_count, 1u);
      for (int round = 0; round < 3; ++round) store->Maintain();
      disk.KillAfter(0);
      environment.disk().Crash(chance);
    }
    disk.LiveOn();
    options.boot_id = "boot-2";
    auto store = BlockStore::Open(disk, clock, random, options).value();
    auto seen = ReadData(*store, kBlock, 0, kMaxBlockBytes);
    ASSERT_TRUE(seen.ok()) << seen.status().ToString();
    EXPECT_TRUE(seen->substr(0, new_data.size()) == new_data) << "old data came back";
    EXPECT_EQ(store->Stat(kBlock)->generation, kFirst);
  }
}

/// Regions of a replica's file, with what becomes of a read of its page 1 when a byte there rots.
TEST(BitRot, IsNoticedInEveryRegionOfTheFile) {
  const std::string content = Pattern(3 * kPageBytes, 21);
  struct Region {
    const char* name;
    uint64_t offset;
    bool whole_replica;  // else: page 1 alone
  };
  for (const Region& region :
       std::vector<Region>{{"magic", 0, true},
                           {"version", 8, true},
                           {"block id", 16, true},
                           {"generation", 24, true},
                           {"length", 32, true},
                           {"reserved part of the header", 200, true},
                           {"header checksum", 253, true},
                           {"table entry", kTableOffset + 4, false},
                           {"first byte of data", kDataOffset + 4096, false},
                           {"last byte of data", kDataOffset + 8191, false}}) {
    SCOPED_TRACE(region.name);
    PosixEnvironment environment;
    const BlockStoreOptions options = OptionsFor(environment, 1);
    std::string file;
    {
      auto store =
          BlockStore::Open(environment.disk(), RealClock(), SystemRandom(), options).value();
      ASSERT_OK(WriteData(*store, kBlock, 0, content));
      // Takes page 1 out of the intent slot, which could heal its table entry.
      ASSERT_OK(WriteData(*store, kBlock, 0, content.substr(0, 4096)));
      file = store->Stat(kBlock)->file_path;
    }
    environment.FlipByte(file, region.offset);
    auto store = BlockStore::Open(environment.disk(), RealClock(), SystemRandom(), options).value();
    EXPECT_EQ(ReadData(*store, kBlock, 4096, 4096).code(), StatusCode::kCorruption);
    EXPECT_EQ(ReadByPlan(*store, kBlock, 4096, 4096).code(), StatusCode::kCorruption);
    EXPECT_EQ(ReadData(*store, kBlock, 0, 12288).code(), StatusCode::kCorruption);
    EXPECT_GT(store->counters().corruptions, 0u);
    auto untouched = ReadData(*store, kBlock, 0, 4096);
    EXPECT_EQ(untouched.ok(), !region.whole_replica);
    // Part of a damaged page cannot be changed; all of it can, and heals it.
    EXPECT_EQ(WriteData(*store, kBlock, 5000, "x").code(), StatusCode::kCorruption);
    if (region.whole_replica) continue;
    ASSERT_OK(WriteData(*store, kBlock, 4096, content.substr(4096, 4096)));
    EXPECT_EQ(ReadData(*store, kBlock, 0, 12288).value(), content);
  }
}

TEST(BitRot, OfTheIntentSlotIsNoticedAndHarmless) {
  PosixEnvironment environment;
  const BlockStoreOptions options = OptionsFor(environment, 1);
  const std::string content = Pattern(3 * kPageBytes, 22);
  std::string file;
  {
    auto store = BlockStore::Open(environment.disk(), RealClock(), SystemRandom(), options).value();
    ASSERT_OK(WriteData(*store, kBlock, 0, content));
    file = store->Stat(kBlock)->file_path;
  }
  environment.FlipByte(file, kIntentOffset + 40);
  auto store = BlockStore::Open(environment.disk(), RealClock(), SystemRandom(), options).value();
  EXPECT_EQ(ReadData(*store, kBlock, 0, 12288).value(), content);
  EXPECT_EQ(store->counters().corruptions, 1u);
}

TEST(BitRot, OfATableEntryHealsWhileTheIntentStillKnowsIt) {
  PosixEnvironment environment;
  const BlockStoreOptions options = OptionsFor(environment, 1);
  const std::string content = Pattern(3 * kPageBytes, 24);
  std::string file;
  {
    auto store = BlockStore::Open(environment.disk(), RealClock(), SystemRandom(), options).value();
    ASSERT_OK(WriteData(*store, kBlock, 0, content));
    file = store->Stat(kBlock)->file_path;
  }
  environment.FlipByte(file, kTableOffset + 4);
  auto store = BlockStore::Open(environment.disk(), RealClock(), SystemRandom(), options).value();
  EXPECT_EQ(ReadData(*store, kBlock, 0, 12288).value(), content);
}

TEST(BitRot, UnderAnOpenReplicaIsNoticed) {
  SimEnvironment environment;
  auto store =
      BlockStore::Open(environment.disk(), RealClock(), SystemRandom(), OptionsFor(environment, 1))
          .value();
  const std::string content = Pattern(2 * kPageBytes, 23);
  ASSERT_OK(WriteData(*store, kBlock, 0, content));
  environment.FlipByte(store->Stat(kBlock)->file_path, kDataOffset + 10);
  EXPECT_EQ(ReadData(*store, kBlock, 0, 100).code(), StatusCode::kCorruption);
  EXPECT_EQ(ReadByPlan(*store, kBlock, 0, 100).code(), StatusCode::kCorruption);
  EXPECT_EQ(ReadData(*store, kBlock, 4096, 4096).value(), content.substr(4096));
}

TEST(BitRot, AFileUnderAnotherBlocksNameIsRefused) {
  PosixEnvironment environment;
  auto store =
      BlockStore::Open(environment.disk(), RealClock(), SystemRandom(), OptionsFor(environment, 1))
          .value();
  ASSERT_OK(WriteData(*store, BlockId(1), 0, "one"));
  ASSERT_OK(WriteData(*store, BlockId(2), 0, "two"));
  const std::string one = store->Stat(BlockId(1))->file_path;
  const std::string two = store->Stat(BlockId(2))->file_path;
  store.reset();
  std::filesystem::copy_file(one, two, std::filesystem::copy_options::overwrite_existing);
  store =
      BlockStore::Open(environment.disk(), RealClock(), SystemRandom(), OptionsFor(environment, 1))
          .value();
  EXPECT_EQ(ReadData(*store, BlockId(1), 0, 3).value(), "one" + std::string(0, '\0'));
  EXPECT_EQ(ReadData(*store, BlockId(2), 0, 3).code(), StatusCode::kCorruption);
}

}  // namespace
}  // namespace tercet
