#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

class AllocateBlockTest : public OpsTest {
 protected:
  int64_t file = Create(kRoot, "a");
};

TEST_F(AllocateBlockTest, ReservesABlockOnAChain) {
  auto allocated = Allocate(file, 3);
  ASSERT_OK(allocated);
  const wire::BlockInfo& block = allocated->block;
  EXPECT_EQ(block.block_index, 3);
  EXPECT_GT(block.block_id, 0);
  EXPECT_EQ(block.generation, 1);
  EXPECT_TRUE(block.reserved);
  EXPECT_FALSE(block.__isset.valid_bytes);
  EXPECT_THAT(block.chain, testing::ElementsAre(1, 2, 3));
  EXPECT_EQ(allocated->servers.size(), 3u);
  EXPECT_EQ(chooser.last_bytes, kTestBlockSize);
  EXPECT_EQ(last_changes.entries.size(), 3u);
  EXPECT_EQ(CounterValue(Counter::kBlockCount), 0u);
  EXPECT_EQ(Attributes(file).size_bytes, 0);
}

TEST_F(AllocateBlockTest, ReturnsACommittedBlockAsItIs) {
  const int64_t id = WriteBlocks(file, 0, 1)[0];
  ASSERT_OK(Truncate(file, 10));
  auto again = Allocate(file, 0, {1}, id);
  ASSERT_OK(again);
  EXPECT_EQ(again->block.block_id, id);
  EXPECT_FALSE(again->block.reserved);
  EXPECT_EQ(again->block.valid_bytes, 10);
  EXPECT_TRUE(last_changes.entries.empty());
}

TEST_F(AllocateBlockTest, ReturnsAReservedBlockOfALivingSessionAsItIs) {
  auto first = Allocate(file, 0);
  ASSERT_OK(first);
  auto again = Allocate(file, 0);
  ASSERT_OK(again);
  EXPECT_EQ(again->block, first->block);
  EXPECT_TRUE(last_changes.entries.empty());
  session = OpenSession("session-uuid-002");
  again = Allocate(file, 0);
  ASSERT_OK(again);
  EXPECT_EQ(again->block, first->block);
}

TEST_F(AllocateBlockTest, ReplacesAReservedBlockWhoseSessionsAllEnded) {
  const SessionId first_session = session;
  auto first = Allocate(file, 0);
  ASSERT_OK(first);
  const SessionId second_session = session = OpenSession("session-uuid-002");
  ASSERT_OK(Allocate(file, 0));
  session = OpenSession("session-uuid-003");
  ASSERT_OK(ExpireSession(first_session));
  // The second session may still commit what it wrote there.
  auto kept = Allocate(file, 0);
  ASSERT_OK(kept);
  EXPECT_EQ(kept->block.block_id, first->block.block_id);
  ASSERT_OK(ExpireSession(second_session));
  ASSERT_OK(ExpireSession(session));
  session = OpenSession("session-uuid-004");
  auto replaced = Allocate(file, 0);
  ASSERT_OK(replaced);
  EXPECT_GT(replaced->block.block_id, first->block.block_id);
  const auto old = static_cast<uint64_t>(first->block.block_id);
  EXPECT_THAT(DeleteTasks(),
              testing::ElementsAre(std::pair(1, old), std::pair(2, old), std::pair(3, old)));
}

TEST_F(AllocateBlockTest, ReplacesANamedReservedBlockOnOtherServers) {
  auto first = Allocate(file, 0);
  ASSERT_OK(first);
  auto second = Allocate(file, 0, {2}, first->block.block_id);
  ASSERT_OK(second);
  EXPECT_NE(second->block.block_id, first->block.block_id);
  EXPECT_THAT(second->block.chain, testing::ElementsAre(1, 3, 4));
  EXPECT_EQ(DeleteTasks().size(), 3u);
  // A late repetition of the wish does not touch the new block.
  auto third = Allocate(file, 0, {2}, first->block.block_id);
  ASSERT_OK(third);
  EXPECT_EQ(third->block.block_id, second->block.block_id);
}

TEST_F(AllocateBlockTest, PassesOnThatThereAreNoServers) {
  chooser.servers.resize(1);
  EXPECT_CODE(kUnavailable, Allocate(file, 0));
  chooser.servers = {ServerId(1), ServerId(2)};
  auto degraded = Allocate(file, 0);
  ASSERT_OK(degraded);
  EXPECT_THAT(degraded->block.chain, testing::ElementsAre(1, 2));
}

TEST_F(AllocateBlockTest, KeepsTheOldBlockWhenNoneCanReplaceIt) {
  auto first = Allocate(file, 0);
  ASSERT_OK(first);
  EXPECT_CODE(kUnavailable, Allocate(file, 0, {1, 2, 3, 4}, first->block.block_id));
  EXPECT_TRUE(DeleteTasks().empty());
  EXPECT_CODE(kOk, Commit(file, {first->block.block_id}, 1));
}

TEST_F(AllocateBlockTest, BoundsTheSessionsItRemembersPerBlock) {
  for (size_t i = 0; i < kMaxReservers + 5; ++i) {
    session = OpenSession("session-uuid-1" + std::to_string(10 + i));
    ASSERT_OK(Allocate(file, 0));
  }
  auto block = Tables(view).FindFileBlock(InodeId(static_cast<uint64_t>(file)), 0);
  ASSERT_OK(block);
  EXPECT_EQ((*block)->reservers.size(), kMaxReservers);
}

TEST_F(AllocateBlockTest, NeverGivesABlockIdTwice) {
  const int64_t id = WriteBlocks(file, 0, 1)[0];
  ASSERT_OK(Truncate(file, 0));
  auto next = Allocate(file, 0);
  ASSERT_OK(next);
  EXPECT_GT(next->block.block_id, id);
}

TEST_F(AllocateBlockTest, RefusesWhatHasNoBlocks) {
  EXPECT_CODE(kIsDirectory, Allocate(kRoot, 0));
  EXPECT_CODE(kInvalidArgument, Allocate(Make(kRoot, "f", wire::FileType::FIFO), 0));
  EXPECT_CODE(kInvalidArgument, Allocate(file, -1));
  EXPECT_CODE(kFileTooLarge, Allocate(file, (int64_t{1} << 50) / kTestBlockSize));
  EXPECT_CODE(kOk, Allocate(file, (int64_t{1} << 50) / kTestBlockSize - 1));
  EXPECT_CODE(kInvalidArgument, Allocate(file, 0, std::vector<int32_t>(2000, 1)));
  EXPECT_CODE(kStaleHandle, Allocate(99, 0));
}

}  // namespace
}  // namespace tercet
