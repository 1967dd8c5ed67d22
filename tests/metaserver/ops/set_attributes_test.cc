#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

class SetAttributesTest : public OpsTest {
 protected:
  wire::SetAttributesRequest Request() const {
    wire::SetAttributesRequest request;
    request.inode = file;
    return request;
  }
  wire::Attributes Set(const wire::SetAttributesRequest& request) {
    auto response = Do(EvaluateSetAttributes, request);
    EXPECT_TRUE(response.ok()) << response.status().ToString();
    return response.ok() ? response->attributes : wire::Attributes();
  }

  int64_t file = Create(kRoot, "a");
};

TEST_F(SetAttributesTest, ChangesOnlyWhatIsPresent) {
  const wire::Attributes before = Attributes(file);
  auto request = Request();
  request.__set_mode(0100600);
  const wire::Attributes after = Set(request);
  EXPECT_EQ(after.mode, 0600);
  EXPECT_EQ(after.uid, before.uid);
  EXPECT_EQ(after.mtime_ns, before.mtime_ns);
  EXPECT_EQ(after.ctime_ns, now_ns);
  EXPECT_GT(after.change_version, before.change_version);
  EXPECT_EQ(Attributes(file), after);
}

TEST_F(SetAttributesTest, WritesNothingWhenNothingIsAsked) {
  const wire::Attributes before = Attributes(file);
  EXPECT_EQ(Set(Request()), before);
  EXPECT_TRUE(last_changes.entries.empty());
}

TEST_F(SetAttributesTest, KeepsNanosecondsAndTimesBefore1970) {
  auto request = Request();
  request.__set_atime_ns(1234567890123456789);
  request.__set_mtime_ns(-1);
  const wire::Attributes after = Set(request);
  EXPECT_EQ(after.atime_ns, 1234567890123456789);
  EXPECT_EQ(after.mtime_ns, -1);
  EXPECT_EQ(after.ctime_ns, now_ns);
}

TEST_F(SetAttributesTest, SetsItsOwnTimeWhenAsked) {
  auto request = Request();
  request.atime_now = true;
  request.mtime_now = true;
  request.__set_mtime_ns(5);
  const wire::Attributes after = Set(request);
  EXPECT_EQ(after.atime_ns, now_ns);
  EXPECT_EQ(after.mtime_ns, now_ns);
}

TEST_F(SetAttributesTest, ClearsSetUidAndSetGidWithANewOwner) {
  auto request = Request();
  request.__set_mode(06755);
  Set(request);
  request = Request();
  request.__set_uid(-2);  // 4294967294
  wire::Attributes after = Set(request);
  EXPECT_EQ(after.mode, 0755);
  EXPECT_EQ(after.uid, -2);
  // Set-gid without group execution is mandatory locking, not a right to run.
  request = Request();
  request.__set_mode(02745);
  Set(request);
  request = Request();
  request.__set_gid(5);
  EXPECT_EQ(Set(request).mode, 02745);
  // The kernel may say itself what remains.
  request.__set_mode(06755);
  EXPECT_EQ(Set(request).mode, 06755);
}

TEST_F(SetAttributesTest, KeepsSetGidOfADirectoryWithANewOwner) {
  auto request = Request();
  request.inode = MakeDirectory(kRoot, "d");
  request.__set_mode(02755);
  Set(request);
  request.__isset.mode = false;
  request.__set_uid(5);
  EXPECT_EQ(Set(request).mode, 02755);
}

TEST_F(SetAttributesTest, GrowsByTheSizeAlone) {
  WriteBlocks(file, 0, 1);
  auto grown = Truncate(file, 1 << 30);
  ASSERT_OK(grown);
  EXPECT_EQ(grown->attributes.size_bytes, 1 << 30);
  EXPECT_EQ(grown->attributes.mtime_ns, now_ns);
  EXPECT_EQ(grown->attributes.allocated_bytes, kTestBlockSize);
  EXPECT_FALSE(Blocks(file)[0].__isset.valid_bytes);
}

TEST_F(SetAttributesTest, ShrinkingDropsBlocksAndLimitsTheLastOne) {
  const std::vector<int64_t> ids = WriteBlocks(file, 0, 4);
  ASSERT_OK(Truncate(file, kTestBlockSize + 10));
  const auto blocks = Blocks(file);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_FALSE(blocks[0].__isset.valid_bytes);
  EXPECT_EQ(blocks[1].valid_bytes, 10);
  std::vector<std::pair<uint64_t, uint64_t>> expected;
  for (uint64_t server = 1; server <= 3; ++server) {
    for (int i = 2; i < 4; ++i) expected.emplace_back(server, ids[static_cast<size_t>(i)]);
  }
  EXPECT_EQ(DeleteTasks(), expected);
  EXPECT_EQ(CounterValue(Counter::kBlockCount), 2u);
  EXPECT_EQ(summary, "setattr inode=2 size=4106");
}

TEST_F(SetAttributesTest, ShrinkingToABlockBoundaryLimitsNothing) {
  WriteBlocks(file, 0, 3);
  ASSERT_OK(Truncate(file, 2 * kTestBlockSize));
  const auto blocks = Blocks(file);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_FALSE(blocks[1].__isset.valid_bytes);
}

TEST_F(SetAttributesTest, ALimitOnlyFallsUntilSomebodyWrites) {
  WriteBlocks(file, 0, 1);
  ASSERT_OK(Truncate(file, 100));
  ASSERT_OK(Truncate(file, 2000));
  ASSERT_OK(Truncate(file, 1000));
  EXPECT_EQ(Blocks(file)[0].valid_bytes, 100);
  ASSERT_OK(Truncate(file, 50));
  EXPECT_EQ(Blocks(file)[0].valid_bytes, 50);
}

TEST_F(SetAttributesTest, ShrinkingAlsoDropsReservedBlocks) {
  WriteBlocks(file, 0, 1);
  auto reserved = Allocate(file, 7);
  ASSERT_OK(reserved);
  ASSERT_OK(Truncate(file, 10));
  EXPECT_EQ(DeleteTasks().size(), 3u);
  EXPECT_CODE(kConflict, Commit(file, {reserved->block.block_id}, 8 * kTestBlockSize));
}

TEST_F(SetAttributesTest, RefusesSizesThatCannotBe) {
  EXPECT_CODE(kInvalidArgument, Truncate(file, -1));
  EXPECT_CODE(kFileTooLarge, Truncate(file, (int64_t{1} << 50) + 1));
  EXPECT_CODE(kOk, Truncate(file, int64_t{1} << 50));
  EXPECT_CODE(kIsDirectory, Truncate(kRoot, 0));
  EXPECT_CODE(kInvalidArgument, Truncate(Make(kRoot, "f", wire::FileType::FIFO), 0));
  EXPECT_CODE(kInvalidArgument, Truncate(Make(kRoot, "l", wire::FileType::SYMLINK), 0));
  EXPECT_CODE(kStaleHandle, Truncate(99, 0));
}

}  // namespace
}  // namespace tercet
