#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

class SetXattrTest : public OpsTest {
 protected:
  int64_t file = Create(kRoot, "a");
};

TEST_F(SetXattrTest, AddsAndReplaces) {
  ASSERT_OK(SetXattr(file, "user.x", "1"));
  EXPECT_EQ(Attributes(file).xattr_count, 1);
  EXPECT_EQ(Attributes(file).ctime_ns, now_ns);
  ASSERT_OK(SetXattr(file, "user.x", "22"));
  ASSERT_OK(SetXattr(file, "user.xx", ""));
  EXPECT_EQ(Attributes(file).xattr_count, 2);
  wire::GetXattrRequest request;
  request.inode = file;
  request.name = "user.x";
  auto got = GetXattr(view, request);
  ASSERT_OK(got);
  EXPECT_EQ(got->value, "22");
}

TEST_F(SetXattrTest, HonoursCreateAndReplace) {
  wire::SetXattrRequest request;
  request.inode = file;
  request.name = "user.x";
  request.replace_only = true;
  EXPECT_CODE(kNoAttribute, Do(EvaluateSetXattr, request));
  request.replace_only = false;
  request.create_only = true;
  EXPECT_CODE(kOk, Do(EvaluateSetXattr, request));
  EXPECT_CODE(kExists, Do(EvaluateSetXattr, request));
  request.replace_only = true;
  EXPECT_CODE(kInvalidArgument, Do(EvaluateSetXattr, request));
}

TEST_F(SetXattrTest, BoundsNameAndValue) {
  EXPECT_CODE(kOk, SetXattr(file, "user." + std::string(250, 'n'), std::string(65536, 'v')));
  EXPECT_CODE(kRangeTooSmall, SetXattr(file, "user." + std::string(251, 'n'), ""));
  EXPECT_CODE(kRangeTooSmall, SetXattr(file, "", ""));
  EXPECT_CODE(kArgumentTooBig, SetXattr(file, "user.v", std::string(65537, 'v')));
  EXPECT_CODE(kInvalidArgument, SetXattr(file, std::string("user.\0", 6), ""));
}

TEST_F(SetXattrTest, BoundsAllAttributesTogether) {
  ASSERT_OK(SetXattr(file, "user.1", std::string(60000, 'v')));
  ASSERT_OK(SetXattr(file, "user.2", std::string(60000, 'v')));
  EXPECT_CODE(kNoSpace, SetXattr(file, "user.3", std::string(60000, 'v')));
  // What is replaced does not count.
  EXPECT_CODE(kOk, SetXattr(file, "user.2", std::string(65536, 'v')));
}

TEST_F(SetXattrTest, BoundsTheNumberAndTheListOfNames) {
  for (uint32_t i = 0; i < kMaxXattrs; ++i)
    ASSERT_OK(SetXattr(file, "user." + std::to_string(i), ""));
  EXPECT_CODE(kNoSpace, SetXattr(file, "user.more", ""));
  EXPECT_CODE(kOk, SetXattr(file, "user.0", "replaced"));

  const int64_t other = Create(kRoot, "b");
  Result<wire::SetXattrResponse> set = wire::SetXattrResponse();
  size_t names_bytes = 0;
  for (int i = 1000; i < 2000 && set.ok(); ++i) {
    const std::string name = "user." + std::string(240, 'n') + std::to_string(i);
    set = SetXattr(other, name, "");
    if (set.ok()) names_bytes += name.size() + 1;
  }
  EXPECT_CODE(kNoSpace, set);
  EXPECT_LE(names_bytes, 65536u);
}

TEST_F(SetXattrTest, KnowsItsNamespaces) {
  EXPECT_CODE(kOk, SetXattr(file, "trusted.x", ""));
  EXPECT_CODE(kOk, SetXattr(file, "security.capability", ""));
  EXPECT_CODE(kOk, SetXattr(kRoot, "user.x", ""));
  EXPECT_CODE(kNotSupported, SetXattr(file, "system.posix_acl_access", ""));
  EXPECT_CODE(kNotSupported, SetXattr(file, "nonsense", ""));
  EXPECT_CODE(kInvalidArgument, SetXattr(file, "user.", ""));
  const int64_t link = Make(kRoot, "l", wire::FileType::SYMLINK);
  EXPECT_CODE(kNotPermitted, SetXattr(link, "user.x", ""));
  EXPECT_CODE(kOk, SetXattr(link, "trusted.x", ""));
  EXPECT_CODE(kStaleHandle, SetXattr(99, "user.x", ""));
}

}  // namespace
}  // namespace tercet
