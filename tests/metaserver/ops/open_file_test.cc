#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using OpenFileTest = OpsTest;

wire::OpenFileRequest Request(int64_t inode, int32_t max_blocks = 4) {
  wire::OpenFileRequest request;
  request.inode = inode;
  request.max_blocks = max_blocks;
  return request;
}

TEST_F(OpenFileTest, ReturnsTheFirstBlocksAndTheirServers) {
  const int64_t file = Create(kRoot, "a");
  const std::vector<int64_t> ids = WriteBlocks(file, 0, 6);
  auto opened = OpenFile(view, Request(file));
  ASSERT_OK(opened);
  EXPECT_EQ(opened->attributes.size_bytes, 6 * kTestBlockSize);
  ASSERT_EQ(opened->blocks.size(), 4u);
  EXPECT_EQ(opened->blocks[3].block_id, ids[3]);
  EXPECT_EQ(opened->blocks[3].block_index, 3);
  EXPECT_THAT(opened->blocks[3].chain, testing::ElementsAre(1, 2, 3));
  ASSERT_EQ(opened->servers.size(), 3u);
  EXPECT_EQ(opened->servers[2].server_id, 3);
  EXPECT_EQ(opened->servers[2].host, "10.0.0.1");
  EXPECT_EQ(opened->servers[2].port, 7000);
}

TEST_F(OpenFileTest, HidesReservedBlocksAlsoFromWriters) {
  const int64_t file = Create(kRoot, "a");
  ASSERT_OK(Truncate(file, 3 * kTestBlockSize));
  ASSERT_OK(Allocate(file, 1));
  auto request = Request(file);
  request.for_write = true;
  auto opened = OpenFile(view, request);
  ASSERT_OK(opened);
  EXPECT_TRUE(opened->blocks.empty());
}

TEST_F(OpenFileTest, ReturnsNoBlocksWhenNoneAreWanted) {
  const int64_t file = Create(kRoot, "a");
  WriteBlocks(file, 0, 1);
  for (int32_t wanted : {0, -5}) {
    auto opened = OpenFile(view, Request(file, wanted));
    ASSERT_OK(opened);
    EXPECT_TRUE(opened->blocks.empty());
  }
}

TEST_F(OpenFileTest, AnswersForDevicesAndRefusesDirectoriesAndLinks) {
  EXPECT_CODE(kOk, OpenFile(view, Request(Make(kRoot, "f", wire::FileType::FIFO))));
  EXPECT_CODE(kIsDirectory, OpenFile(view, Request(kRoot)));
  EXPECT_CODE(kInvalidArgument, OpenFile(view, Request(Make(kRoot, "l", wire::FileType::SYMLINK))));
  EXPECT_CODE(kStaleHandle, OpenFile(view, Request(99)));
}

}  // namespace
}  // namespace tercet
