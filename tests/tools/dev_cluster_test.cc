// The development cluster with daemons that only sleep, and an admin service played by the test.
#include "tools/dev_cluster.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>

#include "tests/tools/fake_group.h"
#include "tools/group_survey.h"

namespace tercet {
namespace {

class DevClusterTest : public testing::Test {
 protected:
  DevClusterTest() {
    std::string pattern = testing::TempDir() + "dev_cluster_test.XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    std::filesystem::create_directory(root_ + "/bin");
    Program("tercet-metaserver", "exec sleep 1000");
    Program("tercet-chunkserver", "exec sleep 1000");
  }
  ~DevClusterTest() override {
    auto cluster = DevCluster::Open(Folder(), root_ + "/bin", false);
    if (cluster.ok()) {
      EXPECT_TRUE((*cluster)->Down(Quiet).ok());
    }
    std::filesystem::remove_all(root_);
  }

  void Program(const std::string& name, const std::string& script) {
    const std::string path = root_ + "/bin/" + name;
    std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  }
  std::string Folder() const { return root_ + "/cluster"; }
  std::unique_ptr<DevCluster> Open() {
    auto cluster = DevCluster::Open(Folder(), root_ + "/bin", true);
    EXPECT_TRUE(cluster.ok()) << cluster.status().ToString();
    return std::move(*cluster);
  }
  /// Up beside fake members that listen where the metaservers and witnesses would, as soon as that
  /// is known.
  Status Up(DevCluster& cluster, int chunkservers, int metaservers = 1, int witnesses = 0) {
    auto serve = [this, &cluster](const std::string& line) {
      lines_.push_back(line);
      Serve(cluster);
    };
    return cluster.Up({.metaservers = metaservers,
                       .witnesses = witnesses,
                       .chunkservers = chunkservers,
                       .mounts = {}},
                      serve);
  }
  void Serve(DevCluster& cluster) {
    for (const DevNode& node : cluster.nodes()) {
      if (!node.IsMember() || servers_.contains(node.name)) continue;
      HostPort address = node.address;
      servers_[node.name] = ServeFakeMember(group_, &address);
      ASSERT_NE(servers_[node.name], nullptr);
    }
    std::lock_guard lock(group_->mutex);
    if (group_->members.empty()) {
      // meta1 makes the group.
      FakeMember::MakeActive(group_.get(),
                             FakeMember::Add(group_.get(), cluster.nodes().front().Where(), false));
    }
    group_->alive_servers.clear();
    for (const DevNode& node : cluster.nodes()) {
      if (node.role == DevRole::kChunkserver && register_servers_) {
        group_->alive_servers.push_back(node.address);
      }
    }
  }
  static std::map<std::string, pid_t> Pids(const DevCluster& cluster) {
    std::map<std::string, pid_t> pids;
    for (const DevNodeState& entry : cluster.List()) pids[entry.node.name] = entry.pid;
    return pids;
  }
  static void Quiet(const std::string&) {}

  std::string root_;
  bool register_servers_ = true;
  std::vector<std::string> lines_;  // of progress
  std::shared_ptr<FakeGroupState> group_ = std::make_shared<FakeGroupState>();
  std::map<std::string, std::unique_ptr<ThriftServer>> servers_;
};

TEST_F(DevClusterTest, UpStartsAllAndAgainOnlyWhatStopped) {
  auto cluster = Open();
  ASSERT_TRUE(Up(*cluster, 3).ok());
  auto pids = Pids(*cluster);
  ASSERT_EQ(pids.size(), 4u);
  for (const auto& [name, pid] : pids) EXPECT_GT(pid, 0) << name;

  ASSERT_TRUE(cluster->Signal("chunk2", SIGKILL).ok());
  EXPECT_EQ(Pids(*cluster)["chunk2"], 0);
  EXPECT_EQ(cluster->Signal("chunk2", SIGTERM).code(), StatusCode::kFailedPrecondition);

  auto again = Open();
  ASSERT_TRUE(Up(*again, 3).ok());
  auto later = Pids(*again);
  EXPECT_GT(later["chunk2"], 0);
  for (const char* name : {"meta1", "chunk1", "chunk3"}) EXPECT_EQ(later[name], pids[name]) << name;
}

TEST_F(DevClusterTest, PortsAreDistinctAndStayWhenTheClusterGrows) {
  auto cluster = Open();
  ASSERT_TRUE(Up(*cluster, 2).ok());
  std::set<uint16_t> ports;
  for (const DevNode& node : cluster->nodes()) {
    EXPECT_TRUE(ports.insert(node.address.port).second);
    EXPECT_TRUE(ports.insert(node.metrics_port).second);
  }
  auto before = cluster->nodes();
  auto again = Open();
  ASSERT_TRUE(Up(*again, 4).ok());
  ASSERT_EQ(again->nodes().size(), 5u);
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(again->nodes()[i].name, before[i].name);
    EXPECT_EQ(again->nodes()[i].address, before[i].address);
  }
  EXPECT_EQ(again->nodes()[4].name, "chunk4");
  // Fewer are never taken away.
  ASSERT_TRUE(Up(*again, 1).ok());
  EXPECT_EQ(again->nodes().size(), 5u);
}

TEST_F(DevClusterTest, DownStopsAllAndPurgeRemovesAll) {
  auto cluster = Open();
  ASSERT_TRUE(Up(*cluster, 2).ok());
  EXPECT_EQ(cluster->Purge().code(), StatusCode::kFailedPrecondition);
  ASSERT_TRUE(cluster->Signal("chunk1", SIGSTOP).ok());  // would not hear SIGTERM
  ASSERT_TRUE(cluster->Down(Quiet).ok());
  for (const auto& [name, pid] : Pids(*cluster)) EXPECT_EQ(pid, 0) << name;
  ASSERT_TRUE(cluster->Down(Quiet).ok());
  EXPECT_TRUE(std::filesystem::exists(Folder() + "/chunk1/disk1"));
  std::ofstream(Folder() + "/kept") << "not ours";
  ASSERT_TRUE(cluster->Purge().ok());
  EXPECT_FALSE(std::filesystem::exists(Folder() + "/chunk1"));
  EXPECT_TRUE(std::filesystem::exists(Folder() + "/kept"));
  EXPECT_EQ(DevCluster::Open(Folder(), root_ + "/bin", false).code(), StatusCode::kNotFound);
}

TEST_F(DevClusterTest, ANodeThatEndsAtItsStartIsReportedWithItsWords) {
  Program("tercet-chunkserver", "echo 'disk /d belongs to another cluster' >&2; exit 1");
  register_servers_ = false;
  auto cluster = Open();
  Status status = Up(*cluster, 1);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "chunk1 ended at its start: disk /d belongs to another cluster");
}

TEST_F(DevClusterTest, AMissingProgramIsNamed) {
  std::filesystem::remove(root_ + "/bin/tercet-metaserver");
  Status status = Up(*Open(), 1);
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_NE(status.message().find("tercet-metaserver"), std::string::npos);
}

TEST_F(DevClusterTest, StartWaitsForThePausedAndRefusesTheUnknown) {
  auto cluster = Open();
  ASSERT_TRUE(Up(*cluster, 1).ok());
  EXPECT_EQ(cluster->Start("chunk9", Quiet).code(), StatusCode::kNotFound);
  EXPECT_TRUE(cluster->Start("chunk1", Quiet).ok());
  ASSERT_TRUE(cluster->Signal("chunk1", SIGSTOP).ok());
  auto paused = [&] { return cluster->List()[1].state == ProcessState::kPaused; };
  ASSERT_TRUE(WaitFor(std::chrono::seconds(10), paused));
  EXPECT_EQ(cluster->Start("chunk1", Quiet).code(), StatusCode::kFailedPrecondition);
  ASSERT_TRUE(Up(*cluster, 1).ok());
  EXPECT_TRUE(WaitFor(std::chrono::seconds(10), [&] { return !paused(); }));
}

TEST_F(DevClusterTest, ConfigurationsNameTheClustersAddressesAndFolders) {
  auto cluster = Open();
  ASSERT_TRUE(Up(*cluster, 1).ok());
  const DevNode& meta = cluster->nodes()[0];
  const DevNode& chunk = cluster->nodes()[1];
  const std::string text = cluster->ConfigFor(chunk);
  EXPECT_NE(text.find("meta = [\"" + meta.address.ToString() + "\"]"), std::string::npos) << text;
  EXPECT_NE(text.find("disks = [\"" + cluster->directory() + "/chunk1/disk1\"]"),
            std::string::npos);
  EXPECT_NE(text.find("port = " + std::to_string(chunk.address.port)), std::string::npos);
  std::ifstream in(Folder() + "/chunk1/chunk1.toml");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), text);
  EXPECT_EQ(cluster->MetaAddresses(), meta.address.ToString());
}

TEST_F(DevClusterTest, MetaserversAndWitnessesBecomeOneGroupOnAddressesOfTheirOwn) {
  auto cluster = Open();
  Status up = Up(*cluster, 1, 2, 1);
  ASSERT_TRUE(up.ok()) << up.ToString();
  ASSERT_NE(cluster->Find("meta2"), nullptr);
  EXPECT_EQ(cluster->Find("meta1")->address.host, "127.0.1.1");
  EXPECT_EQ(cluster->Find("meta2")->address.host, "127.0.1.2");
  EXPECT_EQ(cluster->Find("witness1")->address.host, "127.0.2.1");
  EXPECT_EQ(cluster->Find("chunk1")->address.host, "127.0.0.1");
  EXPECT_EQ(cluster->MetaAddresses(),
            cluster->Find("meta1")->Where() + "," + cluster->Find("meta2")->Where());
  {
    std::lock_guard lock(group_->mutex);
    ASSERT_EQ(group_->members.size(), 3u);
    EXPECT_FALSE(group_->members[1].witness);
    EXPECT_TRUE(group_->members[2].witness);
    EXPECT_EQ(group_->additions, 2);
  }
  // A second time there is nothing to do.
  ASSERT_TRUE(Up(*Open(), 1, 2, 1).ok());
  std::lock_guard lock(group_->mutex);
  EXPECT_EQ(group_->additions, 2);
}

TEST_F(DevClusterTest, OnlyTheFirstStartOfTheFirstMetaserverMakesACluster) {
  auto cluster = Open();
  ASSERT_TRUE(Up(*cluster, 1, 2).ok());
  const auto text = [&](const std::string& name) {
    std::ifstream in(Folder() + "/" + name + "/" + name + ".toml");
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  EXPECT_NE(text("meta1").find("join = false"), std::string::npos) << text("meta1");
  EXPECT_NE(text("meta2").find("join = true"), std::string::npos) << text("meta2");
  EXPECT_NE(text("meta2").find("bind = \"127.0.1.2\""), std::string::npos) << text("meta2");
  ASSERT_TRUE(cluster->Signal("meta1", SIGKILL).ok());
  ASSERT_TRUE(cluster->Start("meta1", Quiet).ok());
  EXPECT_NE(text("meta1").find("join = true"), std::string::npos) << text("meta1");
}

TEST_F(DevClusterTest, AMemberThatLostItsFolderIsReportedWithAdvice) {
  auto cluster = Open();
  ASSERT_TRUE(Up(*cluster, 1, 2).ok());
  // From now on it answers as one that waits to be added.
  servers_.erase("meta2");
  HostPort address = cluster->Find("meta2")->address;
  servers_["meta2"] = ServeFakeMember(std::make_shared<FakeGroupState>(), &address);
  const Status status = Up(*Open(), 1, 2);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("tercet meta remove 2"), std::string::npos) << status.message();
}

TEST_F(DevClusterTest, AClusterOfOneMetaserverOnTheSharedAddressCanGrow) {
  auto cluster = Open();
  ASSERT_TRUE(Up(*cluster, 1).ok());
  ASSERT_TRUE(cluster->Down(Quiet).ok());
  // As an earlier version wrote it.
  std::ifstream in(Folder() + "/cluster.json");
  std::string text(std::istreambuf_iterator<char>(in), {});
  text.replace(text.find("127.0.1.1"), 9, "127.0.0.1");
  text.replace(text.find("\"founded\": true,"), 16, "");
  std::ofstream(Folder() + "/cluster.json") << text;
  servers_.clear();
  {
    std::lock_guard lock(group_->mutex);
    group_->members.clear();
  }
  auto again = Open();
  const uint16_t port = again->Find("meta1")->address.port;
  ASSERT_EQ(again->Find("meta1")->address.host, "127.0.0.1");
  const Status up = Up(*again, 1, 2, 1);
  ASSERT_TRUE(up.ok()) << up.ToString();
  EXPECT_EQ(again->Find("meta1")->address.host, "127.0.1.1");
  EXPECT_EQ(again->Find("meta1")->address.port, port);
  EXPECT_EQ(group_->members.size(), 3u);
}

TEST_F(DevClusterTest, ChunkServersThatRunLearnOfNewMetaservers) {
  auto cluster = Open();
  ASSERT_TRUE(Up(*cluster, 2).ok());
  const auto before = Pids(*cluster);
  auto again = Open();
  const Status up = Up(*again, 2, 2);
  ASSERT_TRUE(up.ok()) << up.ToString();
  const auto after = Pids(*again);
  EXPECT_NE(after.at("chunk1"), before.at("chunk1"));
  EXPECT_EQ(after.at("meta1"), before.at("meta1"));
  std::ifstream in(Folder() + "/chunk1/chunk1.toml");
  const std::string text(std::istreambuf_iterator<char>(in), {});
  EXPECT_NE(text.find(again->Find("meta2")->Where()), std::string::npos) << text;
  // A witness is nothing to them.
  ASSERT_TRUE(Up(*Open(), 2, 2, 1).ok());
  EXPECT_EQ(Pids(*again).at("chunk1"), after.at("chunk1"));
}

TEST_F(DevClusterTest, ADamagedClusterFileIsAnErrorNotANewCluster) {
  std::filesystem::create_directory(Folder());
  for (const char* text : {"", "{", "{\"version\": 1}", "{\"version\": 1, \"nodes\": [{}]}",
                           "{\"version\":1,\"nodes\":[{\"name\":\"../x\",\"role\":\"mount\","
                           "\"metrics_port\":1,\"mount_point\":\"/m\"}]}"}) {
    std::ofstream(Folder() + "/cluster.json") << text;
    EXPECT_EQ(DevCluster::Open(Folder(), root_ + "/bin", true).code(), StatusCode::kCorruption)
        << text;
  }
  std::ofstream(Folder() + "/cluster.json") << "{\"version\": 2, \"nodes\": []}";
  EXPECT_EQ(DevCluster::Open(Folder(), root_ + "/bin", true).code(), StatusCode::kVersionTooNew);
  std::filesystem::remove(Folder() + "/cluster.json");
}

TEST(IsMountedTest, KnowsWhatTheKernelSays) {
  EXPECT_TRUE(IsMounted("/proc"));
  EXPECT_FALSE(IsMounted("/proc/self"));
}

TEST_F(DevClusterTest, LabelsAndDisksAreInTheConfigurationAndKept) {
  auto cluster = Open();
  DevShape shape{.chunkservers = 2, .mounts = {}, .disks_per_chunkserver = 2};
  shape.labels["chunk2"]["rack"] = "a";
  ASSERT_TRUE(cluster->Up(shape, [&](const std::string&) { Serve(*cluster); }).ok());
  const std::string one = cluster->ConfigFor(*cluster->Find("chunk1"));
  const std::string two = cluster->ConfigFor(*cluster->Find("chunk2"));
  EXPECT_NE(one.find("chunk1/disk1\", \""), std::string::npos) << one;
  EXPECT_NE(one.find("chunk1/disk2\"]"), std::string::npos) << one;
  EXPECT_EQ(one.find("rack"), std::string::npos);
  EXPECT_NE(two.find("[labels]\n\"rack\" = \"a\""), std::string::npos) << two;
  EXPECT_TRUE(std::filesystem::is_directory(Folder() + "/chunk2/disk2"));

  // Another program sees the same.
  auto again = Open();
  EXPECT_EQ(again->Find("chunk2")->labels.at("rack"), "a");
  EXPECT_EQ(again->Find("chunk1")->disks, 2);
  EXPECT_EQ(again->ConfigFor(*again->Find("chunk2")), two);

  shape.labels = {{"chunk9", {{"rack", "a"}}}};
  EXPECT_EQ(cluster->Up(shape, Quiet).code(), StatusCode::kNotFound);
}

TEST(DefaultDevDirectoryTest, IsWhatTheEnvironmentSaysIfItSaysAny) {
  ::unsetenv("TERCET_DEV_DIR");
  const std::string otherwise = DefaultDevDirectory();
  ::setenv("TERCET_DEV_DIR", "/somewhere/else", 1);
  EXPECT_EQ(DefaultDevDirectory(), "/somewhere/else");
  ::setenv("TERCET_DEV_DIR", "", 1);
  EXPECT_EQ(DefaultDevDirectory(), otherwise);
  ::unsetenv("TERCET_DEV_DIR");
}

TEST(DevLabelTest, IsNodeColonLabelEqualsValue) {
  const auto label = ParseDevLabel("chunk1:rack=r-1.x");
  ASSERT_TRUE(label.ok());
  EXPECT_EQ(label->node, "chunk1");
  EXPECT_EQ(label->key, "rack");
  EXPECT_EQ(label->value, "r-1.x");
  for (const char* bad : {"", "chunk1", "chunk1:rack", "chunk1:rack=", ":rack=a", "chunk1:=a",
                          "chunk1=rack:a", "chunk1:rack=a b"}) {
    EXPECT_EQ(ParseDevLabel(bad).code(), StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace tercet
