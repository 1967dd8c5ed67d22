#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using GetBlocksTest = OpsTest;

wire::GetBlocksRequest Request(int64_t inode, int64_t first, int32_t count) {
  wire::GetBlocksRequest request;
  request.inode = inode;
  request.first_index = first;
  request.count = count;
  return request;
}

TEST_F(GetBlocksTest, ReturnsTheRangeWithoutHolesAndReservedBlocks) {
  const int64_t file = Create(kRoot, "a");
  WriteBlocks(file, 0, 2);
  WriteBlocks(file, 4, 6);
  ASSERT_OK(Allocate(file, 3));
  auto response = GetBlocks(view, Request(file, 1, 4));
  ASSERT_OK(response);
  EXPECT_EQ(response->size_bytes, 6 * kTestBlockSize);
  ASSERT_EQ(response->blocks.size(), 2u);
  EXPECT_EQ(response->blocks[0].block_index, 1);
  EXPECT_EQ(response->blocks[1].block_index, 4);
  EXPECT_EQ(response->servers.size(), 3u);
}

TEST_F(GetBlocksTest, ShowsHowFarATruncatedBlockIsValid) {
  const int64_t file = Create(kRoot, "a");
  WriteBlocks(file, 0, 1);
  ASSERT_OK(Truncate(file, 10));
  const auto blocks = Blocks(file);
  ASSERT_EQ(blocks.size(), 1u);
  ASSERT_TRUE(blocks[0].__isset.valid_bytes);
  EXPECT_EQ(blocks[0].valid_bytes, 10);
}

TEST_F(GetBlocksTest, SaysWhichBlocksHaveTooFewReplicasToBeWrittenTo) {
  const int64_t file = Create(kRoot, "a");
  WriteBlocks(file, 0, 1);
  ASSERT_EQ(Blocks(file).size(), 1u);
  EXPECT_FALSE(Blocks(file)[0].below_minimum);
  Transaction transaction(view);
  MutableTables tables(transaction);
  auto record = tables.GetInode(InodeId(static_cast<uint64_t>(file)));
  ASSERT_OK(record);
  record->min_replicas = record->replicas = static_cast<uint8_t>(Blocks(file)[0].chain.size() + 1);
  tables.PutInode(InodeId(static_cast<uint64_t>(file)), *record);
  auto response = GetBlocks(transaction, Request(file, 0, 1));
  ASSERT_OK(response);
  EXPECT_TRUE(response->blocks.at(0).below_minimum);
}

TEST_F(GetBlocksTest, BoundsAnAbsurdRange) {
  const int64_t file = Create(kRoot, "a");
  WriteBlocks(file, 0, 1);
  auto response = GetBlocks(view, Request(file, 0, std::numeric_limits<int32_t>::max()));
  ASSERT_OK(response);
  EXPECT_EQ(response->blocks.size(), 1u);
  response = GetBlocks(view, Request(file, std::numeric_limits<int64_t>::max(), 16));
  ASSERT_OK(response);
  EXPECT_TRUE(response->blocks.empty());
}

TEST_F(GetBlocksTest, RefusesNegativeRangesAndWhatHasNoBlocks) {
  const int64_t file = Create(kRoot, "a");
  EXPECT_CODE(kInvalidArgument, GetBlocks(view, Request(file, -1, 1)));
  EXPECT_CODE(kInvalidArgument, GetBlocks(view, Request(file, 0, -1)));
  EXPECT_CODE(kIsDirectory, GetBlocks(view, Request(kRoot, 0, 1)));
  EXPECT_CODE(kInvalidArgument,
              GetBlocks(view, Request(Make(kRoot, "s", wire::FileType::SOCKET), 0, 1)));
}

}  // namespace
}  // namespace tercet
