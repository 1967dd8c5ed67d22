// Failover drills against real clusters, in short: each kind must pass, and leave all as it was.
#include <gtest/gtest.h>

#include "tests/cluster/cluster.h"

namespace tercet {
namespace {

ClusterOptions Group(bool data_images = false) {
  ClusterOptions options;
  options.metaservers = 2;
  options.witnesses = 1;
  options.data_images = data_images;
  return options;
}

class DrillTest : public testing::Test {
 protected:
  /// A drill with limits that hold on any machine: here it matters that nothing is lost or stale.
  /// What it costs is measured by drills at leisure.
  void Pass(Cluster& cluster, const std::string& arguments) {
    const ShellResult result = Shell(
        Binary("tercet") + " drill failover " + arguments + " --json --dir " + cluster.directory() +
            " --interval 0.5 --hold 2 --limit-median 20 --limit-max 20 2>" + cluster.directory() +
            "/drill.err",
        200);
    const auto json = nlohmann::json::parse(result.output, nullptr, false);
    ASSERT_TRUE(json.is_object()) << result.output << ReadFile(cluster.directory() + "/drill.err");
    EXPECT_EQ(result.status, 0) << result.output;
    EXPECT_EQ(json["verdict"], "pass") << result.output;
    EXPECT_EQ(json["rounds"].size(), 2u);
    EXPECT_EQ(json["stale_reads"], 0);
    EXPECT_EQ(json["errors"], 0);
    EXPECT_EQ(json["lost"], 0);
    EXPECT_GT(json["operations"], 0);
    EXPECT_GT(json["files_checked"], 0);
    last_ = json;
  }
  void ExpectAllRunning(Cluster& cluster) {
    for (const auto& node : cluster.Nodes()) EXPECT_EQ(node["state"], "running") << node.dump();
  }

  nlohmann::json last_;
};

TEST_F(DrillTest, EveryKindPassesAndLeavesTheClusterAsItWas) {
  Cluster cluster(Group());
  ASSERT_TRUE(cluster.Up());
  for (const std::string kind :
       {"kill", "switchover", "stop", "kill --target standby", "kill --target witness", "power"}) {
    SCOPED_TRACE(kind);
    Pass(cluster, "--rounds 2 --kind " + kind);
    ExpectAllRunning(cluster);
    EXPECT_TRUE(Shell("ls -A " + cluster.mount()).output.empty()) << "the load's files are removed";
  }
  const ShellResult history =
      Shell(Binary("tercet") + " drill history --json --dir " + cluster.directory());
  EXPECT_EQ(nlohmann::json::parse(history.output, nullptr, false).size(), 6u) << history.output;
}

TEST_F(DrillTest, PartitionsWithNftables) {
  if (!Shell("nft list tables").ok()) GTEST_SKIP() << "needs root and nft";
  Cluster cluster(Group());
  ASSERT_TRUE(cluster.Up());
  Pass(cluster, "--rounds 2 --kind partition");
  EXPECT_EQ(Shell("nft list tables").output.find("tercet_drill"), std::string::npos);
}

TEST_F(DrillTest, APowerCutDropsWhatWasNotSynced) {
  Cluster cluster(Group(/*data_images=*/true));
  if (!Shell("losetup -f").ok()) GTEST_SKIP() << "needs root and loop devices";
  ASSERT_TRUE(cluster.Up());
  Pass(cluster, "--rounds 2 --kind power");
  EXPECT_EQ(last_["note"], "what was not synced was dropped");
}

TEST_F(DrillTest, InterruptedItPutsAllRight) {
  Cluster cluster(Group());
  ASSERT_TRUE(cluster.Up());
  // Paused for longer than the drill is let live: first it may clean up, then it may not.
  for (const std::string signal : {"INT", "KILL"}) {
    SCOPED_TRACE(signal);
    Shell("timeout -s " + signal + " 4 " + Binary("tercet") +
          " drill failover --kind stop --interval 0 --hold 60 --dir " + cluster.directory());
    EXPECT_TRUE(Eventually(20, [&] {
      for (const auto& node : cluster.Nodes()) {
        if (node["state"] != "running") return false;
      }
      return true;
    }));
  }
}

TEST_F(DrillTest, RefusesWhatTheGroupCannotAfford) {
  Cluster cluster;  // one metaserver
  ASSERT_TRUE(cluster.Up());
  const std::string drill = Binary("tercet") + " drill failover --dir " + cluster.directory();
  ShellResult result = Shell(drill + " --kind kill");
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.output.find("no standby"), std::string::npos) << result.output;
  result = cluster.Tercet("drill failover --kind kill --meta " + cluster.meta_address());
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(Shell(drill + " --kind flood").status, 2);
  EXPECT_EQ(Shell(drill + " --kind switchover --target witness").status, 2);
  ExpectAllRunning(cluster);
}

}  // namespace
}  // namespace tercet
