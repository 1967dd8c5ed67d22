// Moves of replicas between disks that are cut short: by errors of one of the disks, by a power
// cut.
#include <gtest/gtest.h>

#include <memory>

#include "chunkserver/store/block_store.h"
#include "common/env/clock.h"
#include "tests/chunkserver/store/store_test_util.h"

namespace tercet {
namespace {

constexpr BlockId kBlock(7);
constexpr Generation kFirst(1);

/// A store on two simulated disks, with one replica that is settled.
class MovedReplica {
 public:
  explicit MovedReplica(uint64_t seed) : ids_(seed) { Open(); }

  void Open() {
    auto opened = BlockStore::Open(environment_.disk(), clock_, ids_, options_);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    store_ = std::move(opened).value();
  }
  void WriteAndSettle(const std::string& data) {
    ASSERT_OK(WriteData(store(), kBlock, 0, data));
    ASSERT_OK(store().Sync(kBlock, kFirst));
    for (int i = 0; i < 2; ++i) store().Maintain();
  }
  StoreDiskStatus Source() { return store().Disks()[source_]; }
  StoreDiskStatus Target() { return store().Disks()[1 - source_]; }
  void NoteSource() { source_ = store().Stat(kBlock)->disk_path == "/disk0" ? 0 : 1; }
  Status Move() { return store().MoveToDisk(kBlock, Target().disk_uuid); }
  SimDisk& disk() { return environment_.disk(); }
  BlockStore& store() { return *store_; }

 private:
  SimEnvironment environment_;
  SimClock clock_;
  SeededRandom ids_;
  BlockStoreOptions options_ = AllSimulated(environment_, 2);
  size_t source_ = 0;
  std::unique_ptr<BlockStore> store_;
};

TEST(MoveFaults, AnErrorOfTheTargetIsHeldAgainstTheTargetOnly) {
  const std::string data = Pattern((2 << 20) + 5000, 1);
  int failed = 0;
  for (uint64_t nth = 1;; ++nth) {
    SCOPED_TRACE(nth);
    MovedReplica replica(nth);
    replica.WriteAndSettle(data);
    replica.NoteSource();
    replica.disk().FailWrite(nth);
    if (replica.Move().ok()) break;  // from here on it is the source's turn: to put away its file
    replica.disk().FailWrite(0);
    ++failed;
    ASSERT_TRUE(replica.Source().healthy);
    ASSERT_FALSE(replica.Target().healthy);
    EXPECT_TRUE(ReadData(replica.store(), kBlock, 0, kMaxBlockBytes)->substr(0, data.size()) ==
                data);
  }
  EXPECT_GT(failed, 5);
}

TEST(MoveFaults, AnUnreadableSourceIsHeldAgainstTheSourceOnly) {
  MovedReplica replica(1);
  replica.WriteAndSettle(Pattern(20'000, 1));
  replica.NoteSource();
  replica.disk().FailPathsUnder(replica.Source().path);
  EXPECT_EQ(replica.Move().code(), StatusCode::kIo);
  EXPECT_FALSE(replica.Source().healthy);
  EXPECT_TRUE(replica.Target().healthy);
  EXPECT_EQ(replica.Target().replica_count, 0u);
  replica.disk().ClearFailedPaths();
}

}  // namespace
}  // namespace tercet
