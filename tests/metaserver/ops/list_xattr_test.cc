#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using ListXattrTest = OpsTest;

Result<wire::ListXattrResponse> List(const View& view, int64_t inode) {
  wire::ListXattrRequest request;
  request.inode = inode;
  return ListXattr(view, request);
}

TEST_F(ListXattrTest, ListsTheNamesOfThisInodeOnly) {
  const int64_t first = Create(kRoot, "a");
  const int64_t second = Create(kRoot, "b");
  ASSERT_OK(SetXattr(first, "user.b", "1"));
  ASSERT_OK(SetXattr(first, "trusted.a", "2"));
  ASSERT_OK(SetXattr(second, "user.other", "3"));
  auto listed = List(view, first);
  ASSERT_OK(listed);
  EXPECT_THAT(listed->names, testing::UnorderedElementsAre("user.b", "trusted.a"));
  listed = List(view, kRoot);
  ASSERT_OK(listed);
  EXPECT_TRUE(listed->names.empty());
  EXPECT_CODE(kStaleHandle, List(view, 99));
}

}  // namespace
}  // namespace tercet
