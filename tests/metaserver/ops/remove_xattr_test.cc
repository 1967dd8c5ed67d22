#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using RemoveXattrTest = OpsTest;

TEST_F(RemoveXattrTest, RemovesOneAttribute) {
  const int64_t file = Create(kRoot, "a");
  ASSERT_OK(SetXattr(file, "user.x", "1"));
  ASSERT_OK(SetXattr(file, "user.y", "2"));
  wire::RemoveXattrRequest request;
  request.inode = file;
  request.name = "user.x";
  ASSERT_OK(Do(EvaluateRemoveXattr, request));
  EXPECT_EQ(Attributes(file).xattr_count, 1);
  EXPECT_EQ(Attributes(file).ctime_ns, now_ns);
  EXPECT_CODE(kNoAttribute, Do(EvaluateRemoveXattr, request));
  request.name = std::string(256, 'x');
  EXPECT_CODE(kRangeTooSmall, Do(EvaluateRemoveXattr, request));
  request.inode = 99;
  request.name = "user.y";
  EXPECT_CODE(kStaleHandle, Do(EvaluateRemoveXattr, request));
}

}  // namespace
}  // namespace tercet
