#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using FileInfoTest = OpsTest;

TEST_F(FileInfoTest, ShowsAFileByPathOrInode) {
  const int64_t file = Create(kRoot, "a");
  WriteBlocks(file, 0, 3);
  wire::GetFileInfoRequest request;
  request.path = "/a";
  auto info = FileInfo(view, request);
  ASSERT_OK(info);
  EXPECT_EQ(info->attributes.inode, file);
  EXPECT_EQ(info->blocks.size(), 3u);
  EXPECT_EQ(info->servers.size(), 3u);
  EXPECT_FALSE(info->more);
  request.path.clear();
  request.inode = file;
  info = FileInfo(view, request);
  ASSERT_OK(info);
  EXPECT_EQ(info->blocks.size(), 3u);
}

TEST_F(FileInfoTest, PagesThroughTheBlocks) {
  const int64_t file = Create(kRoot, "a");
  WriteBlocks(file, 0, 5);
  wire::GetFileInfoRequest request;
  request.inode = file;
  request.max_blocks = 2;
  std::vector<int64_t> seen;
  for (bool more = true; more;) {
    auto info = FileInfo(view, request);
    ASSERT_OK(info);
    ASSERT_FALSE(info->blocks.empty());
    for (const auto& block : info->blocks) seen.push_back(block.block_index);
    request.first_block_index = seen.back() + 1;
    more = info->more;
  }
  EXPECT_THAT(seen, testing::ElementsAre(0, 1, 2, 3, 4));
}

TEST_F(FileInfoTest, ShowsADirectoryWithoutBlocks) {
  wire::GetFileInfoRequest request;
  request.path = "/";
  auto info = FileInfo(view, request);
  ASSERT_OK(info);
  EXPECT_EQ(info->attributes.inode, kRoot);
  EXPECT_TRUE(info->blocks.empty());
}

TEST_F(FileInfoTest, WantsOneOfPathAndInode) {
  wire::GetFileInfoRequest request;
  EXPECT_CODE(kInvalidArgument, FileInfo(view, request));
  request.path = "/";
  request.inode = 1;
  EXPECT_CODE(kInvalidArgument, FileInfo(view, request));
  request.inode = 0;
  request.path = "/none";
  EXPECT_CODE(kNotFound, FileInfo(view, request));
  request.path.clear();
  request.inode = 99;
  EXPECT_CODE(kNotFound, FileInfo(view, request));
}

}  // namespace
}  // namespace tercet
