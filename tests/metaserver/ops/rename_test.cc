#include "tests/metaserver/ops/ops_fixture.h"

namespace tercet {
namespace {

class RenameTest : public OpsTest {
 protected:
  int64_t d = MakeDirectory(kRoot, "d");
  int64_t e = MakeDirectory(kRoot, "e");
};

TEST_F(RenameTest, MovesAFileAndTouchesBothDirectories) {
  const int64_t file = Create(d, "a");
  ASSERT_OK(Rename(d, "a", e, "b"));
  EXPECT_EQ(InodeOf(d, "a"), 0);
  EXPECT_EQ(InodeOf(e, "b"), file);
  EXPECT_EQ(Attributes(file).ctime_ns, now_ns);
  EXPECT_LT(Attributes(file).mtime_ns, now_ns);
  EXPECT_EQ(Attributes(d).mtime_ns, now_ns);
  EXPECT_EQ(Attributes(e).ctime_ns, now_ns);
  EXPECT_EQ(summary, "rename parent=2 name=a new_parent=3 new_name=b");
}

TEST_F(RenameTest, RenamesWithinADirectory) {
  const int64_t file = Create(d, "a");
  ASSERT_OK(Rename(d, "a", d, "b"));
  EXPECT_THAT(NamesIn(d), testing::ElementsAre("b"));
  EXPECT_EQ(InodeOf(d, "b"), file);
}

TEST_F(RenameTest, ReplacesAFileWhichBecomesAnOrphan) {
  const int64_t file = Create(d, "a");
  const int64_t replaced = Create(e, "b");
  ASSERT_OK(Rename(d, "a", e, "b"));
  EXPECT_EQ(InodeOf(e, "b"), file);
  EXPECT_EQ(Attributes(replaced).nlink, 0);
  EXPECT_EQ(CounterValue(Counter::kOrphanCount), 1u);
}

TEST_F(RenameTest, ReplacesOneOfSeveralNames) {
  Create(d, "a");
  const int64_t replaced = Create(e, "b");
  ASSERT_OK(Link(replaced, e, "c"));
  ASSERT_OK(Rename(d, "a", e, "b"));
  EXPECT_EQ(Attributes(replaced).nlink, 1);
  EXPECT_EQ(CounterValue(Counter::kOrphanCount), 0u);
}

TEST_F(RenameTest, MovesADirectoryWithItsParentAndLinkCounts) {
  const int64_t inner = MakeDirectory(d, "x");
  ASSERT_OK(Rename(d, "x", e, "y"));
  EXPECT_EQ(InodeOf(inner, ".."), e);
  EXPECT_EQ(Attributes(d).nlink, 2);
  EXPECT_EQ(Attributes(e).nlink, 3);
}

TEST_F(RenameTest, ReplacesAnEmptyDirectoryByADirectory) {
  const int64_t inner = MakeDirectory(d, "x");
  Create(inner, "content");
  const int64_t replaced = MakeDirectory(e, "y");
  ASSERT_OK(Rename(d, "x", e, "y"));
  EXPECT_EQ(InodeOf(e, "y"), inner);
  EXPECT_EQ(Attributes(replaced).nlink, 0);
  EXPECT_EQ(Attributes(e).nlink, 3);
  // The same within one directory.
  MakeDirectory(e, "z");
  ASSERT_OK(Rename(e, "y", e, "z"));
  EXPECT_EQ(Attributes(e).nlink, 3);
}

TEST_F(RenameTest, KeepsADirectoryWithEntries) {
  MakeDirectory(d, "x");
  const int64_t full = MakeDirectory(e, "y");
  Create(full, "content");
  EXPECT_CODE(kNotEmpty, Rename(d, "x", e, "y"));
  // The target is above the source.
  const int64_t deeper = MakeDirectory(full, "deeper");
  EXPECT_CODE(kNotEmpty, Rename(full, "deeper", kRoot, "e"));
  EXPECT_EQ(InodeOf(full, "deeper"), deeper);
}

TEST_F(RenameTest, DoesNotMixFilesAndDirectories) {
  Create(d, "file");
  MakeDirectory(d, "directory");
  EXPECT_CODE(kIsDirectory, Rename(d, "file", d, "directory"));
  EXPECT_CODE(kNotDirectory, Rename(d, "directory", d, "file"));
}

TEST_F(RenameTest, DoesNotMoveADirectoryIntoItself) {
  const int64_t inner = MakeDirectory(d, "inner");
  EXPECT_CODE(kInvalidArgument, Rename(kRoot, "d", d, "x"));
  EXPECT_CODE(kInvalidArgument, Rename(kRoot, "d", inner, "x"));
  EXPECT_CODE(kInvalidArgument, Rename(kRoot, "d", inner, "x", RenameFlag::kNoReplace));
  EXPECT_CODE(kOk, Rename(kRoot, "d", e, "x"));
}

TEST_F(RenameTest, LeavesTwoNamesOfOneFileAlone) {
  const int64_t file = Create(d, "a");
  ASSERT_OK(Link(file, e, "b"));
  ASSERT_OK(Rename(d, "a", e, "b"));
  EXPECT_TRUE(last_changes.entries.empty());
  ASSERT_OK(Rename(d, "a", d, "a"));
  ASSERT_OK(Rename(kRoot, "d", kRoot, "d"));
  EXPECT_TRUE(last_changes.entries.empty());
  EXPECT_EQ(InodeOf(d, "a"), file);
  EXPECT_EQ(InodeOf(e, "b"), file);
  EXPECT_EQ(Attributes(file).nlink, 2);
}

TEST_F(RenameTest, ReplacesNothingWhenAskedNotTo) {
  const int64_t file = Create(d, "a");
  Create(e, "b");
  EXPECT_CODE(kExists, Rename(d, "a", e, "b", RenameFlag::kNoReplace));
  EXPECT_CODE(kExists, Rename(d, "a", d, "a", RenameFlag::kNoReplace));
  ASSERT_OK(Rename(d, "a", e, "c", RenameFlag::kNoReplace));
  EXPECT_EQ(InodeOf(e, "c"), file);
}

TEST_F(RenameTest, ExchangesAFileAndADirectory) {
  const int64_t file = Create(d, "a");
  const int64_t directory = MakeDirectory(e, "b");
  Create(directory, "content");
  ASSERT_OK(Rename(d, "a", e, "b", RenameFlag::kExchange));
  EXPECT_EQ(InodeOf(e, "b"), file);
  EXPECT_EQ(InodeOf(d, "a"), directory);
  EXPECT_EQ(InodeOf(directory, ".."), d);
  EXPECT_EQ(Attributes(d).nlink, 3);
  EXPECT_EQ(Attributes(e).nlink, 2);
  EXPECT_EQ(Attributes(file).ctime_ns, now_ns);
  EXPECT_EQ(Attributes(directory).ctime_ns, now_ns);
  EXPECT_EQ(CounterValue(Counter::kOrphanCount), 0u);
}

TEST_F(RenameTest, ExchangesWithinADirectory) {
  const int64_t first = MakeDirectory(d, "1");
  const int64_t second = Create(d, "2");
  ASSERT_OK(Rename(d, "1", d, "2", RenameFlag::kExchange));
  EXPECT_EQ(InodeOf(d, "2"), first);
  EXPECT_EQ(InodeOf(d, "1"), second);
  EXPECT_EQ(Attributes(d).nlink, 3);
}

TEST_F(RenameTest, DoesNotExchangeADirectoryWithWhatIsInIt) {
  const int64_t inner = MakeDirectory(d, "inner");
  Create(inner, "a");
  EXPECT_CODE(kInvalidArgument, Rename(inner, "a", kRoot, "d", RenameFlag::kExchange));
  EXPECT_CODE(kInvalidArgument, Rename(kRoot, "d", inner, "a", RenameFlag::kExchange));
  EXPECT_CODE(kInvalidArgument, Rename(d, "inner", kRoot, "d", RenameFlag::kExchange));
  EXPECT_CODE(kNotFound, Rename(kRoot, "d", e, "none", RenameFlag::kExchange));
}

TEST_F(RenameTest, RefusesBadRequests) {
  Create(d, "a");
  wire::RenameRequest both;
  both.parent = both.new_parent = d;
  both.name = "a";
  both.new_name = "b";
  both.no_replace = both.exchange = true;
  EXPECT_CODE(kInvalidArgument, Do(EvaluateRename, both));
  EXPECT_CODE(kNotFound, Rename(d, "none", e, "b"));
  EXPECT_CODE(kBusy, Rename(d, ".", e, "b"));
  EXPECT_CODE(kBusy, Rename(d, "a", e, ".."));
  EXPECT_CODE(kNameTooLong, Rename(d, "a", e, std::string(256, 'b')));
  EXPECT_CODE(kInvalidArgument, Rename(d, "a", e, "b/c"));
  EXPECT_CODE(kStaleHandle, Rename(d, "a", 99, "b"));
  EXPECT_CODE(kNotDirectory, Rename(d, "a", InodeOf(d, "a"), "b"));
  ASSERT_OK(RemoveDirectory(kRoot, "e"));
  EXPECT_CODE(kNotFound, Rename(d, "a", e, "b"));
}

TEST_F(RenameTest, FindsItsWayOutOfADeepTree) {
  int64_t directory = d;
  for (int depth = 0; depth < 1000; ++depth) directory = MakeDirectory(directory, "n");
  EXPECT_CODE(kInvalidArgument, Rename(kRoot, "d", directory, "x"));
  EXPECT_CODE(kOk, Rename(kRoot, "e", directory, "x"));
}

TEST_F(RenameTest, ReportsATreeThatDoesNotLeadToTheRoot) {
  MapView damaged = view;
  InodeRecord record = *Tables(view).GetInode(InodeId(static_cast<uint64_t>(e)));
  record.parent = InodeId(4711);
  damaged.rows[InodeKey(InodeId(static_cast<uint64_t>(e)))] = record.Encode();
  Transaction transaction(damaged);
  OperationContext context{transaction, session, now_ns, chooser};
  wire::RenameRequest request;
  request.parent = kRoot;
  request.name = "d";
  request.new_parent = e;
  request.new_name = "x";
  EXPECT_CODE(kCorruption, EvaluateRename(context, request));
  record.parent = InodeId(static_cast<uint64_t>(e));  // a loop
  damaged.rows[InodeKey(InodeId(static_cast<uint64_t>(e)))] = record.Encode();
  EXPECT_CODE(kNotSupported, EvaluateRename(context, request));
}

}  // namespace
}  // namespace tercet
