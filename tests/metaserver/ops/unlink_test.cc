#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

using UnlinkTest = OpsTest;

TEST_F(UnlinkTest, MakesAnOrphanOfTheLastNameAndKeepsItsBlocks) {
  const int64_t file = Create(kRoot, "a");
  WriteBlocks(file, 0, 2);
  ASSERT_OK(Unlink(kRoot, "a"));
  EXPECT_EQ(InodeOf(kRoot, "a"), 0);
  EXPECT_EQ(Attributes(file).nlink, 0);
  EXPECT_EQ(Attributes(file).ctime_ns, now_ns);
  EXPECT_EQ(Attributes(kRoot).mtime_ns, now_ns);
  EXPECT_EQ(Blocks(file).size(), 2u);
  EXPECT_EQ(CounterValue(Counter::kOrphanCount), 1u);
  auto orphan = Tables(view).FindOrphan(InodeId(static_cast<uint64_t>(file)));
  ASSERT_OK(orphan);
  ASSERT_TRUE(orphan->has_value());
  EXPECT_EQ((*orphan)->since_ns, now_ns);
}

TEST_F(UnlinkTest, LetsAnOpenFileGoOnWithoutAName) {
  const int64_t file = Create(kRoot, "a");
  ASSERT_OK(Unlink(kRoot, "a"));
  WriteBlocks(file, 0, 3);
  ASSERT_OK(Truncate(file, 100));
  ASSERT_OK(SetXattr(file, "user.x", "1"));
  EXPECT_EQ(Attributes(file).size_bytes, 100);
}

TEST_F(UnlinkTest, TakesOnlyTheNamedEntry) {
  const int64_t file = Create(kRoot, "a");
  ASSERT_OK(Link(file, kRoot, "b"));
  ASSERT_OK(Unlink(kRoot, "a"));
  EXPECT_EQ(InodeOf(kRoot, "b"), file);
  EXPECT_CODE(kNotFound, Unlink(kRoot, "a"));
}

TEST_F(UnlinkTest, RefusesDirectoriesAndBadNames) {
  MakeDirectory(kRoot, "d");
  const int64_t file = Create(kRoot, "a");
  EXPECT_CODE(kIsDirectory, Unlink(kRoot, "d"));
  EXPECT_CODE(kIsDirectory, Unlink(kRoot, "."));
  EXPECT_CODE(kNotFound, Unlink(kRoot, "none"));
  EXPECT_CODE(kNotDirectory, Unlink(file, "a"));
  EXPECT_CODE(kNameTooLong, Unlink(kRoot, std::string(300, 'x')));
  EXPECT_CODE(kInvalidArgument, Unlink(kRoot, "a/"));
}

}  // namespace
}  // namespace tercet
