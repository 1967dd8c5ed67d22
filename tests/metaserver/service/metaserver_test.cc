// A whole metaserver over a real disk and loopback Thrift, in this process and as a program of its
// own.
#include "metaserver/service/metaserver.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "common/env/posix_disk.h"
#include "common/rpc/thrift_client.h"
#include "tercet_thrift/AdminService.h"
#include "tercet_thrift/MetadataService.h"
#include "tests/metaserver/service/child_process.h"

namespace tercet {
namespace {

using MetadataPool = RpcClientPool<wire::MetadataServiceClient>;
constexpr std::chrono::seconds kTimeout{20};

int32_t Code(StatusCode code) { return static_cast<int32_t>(code); }

class MetaserverTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "tercet-metaserver-" +
            testing::UnitTest::GetInstance()->current_test_info()->name() + "-" +
            std::to_string(getpid());
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
    config_.data_dir = path_ + "/data";
    config_.listen_port = 0;
    config_.journal_segment_bytes = 1 << 20;
    config_.journal_checkpoint_bytes = 256 << 10;
    config_.min_free_bytes = 1 << 20;
  }
  void TearDown() override {
    pool_.reset();
    server_.reset();
    std::filesystem::remove_all(path_);
  }

  Status Start() {
    auto server = Metaserver::Start(config_, RealDisk(), RealClock(), SystemRandom());
    if (!server.ok()) return server.status();
    server_ = std::move(server).value();
    Connect(server_->port());
    return Status::Ok();
  }
  void Stop() {
    pool_.reset();
    server_.reset();
  }
  void Connect(uint16_t port) {
    pool_ = std::make_unique<MetadataPool>(HostPort{"127.0.0.1", port}, "metadata");
  }

  int64_t OpenSession() {
    wire::OpenSessionRequest request;
    request.client_uuid = SystemRandom().Bytes(16);
    wire::OpenSessionResponse response;
    const Status status =
        pool_->Call(kTimeout, [&](auto& client) { client.OpenSession(response, request); });
    EXPECT_TRUE(status.ok()) << status.ToString();
    EXPECT_EQ(response.info.status.code, 0) << response.info.status.message;
    return response.session_id;
  }
  static wire::CreateFileRequest CreateRequest(int64_t session, int32_t slot, int64_t sequence,
                                               const std::string& name) {
    wire::CreateFileRequest request;
    request.context.session_id = session;
    request.context.slot = slot;
    request.context.sequence = sequence;
    request.parent = 1;
    request.name = name;
    request.exclusive = true;
    return request;
  }
  Result<wire::CreateFileResponse> Create(const wire::CreateFileRequest& request) {
    wire::CreateFileResponse response;
    RETURN_IF_ERROR(
        pool_->Call(kTimeout, [&](auto& client) { client.CreateFile(response, request); }));
    return response;
  }
  Result<wire::LookupResponse> Lookup(const std::string& name) {
    wire::LookupRequest request;
    request.parent = 1;
    request.name = name;
    wire::LookupResponse response;
    RETURN_IF_ERROR(pool_->Call(kTimeout, [&](auto& client) { client.Lookup(response, request); }));
    return response;
  }
  void ExpectThere(const std::string& name) {
    auto found = Lookup(name);
    ASSERT_TRUE(found.ok()) << found.status().ToString();
    EXPECT_EQ(found->info.status.code, 0) << name << ": " << found->info.status.message;
  }

  std::vector<std::string> ProgramArguments(const std::vector<std::string>& settings = {}) {
    std::vector<std::string> arguments{std::string(TERCET_BIN_DIR) + "/tercet-metaserver"};
    auto add = [&](const std::string& setting) {
      arguments.push_back("--set");
      arguments.push_back(setting);
    };
    add("data_dir=" + config_.data_dir);
    add("journal.segment_size=1MiB");
    add("journal.checkpoint_size=256KiB");
    add("journal.min_free=1MiB");
    for (const auto& setting : settings) add(setting);
    return arguments;
  }
  /// Starts the program on a free port and connects to it.
  std::unique_ptr<ChildProcess> StartProgram() {
    auto child =
        std::make_unique<ChildProcess>(ProgramArguments({"listen.port=0"}), path_ + "/stderr");
    const std::string mark = " port=";
    while (child->Running()) {
      const std::string text = child->ErrorText();
      const size_t at = text.find(mark);
      if (at != std::string::npos && text.find('\n', at) != std::string::npos) {
        Connect(static_cast<uint16_t>(std::stoi(text.substr(at + mark.size()))));
        return child;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    ADD_FAILURE() << "did not start: " << child->ErrorText();
    return child;
  }
  /// Runs the program to its end: it is expected to fail with one line.
  std::string FailingStart(const std::vector<std::string>& settings, int exit_status) {
    ChildProcess child(ProgramArguments(settings), path_ + "/stderr");
    EXPECT_EQ(child.Wait(), exit_status);
    std::istringstream lines(child.ErrorText());
    std::string complaint;
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind("tercet-metaserver: ", 0) != 0) continue;
      EXPECT_TRUE(complaint.empty()) << "more than one line: " << line;
      complaint = line;
    }
    EXPECT_FALSE(complaint.empty()) << child.ErrorText();
    return complaint;
  }

  std::string path_;
  MetaserverConfig config_;
  std::unique_ptr<Metaserver> server_;
  std::unique_ptr<MetadataPool> pool_;
};

TEST_F(MetaserverTest, ARetryOverARestartGetsTheFirstAnswer) {
  ASSERT_TRUE(Start().ok());
  const int64_t session = OpenSession();
  const auto request = CreateRequest(session, 3, 7, "a");
  auto first = Create(request);
  ASSERT_TRUE(first.ok() && first->info.status.code == 0);
  const std::string cluster = server_->cluster_id();
  Stop();
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(server_->cluster_id(), cluster);
  auto second = Create(request);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->info.status.code, 0) << second->info.status.message;
  EXPECT_EQ(second->attributes, first->attributes);
  EXPECT_GT(second->info.epoch, first->info.epoch);
}

TEST_F(MetaserverTest, ConcurrentClientsCreateEachNameOnceAndSeeWhatTheyWrote) {
  ASSERT_TRUE(Start().ok());
  constexpr int kClients = 8;
  constexpr int kNames = 50;
  std::atomic<int> created{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < kClients; ++c) {
    clients.emplace_back([&] {
      const int64_t session = OpenSession();
      for (int i = 0; i < kNames; ++i) {
        const std::string name = "n" + std::to_string(i);
        auto response = Create(CreateRequest(session, 0, i + 1, name));
        ASSERT_TRUE(response.ok()) << response.status().ToString();
        if (response->info.status.code == 0) {
          ++created;
        } else {
          EXPECT_EQ(response->info.status.code, Code(StatusCode::kExists));
        }
        ExpectThere(name);
      }
    });
  }
  for (auto& client : clients) client.join();
  EXPECT_EQ(created, kNames);
}

TEST_F(MetaserverTest, AnExpiredSessionFreesItsOrphanInTheBackground) {
  config_.session_ttl = std::chrono::milliseconds(300);
  ASSERT_TRUE(Start().ok());
  const int64_t session = OpenSession();
  auto created = Create(CreateRequest(session, 0, 1, "a"));
  ASSERT_TRUE(created.ok() && created->info.status.code == 0);
  wire::UnlinkRequest request;
  request.context.session_id = session;
  request.context.sequence = 2;
  request.parent = 1;
  request.name = "a";
  wire::UnlinkResponse response;
  ASSERT_TRUE(pool_->Call(kTimeout, [&](auto& client) { client.Unlink(response, request); }).ok());
  ASSERT_EQ(response.info.status.code, 0) << response.info.status.message;
  // The session is silent from now on; nobody is left who could have the file open.
  wire::GetAttributesRequest get;
  get.inode = created->attributes.inode;
  wire::GetAttributesResponse attributes;
  do {
    ASSERT_TRUE(
        pool_->Call(kTimeout, [&](auto& client) { client.GetAttributes(attributes, get); }).ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  } while (attributes.info.status.code == 0);
  EXPECT_EQ(attributes.info.status.code, Code(StatusCode::kStaleHandle));
}

TEST_F(MetaserverTest, KillUnderLoadLosesNothingThatWasAcknowledged) {
  constexpr int kWriters = 4;
  constexpr int kRounds = 3;
  std::vector<std::string> acknowledged;
  for (int round = 0; round < kRounds; ++round) {
    auto child = StartProgram();
    ASSERT_TRUE(child->Running());
    for (const std::string& name : acknowledged) ExpectThere(name);
    std::mutex mutex;
    std::condition_variable progress;
    size_t done = 0;
    std::vector<std::thread> writers;
    for (int w = 0; w < kWriters; ++w) {
      writers.emplace_back([&, w] {
        const int64_t session = OpenSession();
        for (int i = 1;; ++i) {
          const std::string name =
              "r" + std::to_string(round) + "w" + std::to_string(w) + "i" + std::to_string(i);
          auto response = Create(CreateRequest(session, 0, i, name));
          if (!response.ok()) return;  // killed
          ASSERT_EQ(response->info.status.code, 0) << response->info.status.message;
          std::lock_guard lock(mutex);
          acknowledged.push_back(name);
          ++done;
          progress.notify_one();
        }
      });
    }
    {
      std::unique_lock lock(mutex);
      progress.wait(lock, [&] { return done >= 300; });
    }
    child->Signal(SIGKILL);
    for (auto& writer : writers) writer.join();
    EXPECT_EQ(child->Wait(), -SIGKILL);
  }
  auto child = StartProgram();
  for (const std::string& name : acknowledged) ExpectThere(name);
  child->Signal(SIGTERM);
  EXPECT_EQ(child->Wait(), 0) << child->ErrorText();
}

TEST_F(MetaserverTest, AMutationThatWasKilledBeforeItsReplyIsDoneExactlyOnce) {
  auto child = StartProgram();
  const int64_t session = OpenSession();
  int64_t sequence = 0;
  for (int round = 0; round < 3; ++round) {
    // A thread kills the program while requests are on their way; the one without an answer is
    // repeated.
    std::atomic<int64_t> at{sequence};
    const int64_t kill_at = sequence + 50;
    std::thread killer([&] {
      while (at.load() < kill_at) std::this_thread::yield();
      child->Signal(SIGKILL);
    });
    wire::CreateFileRequest unanswered;
    while (true) {
      ++sequence;
      unanswered = CreateRequest(session, 0, sequence, "n" + std::to_string(sequence));
      at = sequence;
      auto response = Create(unanswered);
      if (!response.ok()) break;
      ASSERT_EQ(response->info.status.code, 0) << response->info.status.message;
    }
    killer.join();
    child->Wait();
    child = StartProgram();
    for (int repeat = 0; repeat < 2; ++repeat) {
      auto response = Create(unanswered);
      ASSERT_TRUE(response.ok()) << response.status().ToString();
      EXPECT_EQ(response->info.status.code, 0) << response->info.status.message;
      EXPECT_TRUE(response->created);
    }
    for (int64_t i = 1; i <= sequence; ++i) ExpectThere("n" + std::to_string(i));
  }
}

TEST_F(MetaserverTest, BadSettingsAreUsageErrors) {
  EXPECT_NE(FailingStart({"listen.port=99999"}, 2).find("listen.port"), std::string::npos);
  EXPECT_NE(FailingStart({"cluster.id=xyz"}, 2).find("cluster.id"), std::string::npos);
  EXPECT_NE(FailingStart({"cluster.block_size=5000"}, 2).find("cluster.block_size"),
            std::string::npos);
  EXPECT_NE(FailingStart({"servers.death_timeout=1s"}, 2).find("servers.death_timeout"),
            std::string::npos);
  EXPECT_NE(FailingStart({"no.such=1"}, 2).find("no.such"), std::string::npos);
}

TEST_F(MetaserverTest, AUsedPortAndAUsedFolderAreRefused) {
  ASSERT_TRUE(Start().ok());
  EXPECT_NE(FailingStart({"listen.port=0"}, 1).find("in use"), std::string::npos);
  const std::string port = std::to_string(server_->port());
  EXPECT_NE(FailingStart({"data_dir=" + path_ + "/other", "listen.port=" + port}, 1).find(port),
            std::string::npos);
}

TEST_F(MetaserverTest, FoldersThatAreNotOursAreRefusedAndLeftAlone) {
  std::filesystem::create_directories(config_.data_dir);
  std::ofstream(config_.data_dir + "/thesis.txt") << "important";
  FailingStart({}, 1);
  EXPECT_FALSE(std::filesystem::exists(config_.data_dir + "/journal"));
  // A folder below a file cannot be made.
  FailingStart({"data_dir=" + config_.data_dir + "/thesis.txt/x"}, 1);
}

TEST_F(MetaserverTest, TheDataOfAnotherClusterIsRefused) {
  ASSERT_TRUE(Start().ok());
  Stop();
  const std::string id(32, '7');
  EXPECT_NE(FailingStart({"cluster.id=" + id}, 1).find(id), std::string::npos);
  // State and journal of two clusters.
  const MetaserverConfig first = config_;
  config_.data_dir = path_ + "/second";
  ASSERT_TRUE(Start().ok());
  Stop();
  std::filesystem::remove_all(config_.data_dir + "/state");
  std::filesystem::rename(first.data_dir + "/state", config_.data_dir + "/state");
  const Status mixed = Start();
  EXPECT_TRUE(mixed.code() == StatusCode::kWrongCluster || mixed.code() == StatusCode::kCorruption)
      << mixed.ToString();
}

TEST_F(MetaserverTest, AJournalFromANewerVersionIsRefused) {
  ASSERT_TRUE(Start().ok());
  Stop();
  // The version field of the identity file, behind its magic.
  std::fstream file(config_.data_dir + "/journal/identity",
                    std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(8);
  file.put(9);
  file.close();
  EXPECT_NE(FailingStart({}, 1).find("newer"), std::string::npos);
}

TEST_F(MetaserverTest, StatusIsServedUnderItsOwnName) {
  ASSERT_TRUE(Start().ok());
  RpcClientPool<wire::AdminServiceClient> admin(HostPort{"127.0.0.1", server_->port()}, "admin");
  wire::GetStatusResponse response;
  ASSERT_TRUE(admin.Call(kTimeout, [&](auto& client) { client.GetStatus(response, {}); }).ok());
  EXPECT_EQ(response.info.status.code, 0);
  EXPECT_EQ(response.cluster_id, server_->cluster_id());
  EXPECT_EQ(response.inode_count, 1);
}

}  // namespace
}  // namespace tercet
