// What administrators do to chunk servers, policies and the trash, on a cluster that works
// meanwhile.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <regex>
#include <set>
#include <thread>

#include "tests/cluster/cluster.h"

namespace tercet {
namespace {

class StorageAdminTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ClusterOptions options;
    options.chunkservers = 4;
    options.labels = {"chunk1:rack=a", "chunk2:rack=b", "chunk3:rack=c", "chunk4:rack=c"};
    cluster_ = new Cluster(options);
    ASSERT_TRUE(cluster_->Up());
  }
  static void TearDownTestSuite() {
    delete cluster_;
    cluster_ = nullptr;
  }

  static std::string Path(const std::string& name) { return cluster_->mount() + "/" + name; }
  static size_t ReplicasOf(const std::string& name) {
    const auto info = cluster_->TercetJson("file info " + Path(name));
    return info.is_object() && !info["blocks"].empty() ? info["blocks"][0]["replicas"].size() : 0;
  }
  static void Refused(const std::string& arguments, int status, const std::string& says) {
    const ShellResult result = cluster_->Tercet(arguments);
    EXPECT_EQ(result.status, status) << arguments << ": " << result.output;
    EXPECT_NE(result.output.find(says), std::string::npos) << arguments << ": " << result.output;
  }

  static Cluster* cluster_;
};

Cluster* StorageAdminTest::cluster_ = nullptr;

TEST_F(StorageAdminTest, APolicyIsInheritedAndConvertsWhatIsThere) {
  Shell("mkdir -p " + Path("p/sub"));
  const std::string data = Pattern(300'000, 41);
  WriteFile(Path("p/sub/old"), data);
  EXPECT_EQ(ReplicasOf("p/sub/old"), 3u);
  ASSERT_TRUE(cluster_->Tercet("policy set " + Path("p") + " --replicas 2 --min-replicas 1").ok());
  WriteFile(Path("p/sub/new"), data);
  EXPECT_TRUE(Eventually(30, [&] { return ReplicasOf("p/sub/old") == 2; }));
  EXPECT_TRUE(Eventually(30, [&] { return ReplicasOf("p/sub/new") == 2; }));
  ASSERT_TRUE(cluster_->Tercet("policy set " + Path("p") + " --replicas 4").ok());
  EXPECT_TRUE(
      Eventually(30, [&] { return ReplicasOf("p/sub/old") == 4 && ReplicasOf("p/sub/new") == 4; }));
  const auto policy = cluster_->TercetJson("policy get " + Path("p/sub"));
  EXPECT_EQ(policy["replicas"], 4) << policy.dump();
  EXPECT_EQ(policy["min_replicas"], 1);
  EXPECT_TRUE(ReadFile(Path("p/sub/old")) == data);
}

TEST_F(StorageAdminTest, ReplicasAreInDifferentRacksWhereThePolicySaysSo) {
  Shell("mkdir -p " + Path("racks"));
  ASSERT_TRUE(cluster_->Tercet("policy set " + Path("racks") + " --domain rack").ok());
  const std::set<int> rack_c = {cluster_->ServerId("chunk3"), cluster_->ServerId("chunk4")};
  for (int i = 0; i < 6; ++i) {
    const std::string name = "racks/f" + std::to_string(i);
    WriteFile(Path(name), Pattern(5000, 42));
    const auto info = cluster_->TercetJson("file info " + Path(name));
    size_t in_c = 0;
    for (const auto& replica : info["blocks"][0]["replicas"]) {
      in_c += rack_c.count(replica["server_id"].get<int>());
    }
    EXPECT_EQ(in_c, 1u) << info.dump();
  }
  const auto exposure = cluster_->TercetJson("exposure --lose rack=c");
  EXPECT_EQ(exposure["lost_servers"].size(), 2u) << exposure.dump();
  EXPECT_EQ(exposure["lost_blocks"], 0);
  const auto table = cluster_->TercetJson("exposure");
  EXPECT_EQ(table.size(), 4u + 3u) << table.dump();
}

TEST_F(StorageAdminTest, ADeletedFileComesBackFromTheTrashAndAPurgedOneDoesNot) {
  Shell("mkdir -p " + Path("t"));
  ASSERT_TRUE(cluster_->Tercet("policy set " + Path("t") + " --trash 1h").ok());
  const std::string data = Pattern(100'000, 43);
  WriteFile(Path("t/f"), data);
  ASSERT_EQ(unlink(Path("t/f").c_str()), 0);
  auto list = cluster_->TercetJson("trash list");
  ASSERT_EQ(list.size(), 1u) << list.dump();
  EXPECT_EQ(list[0]["path"], "/t/f");
  EXPECT_EQ(list[0]["size_bytes"], 100'000);
  ASSERT_TRUE(cluster_->Tercet("trash restore /t/f").ok());
  EXPECT_TRUE(Eventually(5, [&] { return std::filesystem::exists(Path("t/f")); }));
  EXPECT_TRUE(ReadFile(Path("t/f")) == data);
  Refused("trash restore /t/f", 1, "trash list");

  ASSERT_EQ(unlink(Path("t/f").c_str()), 0);
  WriteFile(Path("t/f"), "another one");
  Refused("trash restore /t/f", 1, "--to");
  ASSERT_TRUE(cluster_->Tercet("trash restore /t/f --to /t/g").ok());
  EXPECT_TRUE(Eventually(5, [&] { return std::filesystem::exists(Path("t/g")); }));
  EXPECT_TRUE(ReadFile(Path("t/g")) == data);

  ASSERT_EQ(unlink(Path("t/g").c_str()), 0);
  ASSERT_TRUE(cluster_->Tercet("trash purge --all --yes").ok());
  EXPECT_EQ(cluster_->TercetJson("trash list").size(), 0u);
  Refused("trash restore /t/g", 1, "not in the trash");
}

TEST_F(StorageAdminTest, WhatCannotBeIsRefusedWithWhatToDo) {
  Refused("server info 99", 1, "there is no chunk server '99'");
  Refused("server drain 99", 1, "there is no chunk server");
  Refused("exposure 99", 1, "there is no chunk server");
  Refused("disk drain 1 /no/such/disk", 1, "disk");
  Refused("policy set / --replicas 0", 2, "replicas");
  Refused("policy set / --replicas 9", 1, "");
  Refused("policy set / --min-replicas 4 --replicas 3", 1, "");
  Refused("policy set / --domain planet", 1, "planet");
  Refused("policy set /not/there --replicas 2", 1, "");
  Refused("policy set / --block-size 3MiB", 2, "power of two");
  Refused("policy set /", 2, "set what?");
  Refused("repair limit", 2, "which limit?");
  Refused("repair limit --delay soon", 2, "");
  Refused("exposure --lose rack", 2, "LABEL=VALUE");
  Refused("exposure --lose rack=zzz", 1, "");
  Refused("balance start --plan xyz", 2, "balance plan");
  Refused("balance pause", 1, "");
  Refused("trash purge", 2, "purge what?");
  Refused("trash restore 424242", 1, "");
  EXPECT_EQ(Shell(Binary("tercet") + " server list").status, 2);  // no TERCET_META
}

TEST_F(StorageAdminTest, LimitsAreInForceAndShown) {
  ASSERT_TRUE(
      cluster_->Tercet("repair limit --repair 80MiB --move 40MiB --delay 45s --scrub-period 7d")
          .ok());
  const auto limits = cluster_->TercetJson("repair status")["limits"];
  EXPECT_EQ(limits["repair_bytes_per_second"], 80 << 20);
  EXPECT_EQ(limits["move_bytes_per_second"], 40 << 20);
  EXPECT_EQ(limits["repair_delay_ms"], 45'000);
  EXPECT_EQ(limits["scrub_period_s"], 7 * 86'400);
  ASSERT_TRUE(cluster_->Tercet("repair limit --repair none --move none --delay 30s").ok());
}

TEST_F(StorageAdminTest, EveryMetricThatAnAlertNamesIsThere) {
  std::set<std::string> wanted;
  const std::string rules =
      ReadFile(std::string(TERCET_SOURCE_DIR) + "/deploy/prometheus/tercet.rules.yml");
  const std::regex name("tercet_[a-z_]+");
  for (std::sregex_iterator at(rules.begin(), rules.end(), name), end; at != end; ++at) {
    wanted.insert(at->str());
  }
  ASSERT_GT(wanted.size(), 10u);
  std::string found;
  for (const auto& node : cluster_->Nodes()) {
    found += Shell("curl -s http://" + node["metrics"].get<std::string>() +
                   "/metrics || python3 -c "
                   "'import urllib.request as u; print(u.urlopen(\"http://" +
                   node["metrics"].get<std::string>() + "/metrics\").read().decode())'")
                 .output;
  }
  // Only with several members, and only while a disk is drained.
  const std::regex elsewhere("tercet_metaserver_member_.*|tercet_disk_drain_blocked");
  for (const std::string& metric : wanted) {
    if (std::regex_match(metric, elsewhere)) continue;
    EXPECT_NE(found.find("\n" + metric), std::string::npos) << metric << " is exported by nobody";
  }
}

// The last one: it takes a server away.
TEST_F(StorageAdminTest, ZServersAreDrainedUnderLoadAndRemoved) {
  Shell("mkdir -p " + Path("d"));
  const std::string data = Pattern(1 << 20, 44);
  for (int i = 0; i < 20; ++i) WriteFile(Path("d/f" + std::to_string(i)), data);
  // Wanted four replicas.
  if (std::filesystem::exists(Path("p"))) {
    ASSERT_TRUE(cluster_->Tercet("policy set /p --replicas 3").ok());
    ASSERT_TRUE(Eventually(30, [&] { return ReplicasOf("p/sub/old") == 3; }));
    ASSERT_TRUE(Eventually(30, [&] { return ReplicasOf("p/sub/new") == 3; }));
  }
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::atomic<int> written{0};
  std::thread load([&] {
    for (int i = 0; !stop; ++i) {
      const std::string path = Path("d/load" + std::to_string(i % 10));
      const int fd = open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644);
      if (fd < 0 || write(fd, data.data(), data.size()) != ssize_t(data.size()) || fsync(fd) != 0) {
        ++failures;
      }
      if (fd >= 0 && close(fd) != 0) ++failures;
      ++written;
    }
  });
  const int id = cluster_->ServerId("chunk4");
  const std::string server = std::to_string(id);
  std::atomic<bool> drained{false};
  int lowest = 3;
  std::thread watch([&] {
    while (!drained) {
      const auto status = cluster_->TercetJson("status");
      if (!status.is_object()) continue;
      for (const auto& entry : status["blocks_by_replicas"]) {
        if (entry["blocks"] > 0) lowest = std::min(lowest, entry["replicas"].get<int>());
      }
    }
  });
  const ShellResult result = cluster_->Tercet("server drain " + server + " --wait", 120);
  drained = true;
  watch.join();
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_EQ(lowest, 3) << "a block had fewer replicas while the server was drained";
  const ShellResult removed = cluster_->Tercet("server remove " + server + " --yes");
  EXPECT_EQ(removed.status, 0) << removed.output;
  stop = true;
  load.join();
  EXPECT_EQ(failures, 0);
  EXPECT_GT(written, 0);
  EXPECT_TRUE(Eventually(30, [&] { return cluster_->Tercet("fsck").status == 0; }))
      << cluster_->Tercet("fsck").output;
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(ReadFile(Path("d/f" + std::to_string(i))) == data);

  // The three others are needed now.
  const std::string last = std::to_string(cluster_->ServerId("chunk1"));
  const ShellResult refused = cluster_->Tercet("server drain " + last + " --json");
  EXPECT_EQ(refused.status, 1) << refused.output;
  const auto why = nlohmann::json::parse(refused.output, nullptr, false);
  ASSERT_TRUE(why.is_array()) << refused.output;
  EXPECT_FALSE(why[0]["error"].get<std::string>().empty());
  EXPECT_GT(why[0]["blocks"], 0) << refused.output;
  EXPECT_FALSE(why[0]["files"].empty()) << refused.output;
  EXPECT_EQ(why[0]["files"][0]["path"].get<std::string>().front(), '/');

  // A removed one does not come back.
  cluster_->Kill("chunk4");
  const ShellResult back =
      Shell(Binary("tercet") + " dev start chunk4 --dir " + cluster_->directory());
  EXPECT_NE(back.status, 0) << back.output;
  EXPECT_NE((back.output + cluster_->Logs()).find("removed"), std::string::npos) << back.output;
}

}  // namespace
}  // namespace tercet
