#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

class CommitWriteTest : public OpsTest {
 protected:
  int64_t AllocateId(int64_t index) {
    auto allocated = Allocate(file, index);
    EXPECT_TRUE(allocated.ok()) << allocated.status().ToString();
    return allocated.ok() ? allocated->block.block_id : 0;
  }

  int64_t file = Create(kRoot, "a");
};

TEST_F(CommitWriteTest, MakesReservedBlocksPartOfTheFile) {
  const int64_t id = AllocateId(0);
  auto committed = Commit(file, {id}, 100);
  ASSERT_OK(committed);
  EXPECT_EQ(committed->attributes.size_bytes, 100);
  EXPECT_EQ(committed->attributes.mtime_ns, now_ns);
  EXPECT_EQ(committed->attributes.ctime_ns, now_ns);
  EXPECT_EQ(CounterValue(Counter::kBlockCount), 1u);
  ASSERT_EQ(Blocks(file).size(), 1u);
  EXPECT_FALSE(Blocks(file)[0].reserved);
  for (uint32_t server = 1; server <= 3; ++server) {
    auto replica = Tables(view).FindReplica(ServerId(server), BlockId(static_cast<uint64_t>(id)));
    ASSERT_OK(replica);
    ASSERT_TRUE(replica->has_value());
    EXPECT_EQ((*replica)->generation, Generation(1));
  }
}

TEST_F(CommitWriteTest, IsHarmlessTwice) {
  const int64_t id = AllocateId(0);
  ASSERT_OK(Commit(file, {id, id}, 100));
  ASSERT_OK(Commit(file, {id}, 100));
  EXPECT_EQ(CounterValue(Counter::kBlockCount), 1u);
}

TEST_F(CommitWriteTest, OnlyEverGrowsTheFile) {
  WriteBlocks(file, 0, 2);
  auto committed = Commit(file, {}, 5);
  ASSERT_OK(committed);
  EXPECT_EQ(committed->attributes.size_bytes, 2 * kTestBlockSize);
  EXPECT_EQ(committed->attributes.mtime_ns, now_ns);
}

TEST_F(CommitWriteTest, TakesTheWritersTime) {
  wire::CommitWriteRequest request;
  request.inode = file;
  request.__set_mtime_ns(4711);
  auto committed = Do(EvaluateCommitWrite, request);
  ASSERT_OK(committed);
  EXPECT_EQ(committed->attributes.mtime_ns, 4711);
  EXPECT_EQ(committed->attributes.ctime_ns, now_ns);
}

TEST_F(CommitWriteTest, ATrimmedBlockIsValidAgain) {
  const int64_t id = WriteBlocks(file, 0, 1)[0];
  ASSERT_OK(Truncate(file, 10));
  ASSERT_OK(Truncate(file, 4000));
  ASSERT_OK(Commit(file, {}, 100, {id}));
  EXPECT_FALSE(Blocks(file)[0].__isset.valid_bytes);
}

TEST_F(CommitWriteTest, AWriteBeforeTheLimitKeepsIt) {
  const int64_t id = WriteBlocks(file, 0, 1)[0];
  ASSERT_OK(Truncate(file, 10));
  ASSERT_OK(Commit(file, {}, 10));
  EXPECT_EQ(Blocks(file)[0].valid_bytes, 10);
  // Within the size, an end behind the limit says nothing about what was written.
  ASSERT_OK(Truncate(file, 4000));
  ASSERT_OK(Commit(file, {}, 4000));
  EXPECT_EQ(Blocks(file)[0].valid_bytes, 10);
  ASSERT_OK(Commit(file, {id}, 8));
  EXPECT_EQ(Blocks(file)[0].valid_bytes, 10);
}

TEST_F(CommitWriteTest, DataBehindALimitThatTheWriterDidNotKnowIsNotLost) {
  WriteBlocks(file, 0, 1);
  ASSERT_OK(Truncate(file, 10));
  ASSERT_OK(Commit(file, {}, 60));
  EXPECT_FALSE(Blocks(file)[0].__isset.valid_bytes);
  // The same for a block that was cut while it was reserved.
  const int64_t id = AllocateId(1);
  ASSERT_OK(Truncate(file, 3 * kTestBlockSize));
  ASSERT_OK(Truncate(file, kTestBlockSize + 10));
  ASSERT_OK(Commit(file, {id}, kTestBlockSize + 20));
  ASSERT_EQ(Blocks(file).size(), 2u);
  EXPECT_FALSE(Blocks(file)[1].__isset.valid_bytes);
}

TEST_F(CommitWriteTest, ALongerFileKeepsTheLimitOfEarlierBlocks) {
  WriteBlocks(file, 0, 1);
  ASSERT_OK(Truncate(file, 10));
  const int64_t id = AllocateId(3);
  ASSERT_OK(Commit(file, {id}, 4 * kTestBlockSize));
  EXPECT_EQ(Blocks(file)[0].valid_bytes, 10);
}

TEST_F(CommitWriteTest, ConflictsWhenABlockIsNotOfTheFileAnyMore) {
  const int64_t id = AllocateId(0);
  ASSERT_OK(Allocate(file, 0, {1}, id));
  EXPECT_CODE(kConflict, Commit(file, {id}, 1));
  EXPECT_CODE(kConflict, Commit(file, {}, 1, {id}));
  EXPECT_CODE(kConflict, Commit(file, {4711}, 1));
  EXPECT_CODE(kConflict, Commit(file, {-1}, 1));
  const int64_t other = Create(kRoot, "b");
  EXPECT_CODE(kConflict, Commit(other, {AllocateId(0)}, 1));
  EXPECT_EQ(Attributes(file).size_bytes, 0);
}

TEST_F(CommitWriteTest, WritesToAFileWithoutAName) {
  const int64_t id = AllocateId(0);
  ASSERT_OK(Unlink(kRoot, "a"));
  ASSERT_OK(Commit(file, {id}, 10));
  EXPECT_EQ(Attributes(file).size_bytes, 10);
}

TEST_F(CommitWriteTest, RefusesWhatCannotBe) {
  const int64_t id = AllocateId(1);
  EXPECT_CODE(kInvalidArgument, Commit(file, {id}, kTestBlockSize));
  EXPECT_CODE(kInvalidArgument, Commit(file, {}, -1));
  EXPECT_CODE(kFileTooLarge, Commit(file, {}, (int64_t{1} << 50) + 1));
  EXPECT_CODE(kInvalidArgument, Commit(file, std::vector<int64_t>(1025, id), 3 * kTestBlockSize));
  EXPECT_CODE(kIsDirectory, Commit(kRoot, {}, 0));
  EXPECT_CODE(kInvalidArgument, Commit(Make(kRoot, "f", wire::FileType::FIFO), {}, 0));
  EXPECT_CODE(kStaleHandle, Commit(99, {}, 0));
}

TEST_F(CommitWriteTest, ReportsAnOwnerRowThatNamesTheWrongBlock) {
  const auto id = static_cast<uint64_t>(AllocateId(0));
  MapView damaged = view;
  damaged.rows[BlockOwnerKey(BlockId(id + 100))] = damaged.rows[BlockOwnerKey(BlockId(id))];
  Transaction transaction(damaged);
  OperationContext context{transaction, session, now_ns, chooser};
  wire::CommitWriteRequest request;
  request.inode = file;
  request.written_blocks = {static_cast<int64_t>(id + 100)};
  request.end_offset = 1;
  EXPECT_CODE(kCorruption, EvaluateCommitWrite(context, request));
}

}  // namespace
}  // namespace tercet
