#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using GetAttributesTest = OpsTest;

TEST_F(GetAttributesTest, ShowsTheRootOfANewFileSystem) {
  const wire::Attributes root = Attributes(kRoot);
  EXPECT_EQ(root.type, wire::FileType::DIRECTORY);
  EXPECT_EQ(root.mode, 0755);
  EXPECT_EQ(root.nlink, 2);
  EXPECT_EQ(root.block_size_bytes, static_cast<int32_t>(kTestBlockSize));
}

TEST_F(GetAttributesTest, CountsCommittedBlocksAsAllocated) {
  const int64_t file = Create(kRoot, "a");
  WriteBlocks(file, 0, 1);
  ASSERT_OK(Truncate(file, 10 * kTestBlockSize));
  ASSERT_OK(Allocate(file, 5));
  EXPECT_EQ(Attributes(file).allocated_bytes, kTestBlockSize);
}

TEST_F(GetAttributesTest, NeverShowsMoreAllocatedThanTheSize) {
  const int64_t file = Create(kRoot, "a");
  auto block = Allocate(file, 0);
  ASSERT_OK(block);
  ASSERT_OK(Commit(file, {block->block.block_id}, 100));
  EXPECT_EQ(Attributes(file).allocated_bytes, 100);
}

TEST_F(GetAttributesTest, StillAnswersForAnOpenFileWithoutAName) {
  const int64_t file = Create(kRoot, "a");
  ASSERT_OK(Unlink(kRoot, "a"));
  EXPECT_EQ(Attributes(file).nlink, 0);
}

TEST_F(GetAttributesTest, IsStaleForAnUnknownInode) {
  wire::GetAttributesRequest request;
  request.inode = 99;
  EXPECT_CODE(kStaleHandle, GetAttributes(view, request));
  request.inode = -1;
  EXPECT_CODE(kStaleHandle, GetAttributes(view, request));
}

TEST_F(GetAttributesTest, ReportsADamagedRow) {
  MapView damaged = view;
  damaged.rows[InodeKey(kRootInode)] = "\x01garbage";
  wire::GetAttributesRequest request;
  request.inode = kRoot;
  EXPECT_CODE(kCorruption, GetAttributes(damaged, request));
}

}  // namespace
}  // namespace tercet
