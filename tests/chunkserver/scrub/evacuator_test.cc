#include "chunkserver/scrub/evacuator.h"

#include <gtest/gtest.h>

#include "chunkserver/store/replica_format.h"
#include "common/env/random.h"
#include "tests/chunkserver/store/store_test_util.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

class EvacuationTest : public testing::Test {
 protected:
  EvacuationTest() { Open(2); }

  void Open(int disks) {
    evacuation_.reset();
    store_.reset();
    auto opened =
        BlockStore::Open(environment_.disk(), clock_, random_, OptionsFor(environment_, disks));
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    store_ = std::move(opened).value();
    evacuation_ = std::make_unique<Evacuation>(*store_, clock_);
  }
  void Fill(uint64_t count) {
    for (uint64_t id = 1; id <= count; ++id) {
      ASSERT_OK(WriteData(*store_, BlockId(id), 0, ContentOf(id)));
    }
  }
  static std::string ContentOf(uint64_t id) { return Pattern(1 + id * 7919 % 300'000, id); }
  void Drain(size_t disk, StoreDiskState state = StoreDiskState::kDraining) {
    ASSERT_OK(store_->SetDiskState(store_->Disks()[disk].disk_uuid, state));
  }
  nanoseconds Step(uint64_t limit = 0, bool clients_active = false) {
    const nanoseconds wait = evacuation_->Step(limit, clients_active);
    clock_.Advance(wait);
    return wait;
  }
  /// Takes as much time as it asks for.
  template <typename Condition>
  bool StepUntil(Condition&& condition) {
    for (int turns = 0; turns < 100'000; ++turns) {
      Step();
      if (condition()) return true;
    }
    return false;
  }
  EvacuationProgress Only() {
    const auto all = evacuation_->Progress();
    EXPECT_EQ(all.size(), 1u);
    return all.empty() ? EvacuationProgress() : all[0];
  }
  size_t ReplicasOn(size_t disk) {
    auto listed = store_->ListDisk(store_->Disks()[disk].disk_uuid, BlockId(), 1000);
    EXPECT_TRUE(listed.ok()) << listed.status().ToString();
    return listed.ok() ? listed->size() : 0;
  }

  SimEnvironment environment_;
  SimClock clock_;
  SeededRandom random_{1};
  std::unique_ptr<BlockStore> store_;
  std::unique_ptr<Evacuation> evacuation_;
};

TEST_F(EvacuationTest, MovesEveryReplicaToTheOtherDisk) {
  Fill(40);
  const size_t before = ReplicasOn(0);
  ASSERT_GT(before, 0u);
  Step();
  EXPECT_TRUE(evacuation_->Progress().empty()) << "no disk drains";
  Drain(0);
  ASSERT_TRUE(StepUntil([this] { return Only().done; }));
  EXPECT_EQ(ReplicasOn(0), 0u);
  EXPECT_EQ(ReplicasOn(1), 40u);
  EXPECT_EQ(Only().moved_replicas, before);
  EXPECT_EQ(Only().left_replicas, 0u);
  EXPECT_TRUE(Only().blocked.ok());
  for (uint64_t id = 1; id <= 40; ++id) {
    const std::string content = ContentOf(id);
    EXPECT_EQ(ReadData(*store_, BlockId(id), 0, static_cast<uint32_t>(content.size())).value(),
              content);
  }
}

TEST_F(EvacuationTest, SaysThatThereIsNoOtherDisk) {
  Open(1);
  Fill(3);
  Drain(0);
  Step();
  EXPECT_EQ(Only().blocked.code(), StatusCode::kNoSpace);
  EXPECT_NE(Only().blocked.message().find("no other disk"), std::string::npos);
  EXPECT_EQ(Only().left_replicas, 3u);
  EXPECT_FALSE(Only().done);
}

TEST_F(EvacuationTest, DisksThatDrainAreNoPlaceForOneAnother) {
  Fill(10);
  Drain(0);
  Drain(1);
  for (int i = 0; i < 100; ++i) Step();
  ASSERT_EQ(evacuation_->Progress().size(), 2u);
  for (const auto& disk : evacuation_->Progress()) {
    EXPECT_EQ(disk.blocked.code(), StatusCode::kNoSpace);
    EXPECT_EQ(disk.moved_replicas, 0u);
  }
}

TEST_F(EvacuationTest, WaitsForRoomAndThenGoesOn) {
  Fill(20);
  Drain(0);
  environment_.disk().SetCapacity(1);
  clock_.Advance(seconds(1));  // the store's view of the space grows old
  ASSERT_TRUE(
      StepUntil([this] { return !evacuation_->Progress().empty() && !Only().blocked.ok(); }));
  EXPECT_EQ(Only().blocked.code(), StatusCode::kNoSpace);
  EXPECT_FALSE(Only().done);
  const size_t left = ReplicasOn(0);
  EXPECT_GT(left, 0u);
  environment_.disk().SetCapacity(uint64_t{1} << 40);
  ASSERT_TRUE(StepUntil([this] { return Only().done; }));
  EXPECT_EQ(ReplicasOn(0), 0u);
  EXPECT_TRUE(Only().blocked.ok());
}

TEST_F(EvacuationTest, KeepsToTheLimit) {
  Fill(40);
  Drain(0);
  const int64_t begin_ns = clock_.MonotonicNanos();
  constexpr uint64_t kLimit = 1 << 20;
  for (int turns = 0; turns < 10'000 && (evacuation_->Progress().empty() || !Only().done);
       ++turns) {
    Step(kLimit);
  }
  ASSERT_TRUE(Only().done);
  const double took_s = static_cast<double>(clock_.MonotonicNanos() - begin_ns) * 1e-9;
  const double due_s = static_cast<double>(Only().moved_bytes) / kLimit;
  EXPECT_GE(took_s, due_s * 0.99);
  EXPECT_LE(took_s, due_s + 15);
}

TEST_F(EvacuationTest, AReplicaThatCannotBeMovedHoldsUpNoOther) {
  Fill(20);
  Drain(0);
  const auto on_disk = store_->ListDisk(store_->Disks()[0].disk_uuid, BlockId(), 1000).value();
  ASSERT_GT(on_disk.size(), 2u);
  const BlockId bad = on_disk[1].block;
  environment_.FlipByte(store_->Stat(bad)->file_path, kDataOffset + 5);
  ASSERT_TRUE(StepUntil([this] { return ReplicasOn(0) == 1; }));
  ASSERT_TRUE(StepUntil([this] { return Only().failed_replicas == 1; }));
  EXPECT_FALSE(Only().done);
  // Whoever heals it writes what is damaged anew.
  ASSERT_OK(WriteData(*store_, bad, 0, ContentOf(bad.value())));
  ASSERT_TRUE(StepUntil([this] { return Only().done; }));
  EXPECT_EQ(ReplicasOn(0), 0u);
  EXPECT_EQ(ReplicasOn(1), 20u);
}

TEST_F(EvacuationTest, StopsWhenTheDiskIsBackInService) {
  Fill(40);
  Drain(0);
  ASSERT_TRUE(
      StepUntil([this] { return !evacuation_->Progress().empty() && Only().moved_replicas > 2; }));
  Drain(0, StoreDiskState::kInService);
  const size_t left = ReplicasOn(0);
  for (int i = 0; i < 50; ++i) Step();
  EXPECT_EQ(ReplicasOn(0), left);
  EXPECT_TRUE(evacuation_->Progress().empty());
}

TEST_F(EvacuationTest, TheThreadEmptiesADisk) {
  Fill(40);
  Evacuator evacuator(*store_, RealClock(), 0, [] { return true; });
  Drain(0);
  evacuator.Wake();
  while (ReplicasOn(0) > 0) RealClock().SleepFor(milliseconds(1));
  EXPECT_EQ(ReplicasOn(1), 40u);
}

}  // namespace
}  // namespace tercet
