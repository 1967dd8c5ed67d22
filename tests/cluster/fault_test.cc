// Processes are killed with SIGKILL under a real mount; nothing acknowledged may be lost.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <thread>

#include "tests/cluster/cluster.h"

namespace tercet {
namespace {

class FaultTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(cluster_.Up()); }

  std::string Path(const std::string& name) { return cluster_.mount() + "/" + name; }

  // Writes a file and returns what was written; with fsync, so that it must survive anything here.
  std::string WriteSynced(const std::string& name, size_t size, uint64_t seed) {
    const std::string data = Pattern(size, seed);
    const int fd = open(Path(name).c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644);
    EXPECT_GE(fd, 0) << name << ": " << strerror(errno);
    size_t done = 0;
    while (done < data.size()) {
      const ssize_t count = write(fd, data.data() + done, data.size() - done);
      if (count <= 0) {
        ADD_FAILURE() << name << ": " << strerror(errno);
        break;
      }
      done += static_cast<size_t>(count);
    }
    EXPECT_EQ(fsync(fd), 0) << name << ": " << strerror(errno);
    EXPECT_EQ(close(fd), 0) << name << ": " << strerror(errno);
    return data;
  }

  // Reads past the page cache.
  std::string ReadUncached(const std::string& name) {
    const int fd = open(Path(name).c_str(), O_RDONLY);
    if (fd < 0) return std::string("cannot open: ") + strerror(errno);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    std::string data;
    std::string piece(1 << 20, '\0');
    for (;;) {
      const ssize_t count = read(fd, piece.data(), piece.size());
      if (count < 0) data += std::string("cannot read: ") + strerror(errno);
      if (count <= 0) break;
      data.append(piece.data(), static_cast<size_t>(count));
    }
    close(fd);
    return data;
  }

  Cluster cluster_;
};

TEST_F(FaultTest, EveryBlockHasThreeReplicasAndSurvivesTheLossOfAnyServer) {
  std::map<std::string, std::string> files;
  files["small"] = WriteSynced("small", 1000, 1);
  files["large"] = WriteSynced("large", 80 << 20, 2);  // two blocks
  const auto info = cluster_.TercetJson("file info " + Path("large"));
  ASSERT_TRUE(info.is_object());
  ASSERT_EQ(info["blocks"].size(), 2u);
  for (const auto& block : info["blocks"]) {
    std::set<int> servers;
    for (const auto& replica : block["replicas"]) servers.insert(replica["server_id"].get<int>());
    EXPECT_EQ(servers.size(), 3u) << block.dump();
  }
  for (const std::string server : {"chunk1", "chunk2", "chunk3"}) {
    ASSERT_TRUE(cluster_.Kill(server));
    for (const auto& [name, data] : files) {
      EXPECT_TRUE(ReadUncached(name) == data) << name << " without " << server;
    }
    const std::string added = "without-" + server;
    files[added] = WriteSynced(added, 3 << 20, 3);
    ASSERT_TRUE(cluster_.Start(server));
    const bool back = Eventually(20, [&] {
      const auto status = cluster_.TercetJson("status");
      int alive = 0;
      for (const auto& entry : status["servers"]) alive += entry["alive"].get<bool>() ? 1 : 0;
      return alive == 3;
    });
    ASSERT_TRUE(back);
  }
  for (const auto& [name, data] : files) EXPECT_TRUE(ReadUncached(name) == data) << name;
}

TEST_F(FaultTest, AServerThatJustDiedCostsTheWritersOfNewFilesAPauseOnly) {
  // Opened before, so that the block map, connections and placement still trust the dead server.
  WriteSynced("warm", 1 << 20, 4);
  const int fd = open(Path("f").c_str(), O_CREAT | O_WRONLY, 0644);
  ASSERT_GE(fd, 0);
  ASSERT_TRUE(cluster_.Kill("chunk2"));
  const std::string data = Pattern(40 << 20, 5);
  for (size_t done = 0; done < data.size(); done += 256 << 10) {
    ASSERT_EQ(write(fd, data.data() + done, 256 << 10), 256 << 10) << strerror(errno);
  }
  EXPECT_EQ(fsync(fd), 0) << strerror(errno);
  EXPECT_EQ(close(fd), 0) << strerror(errno);
  EXPECT_TRUE(ReadUncached("f") == data);
}

TEST_F(FaultTest, TheMountGoesOnWhenTheMetaserverIsKilledUnderLoad) {
  constexpr int kThreads = 4;
  std::atomic<bool> stop{false};
  std::vector<std::map<std::string, size_t>> acknowledged(kThreads);
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::string directory = Path("d" + std::to_string(t));
      ASSERT_EQ(mkdir(directory.c_str(), 0755), 0);
      for (int i = 0; !stop; ++i) {
        const std::string name = "d" + std::to_string(t) + "/f" + std::to_string(i);
        const int fd = open(Path(name).c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
        // EEXIST would mean that a retried create was done twice.
        ASSERT_GE(fd, 0) << name << ": " << strerror(errno);
        const std::string text = name;
        ASSERT_EQ(write(fd, text.data(), text.size()), ssize_t(text.size()));
        ASSERT_EQ(close(fd), 0) << name << ": " << strerror(errno);
        acknowledged[t][name] = text.size();
        ++done;
        if (i % 3 == 1) {
          ASSERT_EQ(rename(Path(name).c_str(), Path(name + "r").c_str()), 0) << strerror(errno);
          acknowledged[t].erase(name);
          acknowledged[t][name + "r"] = text.size();
        } else if (i % 3 == 2) {
          ASSERT_EQ(unlink(Path(name).c_str()), 0) << strerror(errno);
          acknowledged[t].erase(name);
        }
      }
    });
  }
  for (int round = 0; round < 5; ++round) {
    const int before = done;
    EXPECT_TRUE(Eventually(60, [&] { return done > before + 20; })) << "the load stands still";
    EXPECT_TRUE(cluster_.Kill("meta1"));
    EXPECT_TRUE(cluster_.Start("meta1"));
  }
  const int before = done;
  EXPECT_TRUE(Eventually(60, [&] { return done > before + 20; })) << "the load stands still";
  stop = true;
  for (std::thread& thread : threads) thread.join();
  for (int t = 0; t < kThreads; ++t) {
    std::map<std::string, size_t> found;
    for (const auto& entry : std::filesystem::directory_iterator(Path("d" + std::to_string(t)))) {
      found["d" + std::to_string(t) + "/" + entry.path().filename().string()] = entry.file_size();
    }
    EXPECT_EQ(found, acknowledged[t]);
  }
}

TEST_F(FaultTest, AFileIsTheSameAfterEverythingWasKilledAndStartedAgain) {
  const std::string large = WriteSynced("large", 150 << 20, 11);
  std::map<std::string, std::string> small;
  for (int i = 0; i < 200; ++i) {
    small["s" + std::to_string(i)] = WriteSynced("s" + std::to_string(i), 10 + i * 37, 100 + i);
  }
  ASSERT_TRUE(cluster_.KillAll());
  ASSERT_TRUE(cluster_.Up());
  EXPECT_TRUE(ReadUncached("large") == large);
  for (const auto& [name, data] : small) EXPECT_TRUE(ReadUncached(name) == data) << name;
}

TEST_F(FaultTest, AHungServerDoesNotStopReaders) {
  const std::string data = WriteSynced("f", 20 << 20, 21);
  for (const std::string server : {"chunk1", "chunk2", "chunk3"}) {
    ASSERT_TRUE(cluster_.Kill(server, "STOP"));
    EXPECT_TRUE(ReadUncached("f") == data) << server;
    ASSERT_TRUE(cluster_.Kill(server, "CONT"));
  }
}

TEST_F(FaultTest, UnmountWorksWithoutTheCluster) {
  WriteSynced("f", 1000, 1);
  for (const auto& node : cluster_.Nodes()) {
    if (node["role"] == "mount") continue;
    ASSERT_TRUE(cluster_.Kill(node["name"]));
  }
  EXPECT_TRUE(Shell("umount " + cluster_.mount(), 30).ok());
  // At once, while the mount's process is still ending.
  ASSERT_TRUE(cluster_.Up());
  EXPECT_EQ(ReadUncached("f"), Pattern(1000, 1));
}

}  // namespace
}  // namespace tercet
