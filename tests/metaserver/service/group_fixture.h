// Several metaservers in this process, over real disks and loopback, with links that can be cut.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/env/posix_disk.h"
#include "common/rpc/thrift_client.h"
#include "metaserver/service/metaserver.h"
#include "tests/metaserver/service/link_proxy.h"

namespace tercet {

/// The machine's disk, whose room is what the test says.
class RoomDisk final : public Disk {
 public:
  std::atomic<uint64_t> available_bytes{uint64_t{100} << 30};

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override {
    return RealDisk().Open(path, mode);
  }
  Status Rename(const std::string& from, const std::string& to) override {
    return RealDisk().Rename(from, to);
  }
  Status Remove(const std::string& path) override { return RealDisk().Remove(path); }
  Status MakeDirectories(const std::string& path) override {
    return RealDisk().MakeDirectories(path);
  }
  Status SyncDirectory(const std::string& path) override { return RealDisk().SyncDirectory(path); }
  Result<std::vector<std::string>> List(const std::string& path) override {
    return RealDisk().List(path);
  }
  Result<bool> Exists(const std::string& path) override { return RealDisk().Exists(path); }
  Result<DiskSpace> Space(const std::string&) override {
    return DiskSpace{uint64_t{200} << 30, available_bytes.load()};
  }
  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    return RealDisk().Lock(path);
  }
};

/// The machine's clock, with a wall clock that goes wrong.
class OffsetClock final : public Clock {
 public:
  std::atomic<int64_t> offset_ns{0};

  int64_t WallNanos() const override { return RealClock().WallNanos() + offset_ns.load(); }
  int64_t MonotonicNanos() const override { return RealClock().MonotonicNanos(); }
  void SleepFor(std::chrono::nanoseconds duration) override { RealClock().SleepFor(duration); }
};

inline constexpr std::chrono::seconds kPatience{60};

/// Until it holds; fails the test when that takes for ever.
inline bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < deadline) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

/// One metaserver and the thread that polls it.
class GroupNode {
 public:
  GroupNode(int number, const std::string& path) {
    config.data_dir = path + "/data" + std::to_string(number);
    config.listen_port = 0;
    config.advertise = proxy.address();
    config.group_bind = "127.0.1." + std::to_string(number);
    config.group_join = number > 1;
    config.journal_segment_bytes = 64 << 10;
    config.journal_checkpoint_bytes = 64 << 10;
    config.min_free_bytes = 1 << 20;
  }
  ~GroupNode() { Stop(); }

  void Start() {
    auto started = Metaserver::Start(config, disk, clock, SystemRandom());
    ASSERT_TRUE(started.ok()) << started.status().ToString();
    server_ = std::move(started).value();
    config.listen_port = server_->port();  // also after a restart
    proxy.SetTarget(server_->port());
    const HostPort address{"127.0.0.1", server_->port()};
    metadata = std::make_unique<RpcClientPool<wire::MetadataServiceClient>>(address, "metadata");
    registry = std::make_unique<RpcClientPool<wire::RegistryServiceClient>>(address, "registry");
    admin = std::make_unique<RpcClientPool<wire::AdminServiceClient>>(address, "admin");
    stop_ = false;
    mode = server_->mode();
    runner_ = std::thread([this] {
      while (!stop_) {
        const Status status = server_->Poll();
        if (!status.ok()) {
          if (!may_fail) ADD_FAILURE() << status.ToString();
          failed = true;
          break;
        }
        mode = server_->mode();
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      server_.reset();
    });
  }
  void Stop() {
    stop_ = true;
    if (runner_.joinable()) runner_.join();
    proxy.SetTarget(0);
  }
  const std::string& source() const { return config.group_bind; }

  template <typename Response, typename Request, typename Method>
  Response Call(Method method, const Request& request) {
    Response response;
    response.info.status.code = static_cast<int32_t>(StatusCode::kUnavailable);
    Status status;
    if constexpr (std::is_invocable_v<Method, wire::MetadataServiceClient&, Response&,
                                      const Request&>) {
      status =
          metadata->Call(kPatience, [&](auto& client) { (client.*method)(response, request); });
    } else if constexpr (std::is_invocable_v<Method, wire::AdminServiceClient&, Response&,
                                             const Request&>) {
      status = admin->Call(kPatience, [&](auto& client) { (client.*method)(response, request); });
    } else {
      status =
          registry->Call(kPatience, [&](auto& client) { (client.*method)(response, request); });
    }
    if (!status.ok()) response.info.status.code = static_cast<int32_t>(status.code());
    return response;
  }
  bool Active() {
    return Call<wire::FindActiveResponse>(&wire::MetadataServiceClient::FindActive,
                                          wire::FindActiveRequest())
               .info.status.code == 0;
  }
  wire::GetGroupStatusResponse Group() {
    return Call<wire::GetGroupStatusResponse>(&wire::AdminServiceClient::GetGroupStatus,
                                              wire::GetGroupStatusRequest());
  }

  // Set before Start.
  MetaserverConfig config;
  OffsetClock clock;
  RoomDisk disk;
  LinkProxy proxy;

  std::atomic<MetaserverMode> mode{MetaserverMode::kJoining};
  std::atomic<bool> may_fail{false};
  std::atomic<bool> failed{false};
  std::unique_ptr<RpcClientPool<wire::MetadataServiceClient>> metadata;
  std::unique_ptr<RpcClientPool<wire::RegistryServiceClient>> registry;
  std::unique_ptr<RpcClientPool<wire::AdminServiceClient>> admin;

 private:
  std::unique_ptr<Metaserver> server_;  // of the runner's, once it runs
  std::atomic<bool> stop_{false};
  std::thread runner_;
};

class GroupTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "tercet-group-" +
            testing::UnitTest::GetInstance()->current_test_info()->name() + "-" +
            std::to_string(getpid());
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  void TearDown() override {
    nodes_.clear();
    std::filesystem::remove_all(path_);
  }

  /// Number 1 makes a cluster, the others wait to be added.
  GroupNode& AddNode(const std::function<void(GroupNode&)>& configure = nullptr) {
    nodes_.push_back(std::make_unique<GroupNode>(static_cast<int>(nodes_.size()) + 1, path_));
    if (configure) configure(*nodes_.back());
    nodes_.back()->Start();
    return *nodes_.back();
  }
  GroupNode& node(int number) { return *nodes_[static_cast<size_t>(number) - 1]; }

  wire::AddMemberResponse Add(GroupNode& active, GroupNode& added, bool witness) {
    wire::AddMemberRequest request;
    request.address = added.proxy.address();
    request.witness = witness;
    wire::AddMemberResponse response;
    // Busy: the change before this one is not committed yet.
    Eventually([&] {
      response =
          active.Call<wire::AddMemberResponse>(&wire::AdminServiceClient::AddMember, request);
      return response.info.status.code != Code(StatusCode::kBusy);
    });
    return response;
  }
  static size_t Voters(const wire::GetGroupStatusResponse& group) {
    size_t voters = 0;
    for (const auto& member : group.members) voters += member.voter ? 1 : 0;
    return voters;
  }
  /// Metaservers 1 and 2, witness 3; 1 is active.
  void MakeGroup(const std::function<void(GroupNode&)>& configure = nullptr) {
    for (int i = 0; i < 3; ++i) AddNode(configure);
    for (int i = 2; i <= 3; ++i) {
      const auto added = Add(node(1), node(i), /*witness=*/i == 3);
      ASSERT_EQ(added.info.status.code, 0) << added.info.status.message;
      ASSERT_EQ(added.member_id, i);
      ASSERT_TRUE(Eventually([&] { return Voters(node(1).Group()) == static_cast<size_t>(i); }));
    }
    ASSERT_TRUE(node(1).Active());
  }
  void CutOff(GroupNode& lonely) {
    lonely.proxy.Block("*");
    for (auto& other : nodes_) {
      if (other.get() != &lonely) other->proxy.Block(lonely.source());
    }
  }
  void Heal(GroupNode& lonely) {
    lonely.proxy.Unblock("*");
    for (auto& other : nodes_) other->proxy.Unblock(lonely.source());
  }
  bool EventuallyActive(GroupNode& expected) {
    return Eventually([&] { return expected.Active(); });
  }

  int64_t OpenSession(GroupNode& active) {
    wire::OpenSessionRequest request;
    request.client_uuid = SystemRandom().Bytes(16);
    const auto response =
        active.Call<wire::OpenSessionResponse>(&wire::MetadataServiceClient::OpenSession, request);
    EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
    return response.session_id;
  }
  wire::CreateFileRequest CreateRequest(int64_t session, const std::string& name) {
    wire::CreateFileRequest request;
    request.context.session_id = session;
    request.context.sequence = ++sequence_;
    request.parent = 1;
    request.name = name;
    request.exclusive = true;
    return request;
  }
  wire::CreateFileResponse Create(GroupNode& active, const wire::CreateFileRequest& request) {
    return active.Call<wire::CreateFileResponse>(&wire::MetadataServiceClient::CreateFile, request);
  }
  int64_t CreateOk(GroupNode& active, int64_t session, const std::string& name) {
    const auto response = Create(active, CreateRequest(session, name));
    EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
    return response.attributes.inode;
  }
  wire::LookupResponse Lookup(GroupNode& node, const std::string& name) {
    wire::LookupRequest request;
    request.parent = 1;
    request.name = name;
    return node.Call<wire::LookupResponse>(&wire::MetadataServiceClient::Lookup, request);
  }
  wire::TransferActiveResponse Transfer(GroupNode& active, int32_t target) {
    wire::TransferActiveRequest request;
    request.member_id = target;
    return active.Call<wire::TransferActiveResponse>(&wire::AdminServiceClient::TransferActive,
                                                     request);
  }
  static int32_t Code(StatusCode code) { return static_cast<int32_t>(code); }

  std::string path_;
  std::vector<std::unique_ptr<GroupNode>> nodes_;
  std::atomic<int64_t> sequence_{0};
};

}  // namespace tercet
