#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

class ReplaceUnwrittenTest : public ReplicaTest {
 protected:
  Result<FileBlockRecord> Replace(int64_t inode, uint64_t index, int64_t block,
                                  std::vector<uint32_t> exclude = {}) {
    return Do([&](OperationContext& context) {
      return EvaluateReplaceUnwritten(context, Inode(inode), index, Block(block), Servers(exclude));
    });
  }
};

TEST_F(ReplaceUnwrittenTest, ANewBlockOnOtherServersTakesItsPlace) {
  const int64_t inode = Create(kRoot, "a");
  const int64_t old = Allocate(inode, 0)->block.block_id;
  ASSERT_OK(Begin(old, 1, {5}));
  auto fresh = Replace(inode, 0, old, {1});
  ASSERT_OK(fresh);
  EXPECT_NE(fresh->block, Block(old));
  EXPECT_EQ(fresh->generation, Generation(1));
  EXPECT_TRUE(fresh->reserved);
  EXPECT_EQ(fresh->reservers, std::vector<SessionId>{session});
  EXPECT_EQ(fresh->chain, Servers({2, 3, 4}));
  EXPECT_EQ(Tasks(old), "1:2 2:2 3:2 5:2");
  EXPECT_FALSE(Repair(old));
  ASSERT_OK(Commit(inode, {static_cast<int64_t>(fresh->block.value())}, 5));
}

TEST_F(ReplaceUnwrittenTest, WhatMayHoldDataIsToBeRecovered) {
  MakeFile("a");
  EXPECT_CODE(kFailedPrecondition, Replace(file, 0, blocks[0])) << "committed";
  const int64_t block = Allocate(file, 1)->block.block_id;
  const SessionId first = session;
  session = OpenSession("session-uuid-002");
  EXPECT_CODE(kFailedPrecondition, Replace(file, 1, block)) << "another session's";
  ASSERT_EQ(Allocate(file, 1)->block.block_id, block);
  EXPECT_CODE(kFailedPrecondition, Replace(file, 1, block)) << "two sessions write to it";
  ASSERT_OK(ExpireSession(first));
  ASSERT_OK(Replace(file, 1, block));
}

TEST_F(ReplaceUnwrittenTest, ABlockThatLeftTheFileIsAConflict) {
  const int64_t inode = Create(kRoot, "a");
  const int64_t old = Allocate(inode, 0)->block.block_id;
  EXPECT_CODE(kConflict, Replace(inode, 0, old + 1));
  EXPECT_CODE(kConflict, Replace(inode, 1, old));
  auto fresh = Replace(inode, 0, old);
  ASSERT_OK(fresh);
  EXPECT_CODE(kConflict, Replace(inode, 0, old)) << "done already";
}

TEST_F(ReplaceUnwrittenTest, WithTooFewServersTheOldOneStays) {
  const int64_t inode = Create(kRoot, "a");
  const int64_t old = Allocate(inode, 0)->block.block_id;
  EXPECT_CODE(kUnavailable, Replace(inode, 0, old, {1, 2, 3, 4}));
  EXPECT_EQ(BlockRow(inode, 0).block, Block(old));
}

}  // namespace
}  // namespace tercet
