// A cluster of real processes with a real mount, steered through the `tercet dev` command as a
// developer would.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tercet {

/// The outcome of a shell command: exit status and what it printed (both streams).
struct ShellResult {
  int status = -1;
  std::string output;
  bool ok() const { return status == 0; }
};

/// Runs `command` with /bin/bash, at most `timeout_seconds` (then it is killed and status is 124).
ShellResult Shell(const std::string& command, int timeout_seconds = 120);

struct ClusterOptions {
  int chunkservers = 3;
  int metaservers = 1;
  int witnesses = 0;
  bool data_images = false;  // of metaservers and witnesses
  int disks_per_chunkserver = 1;
  int disk_image_mb = 0;            // of chunk servers; needs root and loop devices
  std::vector<std::string> labels = {};  // "chunk1:rack=a"
};

/// Lives in a folder of its own, which is removed with it. Not thread-safe.
class Cluster {
 public:
  explicit Cluster(ClusterOptions options = {});
  ~Cluster();

  /// `tercet dev up` with the cluster's options; false after printing what went wrong.
  bool Up();
  /// The same with more chunk servers.
  bool Grow(int chunkservers);
  bool Down();
  bool Kill(const std::string& node, const std::string& signal = "KILL");
  bool Start(const std::string& node);
  /// Kills every process with SIGKILL and unmounts.
  bool KillAll();

  /// `tercet ARGUMENTS` with TERCET_META set.
  ShellResult Tercet(const std::string& arguments, int timeout_seconds = 60);
  /// The same with --json, parsed; a discarded value when it failed.
  nlohmann::json TercetJson(const std::string& arguments);
  nlohmann::json Nodes();
  int PidOf(const std::string& node);

  const std::string& directory() const { return directory_; }
  const std::string& mount() const { return mount_; }
  std::string node_directory(const std::string& node) const { return directory_ + "/" + node; }
  std::string meta_address();
  /// By which the metaservers know a chunk server; 0 when they do not.
  int ServerId(const std::string& node);
  /// The replica files on a node's disks.
  std::vector<std::string> ReplicaFiles(const std::string& node);
  /// Every node's log, for a failed test's output.
  std::string Logs(int lines_each = 40);

 private:
  ClusterOptions options_;
  std::string directory_;
  std::string mount_;
};

/// For suites whose tests can share one cluster: it is started before the first and stopped after
/// the last.
class SharedClusterTest : public testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();

  static Cluster* cluster_;  // one suite at a time
};

/// Tests that take minutes run with `tests/run --long` only.
bool LongTests();

/// The path of a built program.
std::string Binary(const std::string& name);

/// Waits until `condition` holds, at most `timeout_seconds`; what it last said is the result.
template <typename Condition>
bool Eventually(int timeout_seconds, Condition condition);

std::string ReadFile(const std::string& path);
void WriteFile(const std::string& path, const std::string& data);
/// `size` bytes that look random and are the same for the same seed.
std::string Pattern(size_t size, uint64_t seed);

}  // namespace tercet

#include <chrono>
#include <thread>

template <typename Condition>
bool tercet::Eventually(int timeout_seconds, Condition condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(timeout_seconds);
  for (;;) {
    if (condition()) return true;
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}
