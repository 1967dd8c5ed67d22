#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using CreateFileTest = OpsTest;

TEST_F(CreateFileTest, MakesAnEmptyFileAndTouchesTheDirectory) {
  const wire::Attributes before = Attributes(kRoot);
  auto created = TryCreate(kRoot, "a", true, 0100640);
  ASSERT_OK(created);
  EXPECT_TRUE(created->created);
  EXPECT_EQ(created->attributes.mode, 0640);
  EXPECT_EQ(created->attributes.nlink, 1);
  EXPECT_EQ(created->attributes.size_bytes, 0);
  EXPECT_EQ(created->attributes.uid, 1000);
  EXPECT_EQ(created->attributes.gid, 100);
  EXPECT_EQ(created->attributes.atime_ns, now_ns);
  EXPECT_EQ(created->attributes.mtime_ns, now_ns);
  EXPECT_EQ(created->attributes.ctime_ns, now_ns);
  EXPECT_EQ(Attributes(created->attributes.inode), created->attributes);
  const wire::Attributes after = Attributes(kRoot);
  EXPECT_EQ(after.mtime_ns, now_ns);
  EXPECT_EQ(after.ctime_ns, now_ns);
  EXPECT_EQ(after.nlink, 2);
  EXPECT_GT(after.change_version, before.change_version);
}

TEST_F(CreateFileTest, ChangesFewSmallRows) {
  Create(kRoot, "a");
  EXPECT_EQ(last_changes.entries.size(), 5u);
  size_t bytes = 0;
  for (const auto& entry : last_changes.entries) bytes += entry.key.size() + entry.value->size();
  EXPECT_LT(bytes, 256u);
  EXPECT_EQ(summary, "create parent=1 name=a inode=2");
}

TEST_F(CreateFileTest, ReturnsAnExistingFileWithItsBlocksUnlessExclusive) {
  const int64_t file = Create(kRoot, "a");
  WriteBlocks(file, 0, 6);
  auto again = TryCreate(kRoot, "a", false);
  ASSERT_OK(again);
  EXPECT_FALSE(again->created);
  EXPECT_EQ(again->attributes.inode, file);
  EXPECT_EQ(again->blocks.size(), 4u);
  EXPECT_EQ(again->servers.size(), 3u);
  EXPECT_TRUE(last_changes.entries.empty());
  EXPECT_CODE(kExists, TryCreate(kRoot, "a", true));
}

TEST_F(CreateFileTest, DoesNotOpenWhatIsNotARegularFile) {
  MakeDirectory(kRoot, "d");
  Make(kRoot, "l", wire::FileType::SYMLINK);
  EXPECT_CODE(kIsDirectory, TryCreate(kRoot, "d", false));
  EXPECT_CODE(kExists, TryCreate(kRoot, "d", true));
  EXPECT_CODE(kExists, TryCreate(kRoot, "l", false));
}

TEST_F(CreateFileTest, InheritsTheGroupOfASetGidDirectoryAndItsPolicies) {
  const int64_t directory = MakeDirectory(kRoot, "d");
  wire::SetAttributesRequest request;
  request.inode = directory;
  request.__set_mode(02775);
  request.__set_gid(42);
  ASSERT_OK(Do(EvaluateSetAttributes, request));
  auto created = TryCreate(directory, "a");
  ASSERT_OK(created);
  EXPECT_EQ(created->attributes.gid, 42);
  EXPECT_EQ(created->attributes.mode, 0644);
  EXPECT_EQ(created->attributes.block_size_bytes, static_cast<int32_t>(kTestBlockSize));
}

TEST_F(CreateFileTest, NeverGivesAnInodeNumberTwice) {
  const int64_t first = Create(kRoot, "a");
  ASSERT_OK(Unlink(kRoot, "a"));
  ASSERT_OK(Reclaim(first));
  EXPECT_GT(Create(kRoot, "a"), first);
}

TEST_F(CreateFileTest, RefusesBadNamesAndPlaces) {
  const int64_t file = Create(kRoot, "a");
  const int64_t removed = MakeDirectory(kRoot, "d");
  ASSERT_OK(RemoveDirectory(kRoot, "d"));
  EXPECT_CODE(kNotFound, TryCreate(removed, "x"));
  EXPECT_CODE(kNotDirectory, TryCreate(file, "x"));
  EXPECT_CODE(kStaleHandle, TryCreate(99, "x"));
  EXPECT_CODE(kNotFound, TryCreate(kRoot, ""));
  EXPECT_CODE(kExists, TryCreate(kRoot, "."));
  EXPECT_CODE(kExists, TryCreate(kRoot, ".."));
  EXPECT_CODE(kInvalidArgument, TryCreate(kRoot, "x/y"));
  EXPECT_CODE(kNameTooLong, TryCreate(kRoot, std::string(256, 'x')));
  EXPECT_CODE(kOk, TryCreate(kRoot, std::string(255, 'x')));
}

TEST_F(CreateFileTest, ShowsStrangeNamesReadablyInTheSummary) {
  Create(kRoot, "a b\n\xff");
  EXPECT_EQ(summary, "create parent=1 name=a\\x20b\\x0a\\xff inode=2");
  Create(kRoot, std::string(255, '\xff'));
  EXPECT_LE(summary.size(), 300u);
}

}  // namespace
}  // namespace tercet
