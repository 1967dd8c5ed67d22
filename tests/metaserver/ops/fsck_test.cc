#include "metaserver/ops/fsck.h"

#include "metaserver/namespace/keys.h"
#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

class FsckTest : public ReplicaTest {
 protected:
  FsckTest() {
    live.is_alive = [this](ServerId server) { return !dead.contains(server); };
  }

  int64_t FileOn(int64_t parent, const std::string& name, std::vector<uint32_t> chain,
                 int64_t block_count = 1) {
    chooser.servers = Servers(chain);
    file = Create(parent, name);
    blocks = WriteBlocks(file, 0, block_count);
    return file;
  }

  /// All pages, added up.
  FsckPage Check(const std::string& path = "/", int max_rows = kMaxFsckRows,
                 int max_problems = 1000) {
    return CheckView(view, path, max_rows, max_problems);
  }
  FsckPage CheckView(const View& checked, const std::string& path = "/",
                     int max_rows = kMaxFsckRows, int max_problems = 1000) {
    FsckQuery query;
    query.path = path;
    query.max_rows = max_rows;
    query.max_problems = max_problems;
    FsckPage sum;
    wire::FsckResponse& all = sum.response;
    for (pages = 1; pages < 10'000; ++pages) {
      auto page = Fsck(checked, query, live);
      EXPECT_TRUE(page.ok()) << page.status().ToString();
      if (!page.ok()) break;
      const wire::FsckResponse& part = page->response;
      all.files += part.files;
      all.blocks += part.blocks;
      all.healthy += part.healthy;
      all.doubtful += part.doubtful;
      all.under_replicated += part.under_replicated;
      all.over_replicated += part.over_replicated;
      all.missing += part.missing;
      all.corrupt += part.corrupt;
      all.orphaned += part.orphaned;
      EXPECT_LE(part.problems.size(), static_cast<size_t>(max_problems) + 16);
      all.problems.insert(all.problems.end(), part.problems.begin(), part.problems.end());
      sum.to_repair.insert(sum.to_repair.end(), page->to_repair.begin(), page->to_repair.end());
      query.cursor = part.cursor;
      if (query.cursor.empty()) return sum;
    }
    ADD_FAILURE() << "it does not end";
    return sum;
  }
  /// "kind path" of the problems, in order.
  static std::string Problems(const FsckPage& page) {
    std::string out;
    for (const auto& problem : page.response.problems) {
      out += (out.empty() ? "" : ", ") + problem.kind + " " + problem.file.path;
    }
    return out;
  }

  std::set<ServerId> dead;
  FsckLive live;
  int pages = 0;
};

TEST_F(FsckTest, AHealthyTreeHasNoProblems) {
  FileOn(kRoot, "a", {1, 2, 3}, 3);
  Create(kRoot, "empty");
  MakeDirectory(kRoot, "d");
  const auto page = Check();
  EXPECT_EQ(page.response.files, 2);
  EXPECT_EQ(page.response.blocks, 3);
  EXPECT_EQ(page.response.healthy, 3);
  EXPECT_EQ(Problems(page), "");
  EXPECT_TRUE(page.to_repair.empty());
}

TEST_F(FsckTest, DoubtfulReplicasAreGoodOnesAndCounted) {
  FileOn(kRoot, "doubtful", {1, 2, 3});
  Note(blocks[0], 1, 1, BadReplica::kDoubtful);
  Note(blocks[0], 1, 3, BadReplica::kDoubtful);
  FileOn(kRoot, "short", {1, 2, 4});
  Note(blocks[0], 1, 1, BadReplica::kDoubtful);
  dead = {ServerId(4)};
  const auto page = Check();
  EXPECT_EQ(page.response.healthy, 1);
  EXPECT_EQ(page.response.doubtful, 1);
  EXPECT_EQ(page.response.corrupt, 0);
  EXPECT_EQ(Problems(page), "under_replicated /short");
}

TEST_F(FsckTest, EachBlockIsOfOneKind) {
  FileOn(kRoot, "healthy", {1, 2, 3});
  FileOn(kRoot, "under", {3, 4, 5});
  FileOn(kRoot, "missing", {4, 5});
  FileOn(kRoot, "corrupt", {1, 2, 3});
  Note(blocks[0], 1, 2, BadReplica::kDamaged);
  FileOn(kRoot, "gone", {1, 2, 3});
  Note(blocks[0], 1, 3, BadReplica::kMissing);
  FileOn(kRoot, "over", {1, 2, 3});
  ASSERT_OK(SetReplicas("/over", 2));
  dead = {ServerId(4), ServerId(5)};
  const auto page = Check();
  EXPECT_EQ(page.response.blocks, 6);
  EXPECT_EQ(page.response.healthy, 1);
  EXPECT_EQ(page.response.under_replicated, 2);
  EXPECT_EQ(page.response.missing, 1);
  EXPECT_EQ(page.response.corrupt, 1);
  EXPECT_EQ(page.response.over_replicated, 1);
  EXPECT_EQ(Problems(page),
            "under_replicated /under, missing /missing, corrupt /corrupt, under_replicated /gone, "
            "over_replicated /over");
  EXPECT_EQ(page.to_repair.size(), 4u) << "nothing can be done about the missing one";
  EXPECT_NE(page.response.problems[0].detail.find("not alive: 4, 5"), std::string::npos);
  EXPECT_NE(page.response.problems[2].detail.find("2 good; damaged or suspect on: 2"),
            std::string::npos);
  EXPECT_EQ(page.response.problems[0].servers, (std::vector<int32_t>{3, 4, 5}));
}

TEST_F(FsckTest, MisplacedBlocksAreListed) {
  FileOn(kRoot, "a", {1, 2, 3}, 2);
  ASSERT_OK(SetDomain("/a", "rack"));
  WalkPoliciesToTheEnd();
  FileOn(kRoot, "b", {1, 2, 3}, 2);
  live.is_misplaced = [&](std::span<const ServerId> chain, const PlacementRule& rule, uint64_t) {
    EXPECT_EQ(chain.size(), 3u);
    return rule.domain == "rack";
  };
  const auto page = Check();
  EXPECT_EQ(page.response.healthy, 2);
  EXPECT_EQ(Problems(page), "misplaced /a, misplaced /a");
  ASSERT_EQ(page.to_repair.size(), 2u);
  EXPECT_TRUE(page.to_repair[0].second);
}

TEST_F(FsckTest, FilesWithoutANameAndReservedBlocks) {
  FileOn(kRoot, "open", {4, 5, 3});
  ASSERT_OK(Unlink(kRoot, "open"));
  FileOn(kRoot, "cut", {4, 5, 3}, 3);
  ASSERT_OK(Truncate(file, kTestBlockSize));
  ASSERT_OK(Allocate(file, 5));
  dead = {ServerId(4)};
  const auto page = Check();
  EXPECT_EQ(page.response.files, 2);
  EXPECT_EQ(page.response.blocks, 2) << "neither what was cut off nor what is only reserved";
  EXPECT_EQ(page.response.under_replicated, 2);
  // By path only what has a name.
  EXPECT_EQ(Check("/cut").response.files, 1);
}

TEST_F(FsckTest, PathsLimitTheTree) {
  const int64_t a = MakeDirectory(kRoot, "a");
  const int64_t b = MakeDirectory(a, "b");
  FileOn(kRoot, "f", {1, 2, 3});
  FileOn(a, "f", {1, 2, 3}, 2);
  FileOn(b, "f", {1, 2, 3}, 3);
  FileOn(b, "g", {1, 2, 3}, 4);
  EXPECT_EQ(Check("/").response.blocks, 10);
  EXPECT_EQ(Check("").response.blocks, 10);
  EXPECT_EQ(Check("/a").response.blocks, 9);
  EXPECT_EQ(Check("/a").response.files, 3);
  EXPECT_EQ(Check("/a/b").response.blocks, 7);
  EXPECT_EQ(Check("/a/b/g").response.blocks, 4);
  EXPECT_EQ(Check("/a/b/g").response.files, 1);
  EXPECT_CODE(kNotFound, Fsck(view, {"/x", "", 10, 10}, live));
  EXPECT_CODE(kNotDirectory, Fsck(view, {"/f/x", "", 10, 10}, live));
  EXPECT_CODE(kInvalidArgument, Fsck(view, {"a", "", 10, 10}, live));
}

TEST_F(FsckTest, PagesOfAnySizeAddUpToTheWhole) {
  const int64_t a = MakeDirectory(kRoot, "a");
  const int64_t b = MakeDirectory(a, "b");
  MakeDirectory(a, "empty");
  FileOn(kRoot, "f", {1, 2, 3}, 5);
  FileOn(a, "f", {3, 4, 5}, 7);
  FileOn(b, "f", {1, 2, 3}, 3);
  Create(b, "none");
  FileOn(a, "z", {1, 4, 5}, 4);
  live.unknown = {{ServerId(1), BlockId(900)}, {ServerId(2), BlockId(901)}};
  dead = {ServerId(4)};
  for (const std::string path : {"/", "/a"}) {
    const auto whole = Check(path);
    EXPECT_EQ(pages, 1);
    for (int rows : {1, 2, 3, 7, 15}) {
      SCOPED_TRACE(path + " by " + std::to_string(rows));
      const auto sum = Check(path, rows);
      EXPECT_GT(pages, 1);
      EXPECT_EQ(sum.response.files, whole.response.files);
      EXPECT_EQ(sum.response.blocks, whole.response.blocks);
      EXPECT_EQ(sum.response.healthy, whole.response.healthy);
      EXPECT_EQ(sum.response.under_replicated, whole.response.under_replicated);
      EXPECT_EQ(sum.response.orphaned, whole.response.orphaned);
      EXPECT_EQ(Problems(sum), Problems(whole));
    }
    // A page ends when it names enough problems.
    EXPECT_EQ(Problems(Check(path, kMaxFsckRows, 1)), Problems(whole));
    EXPECT_GE(pages, 11);
  }
  EXPECT_EQ(Check("/").response.orphaned, 2);
  EXPECT_EQ(Check("/a").response.orphaned, 0);
}

TEST_F(FsckTest, IndexesThatDisagreeAreFound) {
  FileOn(kRoot, "f", {1, 2, 3}, 2);
  const auto row = [&](std::string_view key) { return view.rows.find(key); };
  // Each on a copy: the state itself stays as it should be.
  MapView broken = view;
  broken.rows.erase(ReplicaKey(ServerId(2), Block(blocks[0])));
  EXPECT_EQ(Problems(CheckView(broken)), "inconsistent /f");

  broken = view;
  broken.rows[ReplicaKey(ServerId(4), Block(blocks[0]))] =
      row(ReplicaKey(ServerId(2), Block(blocks[0])))->second;
  auto page = CheckView(broken);
  EXPECT_EQ(Problems(page), "inconsistent ");
  EXPECT_EQ(page.response.problems[0].servers, std::vector<int32_t>{4});

  broken = view;
  broken.rows[BlockOwnerKey(BlockId(777))] = row(BlockOwnerKey(Block(blocks[1])))->second;
  page = CheckView(broken);
  EXPECT_EQ(Problems(page), "orphaned ");
  EXPECT_EQ(page.response.orphaned, 1);
  EXPECT_EQ(page.response.problems[0].file.block_id, 777);

  broken = view;
  broken.rows.erase(InodeKey(Inode(file)));
  page = CheckView(broken);
  EXPECT_EQ(page.response.orphaned, 2);
}

TEST_F(FsckTest, ForeignCursorsAreRefused) {
  for (const std::string cursor : {"x", "\x01\x09", "\x01\x05\xff"}) {
    EXPECT_CODE(kInvalidArgument, Fsck(view, {"/", cursor, 10, 10}, live));
  }
}

TEST_F(FsckTest, DirectoriesRemovedBetweenTwoPagesEndTheirPart) {
  const int64_t a = MakeDirectory(kRoot, "a");
  const int64_t b = MakeDirectory(a, "b");
  FileOn(b, "f", {1, 2, 3}, 5);
  auto page = Fsck(view, {"/a", "", 1000, 4}, live);
  ASSERT_OK(page);
  ASSERT_FALSE(page->response.cursor.empty());
  ASSERT_OK(Unlink(b, "f"));
  ASSERT_OK(RemoveDirectory(a, "b"));
  while (Reclaim(file)->done == false) {
  }
  page = Fsck(view, {"/a", page->response.cursor, 1000, 1000}, live);
  ASSERT_OK(page);
  EXPECT_TRUE(page->response.cursor.empty());
}

}  // namespace
}  // namespace tercet
