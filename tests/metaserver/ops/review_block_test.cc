#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

using ReviewBlockTest = ReplicaTest;

TEST_F(ReviewBlockTest, AWholeBlockGetsNoRow) {
  MakeFile("a");
  ASSERT_OK(Review(blocks[0]));
  EXPECT_TRUE(last_changes.entries.empty());
}

TEST_F(ReviewBlockTest, MisplacedComesAndGoes) {
  MakeFile("a");
  ASSERT_OK(Review(blocks[0], true));
  EXPECT_EQ(Reasons(blocks[0]), kRepairMisplaced);
  ASSERT_OK(Review(blocks[0], true));
  EXPECT_TRUE(last_changes.entries.empty());
  ASSERT_OK(Review(blocks[0], false));
  EXPECT_EQ(Reasons(blocks[0]), 0);
}

TEST_F(ReviewBlockTest, AShortBlockOfAnOlderVersionGetsItsRow) {
  MakeFile("a");
  // As older versions left it: no row.
  ASSERT_EQ(Reconfigure(blocks[0], 1, {1, 2}), 2u);
  Transaction transaction(view);
  MutableTables(transaction).DeleteRepair(Block(blocks[0]));
  view.Apply(transaction.Take());
  ASSERT_OK(Review(blocks[0]));
  EXPECT_EQ(Reasons(blocks[0]), kRepairShort);
}

TEST_F(ReviewBlockTest, NothingHappensDuringAnAttempt) {
  MakeFile("a");
  ASSERT_OK(Begin(blocks[0], 1));
  ASSERT_OK(Review(blocks[0], true));
  EXPECT_TRUE(last_changes.entries.empty());
}

TEST_F(ReviewBlockTest, OfABlockThatIsBeingCutOffTheRowGoes) {
  MakeFile("a", kMaxBlocksCutAtOnce + 1);
  ASSERT_EQ(Note(blocks[3], 1, 2, BadReplica::kDamaged), 1);
  ASSERT_OK(Truncate(file, 0));
  ASSERT_OK(Review(blocks[3]));
  EXPECT_EQ(Reasons(blocks[3]), 0);
  ASSERT_OK(Review(blocks.back() + 1));  // no such block
}

TEST_F(ReviewBlockTest, HoldsAreLiftedWhenFewerReplicasAreWanted) {
  MakeFile("a");
  ASSERT_EQ(Reconfigure(blocks[0], 1, {1, 2}), 2u);
  ASSERT_OK(SetReplicas("/a", 2));
  WalkPoliciesToTheEnd();
  EXPECT_EQ(Reasons(blocks[0]), 0);
  EXPECT_EQ(Tasks(blocks[0]), "3:2");
  EXPECT_TRUE(BlockRow(file, 0).stale.empty());
}

}  // namespace
}  // namespace tercet
