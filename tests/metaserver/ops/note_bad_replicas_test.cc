#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

using NoteBadReplicasTest = ReplicaTest;

TEST_F(NoteBadReplicasTest, AreInTheRepairRow) {
  MakeFile("a");
  EXPECT_EQ(Note(blocks[0], 1, 2, BadReplica::kDamaged), 1);
  ASSERT_EQ(Reasons(blocks[0]), kRepairBad);
  EXPECT_EQ(Repair(blocks[0])->bad,
            (std::vector<RepairRecord::Bad>{{ServerId(2), BadReplica::kDamaged}}));
  EXPECT_EQ(Repair(blocks[0])->since_ns, now_ns);
}

TEST_F(NoteBadReplicasTest, WhatTheJournalDoesNotPlaceThereIsSkipped) {
  MakeFile("a");
  EXPECT_EQ(Note(blocks[0], 1, 4, BadReplica::kDamaged), 0) << "not a member";
  EXPECT_EQ(Note(blocks[0], 2, 1, BadReplica::kDamaged), 0) << "another generation";
  EXPECT_EQ(Note(blocks[0] + 1, 1, 1, BadReplica::kDamaged), 0) << "no block";
  EXPECT_EQ(Note({{Block(blocks[0]), Generation(1), ServerId(1), 0},
                  {Block(blocks[0]), Generation(1), ServerId(1), 5}}),
            0)
      << "no reason";
  EXPECT_TRUE(last_changes.entries.empty());
}

TEST_F(NoteBadReplicasTest, TheSameNewsMakeNoRecordAgain) {
  MakeFile("a");
  EXPECT_EQ(Note(blocks[0], 1, 2, BadReplica::kSuspect), 1);
  const int64_t since = Repair(blocks[0])->since_ns;
  EXPECT_EQ(Note(blocks[0], 1, 2, BadReplica::kSuspect), 0);
  EXPECT_EQ(Note(blocks[0], 1, 2, BadReplica::kDamaged), 0);
  EXPECT_TRUE(last_changes.entries.empty());
  EXPECT_EQ(Note(blocks[0], 1, 2, BadReplica::kMissing), 0);
  EXPECT_EQ(Repair(blocks[0])->since_ns, since);
  EXPECT_EQ(Note(blocks[0], 1, 3, BadReplica::kMissing), 1);
  EXPECT_EQ(Note(blocks[0], 1, 3, BadReplica::kDamaged), 0);
}

TEST_F(NoteBadReplicasTest, ThatItIsSuspectIsKnownWhateverElseIsTheMatter) {
  MakeFile("a");
  for (const BadReplica before : {BadReplica::kDamaged, BadReplica::kMissing}) {
    const uint32_t server = before == BadReplica::kDamaged ? 2 : 3;
    EXPECT_EQ(Note(blocks[0], 1, server, before), 1);
    EXPECT_EQ(Note(blocks[0], 1, server, BadReplica::kSuspect), 1) << "its machine crashed";
  }
  EXPECT_EQ(Repair(blocks[0])->bad,
            (std::vector<RepairRecord::Bad>{{ServerId(2), BadReplica::kSuspect},
                                            {ServerId(3), BadReplica::kSuspect}}));
}

TEST_F(NoteBadReplicasTest, ABlockWithBadRowsDoesNotKeepOthersFromBeingNoted) {
  MakeFile("a", 3);
  const std::string key = FileBlockKey(Inode(file), 0);
  const std::string row = std::exchange(view.rows[key], "\1");
  EXPECT_EQ(Note({{Block(blocks[0]), Generation(1), ServerId(1), 1},
                  {Block(blocks[1]), Generation(1), ServerId(1), 1}}),
            1);
  view.rows.erase(key);
  EXPECT_EQ(Note({{Block(blocks[0]), Generation(1), ServerId(1), 1},
                  {Block(blocks[2]), Generation(1), ServerId(1), 1}}),
            1);
  view.rows[key] = row;
  EXPECT_EQ(Reasons(blocks[0]), 0);
  EXPECT_EQ(Reasons(blocks[1]), kRepairBad);
  EXPECT_EQ(Reasons(blocks[2]), kRepairBad);
}

TEST_F(NoteBadReplicasTest, ADoubtIsTheLeastThatCanBeSaid) {
  MakeFile("a");
  EXPECT_EQ(Note(blocks[0], 1, 2, BadReplica::kDoubtful), 1);
  EXPECT_EQ(Note(blocks[0], 1, 2, BadReplica::kDoubtful), 0);
  EXPECT_EQ(Note(blocks[0], 1, 2, BadReplica::kSuspect), 1);
  EXPECT_EQ(Note(blocks[0], 1, 2, BadReplica::kDoubtful), 0);
  EXPECT_EQ(Repair(blocks[0])->bad,
            (std::vector<RepairRecord::Bad>{{ServerId(2), BadReplica::kSuspect}}));
}

TEST_F(NoteBadReplicasTest, DoubtsGoWhenTheMembersAreEqual) {
  MakeFile("a");
  Note(blocks[0], 1, 1, BadReplica::kDoubtful);
  Note(blocks[0], 1, 2, BadReplica::kDamaged);
  Note(blocks[0], 1, 3, BadReplica::kDoubtful);
  ASSERT_OK(ClearDoubts(blocks[0], 1));
  EXPECT_EQ(Repair(blocks[0])->bad,
            (std::vector<RepairRecord::Bad>{{ServerId(2), BadReplica::kDamaged}}));

  MakeFile("b");
  Note(blocks[0], 1, 2, BadReplica::kDoubtful);
  ASSERT_OK(ClearDoubts(blocks[0], 1));
  EXPECT_EQ(Reasons(blocks[0]), 0) << "the row goes";
  ASSERT_OK(ClearDoubts(blocks[0], 1));
  ASSERT_OK(ClearDoubts(blocks[0] + 7, 1));  // no such block
  EXPECT_TRUE(last_changes.entries.empty());
}

TEST_F(NoteBadReplicasTest, DoubtsOfAnotherGenerationStay) {
  MakeFile("a");
  ASSERT_EQ(Reconfigure(blocks[0], 1, {1, 2, 3}), 2u);
  Note(blocks[0], 2, 2, BadReplica::kDoubtful);
  ASSERT_OK(ClearDoubts(blocks[0], 1));
  EXPECT_EQ(Reasons(blocks[0]), kRepairBad);
  ASSERT_OK(Begin(blocks[0], 2));
  ASSERT_OK(ClearDoubts(blocks[0], 2));
  EXPECT_EQ(Reasons(blocks[0]), kRepairBad | kRepairSealing) << "an attempt is under way";
  ASSERT_OK(CommitChain(blocks[0], 2, 3, {1, 2, 3}));
  EXPECT_EQ(Reasons(blocks[0]), 0) << "the members of a new chain are equal";
}

TEST_F(NoteBadReplicasTest, SeveralOfOneBlockInOneRecord) {
  MakeFile("a", 2);
  EXPECT_EQ(Note({{Block(blocks[0]), Generation(1), ServerId(1), 1},
                  {Block(blocks[0]), Generation(1), ServerId(2), 2},
                  {Block(blocks[1]), Generation(1), ServerId(2), 3}}),
            3);
  EXPECT_EQ(Repair(blocks[0])->bad.size(), 2u);
  EXPECT_EQ(Repair(blocks[1])->bad.size(), 1u);
}

TEST_F(NoteBadReplicasTest, DuringAnAttemptTheyAreNotedBesideIt) {
  MakeFile("a");
  ASSERT_OK(Begin(blocks[0], 1));
  EXPECT_EQ(Note(blocks[0], 1, 2, BadReplica::kDamaged), 1);
  EXPECT_EQ(Reasons(blocks[0]), kRepairBad | kRepairSealing);
  ASSERT_OK(CommitChain(blocks[0], 1, 2, {1, 2, 3}));
  EXPECT_EQ(Reasons(blocks[0]), kRepairBad) << "nobody verified it";
}

TEST_F(NoteBadReplicasTest, WhatIsLostAfterItWasSealedOvertakesTheAttempt) {
  MakeFile("a");
  ASSERT_OK(Begin(blocks[0], 1));
  EXPECT_EQ(Note(blocks[0], 2, 2, BadReplica::kDamaged), 1);
  EXPECT_EQ(Repair(blocks[0])->sealing, Generation(2)) << "the attempt itself may have found it";
  EXPECT_EQ(Note(blocks[0], 1, 1, BadReplica::kSuspect), 1);
  EXPECT_EQ(Repair(blocks[0])->sealing, Generation(2)) << "it was not sealed yet";
  EXPECT_EQ(Note(blocks[0], 2, 1, BadReplica::kSuspect), 1) << "once more";
  EXPECT_CODE(kConflict, CommitChain(blocks[0], 1, 2, {1, 2, 3}));
  EXPECT_EQ(Repair(blocks[0])->bad.size(), 2u);
  ASSERT_OK(CommitChain(blocks[0], 1, 3, {1, 2, 3}));
  EXPECT_EQ(Repair(blocks[0])->bad,
            (std::vector<RepairRecord::Bad>{{ServerId(2), BadReplica::kDamaged}}));
}

TEST_F(NoteBadReplicasTest, OfABlockThatIsBeingCutOffAreSkipped) {
  MakeFile("a", kMaxBlocksCutAtOnce + 1);
  ASSERT_OK(Truncate(file, 0));
  EXPECT_EQ(Note(blocks[0], 1, 2, BadReplica::kDamaged), 0);
}

}  // namespace
}  // namespace tercet
