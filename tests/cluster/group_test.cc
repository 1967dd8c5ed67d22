// The metadata group as an operator has it: members come and go, roles move, backups are taken.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/cluster/cluster.h"

namespace tercet {
namespace {

class GroupTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(cluster_.Up()); }

  static ClusterOptions Options() {
    ClusterOptions options;
    options.metaservers = 2;
    options.witnesses = 1;
    return options;
  }
  nlohmann::json List() {
    const ShellResult result = cluster_.Tercet("meta list --json");
    return nlohmann::json::parse(result.output, nullptr, false);
  }
  std::string AddressOf(const std::string& name) {
    for (const auto& node : cluster_.Nodes()) {
      if (node["name"] == name) return node["address"];
    }
    return "";
  }
  int IdOf(const std::string& name) {
    const std::string address = AddressOf(name);
    const auto list = List();
    for (const auto& member : list["members"]) {
      if (member["address"] == address) return member["id"];
    }
    return 0;
  }
  std::string Path(const std::string& name) { return cluster_.mount() + "/" + name; }

  Cluster cluster_{Options()};
};

TEST_F(GroupTest, TheMountGoesOnWhenTheActiveIsKilled) {
  WriteFile(Path("before"), "1");
  ASSERT_TRUE(cluster_.Kill("meta1"));
  WriteFile(Path("during"), "2");
  EXPECT_EQ(ReadFile(Path("before")), "1");
  ASSERT_TRUE(cluster_.Start("meta1"));
  ASSERT_TRUE(cluster_.Kill("meta2"));
  EXPECT_EQ(ReadFile(Path("during")), "2");
  EXPECT_TRUE(cluster_.Up());
  EXPECT_EQ(List()["members"].size(), 3u);
}

TEST_F(GroupTest, AWitnessAloneIsNoActiveAndSaysWhy) {
  const std::string witness = AddressOf("witness1");
  ASSERT_TRUE(cluster_.Kill("meta1"));
  ASSERT_TRUE(cluster_.Kill("meta2"));
  const ShellResult list = cluster_.Tercet("meta list --meta " + witness);
  EXPECT_EQ(list.status, 1);
  EXPECT_NE(list.output.find("1 of 3 voters answer, 2 are needed"), std::string::npos)
      << list.output;
  EXPECT_NE(list.output.find(AddressOf("meta1")), std::string::npos) << list.output;
  EXPECT_EQ(cluster_.Tercet("status --meta " + witness).status, 1);
  EXPECT_TRUE(cluster_.Up());
  EXPECT_EQ(cluster_.Tercet("meta list").status, 0);
}

TEST_F(GroupTest, SwitchoverByNameAndBack) {
  for (const std::string to : {"meta2", "meta1"}) {
    const std::string target = std::to_string(IdOf(to));
    const ShellResult result = cluster_.Tercet("meta switchover " + target);
    EXPECT_TRUE(result.ok()) << result.output;
    EXPECT_EQ(List()["active"], IdOf(to));
  }
  EXPECT_TRUE(cluster_.Tercet("meta switchover " + AddressOf("meta1")).ok()) << "it is already";
  EXPECT_EQ(cluster_.Tercet("meta switchover 77").status, 1);
  EXPECT_EQ(cluster_.Tercet("meta switchover " + AddressOf("witness1")).status, 1);
}

TEST_F(GroupTest, AMemberThatLostItsFolderIsRemovedAndAddedAnew) {
  WriteFile(Path("kept"), "x");
  ASSERT_TRUE(cluster_.Kill("meta2"));
  std::filesystem::remove_all(cluster_.node_directory("meta2") + "/data");
  const ShellResult up =
      Shell(Binary("tercet") + " dev up --dir " + cluster_.directory() + " --no-mount");
  EXPECT_EQ(up.status, 1);
  EXPECT_NE(up.output.find("tercet meta remove"), std::string::npos) << up.output;
  const int id = IdOf("meta2");
  const ShellResult removed = cluster_.Tercet("meta remove " + std::to_string(id));
  ASSERT_TRUE(removed.ok()) << removed.output;
  ASSERT_TRUE(cluster_.Up());
  EXPECT_GT(IdOf("meta2"), id) << "ids are not used again";
  ASSERT_TRUE(cluster_.Kill("meta1"));
  EXPECT_EQ(ReadFile(Path("kept")), "x");
}

TEST_F(GroupTest, AWitnessIsPromotedAndCanBeActive) {
  WriteFile(Path("kept"), "x");
  const int id = IdOf("witness1");
  const ShellResult promoted = cluster_.Tercet("meta promote-witness " + std::to_string(id));
  ASSERT_TRUE(promoted.ok()) << promoted.output;
  const ShellResult moved = cluster_.Tercet("meta switchover " + std::to_string(id));
  ASSERT_TRUE(moved.ok()) << moved.output;
  EXPECT_EQ(List()["active"], id);
  EXPECT_EQ(ReadFile(Path("kept")), "x");
}

TEST_F(GroupTest, ABackupIsTheNamespaceAndIsCheckedOnTheWayBackIn) {
  for (int i = 0; i < 50; ++i) WriteFile(Path("f" + std::to_string(i)), "data");
  const std::string file = cluster_.directory() + "/backup";
  ShellResult result = cluster_.Tercet("meta backup " + file);
  ASSERT_TRUE(result.ok()) << result.output;
  EXPECT_EQ(cluster_.Tercet("meta backup " + file).status, 1) << "nothing is overwritten";
  EXPECT_TRUE(cluster_.Tercet("meta verify " + file).ok());
  result = cluster_.Tercet("meta dump --file " + file);
  EXPECT_NE(result.output.find("\"f49\""), std::string::npos);

  std::string bytes = ReadFile(file);
  bytes[bytes.size() / 2] ^= 1;
  WriteFile(file + ".bad", bytes);
  EXPECT_EQ(cluster_.Tercet("meta verify " + file + ".bad").status, 1);
  const std::string folder = cluster_.directory() + "/restored";
  const std::string to = " --data-dir " + folder + " --address 127.0.1.200:29999";
  EXPECT_EQ(cluster_.Tercet("meta restore " + file + ".bad" + to).status, 1);
  EXPECT_FALSE(std::filesystem::exists(folder));
  result = cluster_.Tercet("meta restore " + file + to);
  ASSERT_TRUE(result.ok()) << result.output;
  EXPECT_NE(result.output.find("What to do next"), std::string::npos);
  EXPECT_EQ(cluster_.Tercet("meta restore " + file + to).status, 1) << "not over a data folder";
}

TEST_F(GroupTest, AMemberOfAnotherClusterIsNotTakenIn) {
  Cluster other;
  ASSERT_TRUE(other.Up());
  const ShellResult result = cluster_.Tercet("meta add " + other.meta_address());
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.output.find("already member"), std::string::npos) << result.output;
  const ShellResult list =
      cluster_.Tercet("meta list --meta " + AddressOf("meta1") + "," + other.meta_address());
  EXPECT_NE(list.output.find("other cluster"), std::string::npos) << list.output;
}

}  // namespace
}  // namespace tercet
