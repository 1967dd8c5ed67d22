// The parts of the drills of chunk servers that judge: they must find what they are there for.
#include "tools/drill/chunk_drill.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "chunkserver/store/replica_format.h"
#include "common/base/coding.h"
#include "common/base/crc32c.h"
#include "tools/drill/cells.h"
#include "tools/drill/flips.h"
#include "tools/drill/replica_check.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;

TEST(CellsTest, AByteOfNoPossibleVersionIsWrong) {
  std::string data(kCellBytes, '\0');
  EXPECT_EQ(WrongBytes(7, 3, 0, 0, data), 0u) << "never written: zeros";
  FillCell(7, 3, 2, data);
  EXPECT_EQ(WrongBytes(7, 3, 2, 2, data), 0u);
  EXPECT_EQ(WrongBytes(7, 3, 1, 3, data), 0u);
  EXPECT_GT(WrongBytes(7, 3, 3, 5, data), kCellBytes / 2) << "older than what must be seen";
  EXPECT_GT(WrongBytes(7, 4, 2, 2, data), kCellBytes / 2) << "another cell's";
  EXPECT_GT(WrongBytes(8, 3, 2, 2, data), kCellBytes / 2) << "another file's";
  data[1234] = static_cast<char>(data[1234] ^ 1);
  EXPECT_EQ(WrongBytes(7, 3, 2, 2, data), 1u);
}

TEST(CellsTest, WhileItIsWrittenACellMayBeHalfOldAndHalfNew) {
  std::string older(kCellBytes, '\0');
  std::string newer(kCellBytes, '\0');
  FillCell(7, 0, 4, older);
  FillCell(7, 0, 5, newer);
  const std::string mixed = newer.substr(0, 1600) + older.substr(1600);
  EXPECT_EQ(WrongBytes(7, 0, 4, 5, mixed), 0u);
  EXPECT_GT(WrongBytes(7, 0, 5, 5, mixed), 0u);
}

TEST(ChunkDrillJudgeTest, EachKindOfFailureIsAReason) {
  ChunkDrillReport fine;
  fine.whole = true;
  fine.verified = true;
  fine.compared = true;
  JudgeChunkDrill(&fine);
  EXPECT_TRUE(fine.reasons.empty());
  EXPECT_EQ(ChunkDrillJson(fine)["verdict"], "pass");

  const auto fails = [&](const std::function<void(ChunkDrillReport*)>& spoil) {
    ChunkDrillReport report;
    report.whole = true;
    spoil(&report);
    JudgeChunkDrill(&report);
    return report.reasons.size() == 1 && ChunkDrillJson(report)["verdict"] == "fail";
  };
  EXPECT_TRUE(fails([](ChunkDrillReport* report) { report->load.errors = 1; }));
  EXPECT_TRUE(fails([](ChunkDrillReport* report) { report->load.wrong_bytes = 1; }));
  EXPECT_TRUE(fails([](ChunkDrillReport* report) { report->verdict.wrong_bytes = 1; }));
  EXPECT_TRUE(fails([](ChunkDrillReport* report) { report->verdict.unreadable = 1; }));
  EXPECT_TRUE(fails([](ChunkDrillReport* report) { report->replicas.absent = 1; }));
  EXPECT_TRUE(fails([](ChunkDrillReport* report) { report->replicas.damaged = 1; }));
  EXPECT_TRUE(fails([](ChunkDrillReport* report) { report->replicas.differing = 1; }));
  EXPECT_TRUE(fails([](ChunkDrillReport* report) { report->whole = false; }));
  EXPECT_TRUE(
      fails([](ChunkDrillReport* report) { report->whole_after = std::chrono::seconds(61); }));
  EXPECT_TRUE(fails([](ChunkDrillReport* report) { report->interrupted = true; }));
  EXPECT_TRUE(fails([](ChunkDrillReport* report) {
    report->options.limits = DefaultChunkLimits(ChunkFaultKind::kKill);
    ChunkDrillRound round;
    round.pause = milliseconds(1'001);
    report->rounds = {round};
  }));
}

/// A replica's file as a chunk server would have it.
class ReplicaCheckTest : public testing::Test {
 protected:
  ReplicaCheckTest() {
    std::string pattern = testing::TempDir() + "replica_check_test.XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  ~ReplicaCheckTest() override { std::filesystem::remove_all(root_); }

  std::string Make(const std::string& name, uint64_t generation, const std::string& data) {
    ReplicaHeader header;
    header.block = BlockId(0x1234);
    header.generation = Generation(generation);
    header.length = static_cast<uint32_t>(data.size());
    std::string file;
    EncodeReplicaHead(header, {}, &file);
    std::string padded = data;
    padded.resize(size_t{PagesFor(header.length)} * kPageBytes, '\0');
    for (size_t at = 0; at < padded.size(); at += kPageBytes) {
      PutFixed32(&file, Crc32c(padded.data() + at, kPageBytes) ^ kZeroPageCrc);
    }
    file.resize(kDataOffset, '\0');
    file += data;
    std::ofstream(root_ + "/" + name, std::ios::binary) << file;
    return root_ + "/" + name;
  }
  static ReplicaCheckResult Check(const std::vector<std::string>& paths) {
    BlockPlaces block{
        .block_id = 0x1234, .generation = 7, .block_index = 0, .file = "/f", .replicas = {}};
    int32_t id = 0;
    for (const std::string& path : paths) block.replicas.push_back({++id, "chunk", path});
    return CompareReplicas({block});
  }

  std::string root_;
  const std::string data_ = std::string(10'000, 'x');
};

TEST_F(ReplicaCheckTest, EqualOnesAreIdentical) {
  const auto result = Check({Make("a", 7, data_), Make("b", 7, data_), Make("c", 7, data_)});
  EXPECT_TRUE(result.identical());
  EXPECT_EQ(result.replicas, 3u);
  EXPECT_EQ(result.bytes, 30'000u);
  EXPECT_EQ(result.blocks_by_replicas.at(3), 1u);
}

TEST_F(ReplicaCheckTest, OtherBytesAnotherLengthOrGenerationOrNoneAreFound) {
  const std::string good = Make("good", 7, data_);
  std::string other = data_;
  other[9'999] = 'y';
  EXPECT_EQ(Check({good, Make("other", 7, other)}).differing, 1u);
  EXPECT_EQ(Check({good, Make("short", 7, data_.substr(1))}).differing, 1u);
  EXPECT_EQ(Check({good, Make("old", 6, data_)}).absent, 1u);
  EXPECT_EQ(Check({good, root_ + "/none"}).absent, 1u);
  EXPECT_EQ(Check({good, ""}).absent, 1u);
  EXPECT_EQ(Check({good, good}).findings.size(), 0u);
  EXPECT_EQ(Check({good, ""}).findings.size(), 1u);
}

TEST_F(ReplicaCheckTest, AFlippedByteIsDamageOfThatReplicaOnly) {
  for (uint64_t random : {uint64_t{0}, uint64_t{123'456'789'012'345}, ~uint64_t{0}}) {
    const std::string good = Make("good", 7, data_);
    const std::string bad = Make("bad", 7, data_);
    // The last page is cut short by the end of the file.
    ASSERT_TRUE(FlipByteInPage(bad, 2, random).ok());
    const auto result = Check({bad, good, good});
    EXPECT_EQ(result.damaged, 1u);
    EXPECT_EQ(result.differing, 0u);
    // A second flip of the same bit undoes the first.
    ASSERT_TRUE(FlipByteInPage(bad, 2, random).ok());
    EXPECT_TRUE(Check({bad, good, good}).identical());
  }
  EXPECT_EQ(FlipByteInPage(Make("x", 7, data_), 3, 1).code(), StatusCode::kInvalidArgument);
}

TEST(ReplicaPathTest, IsWhereTheStorePutsIt) {
  EXPECT_EQ(ReplicaPath("/d", 0x1234), "/d/blocks/004/0000000000001234.blk");
  EXPECT_EQ(ReplicaPath("/d", int64_t{5} << 22), "/d/blocks/000/0000000001400000.blk");
}

}  // namespace
}  // namespace tercet
