#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using ReadLinkTest = OpsTest;

Result<wire::ReadLinkResponse> Read(const View& view, int64_t inode) {
  wire::ReadLinkRequest request;
  request.inode = inode;
  return ReadLink(view, request);
}

TEST_F(ReadLinkTest, ReturnsTheTargetByteForByte) {
  auto request = NodeRequest(kRoot, "l", wire::FileType::SYMLINK);
  request.symlink_target = std::string(4095, '\xfe');
  auto made = Do(EvaluateMakeNode, request);
  ASSERT_OK(made);
  auto read = Read(view, made->attributes.inode);
  ASSERT_OK(read);
  EXPECT_EQ(read->target, request.symlink_target);
}

TEST_F(ReadLinkTest, RefusesWhatIsNotASymbolicLink) {
  EXPECT_CODE(kInvalidArgument, Read(view, kRoot));
  EXPECT_CODE(kInvalidArgument, Read(view, Create(kRoot, "a")));
  EXPECT_CODE(kStaleHandle, Read(view, 77));
}

}  // namespace
}  // namespace tercet
