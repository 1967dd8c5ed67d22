#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using LinkTest = OpsTest;

TEST_F(LinkTest, GivesAFileASecondName) {
  const int64_t file = Create(kRoot, "a");
  const int64_t directory = MakeDirectory(kRoot, "d");
  auto linked = Link(file, directory, "b");
  ASSERT_OK(linked);
  EXPECT_EQ(linked->attributes.nlink, 2);
  EXPECT_EQ(linked->attributes.ctime_ns, now_ns);
  EXPECT_LT(linked->attributes.mtime_ns, now_ns);
  EXPECT_EQ(InodeOf(directory, "b"), file);
  EXPECT_EQ(Attributes(directory).mtime_ns, now_ns);
  ASSERT_OK(Unlink(kRoot, "a"));
  EXPECT_EQ(Attributes(file).nlink, 1);
  EXPECT_EQ(CounterValue(Counter::kOrphanCount), 0u);
}

TEST_F(LinkTest, LinksSymbolicLinksThemselves) {
  const int64_t link = Make(kRoot, "l", wire::FileType::SYMLINK);
  ASSERT_OK(Link(link, kRoot, "m"));
  EXPECT_EQ(Attributes(link).nlink, 2);
}

TEST_F(LinkTest, RefusesDirectoriesExistingNamesAndFilesWithoutAName) {
  const int64_t file = Create(kRoot, "a");
  const int64_t directory = MakeDirectory(kRoot, "d");
  EXPECT_CODE(kNotPermitted, Link(directory, kRoot, "e"));
  EXPECT_CODE(kExists, Link(file, kRoot, "d"));
  EXPECT_CODE(kExists, Link(file, kRoot, "."));
  EXPECT_CODE(kStaleHandle, Link(99, kRoot, "x"));
  EXPECT_CODE(kNotDirectory, Link(file, file, "x"));
  EXPECT_CODE(kNameTooLong, Link(file, kRoot, std::string(256, 'x')));
  ASSERT_OK(Unlink(kRoot, "a"));
  EXPECT_CODE(kNotFound, Link(file, kRoot, "a"));
  ASSERT_OK(RemoveDirectory(kRoot, "d"));
  const int64_t other = Create(kRoot, "o");
  EXPECT_CODE(kNotFound, Link(other, directory, "x"));
}

TEST_F(LinkTest, LimitsTheNumberOfNames) {
  const auto file = static_cast<uint64_t>(Create(kRoot, "a"));
  MapView crowded = view;
  InodeRecord record = *Tables(view).GetInode(InodeId(file));
  wire::LinkRequest request;
  request.inode = static_cast<int64_t>(file);
  request.new_parent = kRoot;
  request.new_name = "b";
  for (uint32_t links : {kMaxLinks - 1, kMaxLinks}) {
    record.nlink = links;
    crowded.rows[InodeKey(InodeId(file))] = record.Encode();
    Transaction transaction(crowded);
    OperationContext context{transaction, session, now_ns, chooser};
    EXPECT_EQ(EvaluateLink(context, request).code(),
              links < kMaxLinks ? StatusCode::kOk : StatusCode::kTooManyLinks);
  }
}

}  // namespace
}  // namespace tercet
