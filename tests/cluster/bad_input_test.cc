// Each mistake gets one clear line that says what to do, the right exit status, and loses nothing.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/cluster/cluster.h"

namespace tercet {
namespace {

int Lines(const std::string& text) {
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

class BadInputTest : public SharedClusterTest {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "bad_input.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void ExpectFailure(const ShellResult& result, int status, const std::string& says) {
    EXPECT_EQ(result.status, status) << result.output;
    EXPECT_NE(result.output.find(says), std::string::npos) << result.output;
    EXPECT_EQ(Lines(result.output), 1) << result.output;
  }
  ShellResult Mount(const std::string& arguments) {
    return Shell(Binary("tercet-mount") + " " + arguments, 30);
  }
  std::string Config(const std::string& text) {
    const std::string path = directory_ + "/c.toml";
    WriteFile(path, text);
    return path;
  }

  std::string directory_;
};

TEST_F(BadInputTest, MountPointsThatCannotBe) {
  const std::string meta = cluster_->meta_address();
  ExpectFailure(Mount(meta + " " + directory_ + "/missing"), 1, "mkdir -p");
  WriteFile(directory_ + "/file", "x");
  ExpectFailure(Mount(meta + " " + directory_ + "/file"), 1, "not a directory");
  ExpectFailure(Mount(meta + " " + directory_), 1, "not empty");
  EXPECT_EQ(ReadFile(directory_ + "/file"), "x");
  ExpectFailure(Mount(meta + " /mnt -o colour=red"), 2, "colour");
  ExpectFailure(Mount("nonsense /mnt"), 2, "nonsense");
}

TEST_F(BadInputTest, AMountWithoutAMetaserverGivesUp) {
  std::filesystem::create_directory(directory_ + "/m");
  ExpectFailure(Mount("127.0.0.1:1 " + directory_ + "/m -o timeout=1s"), 1, "127.0.0.1:1");
}

TEST_F(BadInputTest, ConfigurationErrorsNameFileKeyAndBounds) {
  for (const std::string program : {"tercet-metaserver", "tercet-chunkserver"}) {
    const std::string run = Binary(program) + " --config ";
    ExpectFailure(Shell(run + directory_ + "/none.toml"), 2, "none.toml");
    ExpectFailure(Shell(run + Config("listen = { port = 70000 }\n")), 2, "listen.port");
    ExpectFailure(Shell(run + Config("[listen]\nprot = 1\n")), 2, "listen.prot");
    ExpectFailure(Shell(run + Config("[listen\n")), 2, "c.toml:");
    EXPECT_TRUE(Shell(Binary(program) + " --help").ok());
    EXPECT_TRUE(Shell(Binary(program) + " --version").ok());
    EXPECT_TRUE(Shell(Binary(program) + " --print-config").ok());
    EXPECT_EQ(Shell(Binary(program) + " --no-such-flag").status, 2);
  }
}

TEST_F(BadInputTest, APortInUseIsNamed) {
  const std::string address = cluster_->meta_address();
  const std::string host = address.substr(0, address.rfind(':'));
  const std::string port = address.substr(address.rfind(':') + 1);
  const std::string config = Config("data_dir = \"" + directory_ + "/data\"\n[listen]\nhost = \"" +
                                    host + "\"\nport = " + port + "\n");
  ExpectFailure(Shell(Binary("tercet-metaserver") + " --config " + config +
                          " --set log.file=" + directory_ + "/log",
                      30),
                1, port);
}

TEST_F(BadInputTest, ADiskOfAnotherClusterIsRefused) {
  Cluster other(ClusterOptions{1});
  ASSERT_TRUE(other.Up());
  ASSERT_TRUE(other.Kill("chunk1", "TERM"));
  const std::string config = ReadFile(other.node_directory("chunk1") + "/chunk1.toml");
  const std::string here = cluster_->meta_address(), there = other.meta_address();
  std::string changed = config;
  for (size_t at; (at = changed.find(there)) != std::string::npos;) {
    changed.replace(at, there.size(), here);
  }
  ASSERT_NE(changed, config);
  ASSERT_TRUE(Eventually(10, [&] { return other.PidOf("chunk1") == 0; }));
  const ShellResult result =
      Shell(Binary("tercet-chunkserver") + " --config " + Config(changed) + " --set log.file=", 30);
  EXPECT_EQ(result.status, 1) << result.output;
  EXPECT_NE(result.output.find("cluster"), std::string::npos) << result.output;
}

TEST_F(BadInputTest, ASecondServerWithTheSameIdentityIsRefused) {
  // A copy of a live server's disks under another port.
  const std::string original = cluster_->node_directory("chunk1");
  ASSERT_TRUE(Shell("cp -r " + original + " " + directory_ + "/chunk1").ok());
  std::string config = ReadFile(original + "/chunk1.toml");
  for (size_t at = 0; (at = config.find(original, at)) != std::string::npos;) {
    config.replace(at, original.size(), directory_ + "/chunk1");
    at += directory_.size();
  }
  const ShellResult result = Shell(Binary("tercet-chunkserver") + " --config " + Config(config) +
                                       " --set listen.port=0 --set log.file= --set metrics.port=0",
                                   30);
  EXPECT_EQ(result.status, 1) << result.output;
  EXPECT_NE(result.output.find("identity"), std::string::npos) << result.output;
  EXPECT_GT(cluster_->PidOf("chunk1"), 0);
}

TEST_F(BadInputTest, AJournalFromANewerVersionIsLeftAlone) {
  Cluster other;
  ASSERT_TRUE(other.Up());
  WriteFile(other.mount() + "/f", "kept");
  ASSERT_TRUE(other.Kill("meta1", "TERM"));
  ASSERT_TRUE(Eventually(10, [&] { return other.PidOf("meta1") == 0; }));
  std::string segment;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(other.node_directory("meta1"))) {
    const std::string path = entry.path().string();
    if (path.find("/journal/") != std::string::npos &&
        path.find("/segment-") != std::string::npos) {
      segment = std::max(segment, path);
    }
  }
  ASSERT_FALSE(segment.empty());
  const std::string before = ReadFile(segment);
  std::string changed = before;
  changed[8] = 99;  // the version, metaserver/journal/format.md
  WriteFile(segment, changed);
  const ShellResult result =
      Shell(Binary("tercet-metaserver") + " --config " + other.node_directory("meta1") +
                "/meta1.toml --set log.file=",
            30);
  EXPECT_EQ(result.status, 1) << result.output;
  EXPECT_NE(result.output.find("newer"), std::string::npos) << result.output;
  EXPECT_EQ(ReadFile(segment), changed);
  WriteFile(segment, before);
  ASSERT_TRUE(other.Start("meta1"));
  EXPECT_EQ(ReadFile(other.mount() + "/f"), "kept");
}

}  // namespace
}  // namespace tercet
