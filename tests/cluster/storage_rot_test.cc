// What goes bad on the disks of chunk servers: found by reads, scrubbing and fsck, healed from
// other replicas, never returned.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/cluster/cluster.h"

namespace tercet {
namespace {

class StorageRotTest : public SharedClusterTest {
 protected:
  static std::string Path(const std::string& name) { return cluster_->mount() + "/" + name; }
};

TEST_F(StorageRotTest, FlippedBytesAreHealedAndNoneIsReturned) {
  const std::string size = LongTests() ? "--count 1000 --files 40 --file-size 4MiB --timeout 10m"
                                       : "--count 60 --files 6 --file-size 1MiB --timeout 60s";
  const ShellResult result = Shell(Binary("tercet") + " drill flips --scrub-period 2s --json " +
                                       size + " --dir " + cluster_->directory() + " 2>/dev/null",
                                   LongTests() ? 900 : 120);
  const auto json = nlohmann::json::parse(result.output, nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.output;
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_EQ(json["wrong_bytes"], 0);
  EXPECT_EQ(json["read_errors"], 0);
  EXPECT_GT(json["read_bytes"], 0);
  EXPECT_EQ(json["replicas_damaged"], 0);
}

TEST_F(StorageRotTest, FsckFindsALostReplicaAndHasItMadeAgain) {
  const std::string data = Pattern(3 << 20, 21);
  WriteFile(Path("lost"), data);
  auto report = cluster_->TercetJson("fsck");
  ASSERT_TRUE(report.is_object());
  for (const char* count : {"blocks", "healthy", "under_replicated", "over_replicated", "missing",
                            "corrupt", "orphaned"}) {
    EXPECT_TRUE(report[count].is_number_integer()) << count;
  }
  EXPECT_TRUE(report["problems"].is_array());
  EXPECT_EQ(report["clean"], true) << report.dump(2);

  const auto info = cluster_->TercetJson("file info " + Path("lost"));
  char name[64];
  snprintf(name, sizeof(name), "%016lx.blk", info["blocks"][0]["block_id"].get<long>());
  std::string lost;
  for (const std::string& file : cluster_->ReplicaFiles("chunk2")) {
    if (file.ends_with(name)) lost = file;
  }
  ASSERT_FALSE(lost.empty());
  std::filesystem::remove(lost);
  // The server has it open, and nobody reads it: the inventory finds it.
  // Whether it still says so depends on how quickly it is made again.
  cluster_->Tercet("fsck");
  EXPECT_TRUE(Eventually(30, [&] { return std::filesystem::exists(lost); }));
  EXPECT_TRUE(Eventually(30, [&] { return cluster_->Tercet("fsck --repair").status == 0; }))
      << cluster_->Tercet("fsck").output;
  EXPECT_TRUE(ReadFile(Path("lost")) == data);
  const ShellResult compared =
      Shell(Binary("tercet") + " drill compare --dir " + cluster_->directory());
  EXPECT_EQ(compared.status, 0) << compared.output;
}

TEST_F(StorageRotTest, FsckOfAPathLooksAtWhatIsBelowOnly) {
  Shell("mkdir -p " + Path("some/where"));
  WriteFile(Path("some/where/f"), Pattern(5000, 22));
  WriteFile(Path("elsewhere"), Pattern(5000, 23));
  const auto below = cluster_->TercetJson("fsck --no-inventory " + Path("some"));
  EXPECT_EQ(below["files"], 1) << below.dump(2);
  EXPECT_EQ(below["blocks"], 1);
  EXPECT_EQ(below["path"], "/some");
  const ShellResult gone = cluster_->Tercet("fsck /not/there");
  EXPECT_EQ(gone.status, 1) << gone.output;
  EXPECT_EQ(cluster_->Tercet("fsck not/on/a/mount").status, 2);
}

}  // namespace
}  // namespace tercet
