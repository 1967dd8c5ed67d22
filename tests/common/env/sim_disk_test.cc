// What a simulated power cut keeps and loses, and that each injected fault strikes.
#include "common/env/sim_disk.h"

#include <gtest/gtest.h>

#include <set>

namespace tercet {
namespace {

constexpr int kSeeds = 200;

std::unique_ptr<File> Open(SimDisk& disk, const std::string& path,
                           OpenMode mode = OpenMode::kCreate) {
  auto file = disk.Open(path, mode);
  EXPECT_TRUE(file.ok()) << file.status().ToString();
  return file.ok() ? std::move(*file) : nullptr;
}

std::string Content(SimDisk& disk, const std::string& path) {
  auto data = ReadWholeFile(disk, path, 1 << 20);
  return data.ok() ? *data : data.status().ToString();
}

/// A file with one synced page of `old` and a durable name.
std::unique_ptr<File> DurableFile(SimDisk& disk, const std::string& path, char old) {
  auto file = Open(disk, path);
  EXPECT_TRUE(file->WriteAt(0, std::string(SimDisk::kPageBytes, old)).ok());
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_TRUE(disk.SyncDirectory("/").ok());
  return file;
}

TEST(SimDiskCrashTest, SyncedDataAndNamesAreAlwaysKept) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    SimDisk disk;
    DurableFile(disk, "/f", 'a');
    SeededRandom random(seed);
    disk.Crash(random);
    EXPECT_EQ(Content(disk, "/f"), std::string(SimDisk::kPageBytes, 'a')) << "seed " << seed;
  }
}

TEST(SimDiskCrashTest, AnUnsyncedPageIsKeptDroppedOrTorn) {
  int kept = 0;
  int dropped = 0;
  int torn = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    SimDisk disk;
    auto file = DurableFile(disk, "/f", 'a');
    ASSERT_TRUE(file->WriteAt(0, std::string(SimDisk::kPageBytes, 'b')).ok());
    SeededRandom random(seed);
    disk.Crash(random);
    std::string content = Content(disk, "/f");
    ASSERT_EQ(content.size(), SimDisk::kPageBytes);
    size_t new_bytes = std::count(content.begin(), content.end(), 'b');
    ASSERT_EQ(new_bytes % SimDisk::kSectorBytes, 0u);
    ++(new_bytes == 0 ? dropped : new_bytes == content.size() ? kept : torn);
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(dropped, 0);
  EXPECT_GT(torn, 0);
}

TEST(SimDiskCrashTest, PagesAreLostIndependently) {
  std::set<std::string> outcomes;
  for (int seed = 0; seed < kSeeds; ++seed) {
    SimDisk disk;
    auto file = Open(disk, "/f");
    ASSERT_TRUE(file->WriteAt(0, std::string(2 * SimDisk::kPageBytes, 'a')).ok());
    ASSERT_TRUE(file->Sync().ok());
    ASSERT_TRUE(disk.SyncDirectory("/").ok());
    ASSERT_TRUE(file->WriteAt(0, std::string(2 * SimDisk::kPageBytes, 'b')).ok());
    SeededRandom random(seed);
    disk.Crash(random);
    std::string content = Content(disk, "/f");
    outcomes.insert({content[0], content[SimDisk::kPageBytes]});
  }
  EXPECT_EQ(outcomes, (std::set<std::string>{"aa", "ab", "ba", "bb"}));
}

TEST(SimDiskCrashTest, AnUnsyncedSizeMayBeOldNewOrBetween) {
  std::set<uint64_t> sizes;
  for (int seed = 0; seed < kSeeds; ++seed) {
    SimDisk disk;
    auto file = DurableFile(disk, "/f", 'a');
    ASSERT_TRUE(file->Truncate(100000).ok());
    SeededRandom random(seed);
    disk.Crash(random);
    std::string content = Content(disk, "/f");
    ASSERT_GE(content.size(), SimDisk::kPageBytes);
    ASSERT_LE(content.size(), 100000u);
    sizes.insert(content.size());
  }
  EXPECT_TRUE(sizes.contains(SimDisk::kPageBytes));
  EXPECT_TRUE(sizes.contains(100000));
  EXPECT_GT(sizes.size(), 2u);
}

TEST(SimDiskCrashTest, ATruncationMayBeUndoneUntilSynced) {
  bool old_seen = false;
  for (int seed = 0; seed < kSeeds; ++seed) {
    SimDisk disk;
    auto file = DurableFile(disk, "/f", 'a');
    ASSERT_TRUE(file->Truncate(0).ok());
    SeededRandom random(seed);
    disk.Crash(random);
    old_seen |= Content(disk, "/f") == std::string(SimDisk::kPageBytes, 'a');
    file = Open(disk, "/f");
    ASSERT_TRUE(file->Truncate(0).ok());
    ASSERT_TRUE(file->Sync().ok());
    disk.Crash(random);
    ASSERT_EQ(Content(disk, "/f"), "");
  }
  EXPECT_TRUE(old_seen);
}

TEST(SimDiskCrashTest, UnsyncedNamesAreKeptOrDropped) {
  int created = 0;
  int removed = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    SimDisk disk;
    DurableFile(disk, "/old", 'a');
    auto file = Open(disk, "/new");
    ASSERT_TRUE(file->WriteAt(0, "synced, but without a durable name").ok());
    ASSERT_TRUE(file->Sync().ok());
    ASSERT_TRUE(disk.Remove("/old").ok());
    SeededRandom random(seed);
    disk.Crash(random);
    created += *disk.Exists("/new");
    removed += !*disk.Exists("/old");
  }
  EXPECT_GT(created, 0);
  EXPECT_LT(created, kSeeds);
  EXPECT_GT(removed, 0);
  EXPECT_LT(removed, kSeeds);
}

TEST(SimDiskCrashTest, ARenameIsDoneOrNotButNeverHalf) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    SimDisk disk;
    ASSERT_TRUE(disk.MakeDirectories("/d").ok());
    DurableFile(disk, "/f", 'a');
    ASSERT_TRUE(disk.Rename("/f", "/d/g").ok());
    SeededRandom random(seed);
    disk.Crash(random);
    EXPECT_NE(*disk.Exists("/f"), *disk.Exists("/d/g")) << "seed " << seed;
  }
}

TEST(SimDiskCrashTest, ASyncedRenameBringsItsPastAlong) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    SimDisk disk;
    ASSERT_TRUE(disk.MakeDirectories("/d").ok());
    Open(disk, "/f");
    ASSERT_TRUE(disk.Rename("/f", "/d/f").ok());
    ASSERT_TRUE(disk.SyncDirectory("/d").ok());
    SeededRandom random(seed);
    disk.Crash(random);
    EXPECT_FALSE(*disk.Exists("/f")) << "seed " << seed;
    EXPECT_TRUE(*disk.Exists("/d/f")) << "seed " << seed;
  }
}

TEST(SimDiskCrashTest, AtomicWriteLeavesOldOrNewAtEveryPowerCut) {
  const std::string old_content(6000, 'o');
  const std::string new_content(9000, 'n');
  bool finished = false;
  std::set<char> outcomes;
  for (uint64_t cut = 0; !finished; ++cut) {
    for (int seed = 0; seed < 20; ++seed) {
      SimDisk disk;
      ASSERT_TRUE(WriteFileAtomically(disk, "/f", old_content).ok());
      disk.CutPowerAfter(cut);
      finished = WriteFileAtomically(disk, "/f", new_content).ok();
      EXPECT_EQ(disk.power_is_cut(), !finished);
      SeededRandom random(seed);
      disk.Crash(random);
      std::string content = Content(disk, "/f");
      ASSERT_TRUE(content == new_content || (!finished && content == old_content))
          << "cut " << cut << " seed " << seed;
      outcomes.insert(content[0]);
    }
  }
  EXPECT_EQ(outcomes, (std::set<char>{'n', 'o'}));
}

TEST(SimDiskCrashTest, OpenFilesAndLocksEnd) {
  SimDisk disk;
  auto file = DurableFile(disk, "/f", 'a');
  auto lock = disk.Lock("/LOCK");
  ASSERT_TRUE(lock.ok());
  SeededRandom random(1);
  disk.Crash(random);
  EXPECT_EQ(file->WriteAt(0, "x").code(), StatusCode::kIo);
  EXPECT_EQ(file->Size().code(), StatusCode::kIo);
  EXPECT_TRUE(disk.Lock("/LOCK").ok());
}

TEST(SimDiskKillTest, KeepsUnsyncedDataAndNames) {
  SimDisk disk;
  auto file = Open(disk, "/f");
  ASSERT_TRUE(file->WriteAt(0, "unsynced").ok());
  disk.KillProcess();
  EXPECT_EQ(Content(disk, "/f"), "unsynced");
  EXPECT_EQ(file->Sync().code(), StatusCode::kIo);
}

TEST(SimDiskFaultTest, TheNthWriteFailsAndChangesNothing) {
  SimDisk disk;
  auto file = Open(disk, "/f");
  disk.FailWrite(2);
  EXPECT_TRUE(file->WriteAt(0, "1").ok());
  EXPECT_EQ(file->WriteAt(0, "2").code(), StatusCode::kIo);
  EXPECT_EQ(Content(disk, "/f"), "1");
  EXPECT_TRUE(file->WriteAt(0, "3").ok());
}

TEST(SimDiskFaultTest, AFailedSyncLosesItsPagesForGood) {
  bool lost = false;
  for (int seed = 0; seed < kSeeds; ++seed) {
    SimDisk disk;
    auto file = DurableFile(disk, "/f", 'a');
    ASSERT_TRUE(file->WriteAt(0, std::string(SimDisk::kPageBytes, 'b')).ok());
    disk.FailSync(1);
    EXPECT_EQ(file->Sync().code(), StatusCode::kIo);
    EXPECT_TRUE(file->Sync().ok());  // says OK, as fsync does after an error, but covers nothing
    EXPECT_EQ(Content(disk, "/f")[0], 'b');
    SeededRandom random(seed);
    disk.Crash(random);
    lost |= Content(disk, "/f")[0] == 'a';
  }
  EXPECT_TRUE(lost);
}

TEST(SimDiskFaultTest, PagesWrittenAgainAfterAFailedSyncAreCoveredByTheNext) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    SimDisk disk;
    auto file = DurableFile(disk, "/f", 'a');
    ASSERT_TRUE(file->WriteAt(0, "b").ok());
    disk.FailSync(1);
    EXPECT_FALSE(file->Sync().ok());
    ASSERT_TRUE(file->WriteAt(0, "c").ok());
    ASSERT_TRUE(file->Sync().ok());
    SeededRandom random(seed);
    disk.Crash(random);
    ASSERT_EQ(Content(disk, "/f")[0], 'c');
  }
}

TEST(SimDiskFaultTest, ADeadDiskFailsEverythingUnderItsPathOnly) {
  SimDisk disk;
  ASSERT_TRUE(disk.MakeDirectories("/d1").ok());
  ASSERT_TRUE(disk.MakeDirectories("/d10").ok());
  auto dead = Open(disk, "/d1/f");
  auto alive = Open(disk, "/d10/f");
  disk.FailPathsUnder("/d1");
  EXPECT_EQ(dead->WriteAt(0, "x").code(), StatusCode::kIo);
  EXPECT_EQ(disk.List("/d1").code(), StatusCode::kIo);
  EXPECT_EQ(disk.Open("/d1/g", OpenMode::kCreate).code(), StatusCode::kIo);
  EXPECT_TRUE(alive->WriteAt(0, "x").ok());
  disk.ClearFailedPaths();
  EXPECT_TRUE(dead->WriteAt(0, "x").ok());
}

TEST(SimDiskFaultTest, AFullDiskRefusesNewPagesAndTakesOverwrites) {
  SimDisk disk;
  disk.SetCapacity(4 * SimDisk::kPageBytes);
  auto file = Open(disk, "/f");
  ASSERT_TRUE(file->WriteAt(0, std::string(3 * SimDisk::kPageBytes, 'a')).ok());
  EXPECT_EQ(
      file->WriteAt(3 * SimDisk::kPageBytes, std::string(2 * SimDisk::kPageBytes, 'b')).code(),
      StatusCode::kNoSpace);
  EXPECT_TRUE(file->WriteAt(0, std::string(3 * SimDisk::kPageBytes, 'c')).ok());
  EXPECT_EQ(disk.Space("/")->available_bytes, SimDisk::kPageBytes);
  file.reset();
  ASSERT_TRUE(disk.Remove("/f").ok());
  EXPECT_EQ(disk.Space("/")->available_bytes, 4 * SimDisk::kPageBytes);
}

TEST(SimDiskFaultTest, AllocatedSpaceIsSureToTakeWrites) {
  SimDisk disk;
  disk.SetCapacity(4 * SimDisk::kPageBytes);
  auto file = Open(disk, "/f");
  EXPECT_EQ(file->Allocate(5 * SimDisk::kPageBytes).code(), StatusCode::kNoSpace);
  ASSERT_TRUE(file->Allocate(3 * SimDisk::kPageBytes).ok());
  auto other = Open(disk, "/g");
  EXPECT_EQ(other->WriteAt(0, std::string(2 * SimDisk::kPageBytes, 'x')).code(),
            StatusCode::kNoSpace);
  EXPECT_TRUE(file->WriteAt(0, std::string(3 * SimDisk::kPageBytes, 'a')).ok());
  EXPECT_TRUE(other->WriteAt(0, "x").ok());
}

TEST(SimDiskFaultTest, AFlippedByteIsThereForReadersAndAfterACrash) {
  SimDisk disk;
  DurableFile(disk, "/f", 'a');
  ASSERT_TRUE(disk.FlipByte("/f", 7).ok());
  EXPECT_EQ(Content(disk, "/f")[7], static_cast<char>(~'a'));
  EXPECT_EQ(Content(disk, "/f")[6], 'a');
  SeededRandom random(1);
  disk.Crash(random);
  EXPECT_EQ(Content(disk, "/f")[7], static_cast<char>(~'a'));
  EXPECT_EQ(disk.FlipByte("/f", SimDisk::kPageBytes).code(), StatusCode::kNotFound);
}

TEST(SimDiskFaultTest, CountsWritesAndSyncs) {
  SimDisk disk;
  int hooked = 0;
  disk.SetSyncHook([&](const std::string& path) { hooked += path == "/f"; });
  auto file = Open(disk, "/f");
  ASSERT_TRUE(file->WriteAt(0, "x").ok());
  ASSERT_TRUE(file->WriteAt(1, "y").ok());
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(disk.write_count(), 2u);
  EXPECT_EQ(disk.sync_count(), 1u);
  EXPECT_EQ(hooked, 1);
}

/// Random writes, truncations, syncs and crashes against a model that keeps, for each byte, the
/// values it may have after a crash.
TEST(SimDiskCrashTest, RandomWalkNeverLosesSyncedNorInventsBytes) {
  constexpr uint64_t kSize = 3 * SimDisk::kPageBytes;
  for (int seed = 0; seed < 50; ++seed) {
    SeededRandom random(seed);
    SimDisk disk;
    auto file = Open(disk, "/f");
    ASSERT_TRUE(file->Truncate(kSize).ok());
    ASSERT_TRUE(file->Sync().ok());
    ASSERT_TRUE(disk.SyncDirectory("/").ok());
    std::string live(kSize, '\0');
    std::string durable = live;
    for (int step = 0; step < 100; ++step) {
      uint64_t choice = random.Below(10);
      if (choice < 7) {
        uint64_t offset = random.Below(kSize);
        std::string data(random.Below(kSize - offset) + 1, static_cast<char>('a' + step % 26));
        ASSERT_TRUE(file->WriteAt(offset, data).ok());
        live.replace(offset, data.size(), data);
      } else if (choice < 9) {
        ASSERT_TRUE(file->Sync().ok());
        durable = live;
      } else {
        disk.Crash(random);
        std::string after = Content(disk, "/f");
        ASSERT_EQ(after.size(), kSize);
        for (size_t i = 0; i < kSize; ++i) {
          ASSERT_TRUE(after[i] == live[i] || after[i] == durable[i]) << "seed " << seed;
        }
        live = durable = after;
        file = Open(disk, "/f");
      }
      ASSERT_EQ(Content(disk, "/f"), live) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace tercet
