#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using ResolvePathTest = OpsTest;

TEST_F(ResolvePathTest, WalksFromTheRoot) {
  const int64_t directory = MakeDirectory(kRoot, "d");
  const int64_t file = Create(directory, "f");
  const std::vector<std::pair<std::string, int64_t>> paths = {
      {"/", kRoot},   {"/d", directory}, {"/d/", directory},  {"//d//f", file},
      {"/d/f", file}, {"/d/./f", file},  {"/d/../d/f", file}, {"/..", kRoot},
  };
  for (const auto& [path, inode] : paths) {
    auto resolved = ResolvePath(view, path);
    ASSERT_TRUE(resolved.ok()) << path;
    EXPECT_EQ(resolved->value(), static_cast<uint64_t>(inode)) << path;
  }
}

TEST_F(ResolvePathTest, SaysWhatIsWrong) {
  Create(kRoot, "f");
  EXPECT_CODE(kNotFound, ResolvePath(view, "/none"));
  EXPECT_CODE(kNotDirectory, ResolvePath(view, "/f/x"));
  EXPECT_CODE(kInvalidArgument, ResolvePath(view, "f"));
  EXPECT_CODE(kInvalidArgument, ResolvePath(view, ""));
  EXPECT_CODE(kNameTooLong, ResolvePath(view, "/" + std::string(256, 'x')));
  EXPECT_CODE(kNameTooLong, ResolvePath(view, std::string(4096, '/')));
}

TEST_F(ResolvePathTest, DoesNotFollowSymbolicLinks) {
  auto request = NodeRequest(kRoot, "l", wire::FileType::SYMLINK);
  request.symlink_target = "/d";
  auto made = Do(EvaluateMakeNode, request);
  ASSERT_OK(made);
  MakeDirectory(kRoot, "d");
  auto resolved = ResolvePath(view, "/l");
  ASSERT_OK(resolved);
  EXPECT_EQ(resolved->value(), static_cast<uint64_t>(made->attributes.inode));
  EXPECT_CODE(kNotDirectory, ResolvePath(view, "/l/x"));
}

}  // namespace
}  // namespace tercet
