#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using GetXattrTest = OpsTest;

Result<wire::GetXattrResponse> Get(const View& view, int64_t inode, const std::string& name) {
  wire::GetXattrRequest request;
  request.inode = inode;
  request.name = name;
  return GetXattr(view, request);
}

TEST_F(GetXattrTest, ReturnsTheValueByteForByte) {
  const int64_t file = Create(kRoot, "a");
  const std::string value("\0\xff\n", 3);
  ASSERT_OK(SetXattr(file, "user.v", value));
  ASSERT_OK(SetXattr(file, "user.empty", ""));
  auto got = Get(view, file, "user.v");
  ASSERT_OK(got);
  EXPECT_EQ(got->value, value);
  got = Get(view, file, "user.empty");
  ASSERT_OK(got);
  EXPECT_EQ(got->value, "");
}

TEST_F(GetXattrTest, SaysWhatIsWrong) {
  const int64_t file = Create(kRoot, "a");
  EXPECT_CODE(kNoAttribute, Get(view, file, "user.none"));
  ASSERT_OK(SetXattr(file, "user.v", "1"));
  EXPECT_CODE(kNoAttribute, Get(view, file, "user.none"));
  EXPECT_CODE(kNoAttribute, Get(view, file, "system.posix_acl_access"));
  EXPECT_CODE(kRangeTooSmall, Get(view, file, std::string(256, 'x')));
  EXPECT_CODE(kStaleHandle, Get(view, 99, "user.v"));
}

}  // namespace
}  // namespace tercet
