#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

using DiscardTargetsTest = ReplicaTest;

TEST_F(DiscardTargetsTest, TargetsOfAGivenUpAttemptGetTasks) {
  MakeFile("a");
  ASSERT_OK(Begin(blocks[0], 1, {4, 5}));
  ASSERT_OK(Discard(blocks[0], 2, {4, 5}));
  EXPECT_EQ(Tasks(blocks[0]), "4:2 5:2");
  EXPECT_TRUE(Repair(blocks[0])->targets.empty());
  // Once more changes nothing.
  ASSERT_OK(Discard(blocks[0], 2, {4, 5}));
  EXPECT_EQ(Tasks(blocks[0]), "4:2 5:2");
}

TEST_F(DiscardTargetsTest, MembersOfTheChainAreNotTouched) {
  MakeFile("a");
  ASSERT_OK(Begin(blocks[0], 1, {4}));
  ASSERT_OK(CommitChain(blocks[0], 1, 2, {1, 2, 4}));
  // The answer to the commit was lost, and the driver took it for failed.
  ASSERT_OK(Discard(blocks[0], 2, {4}));
  EXPECT_EQ(Tasks(blocks[0]), "3:2");
}

TEST_F(DiscardTargetsTest, ALaterAttemptKeepsItsTarget) {
  MakeFile("a");
  ASSERT_OK(Begin(blocks[0], 1, {4}));
  ASSERT_OK(Begin(blocks[0], 1, {4}));
  ASSERT_OK(Discard(blocks[0], 2, {4}));
  EXPECT_EQ(Tasks(blocks[0]), "");
  EXPECT_EQ(Repair(blocks[0])->targets, Servers({4}));
}

TEST_F(DiscardTargetsTest, OfABlockThatIsGoneAllGetTasks) {
  MakeFile("a");
  ASSERT_OK(Begin(blocks[0], 1));
  ASSERT_OK(Truncate(file, 0));
  ASSERT_OK(FinishDeletions(1, blocks[0], 2));
  ASSERT_OK(Discard(blocks[0], 2, {4, 2}));
  EXPECT_EQ(Tasks(blocks[0]), "2:2 3:2 4:2");
  ASSERT_OK(Discard(blocks[0], 1, {4}));
  EXPECT_EQ(Tasks(blocks[0]), "2:2 3:2 4:2") << "a task's generation does not fall";
}

TEST_F(DiscardTargetsTest, AHeldReplicaStaysHeld) {
  MakeFile("a");
  ASSERT_EQ(Reconfigure(blocks[0], 1, {1, 2}), 2u);
  ASSERT_OK(Begin(blocks[0], 2, {3}));
  ASSERT_OK(Discard(blocks[0], 3, {3}));
  EXPECT_EQ(Tasks(blocks[0]), "3:3h");
  EXPECT_EQ(BlockRow(file, 0).stale, Servers({3}));
}

}  // namespace
}  // namespace tercet
