#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

using BeginReconfigurationTest = ReplicaTest;

TEST_F(BeginReconfigurationTest, JournalsTheNextGenerationAndSaysWhatTheBlockIs) {
  MakeFile("a");
  auto begun = Begin(blocks[0], 1);
  ASSERT_OK(begun);
  EXPECT_EQ(begun->sealing, Generation(2));
  EXPECT_EQ(begun->chain, Servers({1, 2, 3}));
  EXPECT_FALSE(begun->reserved);
  EXPECT_EQ(Reasons(blocks[0]), kRepairSealing);
  EXPECT_EQ(Repair(blocks[0])->sealing, Generation(2));
  // Nothing else changed.
  EXPECT_EQ(BlockRow(file, 0).generation, Generation(1));
  EXPECT_EQ(Replicas(blocks[0]), "1:1 2:1 3:1");
}

TEST_F(BeginReconfigurationTest, EachAttemptHasAGenerationOfItsOwn) {
  MakeFile("a");
  EXPECT_EQ(Begin(blocks[0], 1)->sealing, Generation(2));
  EXPECT_EQ(Begin(blocks[0], 1)->sealing, Generation(3));
  ASSERT_OK(CommitChain(blocks[0], 1, 3, {1, 2, 3}));
  EXPECT_EQ(Begin(blocks[0], 3)->sealing, Generation(4));
}

TEST_F(BeginReconfigurationTest, AnotherGenerationOrNoBlockIsAConflict) {
  MakeFile("a");
  EXPECT_CODE(kConflict, Begin(blocks[0], 2));
  EXPECT_CODE(kConflict, Begin(blocks[0] + 1, 1));
  ASSERT_OK(Truncate(file, 0));
  EXPECT_CODE(kConflict, Begin(blocks[0], 1));
}

TEST_F(BeginReconfigurationTest, ABlockThatWaitsForTheReclaimerIsGone) {
  MakeFile("a", kMaxBlocksCutAtOnce + 1);
  ASSERT_OK(Truncate(file, 0));
  EXPECT_CODE(kConflict, Begin(blocks[0], 1));
}

TEST_F(BeginReconfigurationTest, AReservedBlockIsSaidToBeOne) {
  const int64_t inode = Create(kRoot, "a");
  const int64_t block = Allocate(inode, 0)->block.block_id;
  EXPECT_TRUE(Begin(block, 1)->reserved);
}

TEST_F(BeginReconfigurationTest, TargetsAreRememberedUntilTheyAreDealtWith) {
  MakeFile("a");
  ASSERT_OK(Begin(blocks[0], 1, {4, 2, 4}));
  EXPECT_EQ(Repair(blocks[0])->targets, Servers({4})) << "2 is a member, 4 is named twice";
  // The attempt was lost with its metaserver; the next one has another target.
  ASSERT_OK(Begin(blocks[0], 1, {5}));
  EXPECT_EQ(Repair(blocks[0])->targets, Servers({5}));
  EXPECT_EQ(Tasks(blocks[0]), "4:2");
  // The same target again: it stays.
  ASSERT_OK(Begin(blocks[0], 1, {5}));
  EXPECT_EQ(Tasks(blocks[0]), "4:2");
}

TEST_F(BeginReconfigurationTest, AStaleServerThatIsATargetInVainStaysHeld) {
  MakeFile("a");
  const uint64_t generation = Reconfigure(blocks[0], 1, {1, 2});
  ASSERT_EQ(Tasks(blocks[0]), "3:2h");
  ASSERT_OK(Begin(blocks[0], generation, {3}));
  ASSERT_OK(Begin(blocks[0], generation));
  EXPECT_EQ(Tasks(blocks[0]), "3:3h");
}

TEST_F(BeginReconfigurationTest, TooManyTargetsAreRefused) {
  MakeFile("a");
  std::vector<uint32_t> targets;
  for (uint32_t id = 10; id <= 10 + kMaxChainLength; ++id) targets.push_back(id);
  EXPECT_CODE(kInvalidArgument, Begin(blocks[0], 1, targets));
}

}  // namespace
}  // namespace tercet
