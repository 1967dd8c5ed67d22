#include "metaserver/ops/exposure.h"

#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

class ExposureTest : public ReplicaTest {
 protected:
  /// A file whose blocks are on these servers.
  int64_t FileOn(const std::string& name, std::vector<uint32_t> chain, int64_t block_count = 1) {
    chooser.servers = Servers(chain);
    MakeFile(name, block_count);
    return file;
  }

  wire::GetExposureResponse Expose(std::set<uint32_t> lost, int max_rows = kMaxExposureRows) {
    ExposureQuery query;
    for (uint32_t id : lost) query.walk.insert(ServerId(id));
    query.lost = query.walk;
    query.max_rows = max_rows;
    wire::GetExposureResponse sum;
    for (pages = 0; pages < 1000; ++pages) {
      auto page = Exposure(view, query);
      EXPECT_TRUE(page.ok()) << page.status().ToString();
      if (!page.ok()) break;
      sum.blocks += page->blocks;
      sum.lost_blocks += page->lost_blocks;
      sum.below_minimum_blocks += page->below_minimum_blocks;
      sum.below_wanted_blocks += page->below_wanted_blocks;
      for (auto& file : page->lost_files) sum.lost_files.push_back(file);
      query.cursor = page->cursor;
      if (query.cursor.empty()) break;
    }
    return sum;
  }

  int pages = 0;
};

TEST_F(ExposureTest, CountsWhatIsLeftOfEachBlockOnce) {
  FileOn("one", {1, 2, 3}, 2);
  FileOn("two", {3, 4, 5}, 3);
  auto found = Expose({3});
  EXPECT_EQ(found.blocks, 5);
  EXPECT_EQ(found.below_wanted_blocks, 5);
  EXPECT_EQ(found.lost_blocks + found.below_minimum_blocks, 0);

  found = Expose({2, 3});
  EXPECT_EQ(found.blocks, 5);
  EXPECT_EQ(found.below_minimum_blocks, 2);
  EXPECT_EQ(found.below_wanted_blocks, 3);

  found = Expose({1, 2, 3});
  EXPECT_EQ(found.blocks, 5);
  EXPECT_EQ(found.lost_blocks, 2);
  ASSERT_EQ(found.lost_files.size(), 1u) << "each file once";
  EXPECT_EQ(found.lost_files[0].path, "/one");
  EXPECT_EQ(found.lost_files[0].inode, InodeOf(kRoot, "one"));
  EXPECT_EQ(found.lost_files[0].block_index, 0);
}

TEST_F(ExposureTest, ServersWithoutReplicasExposeNothing) {
  FileOn("one", {1, 2, 3});
  EXPECT_EQ(Expose({4}).blocks, 0);
  EXPECT_EQ(Expose({}).blocks, 0);
  EXPECT_EQ(Expose({99}).blocks, 0);
}

TEST_F(ExposureTest, BadReplicasDoNotCount) {
  FileOn("one", {1, 2, 3});
  Note(blocks[0], 1, 2, BadReplica::kDamaged);
  EXPECT_EQ(Expose({3}).below_minimum_blocks, 1);
  EXPECT_EQ(Expose({1, 3}).lost_blocks, 1);
}

TEST_F(ExposureTest, DoubtfulReplicasCount) {
  FileOn("one", {1, 2, 3});
  for (uint32_t server : {1, 2, 3}) Note(blocks[0], 1, server, BadReplica::kDoubtful);
  EXPECT_EQ(Expose({3}).below_minimum_blocks, 0);
  EXPECT_EQ(Expose({1, 3}).lost_blocks, 0);
}

TEST_F(ExposureTest, ReservedAndCutOffBlocksDoNotCount) {
  FileOn("one", {1, 2, 3}, 3);
  ASSERT_OK(Truncate(file, kTestBlockSize));
  ASSERT_OK(Allocate(file, 7));
  EXPECT_EQ(Expose({1, 2, 3}).lost_blocks, 1);
}

TEST_F(ExposureTest, PagesAddUpToTheWhole) {
  FileOn("one", {1, 2, 3}, 7);
  FileOn("two", {2, 3, 4}, 6);
  FileOn("three", {3, 4, 5}, 5);
  const auto whole = Expose({2, 3});
  EXPECT_EQ(pages, 0);
  for (int rows : {1, 2, 5, 17}) {
    const auto sum = Expose({2, 3}, rows);
    EXPECT_GT(pages, 0);
    EXPECT_EQ(sum.blocks, whole.blocks) << rows;
    EXPECT_EQ(sum.below_minimum_blocks, whole.below_minimum_blocks) << rows;
    EXPECT_EQ(sum.below_wanted_blocks, whole.below_wanted_blocks) << rows;
  }
  EXPECT_EQ(whole.blocks, 18);
  EXPECT_EQ(whole.below_minimum_blocks, 13);
}

TEST_F(ExposureTest, NamesAtMostSoManyFiles) {
  for (int i = 0; i < 5; ++i) FileOn("f" + std::to_string(i), {1, 2, 3}, 2);
  ExposureQuery query;
  query.walk = query.lost = {ServerId(1), ServerId(2), ServerId(3)};
  query.max_files = 3;
  auto page = Exposure(view, query);
  ASSERT_OK(page);
  EXPECT_EQ(page->lost_blocks, 10);
  EXPECT_EQ(page->lost_files.size(), 3u);
  query.max_files = -1;
  EXPECT_TRUE(Exposure(view, query)->lost_files.empty());
}

TEST_F(ExposureTest, ForeignCursorsAreRefused) {
  ExposureQuery query;
  query.cursor = "nonsense";
  EXPECT_CODE(kInvalidArgument, Exposure(view, query));
}

TEST_F(ExposureTest, ExaminesWhatIsLostWithAServer) {
  FileOn("safe", {1, 2, 3}, 2);
  FileOn("alone", {1, 2, 3}, 2);
  Reconfigure(blocks[1], 1, {1});
  const auto one = [](const InodeRecord&) { return 1; };
  auto found = ExamineLoss(view, ServerId(1), {}, {}, one, 20);
  ASSERT_OK(found);
  EXPECT_FALSE(found->next);
  EXPECT_EQ(found->blocks, 4);
  EXPECT_EQ(found->affected_blocks, 1);
  ASSERT_EQ(found->files.size(), 1u);
  EXPECT_EQ(found->files[0].path, "/alone");
  EXPECT_EQ(found->files[0].block_index, 1);
  // With the others dead everything is.
  found = ExamineLoss(view, ServerId(1), {}, {ServerId(2), ServerId(3)}, one, 1);
  EXPECT_EQ(found->affected_blocks, 4);
  EXPECT_EQ(found->files.size(), 1u);
  const auto minimum = [](const InodeRecord& inode) { return int{inode.min_replicas}; };
  EXPECT_EQ(ExamineLoss(view, ServerId(1), {}, {ServerId(2)}, minimum, 20)->affected_blocks, 4);
  EXPECT_EQ(ExamineLoss(view, ServerId(1), {}, {}, minimum, 20)->affected_blocks, 1);
  // Not more rows than allowed, and where it goes on.
  ExaminedRange range{BlockId(), 3};
  found = ExamineLoss(view, ServerId(1), range, {}, one, 20);
  EXPECT_EQ(found->blocks, 3);
  EXPECT_EQ(found->affected_blocks, 0);
  ASSERT_TRUE(found->next);
  range.first = *found->next;
  found = ExamineLoss(view, ServerId(1), range, {}, one, 20);
  EXPECT_EQ(found->blocks, 1);
  EXPECT_EQ(found->affected_blocks, 1);
  EXPECT_FALSE(found->next);
}

TEST_F(ExposureTest, ExaminesPoliciesOncePerPolicy) {
  FileOn("three", {1, 2, 3}, 3);
  FileOn("two", {1, 2}, 2);
  ASSERT_OK(SetReplicas("/two", 2));
  ASSERT_OK(SetDomain("/two", "rack"));
  int asked = 0;
  auto found = ExaminePolicies(
      view, ServerId(1), {},
      [&](const InodeRecord& inode, const PlacementRule& rule) {
        ++asked;
        EXPECT_EQ(rule.domain, inode.replicas == 2 ? "rack" : "");
        return inode.replicas == 2;
      },
      20);
  ASSERT_OK(found);
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(found->blocks, 5);
  EXPECT_EQ(found->affected_blocks, 3);
  ASSERT_EQ(found->files.size(), 1u);
  EXPECT_EQ(found->files[0].path, "/three");
}

}  // namespace
}  // namespace tercet
