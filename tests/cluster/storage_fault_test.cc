// Chunk servers fail under real loads: no error at the client, no wrong byte, and all replicas
// there again, the same bit by bit.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tests/cluster/cluster.h"

namespace tercet {
namespace {

ClusterOptions FourServers() {
  ClusterOptions options;
  options.chunkservers = 4;
  return options;
}

class StorageFaultTest : public testing::Test {
 protected:
  /// With limits that hold on any machine: here it matters that nothing fails or is wrong. What it
  /// costs is measured at leisure.
  static void PassDrill(Cluster& cluster, const std::string& arguments) {
    const std::string errors = cluster.directory() + "/drill.err";
    const ShellResult result =
        Shell(Binary("tercet") + " drill chunks " + arguments + " --json --limit-max 25 " +
                  "--limit-whole 60 --dir " + cluster.directory() + " 2>" + errors,
              LongTests() ? 1200 : 240);
    const auto json = nlohmann::json::parse(result.output, nullptr, false);
    ASSERT_TRUE(json.is_object()) << result.output << ReadFile(errors);
    EXPECT_EQ(result.status, 0) << result.output;
    EXPECT_EQ(json["verdict"], "pass") << json["reasons"].dump();
    EXPECT_EQ(json["errors"], 0);
    EXPECT_EQ(json["wrong_bytes"], 0);
    EXPECT_GT(json["operations"], 0);
    EXPECT_GT(json["files_checked"], 0);
    EXPECT_EQ(json["replicas"]["identical"], true);
    EXPECT_GT(json["replicas"]["replicas"], 0);
  }

  static bool Clean(Cluster& cluster) { return cluster.Tercet("fsck --no-inventory").status == 0; }

  static std::string Reread(const std::string& path) { return Shell("cat " + path, 60).output; }
};

TEST_F(StorageFaultTest, KilledAndStoppedServersCostWritersAPauseOnly) {
  Cluster cluster(FourServers());
  ASSERT_TRUE(cluster.Up());
  const std::string rhythm = LongTests() ? " --minutes 10 --interval 20s --down 10s"
                                         : " --rounds 2 --interval 3s --down 2s";
  for (const std::string kind : {"kill", "stop"}) {
    SCOPED_TRACE(kind);
    PassDrill(cluster, "--kind " + kind + rhythm);
    for (const auto& node : cluster.Nodes()) EXPECT_EQ(node["state"], "running") << node.dump();
  }
}

TEST_F(StorageFaultTest, APowerCutLosesNothingThatWasSynced) {
  if (!Shell("losetup -f").ok()) GTEST_SKIP() << "needs root and loop devices";
  ClusterOptions options = FourServers();
  options.disk_image_mb = 1024;
  Cluster cluster(options);
  ASSERT_TRUE(cluster.Up());
  PassDrill(cluster, LongTests() ? "--kind power --rounds 20 --interval 20s --down 10s"
                                 : "--kind power --rounds 2 --interval 3s --down 1s");
}

TEST_F(StorageFaultTest, AServerThatIsGoneForGoodIsReplacedAndOneThatComesBackEarlyIsNot) {
  Cluster cluster(FourServers());
  ASSERT_TRUE(cluster.Up());
  const std::string path = cluster.mount() + "/f";
  const std::string data = Pattern(40 << 20, 11);
  for (int i = 0; i < 3; ++i) WriteFile(path + std::to_string(i), data);
  ASSERT_TRUE(Clean(cluster)) << cluster.Tercet("fsck").output;
  const auto before = cluster.TercetJson("repair status");

  // It comes back before the delay is over: nothing is copied.
  ASSERT_TRUE(cluster.Tercet("repair limit --delay 60s").ok());
  ASSERT_TRUE(cluster.Kill("chunk2"));
  EXPECT_TRUE(Eventually(20, [&] { return !Clean(cluster); }));
  ASSERT_TRUE(cluster.Start("chunk2"));
  EXPECT_TRUE(Eventually(20, [&] { return Clean(cluster); })) << cluster.Tercet("fsck").output;
  EXPECT_EQ(cluster.TercetJson("repair status")["repaired_blocks"], before["repaired_blocks"]);

  // It stays away: what it had is made again on the three others.
  ASSERT_TRUE(cluster.Tercet("repair limit --delay 1s").ok());
  ASSERT_TRUE(cluster.Kill("chunk3"));
  const int gone = cluster.ServerId("chunk3");
  const auto left = [&](const std::string& file) {
    const auto info = cluster.TercetJson("file info " + file);
    if (!info.is_object()) return false;
    for (const auto& block : info["blocks"]) {
      if (block["replicas"].size() != 3) return false;
      for (const auto& replica : block["replicas"]) {
        if (replica["server_id"] == gone) return false;
      }
    }
    return true;
  };
  // Each of them: not all have a replica on the one that is gone.
  EXPECT_TRUE(Eventually(60, [&] {
    return left(path + "0") && left(path + "1") && left(path + "2") && Clean(cluster);
  })) << cluster.Tercet("fsck").output;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(ReadFile(path + std::to_string(i)) == data);

  // What it still has is not wanted any more when it comes back.
  ASSERT_TRUE(cluster.Start("chunk3"));
  EXPECT_TRUE(Eventually(30, [&] { return cluster.ReplicaFiles("chunk3").empty(); }));
  const ShellResult compared =
      Shell(Binary("tercet") + " drill compare --dir " + cluster.directory());
  EXPECT_EQ(compared.status, 0) << compared.output;
}

TEST_F(StorageFaultTest, AWriterOfOneFileGoesOnWhenEachOfItsServersIsKilledInTurn) {
  Cluster cluster(FourServers());
  ASSERT_TRUE(cluster.Up());
  const std::string path = cluster.mount() + "/f";
  const std::string data = Pattern(48 << 20, 12);
  const int fd = open(path.c_str(), O_CREAT | O_RDWR, 0644);
  ASSERT_GE(fd, 0);
  const size_t piece = 64 << 10;
  std::string victim;
  for (size_t done = 0; done < data.size(); done += piece) {
    ASSERT_EQ(pwrite(fd, data.data() + done, piece, static_cast<off_t>(done)), ssize_t(piece))
        << strerror(errno);
    // In the middle of frames that are under way; the one before is back by then.
    if (done % (16 << 20) == (4 << 20)) {
      if (!victim.empty()) {
        ASSERT_TRUE(cluster.Start(victim));
      }
      victim = "chunk" + std::to_string(1 + done / (16 << 20));
      ASSERT_TRUE(cluster.Kill(victim));
    }
    if (done % (8 << 20) == 0) {
      ASSERT_EQ(fsync(fd), 0) << strerror(errno);
    }
  }
  EXPECT_EQ(fsync(fd), 0) << strerror(errno);
  EXPECT_EQ(close(fd), 0) << strerror(errno);
  EXPECT_TRUE(Reread(path) == data);
  ASSERT_TRUE(cluster.Start(victim));
  EXPECT_TRUE(Eventually(60, [&] { return Clean(cluster); })) << cluster.Tercet("fsck").output;
  const ShellResult compared =
      Shell(Binary("tercet") + " drill compare --dir " + cluster.directory());
  EXPECT_EQ(compared.status, 0) << compared.output;
}

}  // namespace
}  // namespace tercet
