#include "metaserver/ops/misplaced_blocks.h"

#include "tests/metaserver/ops/replica_fixture.h"

namespace tercet {
namespace {

class MisplacedBlocksTest : public ReplicaTest {
 protected:
  int64_t FileWithRule(const std::string& name, int64_t block_count) {
    const int64_t inode = Create(kRoot, name);
    blocks = WriteBlocks(inode, 0, block_count);
    EXPECT_TRUE(SetDomain("/" + name, "rack").ok());
    // The walk marks all of them; placement said that they are right.
    WalkPoliciesToTheEnd();
    for (const int64_t block : blocks) EXPECT_TRUE(Review(block).ok());
    return inode;
  }

  /// Ids of all pages.
  std::vector<int64_t> Find(int max_rows = 1000) {
    std::vector<int64_t> found;
    MisplacedPosition position;
    for (pages = 1; pages < 1000; ++pages) {
      const auto page = FindMisplacedBlocks(view, position, max_rows, judge);
      EXPECT_TRUE(page.ok()) << page.status().ToString();
      if (!page.ok()) return found;
      for (const BlockId block : page->blocks) found.push_back(static_cast<int64_t>(block.value()));
      if (page->done) return found;
      position = page->next;
    }
    ADD_FAILURE() << "it does not end";
    return found;
  }

  int pages = 0;
  MisplacedFunction judge = [](std::span<const ServerId>, const PlacementRule&, uint64_t) {
    return true;
  };
};

TEST_F(MisplacedBlocksTest, OnlyFilesWithARuleAreLookedAt) {
  MakeFile("plain", 3);
  FileWithRule("ruled", 3);
  const auto ruled = blocks;
  MakeDirectory(kRoot, "d");
  EXPECT_EQ(Find(), ruled);
  judge = [](std::span<const ServerId> chain, const PlacementRule& rule, uint64_t bytes) {
    EXPECT_EQ(chain.size(), 3u);
    EXPECT_EQ(rule.domain, "rack");
    EXPECT_EQ(bytes, static_cast<uint64_t>(kTestBlockSize));
    return false;
  };
  EXPECT_TRUE(Find().empty());
}

TEST_F(MisplacedBlocksTest, PagesOfAnySizeFindTheSame) {
  std::vector<int64_t> all;
  for (int i = 0; i < 4; ++i) {
    FileWithRule("f" + std::to_string(i), 1 + 2 * i);
    all.insert(all.end(), blocks.begin(), blocks.end());
    MakeFile("plain" + std::to_string(i), 2);
  }
  for (const int max_rows : {1, 2, 3, 7}) {
    EXPECT_EQ(Find(max_rows), all) << max_rows;
    EXPECT_GT(pages, 1) << max_rows;
  }
}

TEST_F(MisplacedBlocksTest, WhatIsTakenCareOfAlreadyIsLeftOut) {
  FileWithRule("a", 4);
  ASSERT_OK(Review(blocks[0], true));
  ASSERT_OK(Begin(blocks[1], 1));
  Note(blocks[2], 1, 2, BadReplica::kDamaged);
  EXPECT_EQ(Find(), (std::vector<int64_t>{blocks[2], blocks[3]}));
}

TEST_F(MisplacedBlocksTest, ReservedAndCutOffBlocksAreNone) {
  const int64_t inode = FileWithRule("a", kMaxBlocksCutAtOnce + 2);
  ASSERT_OK(Truncate(inode, kTestBlockSize));
  ASSERT_OK(Allocate(inode, 500));
  EXPECT_EQ(Find(), std::vector<int64_t>{blocks[0]});
  EXPECT_EQ(FindMisplacedBlocks(view, {}, 0, judge).code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tercet
