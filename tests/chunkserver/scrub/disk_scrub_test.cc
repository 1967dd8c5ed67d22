#include "chunkserver/scrub/disk_scrub.h"

#include <gtest/gtest.h>

#include <set>

#include "chunkserver/scrub/scrub_pace.h"
#include "chunkserver/scrub/scrubber.h"
#include "chunkserver/store/replica_format.h"
#include "common/env/random.h"
#include "tests/chunkserver/store/store_test_util.h"

namespace tercet {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr milliseconds kPeriod = hours(2);

class DiskScrubTest : public testing::Test {
 protected:
  DiskScrubTest() { Open(); }

  void Open(int disks = 2) {
    store_.reset();
    auto opened =
        BlockStore::Open(environment_.disk(), clock_, random_, OptionsFor(environment_, disks));
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    store_ = std::move(opened).value();
  }
  std::unique_ptr<DiskScrub> NewScrub(size_t disk = 0) {
    return std::make_unique<DiskScrub>(*store_, environment_.disk(), clock_, store_->Disks()[disk]);
  }
  /// One call, and the time it asks for. Returns that.
  nanoseconds Step(DiskScrub& scrub, bool clients_active = false) {
    const nanoseconds wait = scrub.Step(kPeriod, clients_active);
    clock_.Advance(wait);
    return wait;
  }
  void RunUntilRounds(DiskScrub& scrub, uint64_t rounds) {
    for (int turns = 0; scrub.progress().rounds < rounds; ++turns) {
      ASSERT_LT(turns, 2'000'000);
      Step(scrub);
    }
  }
  /// Blocks [1, count], of all kinds of sizes up to 3 MiB. Returns the bytes in whole pages.
  uint64_t Fill(uint64_t count) {
    uint64_t bytes = 0;
    for (uint64_t id = 1; id <= count; ++id) {
      const size_t size = 1 + (id * 7919 * 4093) % (3 << 20);
      EXPECT_TRUE(WriteData(*store_, BlockId(id), 0, Pattern(size, id)).ok());
      bytes += (size + kPageBytes - 1) / kPageBytes * kPageBytes;
    }
    return bytes;
  }
  void FlipInPage(uint64_t id, uint32_t page) {
    auto stat = store_->Stat(BlockId(id));
    ASSERT_TRUE(stat.ok()) << stat.status().ToString();
    environment_.FlipByte(stat->file_path, kDataOffset + uint64_t{page} * kPageBytes + 17);
  }
  std::set<uint64_t> Reported() {
    std::set<uint64_t> blocks;
    for (const BadReplicaFound& found : store_->TakeBadReplicas(1000)) {
      EXPECT_EQ(found.fault, ReplicaFault::kDamaged);
      blocks.insert(found.block.value());
    }
    return blocks;
  }

  SimEnvironment environment_;
  SimClock clock_;
  SeededRandom random_{1};
  std::unique_ptr<BlockStore> store_;
};

TEST_F(DiskScrubTest, ARoundVerifiesEveryByteOfTheDiskOnce) {
  const uint64_t bytes = Fill(20);
  auto first = NewScrub(0);
  auto second = NewScrub(1);
  RunUntilRounds(*first, 1);
  RunUntilRounds(*second, 1);
  EXPECT_GT(first->progress().verified_bytes, 0u);
  EXPECT_GT(second->progress().verified_bytes, 0u);
  EXPECT_EQ(first->progress().verified_bytes + second->progress().verified_bytes, bytes);
  EXPECT_EQ(first->progress().bad_replicas, 0u);
  EXPECT_TRUE(Reported().empty());
}

TEST_F(DiskScrubTest, FindsAndReportsDamageInAnyPage) {
  Fill(20);
  std::set<uint64_t> damaged;
  for (uint64_t id : {2, 3, 11, 20}) {
    const uint32_t pages =
        (store_->Stat(BlockId(id))->length + kPageBytes - 1) / static_cast<uint32_t>(kPageBytes);
    FlipInPage(id, id == 3 ? 0 : pages - 1);
    damaged.insert(id);
  }
  auto first = NewScrub(0);
  auto second = NewScrub(1);
  RunUntilRounds(*first, 1);
  RunUntilRounds(*second, 1);
  EXPECT_EQ(Reported(), damaged);
  EXPECT_EQ(first->progress().bad_replicas + second->progress().bad_replicas, damaged.size());
  EXPECT_EQ(first->progress().damaged_pages + second->progress().damaged_pages, damaged.size());
}

TEST_F(DiskScrubTest, ALostFileIsMissedWithinTheHourAlsoWhenNothingIsVerified) {
  Open(1);
  for (uint64_t id = 1; id <= 2'500; ++id) {
    ASSERT_OK(WriteData(*store_, BlockId(id), 0, "data"));
  }
  auto scrub = NewScrub(0);
  const auto look = [&] { clock_.Advance(scrub->Step(milliseconds(0), true)); };
  for (int i = 0; i < 10; ++i) look();
  const BlockId block(2'100);
  ASSERT_OK(environment_.disk().Remove(store_->Stat(block)->file_path));
  for (int i = 0; i < 10; ++i) look();
  EXPECT_TRUE(store_->TakeBadReplicas(10).empty()) << "not all the time";
  EXPECT_TRUE(store_->Stat(block).ok()) << "it is open";
  clock_.Advance(DiskScrub::kLookInterval);
  look();
  look();
  EXPECT_TRUE(store_->TakeBadReplicas(10).empty()) << "a thousand at a time";
  look();
  EXPECT_EQ(store_->TakeBadReplicas(10),
            (std::vector<BadReplicaFound>{{block, Generation(1), ReplicaFault::kMissing}}));
}

TEST_F(DiskScrubTest, ADamagedHeaderIsAFindingAndNoEndOfTheRound) {
  Fill(6);
  const std::string path = store_->Stat(BlockId(2))->file_path;
  Open();  // nothing is open any more
  environment_.FlipByte(path, 30);
  auto first = NewScrub(0);
  auto second = NewScrub(1);
  RunUntilRounds(*first, 1);
  RunUntilRounds(*second, 1);
  EXPECT_EQ(Reported(), std::set<uint64_t>{2});
  EXPECT_EQ(first->progress().bad_replicas + second->progress().bad_replicas, 1u);
}

TEST_F(DiskScrubTest, RoundsBeginOnePeriodAfterAnother) {
  Fill(6);
  auto scrub = NewScrub();
  const int64_t begin_ns = clock_.WallNanos();
  RunUntilRounds(*scrub, 1);
  EXPECT_EQ(scrub->progress().scrubbed_since_ns, begin_ns);
  EXPECT_EQ(scrub->progress().round_started_ns, 0);
  EXPECT_LT(clock_.WallNanos() - begin_ns, nanoseconds(hours(1)).count());
  const uint64_t bytes = scrub->progress().verified_bytes;
  RunUntilRounds(*scrub, 2);
  const int64_t second_ns = scrub->progress().scrubbed_since_ns;
  EXPECT_GE(second_ns - begin_ns, nanoseconds(kPeriod).count());
  EXPECT_LT(second_ns - begin_ns, nanoseconds(kPeriod + seconds(5)).count());
  EXPECT_EQ(scrub->progress().verified_bytes, 2 * bytes);
}

TEST_F(DiskScrubTest, GoesOnWhereItWasAfterARestart) {
  Fill(20);
  auto whole = NewScrub();
  RunUntilRounds(*whole, 1);
  const uint64_t bytes = whole->progress().verified_bytes;
  clock_.Advance(kPeriod);
  auto before = NewScrub();
  while (before->progress().verified_bytes < bytes / 2) Step(*before);
  const int64_t begin_ns = before->progress().round_started_ns;
  const uint64_t done = before->progress().verified_bytes;
  before->Save();
  Open();
  auto after = NewScrub();
  EXPECT_EQ(after->progress().round_started_ns, begin_ns);
  EXPECT_GT(after->progress().round_done, 0.3);
  RunUntilRounds(*after, 1);
  EXPECT_EQ(after->progress().scrubbed_since_ns, begin_ns);
  const uint64_t rest = after->progress().verified_bytes;
  EXPECT_GE(done + rest, bytes) << "nothing is left out";
  EXPECT_LE(done + rest, bytes + (3 << 20)) << "at most the replica under way is repeated";
}

TEST_F(DiskScrubTest, ACrashRepeatsWhatWasDoneSinceTheLastMinute) {
  Open(1);
  constexpr uint64_t kCount = 1500;  // 16 in a second
  for (uint64_t id = 1; id <= kCount; ++id) ASSERT_OK(WriteData(*store_, BlockId(id), 0, "data"));
  auto before = NewScrub();
  const int64_t begin_ms = clock_.MonotonicMillis();
  while (clock_.MonotonicMillis() - begin_ms < 75'000) Step(*before);
  ASSERT_EQ(before->progress().rounds, 0u) << "it has to be in the middle of a round";
  // No Save: the process is gone.
  auto after = NewScrub();
  RunUntilRounds(*after, 1);
  const uint64_t verified =
      (before->progress().verified_bytes + after->progress().verified_bytes) / kPageBytes;
  EXPECT_GE(verified, kCount);
  EXPECT_GT(verified, kCount + 100) << "what the crash loses";
  EXPECT_LT(verified, kCount + 400);
  EXPECT_EQ(after->progress().scrubbed_since_ns, before->progress().round_started_ns);
}

TEST_F(DiskScrubTest, AnUnusableStateFileMeansANewRound) {
  Fill(4);
  auto scrub = NewScrub();
  RunUntilRounds(*scrub, 1);
  const std::string path = environment_.DiskPath(0) + "/scrub";
  environment_.FlipByte(path, 40);
  EXPECT_EQ(NewScrub()->progress().scrubbed_since_ns, 0);
  environment_.FlipByte(path, 40);
  EXPECT_NE(NewScrub()->progress().scrubbed_since_ns, 0);
  // That of another disk, copied over by somebody.
  auto bytes = ReadWholeFile(environment_.disk(), path, kMaxScrubFileBytes);
  ASSERT_OK(bytes.status());
  const std::string other = environment_.DiskPath(1) + "/scrub";
  ASSERT_OK(WriteFileAtomically(environment_.disk(), other, *bytes));
  auto second = NewScrub(1);
  EXPECT_EQ(second->progress().scrubbed_since_ns, 0);
  RunUntilRounds(*second, 1);
  EXPECT_NE(second->progress().scrubbed_since_ns, 0);
}

TEST_F(DiskScrubTest, WithoutAPeriodNothingIsVerified) {
  Fill(4);
  auto scrub = NewScrub();
  for (int i = 0; i < 100; ++i) {
    EXPECT_GE(scrub->Step(milliseconds(0), false), milliseconds(100));
    clock_.Advance(hours(24));
  }
  EXPECT_EQ(scrub->progress().verified_bytes, 0u);
  EXPECT_EQ(scrub->progress().rounds, 0u);
}

TEST_F(DiskScrubTest, AheadOfItsPlanItWaitsForClients) {
  Fill(40);
  auto scrub = NewScrub();
  while (scrub->progress().verified_bytes < (4 << 20)) Step(*scrub);
  const uint64_t bytes = scrub->progress().verified_bytes;
  for (int i = 0; i < 1000; ++i) EXPECT_GT(Step(*scrub, /*clients_active=*/true).count(), 0);
  EXPECT_EQ(scrub->progress().verified_bytes, bytes);
  RunUntilRounds(*scrub, 1);
}

TEST_F(DiskScrubTest, ClientsThatNeverRestAreNoEndOfIt) {
  Fill(10);
  auto scrub = NewScrub();
  const int64_t begin_ns = clock_.WallNanos();
  for (int turns = 0; scrub->progress().rounds < 1; ++turns) {
    ASSERT_LT(turns, 5'000'000);
    Step(*scrub, /*clients_active=*/true);
  }
  const int64_t took_ns = clock_.WallNanos() - begin_ns;
  EXPECT_LE(took_ns, nanoseconds(kPeriod).count());
  EXPECT_GE(took_ns, nanoseconds(kPeriod).count() / 2);
}

TEST_F(DiskScrubTest, ReplicasThatChangeOrGoMeanwhileAreNoFindings) {
  Fill(40);
  auto scrub = NewScrub();
  uint64_t next = 1;
  for (int turns = 0; scrub->progress().rounds < 1; ++turns) {
    ASSERT_LT(turns, 1'000'000);
    if (turns % 3 == 0 && next <= 40) {
      const BlockId block(next);
      switch (next++ % 4) {
        case 0:
          ASSERT_OK(store_->MoveToTrash(block, Generation(1)));
          break;
        case 1:
          ASSERT_OK(store_->Seal(block, Generation(5), false, false, false).status());
          break;
        case 2:
          ASSERT_OK(store_->Truncate(block, Generation(1), 100));
          break;
        default:
          ASSERT_OK(WriteData(*store_, block, 4096, Pattern(1 << 20, 99)));
      }
    }
    Step(*scrub);
  }
  EXPECT_EQ(scrub->progress().bad_replicas, 0u);
  EXPECT_TRUE(Reported().empty());
}

TEST_F(DiskScrubTest, ADiskThatFailsIsLeftAlone) {
  Fill(10);
  auto scrub = NewScrub();
  while (scrub->progress().verified_bytes == 0) Step(*scrub);
  environment_.disk().FailPathsUnder(environment_.DiskPath(0));
  for (int i = 0; i < 200; ++i) Step(*scrub);
  EXPECT_FALSE(store_->Disks()[0].healthy);
  const uint64_t bytes = scrub->progress().verified_bytes;
  EXPECT_EQ(scrub->progress().rounds, 0u) << "it was not verified";
  for (int i = 0; i < 200; ++i) EXPECT_GE(Step(*scrub), milliseconds(100));
  EXPECT_EQ(scrub->progress().verified_bytes, bytes);
  auto other = NewScrub(1);
  RunUntilRounds(*other, 1);
}

TEST_F(DiskScrubTest, AClockThatWasSetBackStopsNothing) {
  Fill(4);
  auto scrub = NewScrub();
  RunUntilRounds(*scrub, 1);
  clock_.JumpWall(-hours(24 * 365));
  RunUntilRounds(*scrub, 2);
  EXPECT_LE(scrub->progress().scrubbed_since_ns, clock_.WallNanos());
}

TEST_F(DiskScrubTest, TheThreadsFindDamageAndStopInTheMiddle) {
  Fill(20);
  FlipInPage(7, 0);
  Scrubber scrubber(*store_, environment_.disk(), RealClock(),
                    {.period = milliseconds(0), .clients_active = [] { return false; }});
  EXPECT_EQ(scrubber.Progress().size(), 2u);
  scrubber.SetPeriod(seconds(1));
  while (Reported().empty()) RealClock().SleepFor(milliseconds(1));
  EXPECT_EQ(Reported(), std::set<uint64_t>{7});
}

}  // namespace
}  // namespace tercet
