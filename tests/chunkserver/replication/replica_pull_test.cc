// ReplicaPull: making a replica equal to another one, step by step, without a network.
#include "chunkserver/replication/replica_pull.h"

#include <gtest/gtest.h>

#include <random>

#include "common/base/coding.h"
#include "common/env/random.h"
#include "common/env/sim_disk.h"
#include "tests/chunkserver/replication/test_chain.h"

namespace tercet {
namespace {

using namespace testing_support;  // NOLINT: a test's own helpers

constexpr BlockId kBlock{77};
constexpr Generation kOld{1};
constexpr Generation kSealed{5};

/// All that can be seen of a replica.
struct Image {
  Generation generation;
  uint32_t length = 0;
  std::string crcs = {};
  std::string bytes = {};
  friend bool operator==(const Image&, const Image&) = default;
};

/// A source and a target, on disks that can lose what was not synced.
class ReplicaPullTest : public testing::Test {
 protected:
  BlockStore& source() { return source_.store(); }
  BlockStore& target() { return target_.store(); }

  static void Write(BlockStore& store, Generation generation, uint32_t offset,
                    std::string_view data, BlockId block = kBlock) {
    WriteArguments write;
    write.block = block;
    write.generation = generation;
    write.offset = offset;
    write.data = data;
    const std::string crcs = PieceCrcs(offset, data);
    write.piece_crcs = crcs;
    write.create = true;
    const Status status = store.Write(write);
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  static Image Look(BlockStore& store, Generation generation, BlockId block = kBlock) {
    auto table = store.Table(block, generation);
    EXPECT_TRUE(table.ok()) << table.status().ToString();
    if (!table.ok()) return {};
    Image image{generation, table->length, table->page_crcs};
    while (image.bytes.size() < image.length) {
      auto pages =
          store.Read(block, generation, static_cast<uint32_t>(image.bytes.size()), 1 << 20);
      EXPECT_TRUE(pages.ok()) << pages.status().ToString();
      if (!pages.ok()) return {};
      image.bytes += pages->data;
    }
    return image;
  }
  void Seal(BlockStore& store, Generation to, BlockId block = kBlock) {
    auto sealed = store.Seal(block, to, false, false, false);
    ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
    ASSERT_FALSE(sealed->absent);
  }
  ReplicaPull Pull(Generation source_generation, Generation finish, bool verify_base = false,
                   BlockId block = kBlock) {
    return ReplicaPull(target(), {.block = block,
                                  .source_generation = source_generation,
                                  .finish = finish,
                                  .verify_base = verify_base});
  }
  Status Start(ReplicaPull& pull, Generation source_generation, BlockId block = kBlock) {
    ASSIGN_OR_RETURN(const PageTable table, source().Table(block, source_generation));
    return pull.Start(table);
  }
  Status ApplyNext(ReplicaPull& pull, Generation source_generation, const PullRange& range,
                   BlockId block = kBlock) {
    ASSIGN_OR_RETURN(VerifiedPages pages,
                     source().Read(block, source_generation, range.offset, range.length));
    return pull.Apply(range, pages.data, pages.page_crcs);
  }
  /// All steps.
  Status Run(ReplicaPull& pull, Generation source_generation, BlockId block = kBlock) {
    RETURN_IF_ERROR(Start(pull, source_generation, block));
    while (auto range = pull.NextRange()) {
      RETURN_IF_ERROR(ApplyNext(pull, source_generation, *range, block));
    }
    EXPECT_EQ(pull.left_bytes(), 0u);
    return pull.Finish();
  }
  Status RunFinish(bool verify_base = false) {
    ReplicaPull pull = Pull(kSealed, kSealed, verify_base);
    return Run(pull, kSealed);
  }

  SimDisk source_disk_;
  SimDisk target_disk_;
  TestServer source_{ServerId(1), {}, &source_disk_};
  TestServer target_{ServerId(2), {}, &target_disk_};
};

TEST_F(ReplicaPullTest, NewTargetGetsAllOfTheSource) {
  Write(source(), kOld, 0, Pattern(1, 3'000'001));
  Seal(source(), kSealed);
  ReplicaPull pull = Pull(kSealed, kSealed);
  ASSERT_TRUE(Start(pull, kSealed).ok());
  EXPECT_EQ(target().Table(kBlock, kSealed).code(), StatusCode::kNotFound);  // not yet
  uint32_t end = 0;
  while (auto range = pull.NextRange()) {
    EXPECT_EQ(range->offset, end);
    EXPECT_LE(range->length, 1u << 20);
    end += range->length;
    ASSERT_TRUE(ApplyNext(pull, kSealed, *range).ok());
  }
  EXPECT_EQ(end, 3'000'001u);
  ASSERT_TRUE(pull.Finish().ok());
  EXPECT_EQ(pull.copied_bytes(), 3'000'001u);
  EXPECT_EQ(Look(target(), kSealed), Look(source(), kSealed));
}

TEST_F(ReplicaPullTest, EmptyReplicaIsCopiedToo) {
  ASSERT_TRUE(source().Seal(kBlock, kSealed, true, false, false).ok());
  ASSERT_TRUE(RunFinish().ok());
  EXPECT_EQ(Look(target(), kSealed), Look(source(), kSealed));
}

TEST_F(ReplicaPullTest, WhatWasFinishedSurvivesAPowerCut) {
  Write(source(), kOld, 0, Pattern(2, 700'000));
  Seal(source(), kSealed);
  ASSERT_TRUE(RunFinish().ok());
  const Image image = Look(target(), kSealed);
  target_.StopAll();
  SeededRandom random(3);
  target_disk_.Crash(random);
  target_.RestartMachine();
  EXPECT_EQ(Look(target(), kSealed), image);
}

TEST_F(ReplicaPullTest, OnlyWhatDiffersFromThePreparedCopyIsCopiedInTheEnd) {
  Write(source(), kOld, 0, Pattern(4, 2 << 20));
  ReplicaPull prepare = Pull(kOld, Generation(0));
  ASSERT_TRUE(Start(prepare, kOld).ok());
  // The source is written to meanwhile, before and behind what was copied.
  const auto first = prepare.NextRange();
  ASSERT_TRUE(ApplyNext(prepare, kOld, *first).ok());
  Write(source(), kOld, 5'000, "before");
  Write(source(), kOld, (1 << 20) + 50'000, "behind");
  Write(source(), kOld, 2 << 20, "at the end");
  while (auto range = prepare.NextRange()) ASSERT_TRUE(ApplyNext(prepare, kOld, *range).ok());
  ASSERT_TRUE(prepare.Finish().ok());
  EXPECT_EQ(target().Table(kBlock, kOld).code(), StatusCode::kNotFound);

  Seal(source(), kSealed);
  ReplicaPull finish = Pull(kSealed, kSealed);
  ASSERT_TRUE(Run(finish, kSealed).ok());
  EXPECT_EQ(finish.copied_bytes(), kPageBytes + 10);
  EXPECT_EQ(Look(target(), kSealed), Look(source(), kSealed));
}

TEST_F(ReplicaPullTest, WhatWasGivenUpIsGoneOnWith) {
  Write(source(), kOld, 0, Pattern(5, 4 << 20));
  for (int i = 0; i < 3; ++i) {
    ReplicaPull pull = Pull(kOld, Generation(0));
    ASSERT_TRUE(Start(pull, kOld).ok());
    EXPECT_EQ(pull.left_bytes(), (4u - i) << 20);
    ASSERT_TRUE(ApplyNext(pull, kOld, *pull.NextRange()).ok());
    target_.Restart();
  }
}

TEST_F(ReplicaPullTest, MemberThatFellBehindIsMadeEqual) {
  const std::string common = Pattern(6, 600'000);
  Write(source(), kOld, 0, common);
  Write(target(), kOld, 0, common);
  Write(source(), kOld, 100'000, Pattern(7, 20'000));
  Write(target(), kOld, 300'000, Pattern(8, 20'000));
  Write(target(), kOld, 700'000, "longer than the source");
  Seal(source(), kSealed);
  Seal(target(), kSealed);
  ASSERT_TRUE(RunFinish().ok());
  EXPECT_EQ(Look(target(), kSealed), Look(source(), kSealed));
}

TEST_F(ReplicaPullTest, ZerosAtTheEndMakeTheLengthRight) {
  Write(source(), kOld, 0, "x");
  Write(source(), kOld, 99'999, std::string(1, '\0'));
  Write(target(), kOld, 0, "x");
  Seal(source(), kSealed);
  Seal(target(), kSealed);
  ASSERT_TRUE(RunFinish().ok());
  EXPECT_EQ(Look(target(), kSealed), Look(source(), kSealed));
}

TEST_F(ReplicaPullTest, ReplicaThatLeftItsChainIsABase) {
  const std::string data = Pattern(9, 500'000);
  Write(target(), kOld, 0, data);
  Write(source(), Generation(3), 0, data);
  Write(source(), Generation(3), 0, "changed");
  Seal(source(), kSealed);
  ReplicaPull pull = Pull(kSealed, kSealed);
  ASSERT_TRUE(Run(pull, kSealed).ok());
  EXPECT_EQ(pull.copied_bytes(), kPageBytes);
  EXPECT_EQ(Look(target(), kSealed), Look(source(), kSealed));
}

TEST_F(ReplicaPullTest, ReplicaOfTheSameOrALaterGenerationIsNotTouched) {
  Write(source(), Generation(3), 0, Pattern(10, 10'000));
  for (const Generation own : {Generation(3), Generation(4), Generation(9)}) {
    const BlockId block(1000 + own.value());
    Write(source(), Generation(3), 0, "source", block);
    Write(target(), own, 0, "target", block);
    const Image before = Look(target(), own, block);
    for (const Generation finish : {Generation(0), Generation(7)}) {
      if (own == finish) continue;
      ReplicaPull pull = Pull(Generation(3), finish, false, block);
      EXPECT_EQ(Run(pull, Generation(3), block).code(), StatusCode::kConflict);
    }
    EXPECT_EQ(Look(target(), own, block), before);
  }
}

TEST_F(ReplicaPullTest, DamagedPagesOfTheBaseAreReplacedWhenItIsVerified) {
  const std::string data = Pattern(11, 40'000);  // ends within a page
  Write(source(), kOld, 0, data);
  Write(target(), kOld, 0, data);
  target_.DamagePage(kBlock, 2);
  target_.DamagePage(kBlock, 9);  // the last one
  Seal(source(), kSealed);
  Seal(target(), kSealed);
  ReplicaPull blind = Pull(kSealed, kSealed);
  ASSERT_TRUE(Run(blind, kSealed).ok());
  EXPECT_EQ(blind.copied_bytes(), 0u);  // by their tables they are equal
  EXPECT_EQ(target().Read(kBlock, kSealed, 2 * kPageBytes, 1).code(), StatusCode::kCorruption);

  ASSERT_TRUE(RunFinish(/*verify_base=*/true).ok());
  EXPECT_EQ(Look(target(), kSealed), Look(source(), kSealed));
}

TEST_F(ReplicaPullTest, DamagedEndOfALongerBaseDoesNotMatter) {
  Write(source(), kOld, 0, Pattern(12, 10'000));
  Write(target(), kOld, 0, Pattern(13, 30'000));
  target_.DamagePage(kBlock, 2);  // in which the source ends
  Seal(source(), kSealed);
  Seal(target(), kSealed);
  ASSERT_TRUE(RunFinish().ok());
  EXPECT_EQ(Look(target(), kSealed), Look(source(), kSealed));
}

TEST_F(ReplicaPullTest, SuspectReplicaIsMadeWholeByAPull) {
  const std::string data = Pattern(14, 200'000);
  Write(source(), kOld, 0, data);
  Write(target(), kOld, 0, data);
  ASSERT_TRUE(target().Sync(kBlock, kOld).ok());
  Write(target(), kOld, 0, Pattern(24, 150'000));  // lost, or not, or in part
  target_disk_.CutPowerAfter(0);
  target_.StopAll();
  SeededRandom random(15);
  target_disk_.Crash(random);
  target_.RestartMachine();
  EXPECT_EQ(target().Stat(kBlock).code(), StatusCode::kUnavailable);
  Seal(source(), kSealed);
  Seal(target(), kSealed);
  ASSERT_TRUE(RunFinish().ok());
  EXPECT_EQ(Look(target(), kSealed), Look(source(), kSealed));
}

// ---- what must not happen ----

TEST_F(ReplicaPullTest, TargetThatIsSealedHigherMeanwhileIsNotChangedAnyMore) {
  Write(source(), kOld, 0, Pattern(16, 3 << 20));
  Write(target(), kOld, 0, Pattern(17, 3 << 20));
  Seal(source(), kSealed);
  Seal(target(), kSealed);
  ReplicaPull pull = Pull(kSealed, kSealed);
  ASSERT_TRUE(Start(pull, kSealed).ok());
  ASSERT_TRUE(ApplyNext(pull, kSealed, *pull.NextRange()).ok());
  const auto second = pull.NextRange();
  const auto third = pull.NextRange();

  const Generation later(6);
  Seal(target(), later);
  const Image before = Look(target(), later);
  EXPECT_EQ(ApplyNext(pull, kSealed, *second).code(), StatusCode::kStaleGeneration);
  EXPECT_EQ(ApplyNext(pull, kSealed, *third).code(), StatusCode::kStaleGeneration);
  EXPECT_EQ(pull.Finish().code(), StatusCode::kInternal);  // it has not got all
  EXPECT_EQ(Look(target(), later), before);
}

TEST_F(ReplicaPullTest, TargetThatIsSealedHigherIsNotPromotedBack) {
  Write(source(), kOld, 0, Pattern(18, 100'000));
  Write(target(), kOld, 0, Pattern(18, 100'000));
  Seal(source(), kSealed);
  Seal(target(), kSealed);
  ReplicaPull pull = Pull(kSealed, kSealed);
  ASSERT_TRUE(Start(pull, kSealed).ok());
  EXPECT_FALSE(pull.NextRange());
  Seal(target(), Generation(6));
  const Image before = Look(target(), Generation(6));
  EXPECT_EQ(pull.Finish().code(), StatusCode::kStaleGeneration);
  EXPECT_EQ(Look(target(), Generation(6)), before);
}

TEST_F(ReplicaPullTest, LatePullOfAnEarlierAttemptLeavesTheNewTargetAlone) {
  Write(source(), kOld, 0, Pattern(19, 2 << 20));
  Seal(source(), kSealed);
  ReplicaPull early = Pull(kSealed, kSealed);
  ASSERT_TRUE(Start(early, kSealed).ok());
  const auto range = early.NextRange();
  auto pages = source().Read(kBlock, kSealed, range->offset, range->length);
  ASSERT_TRUE(pages.ok());

  const Generation later(6);
  Seal(source(), later);
  ReplicaPull next = Pull(later, later);
  ASSERT_TRUE(Run(next, later).ok());
  Write(target(), later, 0, "a writer of the new chain");
  const Image before = Look(target(), later);
  EXPECT_FALSE(early.Apply(*range, pages->data, pages->page_crcs).ok());
  EXPECT_FALSE(early.Finish().ok());
  ReplicaPull late = Pull(kSealed, kSealed);
  EXPECT_EQ(late.Start({kSealed, 0, ""}).code(), StatusCode::kConflict);
  EXPECT_EQ(Look(target(), later), before);
}

TEST_F(ReplicaPullTest, PagesThatDoNotMatchAreNotWritten) {
  Write(source(), kOld, 0, Pattern(20, 50'000));
  Seal(source(), kSealed);
  ReplicaPull pull = Pull(kSealed, kSealed);
  ASSERT_TRUE(Start(pull, kSealed).ok());
  const auto range = pull.NextRange();
  auto pages = source().Read(kBlock, kSealed, range->offset, range->length);
  ASSERT_TRUE(pages.ok());
  const auto refused = [&](const std::string& data, const std::string& crcs) {
    EXPECT_EQ(pull.Apply(*range, data, crcs).code(), StatusCode::kCorruption);
    EXPECT_EQ(pull.copied_bytes(), 0u);
  };
  std::string flipped = pages->data;
  flipped[20'000] ^= 1;
  refused(flipped, pages->page_crcs);
  // Consistent in itself, but not what the table promised.
  std::string other = Pattern(21, pages->data.size());
  refused(other, PieceCrcs(0, other));
  refused(pages->data.substr(0, kPageBytes), pages->page_crcs.substr(0, 4));  // too little
  refused(pages->data.substr(1), pages->page_crcs);
  refused(pages->data, pages->page_crcs + "four");
  EXPECT_EQ(target().Table(kBlock, Generation(0))->length, 0u);
  EXPECT_TRUE(pull.Apply(*range, pages->data, pages->page_crcs).ok());
  EXPECT_TRUE(pull.Finish().ok());
}

TEST_F(ReplicaPullTest, TablesThatMakeNoSenseAreRefused) {
  const auto refused = [&](const PageTable& table) {
    ReplicaPull pull = Pull(kSealed, kSealed);
    EXPECT_EQ(pull.Start(table).code(), StatusCode::kCorruption);
    EXPECT_EQ(target().Stat(kBlock).code(), StatusCode::kNotFound);
  };
  refused({kSealed, 5'000, std::string(4, 'x')});
  refused({kSealed, 5'000, std::string(12, 'x')});
  refused({kSealed, kMaxBlockBytes + 1, std::string(4 * (kMaxBlockPages + 1), 'x')});
}

TEST_F(ReplicaPullTest, FullDiskIsSaid) {
  Write(source(), kOld, 0, Pattern(22, 100'000));
  Seal(source(), kSealed);
  target_disk_.SetCapacity(1);
  EXPECT_EQ(RunFinish().code(), StatusCode::kNoSpace);
}

/// Replicas with random pasts, pulls with random interruptions: in the end they are alike.
TEST_F(ReplicaPullTest, AnyTwoReplicasBecomeAlike) {
  std::mt19937 random(23);
  for (uint64_t round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    const BlockId block(5000 + round);
    const auto mutate = [&](BlockStore& store, Generation generation) {
      for (uint32_t i = random() % 8; i > 0; --i) {
        const uint32_t offset = random() % 200'000;
        if (random() % 4 == 0) {
          ASSERT_TRUE(store.Truncate(block, generation, offset).ok());
        } else {
          Write(store, generation, offset, Pattern(random() % 3, 1 + random() % 60'000), block);
        }
      }
    };
    const std::string common = Pattern(random(), 1 + random() % 150'000);
    Write(source(), kOld, 0, common, block);
    mutate(source(), kOld);
    const bool member = random() % 2 == 0;
    if (random() % 3 != 0) {
      Write(target(), kOld, 0, common, block);
      mutate(target(), kOld);
      if (random() % 2 == 0) target_.DamagePage(block, 0);
    }
    const bool there = target().Stat(block).ok();
    if (!(there && member) && random() % 2 == 0) {  // prepared, perhaps in part
      const Generation above(2);
      Seal(source(), above, block);
      ReplicaPull prepare = Pull(above, Generation(0), true, block);
      ASSERT_TRUE(Start(prepare, above, block).ok());
      while (auto range = prepare.NextRange()) {
        if (random() % 4 == 0) break;
        ASSERT_TRUE(ApplyNext(prepare, above, *range, block).ok());
      }
      mutate(source(), above);
    } else if (there && member) {
      Seal(target(), kSealed, block);
    }
    Seal(source(), kSealed, block);
    ReplicaPull finish = Pull(kSealed, kSealed, true, block);
    const Status status = Run(finish, kSealed, block);
    ASSERT_TRUE(status.ok()) << status.ToString();
    ASSERT_EQ(Look(target(), kSealed, block), Look(source(), kSealed, block));
  }
}

}  // namespace
}  // namespace tercet
