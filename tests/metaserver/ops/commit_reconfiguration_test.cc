#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

using CommitReconfigurationTest = ReplicaTest;

TEST_F(CommitReconfigurationTest, ADeadServerIsLeftOutAndItsReplicaHeld) {
  MakeFile("a");
  const InodeRecord before = InodeRow(file);
  ASSERT_OK(Begin(blocks[0], 1));
  auto committed = CommitChain(blocks[0], 1, 2, {1, 3});
  ASSERT_OK(committed);
  EXPECT_EQ(committed->generation, Generation(2));
  EXPECT_EQ(BlockRow(file, 0).chain, Servers({1, 3}));
  EXPECT_EQ(BlockRow(file, 0).stale, Servers({2}));
  EXPECT_EQ(Replicas(blocks[0]), "1:2 3:2");
  EXPECT_EQ(Tasks(blocks[0]), "2:2h");
  EXPECT_EQ(Reasons(blocks[0]), kRepairShort);
  const InodeRecord after = InodeRow(file);
  EXPECT_EQ(after.change_version, before.change_version + 1);
  EXPECT_EQ(after.mtime_ns, before.mtime_ns);
  EXPECT_EQ(after.ctime_ns, before.ctime_ns);
}

TEST_F(CommitReconfigurationTest, WithAllReplicasBackTheHoldIsLifted) {
  MakeFile("a");
  ASSERT_EQ(Reconfigure(blocks[0], 1, {1, 3}), 2u);
  ASSERT_OK(Begin(blocks[0], 2, {4}));
  ASSERT_OK(CommitChain(blocks[0], 2, 3, {1, 3, 4}));
  EXPECT_EQ(Replicas(blocks[0]), "1:3 3:3 4:3");
  EXPECT_EQ(Tasks(blocks[0]), "2:3");
  EXPECT_TRUE(BlockRow(file, 0).stale.empty());
  EXPECT_EQ(Reasons(blocks[0]), 0);
}

TEST_F(CommitReconfigurationTest, AStaleServerComesBackIntoTheChain) {
  MakeFile("a");
  ASSERT_EQ(Reconfigure(blocks[0], 1, {1, 3}), 2u);
  ASSERT_OK(Begin(blocks[0], 2, {2}));
  ASSERT_OK(CommitChain(blocks[0], 2, 3, {1, 3, 2}));
  EXPECT_EQ(Tasks(blocks[0]), "");
  EXPECT_EQ(Replicas(blocks[0]), "1:3 2:3 3:3");
  EXPECT_EQ(BlockRow(file, 0).chain, Servers({1, 3, 2}));
  EXPECT_EQ(Reasons(blocks[0]), 0);
}

TEST_F(CommitReconfigurationTest, ATaskThatIsNotHeldIsVoidOnceItsServerIsBack) {
  MakeFile("a");
  ASSERT_EQ(Reconfigure(blocks[0], 1, {1, 3, 4}), 2u);
  ASSERT_EQ(Tasks(blocks[0]), "2:2");
  ASSERT_EQ(Reconfigure(blocks[0], 2, {1, 3, 2}), 3u);
  EXPECT_EQ(Tasks(blocks[0]), "4:3");
  // The confirmation of the old task comes late.
  ASSERT_OK(FinishDeletions(2, blocks[0], 2));
  EXPECT_EQ(Replicas(blocks[0]), "1:3 2:3 3:3");
}

TEST_F(CommitReconfigurationTest, TargetsThatDidNotMakeItGetTasks) {
  MakeFile("a");
  ASSERT_OK(Begin(blocks[0], 1, {4, 5}));
  ASSERT_OK(CommitChain(blocks[0], 1, 2, {1, 2, 4}));
  EXPECT_EQ(Tasks(blocks[0]), "3:2 5:2");
  ASSERT_EQ(Reconfigure(blocks[0], 2, {1, 2}), 3u);
  EXPECT_EQ(Tasks(blocks[0]), "3:2 4:3h 5:2");
}

TEST_F(CommitReconfigurationTest, AnOvertakenAttemptIsAConflict) {
  MakeFile("a");
  EXPECT_CODE(kConflict, CommitChain(blocks[0], 1, 2, {1, 2})) << "nothing was begun";
  ASSERT_OK(Begin(blocks[0], 1));
  ASSERT_OK(Begin(blocks[0], 1));
  EXPECT_CODE(kConflict, CommitChain(blocks[0], 1, 2, {1, 2}));
  ASSERT_OK(CommitChain(blocks[0], 1, 3, {1, 2}));
  EXPECT_CODE(kConflict, CommitChain(blocks[0], 1, 3, {1, 2})) << "done already";
  ASSERT_OK(Begin(blocks[0], 3));
  ASSERT_OK(Truncate(file, 0));
  EXPECT_CODE(kConflict, CommitChain(blocks[0], 3, 4, {1, 2}));
}

TEST_F(CommitReconfigurationTest, AMalformedChainIsRefused) {
  MakeFile("a");
  ASSERT_OK(Begin(blocks[0], 1));
  EXPECT_CODE(kInvalidArgument, CommitChain(blocks[0], 1, 2, {}));
  EXPECT_CODE(kInvalidArgument, CommitChain(blocks[0], 1, 2, {1, 2, 1}));
  EXPECT_CODE(kInvalidArgument, CommitChain(blocks[0], 1, 2, {0, 2}));
  std::vector<uint32_t> long_chain;
  for (uint32_t id = 1; id <= kMaxChainLength + 1; ++id) long_chain.push_back(id);
  EXPECT_CODE(kInvalidArgument, CommitChain(blocks[0], 1, 2, long_chain));
}

TEST_F(CommitReconfigurationTest, AReservedBlockHasNoReplicaRowsBeforeItsCommit) {
  const int64_t inode = Create(kRoot, "a");
  const int64_t block = Allocate(inode, 0)->block.block_id;
  ASSERT_EQ(Reconfigure(block, 1, {1, 2}), 2u);
  EXPECT_EQ(Replicas(block), "");
  EXPECT_EQ(Reasons(block), 0) << "what it has counts when something is committed in it";
  EXPECT_EQ(Tasks(block), "3:2h");
  // The writer goes on with the new chain and commits.
  ASSERT_OK(Commit(inode, {block}, 100));
  EXPECT_EQ(Replicas(block), "1:2 2:2");
  EXPECT_EQ(Reasons(block), kRepairShort);
}

TEST_F(CommitReconfigurationTest, AWriterCommitsWhileAnAttemptIsUnderWay) {
  const int64_t inode = Create(kRoot, "a");
  const int64_t block = Allocate(inode, 0)->block.block_id;
  ASSERT_OK(Begin(block, 1));
  ASSERT_OK(Commit(inode, {block}, 100));
  EXPECT_EQ(Replicas(block), "1:1 2:1 3:1");
  ASSERT_OK(CommitChain(block, 1, 2, {2, 3}));
  EXPECT_EQ(Replicas(block), "2:2 3:2");
  EXPECT_EQ(Reasons(block), kRepairShort);
}

TEST_F(CommitReconfigurationTest, ATruncationMeanwhileStaysInForce) {
  MakeFile("a");
  ASSERT_OK(Begin(blocks[0], 1));
  ASSERT_OK(Truncate(file, 10));
  ASSERT_OK(CommitChain(blocks[0], 1, 2, {1, 2, 3}));
  EXPECT_EQ(BlockRow(file, 0).valid_bytes, std::optional<uint32_t>(10));
}

TEST_F(CommitReconfigurationTest, ABlockThatIsCutOffTellsAllThatMayHaveSealed) {
  MakeFile("a", 2);
  ASSERT_EQ(Reconfigure(blocks[1], 1, {1, 2}), 2u);
  ASSERT_OK(Begin(blocks[1], 2, {4, 5}));
  ASSERT_OK(Truncate(file, kTestBlockSize));
  // Chain, stale server and targets, up to the generation that was being sealed.
  EXPECT_EQ(Tasks(blocks[1]), "1:3 2:3 3:3 4:3 5:3");
  EXPECT_FALSE(Repair(blocks[1]));
  EXPECT_CODE(kConflict, CommitChain(blocks[1], 2, 3, {1, 2, 4}));
  ASSERT_OK(Discard(blocks[1], 3, {4, 5}));
  EXPECT_EQ(Tasks(blocks[1]), "1:3 2:3 3:3 4:3 5:3");
}

TEST_F(CommitReconfigurationTest, AReservedBlockThatIsReplacedTellsAllThatMayHaveSealed) {
  const int64_t inode = Create(kRoot, "a");
  const int64_t block = Allocate(inode, 0)->block.block_id;
  ASSERT_OK(Begin(block, 1, {5}));
  ASSERT_OK(Allocate(inode, 0, {}, block));
  EXPECT_EQ(Tasks(block), "1:2 2:2 3:2 5:2");
  EXPECT_CODE(kConflict, CommitChain(block, 1, 2, {1, 2, 5}));
}

TEST_F(CommitReconfigurationTest, AnOrphanTellsAllThatMayHaveSealed) {
  MakeFile("a");
  ASSERT_OK(Begin(blocks[0], 1, {5}));
  ASSERT_OK(Unlink(kRoot, "a"));
  ASSERT_OK(Reclaim(file));
  EXPECT_EQ(Tasks(blocks[0]), "1:2 2:2 3:2 5:2");
}

TEST_F(CommitReconfigurationTest, NotesAreSettledForThoseThatWereVerified) {
  MakeFile("a");
  EXPECT_EQ(Note(blocks[0], 1, 1, BadReplica::kDamaged), 1);
  EXPECT_EQ(Note(blocks[0], 1, 2, BadReplica::kMissing), 1);
  EXPECT_EQ(Note(blocks[0], 1, 3, BadReplica::kSuspect), 1);
  ASSERT_EQ(Reconfigure(blocks[0], 1, {1, 2, 3}), 2u);
  // Damage of 1 was not looked for.
  ASSERT_EQ(Reasons(blocks[0]), kRepairBad);
  EXPECT_EQ(Repair(blocks[0])->bad,
            (std::vector<RepairRecord::Bad>{{ServerId(1), BadReplica::kDamaged}}));
  ASSERT_EQ(Reconfigure(blocks[0], 2, {1, 2, 3}, {1}), 3u);
  EXPECT_EQ(Reasons(blocks[0]), 0);
}

TEST_F(CommitReconfigurationTest, ADamagedMemberThatIsDroppedHasNoNote) {
  MakeFile("a");
  EXPECT_EQ(Note(blocks[0], 1, 2, BadReplica::kDamaged), 1);
  ASSERT_EQ(Reconfigure(blocks[0], 1, {1, 3, 4}), 2u);
  EXPECT_EQ(Reasons(blocks[0]), 0);
  EXPECT_EQ(Tasks(blocks[0]), "2:2");
}

TEST_F(CommitReconfigurationTest, MoreReplicasThanWantedAreSaidToBeSurplus) {
  MakeFile("a");
  ASSERT_EQ(Reconfigure(blocks[0], 1, {1, 2, 3, 4}), 2u);
  EXPECT_EQ(Reasons(blocks[0]), kRepairSurplus);
  ASSERT_EQ(Reconfigure(blocks[0], 2, {1, 2, 4}), 3u);
  EXPECT_EQ(Reasons(blocks[0]), 0);
  EXPECT_EQ(Tasks(blocks[0]), "3:3");
}

TEST_F(CommitReconfigurationTest, TheOldestOfManyHeldReplicasIsGivenUp) {
  ASSERT_OK(SetReplicas("/", kMaxChainLength));
  MakeFile("a");
  const auto one_at_a_time = static_cast<uint32_t>(kMaxStaleServers) + 1;
  uint64_t generation = 1;
  // Each time another server is the second one.
  for (uint32_t server = 101; server <= 101 + one_at_a_time; ++server) {
    generation = Reconfigure(blocks[0], generation, {1, server});
    ASSERT_NE(generation, 0u);
  }
  EXPECT_EQ(BlockRow(file, 0).stale.size(), kMaxStaleServers);
  size_t held = 0;
  const std::string tasks = Tasks(blocks[0]);
  for (char c : tasks) held += c == 'h' ? 1 : 0;
  EXPECT_EQ(held, kMaxStaleServers);
  EXPECT_GT(DeleteTasks().size(), kMaxStaleServers);
}

TEST_F(CommitReconfigurationTest, ADeadBlockCannotComeBack) {
  MakeFile("a", kMaxBlocksCutAtOnce + 1);
  ASSERT_OK(Begin(blocks[5], 1, {4}));
  ASSERT_OK(Truncate(file, 0));
  EXPECT_CODE(kConflict, CommitChain(blocks[5], 1, 2, {1, 2, 4}));
  ASSERT_OK(ReclaimTruncation(file));
  EXPECT_EQ(Tasks(blocks[5]), "1:2 2:2 3:2 4:2");
}

TEST_F(CommitReconfigurationTest, AnEmptyChainIsNoChainOfABlockInWhichSomethingWasCommitted) {
  file = Create(kRoot, "a");
  const int64_t block = Allocate(file, 0)->block.block_id;
  CommitReconfigurationArguments arguments;
  arguments.block = Block(block);
  arguments.from = Generation(1);
  arguments.chain = Servers({1});
  arguments.unwritten = true;
  const auto commit_chain = [&] {
    return Do([&](OperationContext& context) {
      return EvaluateCommitReconfiguration(context, arguments);
    });
  };
  arguments.sealing = Begin(block, 1)->sealing;
  ASSERT_OK(Commit(file, {block}, 100));
  EXPECT_CODE(kConflict, commit_chain());
  EXPECT_EQ(BlockRow(file, 0).chain, Servers({1, 2, 3}));
  arguments.unwritten = false;
  ASSERT_OK(commit_chain());

  const int64_t other = Create(kRoot, "b");
  arguments.block = Block(Allocate(other, 0)->block.block_id);
  arguments.sealing = Begin(Allocate(other, 0)->block.block_id, 1)->sealing;
  arguments.unwritten = true;
  ASSERT_OK(commit_chain());
}

}  // namespace
}  // namespace tercet
