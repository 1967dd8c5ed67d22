#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

// Truncations that cut off more blocks than one record takes.
class LargeTruncationTest : public OpsTest {
 protected:
  static constexpr int64_t kBlocks = 3 * kMaxBlocksCutAtOnce;

  std::vector<int64_t> Indexes(int64_t inode) const {
    std::vector<int64_t> indexes;
    for (const auto& block : Blocks(inode)) indexes.push_back(block.block_index);
    return indexes;
  }
  void ReclaimAll(int max_blocks) {
    for (int batches = 0; batches < 1000; ++batches) {
      auto result = ReclaimTruncation(file, max_blocks);
      ASSERT_OK(result);
      ASSERT_THAT(FindViolations(view), testing::IsEmpty());
      if (result->done) return;
    }
    FAIL() << "the reclaimer does not come to an end";
  }

  int64_t file = Create(kRoot, "a");
};

TEST_F(LargeTruncationTest, HidesTheBlocksAtOnceInASmallRecord) {
  WriteBlocks(file, 0, kBlocks);
  ASSERT_OK(Truncate(file, 0));
  EXPECT_LE(last_changes.entries.size(), 3u);
  EXPECT_TRUE(Blocks(file).empty());
  EXPECT_EQ(Attributes(file).allocated_bytes, 0);
  EXPECT_TRUE(DeleteTasks().empty());
}

TEST_F(LargeTruncationTest, DeadBlocksDoNotComeBackWhenTheFileGrowsAgain) {
  WriteBlocks(file, 0, kBlocks);
  ASSERT_OK(Truncate(file, 10));
  ASSERT_OK(Truncate(file, kBlocks * kTestBlockSize));
  const auto blocks = Blocks(file);
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(blocks[0].valid_bytes, 10);
  wire::OpenFileRequest open;
  open.inode = file;
  open.max_blocks = 100;
  auto opened = OpenFile(view, open);
  ASSERT_OK(opened);
  EXPECT_EQ(opened->blocks.size(), 1u);
}

TEST_F(LargeTruncationTest, NewBlocksAmongDeadOnesLive) {
  const std::vector<int64_t> old = WriteBlocks(file, 0, kBlocks);
  ASSERT_OK(Truncate(file, 0));
  auto block = Allocate(file, 5);
  ASSERT_OK(block);
  EXPECT_NE(block->block.block_id, old[5]);
  EXPECT_EQ(DeleteTasks().size(), 3u);
  ASSERT_OK(Commit(file, {block->block.block_id}, 6 * kTestBlockSize));
  EXPECT_THAT(Indexes(file), testing::ElementsAre(5));
  ASSERT_NO_FATAL_FAILURE(ReclaimAll(50));
  EXPECT_THAT(Indexes(file), testing::ElementsAre(5));
  EXPECT_EQ(Attributes(file).allocated_bytes, kTestBlockSize);
  EXPECT_EQ(CounterValue(Counter::kBlockCount), 1u);
  EXPECT_EQ(DeleteTasks().size(), static_cast<size_t>(3 * kBlocks));
}

TEST_F(LargeTruncationTest, ACommitOfADeadBlockConflicts) {
  WriteBlocks(file, 0, kBlocks);
  auto reserved = Allocate(file, kBlocks);
  ASSERT_OK(reserved);
  ASSERT_OK(Truncate(file, 0));
  EXPECT_CODE(kConflict, Commit(file, {reserved->block.block_id}, (kBlocks + 1) * kTestBlockSize));
}

TEST_F(LargeTruncationTest, SecondCutFurtherUpKillsOnlyWhatIsBehindIt) {
  WriteBlocks(file, 0, kBlocks);
  ASSERT_OK(Truncate(file, 10 * kTestBlockSize));
  WriteBlocks(file, 20, kBlocks);  // ids above the first cut
  ASSERT_OK(Truncate(file, 30 * kTestBlockSize));
  ASSERT_OK(Truncate(file, kBlocks * kTestBlockSize));
  std::vector<int64_t> expected;
  for (int64_t i = 0; i < 10; ++i) expected.push_back(i);
  for (int64_t i = 20; i < 30; ++i) expected.push_back(i);
  EXPECT_EQ(Indexes(file), expected);
  ASSERT_NO_FATAL_FAILURE(ReclaimAll(64));
  EXPECT_EQ(Indexes(file), expected);
}

TEST_F(LargeTruncationTest, SecondCutFurtherDownIsSeenByAReclaimerThatWasPastIt) {
  WriteBlocks(file, 0, kBlocks);
  ASSERT_OK(Truncate(file, 200 * kTestBlockSize));
  ASSERT_OK(ReclaimTruncation(file, 100));
  WriteBlocks(file, 200, kBlocks);
  ASSERT_OK(Truncate(file, 3 * kTestBlockSize));
  ASSERT_NO_FATAL_FAILURE(ReclaimAll(70));
  EXPECT_THAT(Indexes(file), testing::ElementsAre(0, 1, 2));
  EXPECT_EQ(CounterValue(Counter::kBlockCount), 3u);
}

TEST_F(LargeTruncationTest, SmallCutInsideAPendingOneRemovesDeadRowsToo) {
  WriteBlocks(file, 0, kBlocks);
  ASSERT_OK(Truncate(file, (kBlocks - kMaxBlocksCutAtOnce - 1) * kTestBlockSize));
  ASSERT_OK(Truncate(file, kBlocks * kTestBlockSize));
  ASSERT_OK(Truncate(file, (kBlocks - 1) * kTestBlockSize));
  EXPECT_EQ(DeleteTasks().size(), 3u);
  ASSERT_NO_FATAL_FAILURE(ReclaimAll(1000));
  EXPECT_EQ(CounterValue(Counter::kBlockCount),
            static_cast<uint64_t>(kBlocks - kMaxBlocksCutAtOnce - 1));
}

TEST_F(LargeTruncationTest, BoundsThePendingCuts) {
  // Each round cuts off many new blocks behind all earlier cuts, and nothing is reclaimed.
  const int64_t step = kMaxBlocksCutAtOnce + 1;
  WriteBlocks(file, 0, step);
  Result<wire::SetAttributesResponse> truncated = Truncate(file, 0);
  for (size_t cuts = 1; cuts < kMaxTruncationCuts; ++cuts) {
    ASSERT_OK(truncated);
    const auto first = static_cast<int64_t>(cuts);
    WriteBlocks(file, first, first + step);
    truncated = Truncate(file, first * kTestBlockSize);
  }
  ASSERT_OK(truncated);
  const auto first = static_cast<int64_t>(kMaxTruncationCuts);
  WriteBlocks(file, first, first + step);
  EXPECT_CODE(kUnavailable, Truncate(file, first * kTestBlockSize));
  EXPECT_EQ(Attributes(file).size_bytes, (first + step) * kTestBlockSize);
  ASSERT_NO_FATAL_FAILURE(ReclaimAll(100));
  EXPECT_CODE(kOk, Truncate(file, first * kTestBlockSize));
}

TEST_F(LargeTruncationTest, AnOrphanIsReclaimedInTheMiddleOfIt) {
  WriteBlocks(file, 0, kBlocks);
  ASSERT_OK(Truncate(file, 0));
  ASSERT_OK(ReclaimTruncation(file, 100));
  ASSERT_OK(Unlink(kRoot, "a"));
  auto reclaimed = Reclaim(file);
  ASSERT_OK(reclaimed);
  EXPECT_TRUE(reclaimed->done);
  EXPECT_EQ(DeleteTasks().size(), static_cast<size_t>(3 * kBlocks));
  auto nothing = ReclaimTruncation(file);
  ASSERT_OK(nothing);
  EXPECT_TRUE(nothing->done);
}

TEST_F(LargeTruncationTest, NothingToReclaimIsDoneAtOnce) {
  auto result = ReclaimTruncation(file);
  ASSERT_OK(result);
  EXPECT_TRUE(result->done);
  EXPECT_TRUE(last_changes.entries.empty());
  EXPECT_CODE(kInvalidArgument, ReclaimTruncation(file, 0));
}

TEST_F(LargeTruncationTest, IsFoundByScanning) {
  WriteBlocks(file, 0, kBlocks);
  ASSERT_OK(Truncate(file, 0));
  std::vector<uint64_t> found;
  ASSERT_OK(Tables(view).ScanTruncations(InodeId(0), [&](InodeId inode, const TruncationRecord&) {
    found.push_back(inode.value());
    return true;
  }));
  EXPECT_THAT(found, testing::ElementsAre(static_cast<uint64_t>(file)));
}

}  // namespace
}  // namespace tercet
