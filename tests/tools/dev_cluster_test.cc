// The development cluster with daemons that only sleep, and an admin service played by the test.
#include "tools/dev_cluster.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>

#include "common/rpc/thrift_server.h"
#include "tercet_thrift/AdminService.h"

namespace tercet {
namespace {

/// Says of every address it was told about that it is alive.
class FakeAdmin final : public wire::AdminServiceIf {
 public:
  void GetStatus(wire::GetStatusResponse& response, const wire::GetStatusRequest&) override {
    std::lock_guard lock(mutex_);
    for (const HostPort& address : alive_) {
      wire::ServerStatus server;
      server.host = address.host;
      server.port = address.port;
      server.alive = true;
      server.last_heartbeat_ms = 0;
      response.servers.push_back(server);
    }
  }
  void GetFileInfo(wire::GetFileInfoResponse&, const wire::GetFileInfoRequest&) override {}

  void SetAlive(std::vector<HostPort> addresses) {
    std::lock_guard lock(mutex_);
    alive_ = std::move(addresses);
  }

 private:
  std::mutex mutex_;
  std::vector<HostPort> alive_;  // guarded by mutex_
};

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
  /// Up in the background of the fake admin service, which listens where meta1 would as soon as
  /// that is known.
  Status Up(DevCluster& cluster, int chunkservers) {
    auto serve = [this, &cluster](const std::string&) { Serve(cluster); };
    return cluster.Up({.chunkservers = chunkservers, .mounts = {}}, serve);
  }
  void Serve(DevCluster& cluster) {
    std::vector<HostPort> addresses;
    for (const DevNode& node : cluster.nodes()) {
      if (node.role == DevRole::kChunkserver) addresses.push_back(node.address);
    }
    if (register_servers_) admin_->SetAlive(addresses);
    if (server_ != nullptr) return;
    auto processor = std::make_shared<wire::AdminServiceProcessor>(admin_);
    ThriftServerOptions options;
    options.listen = cluster.nodes().front().address;
    auto server = ThriftServer::Start(options, {{"admin", processor}});
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = std::move(*server);
  }
  static std::map<std::string, pid_t> Pids(const DevCluster& cluster) {
    std::map<std::string, pid_t> pids;
    for (const DevNodeState& entry : cluster.List()) pids[entry.node.name] = entry.pid;
    return pids;
  }
  static void Quiet(const std::string&) {}

  std::string root_;
  bool register_servers_ = true;
  std::shared_ptr<FakeAdmin> admin_ = std::make_shared<FakeAdmin>();
  std::unique_ptr<ThriftServer> server_;
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

}  // namespace
}  // namespace tercet
