#include "metaserver/ops/paths.h"

#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

class PathsTest : public ReplicaTest {
 protected:
  std::string Path(int64_t inode) const {
    auto path = PathOf(view, Inode(inode));
    EXPECT_TRUE(path.ok()) << path.status().ToString();
    return path.ok() ? *path : "";
  }
  /// As older versions wrote the inode: without a name hint.
  void ForgetHint(int64_t inode) {
    InodeRecord record = InodeRow(inode);
    record.name_hint.clear();
    if (!record.is_directory()) record.parent = InodeId();
    Transaction transaction(view);
    MutableTables(transaction).PutInode(Inode(inode), record);
    view.Apply(transaction.Take());
  }
};

TEST_F(PathsTest, FollowRenames) {
  EXPECT_EQ(Path(kRoot), "/");
  const int64_t d = MakeDirectory(kRoot, "d");
  const int64_t e = MakeDirectory(d, "e");
  const int64_t f = Create(e, "f");
  EXPECT_EQ(Path(f), "/d/e/f");
  ASSERT_OK(Rename(e, "f", d, "g"));
  EXPECT_EQ(Path(f), "/d/g");
  ASSERT_OK(Rename(kRoot, "d", kRoot, "x"));
  EXPECT_EQ(Path(f), "/x/g");
  EXPECT_EQ(Path(e), "/x/e");
  const int64_t h = Create(kRoot, "h");
  ASSERT_OK(Rename(kRoot, "h", d, "g", RenameFlag::kExchange));
  EXPECT_EQ(Path(h), "/x/g");
  EXPECT_EQ(Path(f), "/h");
}

TEST_F(PathsTest, OfSeveralNamesOneThatIsThere) {
  const int64_t d = MakeDirectory(kRoot, "d");
  const int64_t f = Create(d, "one");
  ASSERT_OK(Link(f, kRoot, "two"));
  EXPECT_EQ(Path(f), "/d/one");
  ASSERT_OK(Unlink(kRoot, "two"));
  EXPECT_EQ(Path(f), "/d/one");
  ASSERT_OK(Link(f, kRoot, "two"));
  ASSERT_OK(Unlink(d, "one"));
  EXPECT_EQ(Path(f), "inode " + std::to_string(f)) << "that of the other name is not known";
  ASSERT_OK(Link(f, d, "three"));
  EXPECT_EQ(Path(f), "/d/three");
  // A file of the same name in its place is another one.
  ASSERT_OK(Rename(d, "three", d, "four"));
  Create(d, "three");
  EXPECT_EQ(Path(f), "/d/four");
}

TEST_F(PathsTest, WithoutANameTheNumber) {
  const int64_t d = MakeDirectory(kRoot, "d");
  const int64_t f = Create(d, "f");
  ASSERT_OK(Unlink(d, "f"));
  EXPECT_EQ(Path(f), "inode " + std::to_string(f));
  ASSERT_OK(RemoveDirectory(kRoot, "d"));
  EXPECT_EQ(Path(d), "inode " + std::to_string(d));
  EXPECT_EQ(Path(12345), "inode 12345");
}

TEST_F(PathsTest, DirectoriesOfOlderVersionsAreFoundInTheirParents) {
  const int64_t d = MakeDirectory(kRoot, "d");
  const int64_t f = Create(d, "f");
  ForgetHint(d);
  EXPECT_EQ(Path(f), "/d/f");
  ForgetHint(f);
  EXPECT_EQ(Path(f), "inode " + std::to_string(f));
  EXPECT_EQ(Path(d), "/d");
}

TEST_F(PathsTest, AHintThatLeadsElsewhereIsNotBelieved) {
  const int64_t f = Create(kRoot, "f");
  const int64_t g = Create(kRoot, "g");
  InodeRecord record = InodeRow(f);
  const InodeRecord right = record;
  record.name_hint = "g";
  Transaction transaction(view);
  MutableTables(transaction).PutInode(Inode(f), record);
  view.Apply(transaction.Take());
  EXPECT_EQ(Path(f), "inode " + std::to_string(f));
  EXPECT_EQ(Path(g), "/g");
  Transaction mend(view);
  MutableTables(mend).PutInode(Inode(f), right);
  view.Apply(mend.Take());
}

}  // namespace
}  // namespace tercet
