#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using RemoveDirectoryTest = OpsTest;

TEST_F(RemoveDirectoryTest, RemovesAnEmptyDirectory) {
  const int64_t directory = MakeDirectory(kRoot, "d");
  ASSERT_OK(RemoveDirectory(kRoot, "d"));
  EXPECT_EQ(InodeOf(kRoot, "d"), 0);
  EXPECT_EQ(Attributes(kRoot).nlink, 2);
  EXPECT_EQ(Attributes(kRoot).mtime_ns, now_ns);
  EXPECT_EQ(Attributes(directory).nlink, 0);
  ASSERT_OK(Reclaim(directory));
  wire::GetAttributesRequest request;
  request.inode = directory;
  EXPECT_CODE(kStaleHandle, GetAttributes(view, request));
}

TEST_F(RemoveDirectoryTest, KeepsADirectoryWithEntries) {
  const int64_t directory = MakeDirectory(kRoot, "d");
  Create(directory, "a");
  EXPECT_CODE(kNotEmpty, RemoveDirectory(kRoot, "d"));
  ASSERT_OK(Unlink(directory, "a"));
  EXPECT_CODE(kOk, RemoveDirectory(kRoot, "d"));
}

TEST_F(RemoveDirectoryTest, RefusesWhatIsNotADirectory) {
  Create(kRoot, "a");
  EXPECT_CODE(kNotDirectory, RemoveDirectory(kRoot, "a"));
  EXPECT_CODE(kNotFound, RemoveDirectory(kRoot, "none"));
  EXPECT_CODE(kInvalidArgument, RemoveDirectory(kRoot, "."));
  EXPECT_CODE(kNotEmpty, RemoveDirectory(kRoot, ".."));
  EXPECT_CODE(kStaleHandle, RemoveDirectory(99, "d"));
}

}  // namespace
}  // namespace tercet
