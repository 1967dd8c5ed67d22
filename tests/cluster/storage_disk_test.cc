// Small disks: full, ejected, unevenly filled.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tests/cluster/cluster.h"

namespace tercet {
namespace {

bool LoopDevices() { return Shell("losetup -f").ok(); }

/// errno of the first call that failed; 0: all was written and synced.
int Fill(const std::string& path, size_t megabytes) {
  const int fd = open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644);
  if (fd < 0) return errno;
  const std::string piece = Pattern(1 << 20, 31);
  int error = 0;
  for (size_t i = 0; i < megabytes && error == 0; ++i) {
    if (write(fd, piece.data(), piece.size()) < 0) error = errno;
    if (error == 0 && i % 16 == 15 && fsync(fd) != 0) error = errno;
  }
  if (error == 0 && fsync(fd) != 0) error = errno;
  if (close(fd) != 0 && error == 0) error = errno;
  return error;
}

TEST(StorageDiskTest, AFullDiskIsEnospcForItsWriterAndIsUsedAgainWhenEmptied) {
  if (!LoopDevices()) GTEST_SKIP() << "needs root and loop devices";
  ClusterOptions options;
  options.disk_image_mb = 200;
  Cluster cluster(options);
  ASSERT_TRUE(cluster.Up());
  const std::string kept = Pattern(1 << 20, 1);
  WriteFile(cluster.mount() + "/kept", kept);
  EXPECT_EQ(Fill(cluster.mount() + "/big", 400), ENOSPC);
  EXPECT_TRUE(ReadFile(cluster.mount() + "/kept") == kept);
  // Nothing was ejected because of it.
  for (const auto& disk : cluster.TercetJson("disk list")) {
    EXPECT_EQ(disk["state"], "in_service") << disk.dump();
  }
  ASSERT_EQ(unlink((cluster.mount() + "/big").c_str()), 0);
  EXPECT_TRUE(Eventually(60, [&] { return Fill(cluster.mount() + "/again", 40) == 0; }));
  EXPECT_TRUE(ReadFile(cluster.mount() + "/kept") == kept);
}

/// Of all servers' disks, as the active knows it.
int64_t UsedBytes(Cluster& cluster) {
  int64_t used = 0;
  for (const auto& server : cluster.TercetJson("server list")) {
    used += server["used_bytes"].get<int64_t>();
  }
  return used;
}

TEST(StorageDiskTest, AnEmptyServerIsFilledByABalanceThatCanBePaused) {
  if (!LoopDevices()) GTEST_SKIP() << "needs root and loop devices";
  ClusterOptions options;
  options.disk_image_mb = 400;
  Cluster cluster(options);
  ASSERT_TRUE(cluster.Up());
  // Small blocks, so that there is something to choose from.
  ASSERT_TRUE(cluster.Tercet("policy set / --block-size 4MiB").ok());
  for (int i = 0; i < 6; ++i) {
    ASSERT_EQ(Fill(cluster.mount() + "/f" + std::to_string(i), 30), 0);
  }
  ASSERT_TRUE(cluster.Grow(4));
  const auto plan = cluster.TercetJson("balance plan --threshold 4");
  ASSERT_TRUE(plan.is_object());
  EXPECT_GT(plan["bytes_to_move"], 0) << plan.dump(2);
  EXPECT_EQ(plan["servers"].size(), 4u);
  // A plan for a cluster that has changed since is refused, as soon as the servers have said so.
  const int64_t used_before = UsedBytes(cluster);
  ASSERT_EQ(Fill(cluster.mount() + "/more", 60), 0);
  ASSERT_TRUE(Eventually(20, [&] { return UsedBytes(cluster) > used_before + (150ll << 20); }));
  const ShellResult old = cluster.Tercet("balance start --plan " + plan["plan"].get<std::string>());
  if (old.status == 0) ADD_FAILURE() << "an old plan was taken: " << old.output;
  ASSERT_TRUE(cluster.Tercet("repair limit --move 4MiB").ok());
  ASSERT_TRUE(cluster.Tercet("balance start --threshold 4").ok());
  ASSERT_TRUE(cluster.Tercet("balance pause").ok());
  EXPECT_EQ(cluster.TercetJson("balance status")["state"], "paused");
  ASSERT_TRUE(cluster.Tercet("repair limit --move none").ok());
  const ShellResult done = cluster.Tercet("balance resume --wait", 120);
  EXPECT_EQ(done.status, 0) << done.output;
  const auto after = cluster.TercetJson("balance status");
  EXPECT_EQ(after["state"], "done") << after.dump(2);
  EXPECT_GT(after["moved_bytes"], 0);
  double least = 100;
  double most = 0;
  for (const auto& server : after["servers"]) {
    least = std::min(least, server["percent_before"].get<double>());
    most = std::max(most, server["percent_before"].get<double>());
  }
  EXPECT_LE(most - least, 10.0) << after.dump(2);
  EXPECT_EQ(cluster.Tercet("fsck").status, 0) << cluster.Tercet("fsck").output;
  const ShellResult compared =
      Shell(Binary("tercet") + " drill compare --dir " + cluster.directory());
  EXPECT_EQ(compared.status, 0) << compared.output;
}

TEST(StorageDiskTest, AnEjectedDiskIsMadeUpForAndADrainedOneIsEmpty) {
  ClusterOptions options;
  options.disks_per_chunkserver = 2;
  Cluster cluster(options);
  ASSERT_TRUE(cluster.Up());
  const std::string data = Pattern(2 << 20, 33);
  for (int i = 0; i < 8; ++i) WriteFile(cluster.mount() + "/f" + std::to_string(i), data);
  const std::string server = std::to_string(cluster.ServerId("chunk1"));
  const std::string disk = cluster.node_directory("chunk1") + "/disk1";
  const ShellResult drained = cluster.Tercet("disk drain " + server + " " + disk + " --wait", 60);
  EXPECT_EQ(drained.status, 0) << drained.output;
  EXPECT_EQ(Shell("find " + disk + "/blocks -name '*.blk' | wc -l").output, "0\n");
  ASSERT_TRUE(cluster.Tercet("disk undrain " + server + " " + disk).ok());

  const std::string other = cluster.node_directory("chunk1") + "/disk2";
  const ShellResult ejected =
      cluster.Tercet("disk eject " + server + " " + other + " --yes --force");
  EXPECT_EQ(ejected.status, 0) << ejected.output;
  EXPECT_TRUE(Eventually(60, [&] { return cluster.Tercet("fsck --no-inventory").status == 0; }))
      << cluster.Tercet("fsck").output;
  for (int i = 0; i < 8; ++i) {
    EXPECT_TRUE(ReadFile(cluster.mount() + "/f" + std::to_string(i)) == data);
  }
}

}  // namespace
}  // namespace tercet
