#include "tests/cluster/cluster.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/env/random.h"

namespace tercet {

ShellResult Shell(const std::string& command, int timeout_seconds) {
  ShellResult result;
  const std::string script = testing::TempDir() + "shell." + std::to_string(getpid()) + "." +
                             std::to_string(SystemRandom().Next());
  WriteFile(script, command + "\n");
  // A file for the output, not a pipe: a daemon that the command leaves behind must not keep us
  // waiting.
  const std::string line = "timeout -k 5 " + std::to_string(timeout_seconds) + " /bin/bash " +
                           script + " >" + script + ".out 2>&1 </dev/null";
  const int status = system(line.c_str());
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  result.output = ReadFile(script + ".out");
  std::filesystem::remove(script);
  std::filesystem::remove(script + ".out");
  return result;
}

std::string Binary(const std::string& name) { return std::string(TERCET_BIN_DIR) + "/" + name; }

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void WriteFile(const std::string& path, const std::string& data) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << data;
  out.close();
  ASSERT_TRUE(out.good()) << "cannot write " << path;
}

std::string Pattern(size_t size, uint64_t seed) {
  SeededRandom random(seed);
  std::string data(size, '\0');
  for (size_t i = 0; i < size; i += 8) {
    const uint64_t word = random.Next();
    memcpy(data.data() + i, &word, std::min<size_t>(8, size - i));
  }
  return data;
}

Cluster::Cluster(ClusterOptions options) : options_(std::move(options)) {
  std::string pattern = testing::TempDir() + "tercet-cluster.XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) abort();
  directory_ = pattern;
  // Tests run programs as other users on the mount.
  std::filesystem::permissions(directory_, std::filesystem::perms(0755));
  mount_ = directory_ + "/mnt";
}

Cluster::~Cluster() {
  if (testing::Test::HasFailure()) fprintf(stderr, "%s\n", Logs().c_str());
  Down();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

bool Cluster::Up() {
  std::string labels;
  for (const std::string& label : options_.labels) labels += " --label " + label;
  const ShellResult result = Shell(
      Binary("tercet") + " dev up --dir " + directory_ + " --mount " + mount_ + " --chunkservers " +
      std::to_string(options_.chunkservers) + " --metaservers " +
      std::to_string(options_.metaservers) + " --witnesses " + std::to_string(options_.witnesses) +
      (options_.data_images ? " --data-images" : "") + " --disks-per-chunkserver " +
      std::to_string(options_.disks_per_chunkserver) +
      (options_.disk_image_mb > 0 ? " --disk-image-mb " + std::to_string(options_.disk_image_mb)
                                  : std::string()) +
      labels);
  if (!result.ok()) fprintf(stderr, "dev up: %d\n%s\n", result.status, result.output.c_str());
  return result.ok();
}

bool Cluster::Grow(int chunkservers) {
  options_.chunkservers = chunkservers;
  return Up();
}

int Cluster::ServerId(const std::string& name) {
  std::string address;
  for (const auto& node : Nodes()) {
    if (node["name"] == name) address = node["address"];
  }
  const auto servers = TercetJson("server list");
  if (!servers.is_array()) return 0;
  for (const auto& server : servers) {
    if (server["address"] == address) return server["server_id"];
  }
  return 0;
}

std::vector<std::string> Cluster::ReplicaFiles(const std::string& node) {
  std::vector<std::string> found;
  std::error_code error;
  for (int disk = 1; disk <= options_.disks_per_chunkserver; ++disk) {
    const std::string folder = node_directory(node) + "/disk" + std::to_string(disk) + "/blocks";
    for (std::filesystem::recursive_directory_iterator at(folder, error), end; at != end;
         at.increment(error)) {
      if (error) break;
      if (at->is_regular_file(error) && at->path().extension() == ".blk") {
        found.push_back(at->path().string());
      }
    }
  }
  return found;
}

bool LongTests() { return std::getenv("TERCET_LONG_TESTS") != nullptr; }

bool Cluster::Down() {
  const ShellResult result = Shell(Binary("tercet") + " dev down --dir " + directory_);
  if (!result.ok()) fprintf(stderr, "dev down: %d\n%s\n", result.status, result.output.c_str());
  return result.ok();
}

bool Cluster::Kill(const std::string& node, const std::string& signal) {
  return Shell(Binary("tercet") + " dev kill " + node + " --signal " + signal + " --dir " +
               directory_)
      .ok();
}

bool Cluster::Start(const std::string& node) {
  const ShellResult result =
      Shell(Binary("tercet") + " dev start " + node + " --dir " + directory_);
  if (!result.ok()) fprintf(stderr, "dev start %s: %s\n", node.c_str(), result.output.c_str());
  return result.ok();
}

bool Cluster::KillAll() {
  bool all = true;
  for (const auto& node : Nodes()) {
    if (node["pid"].is_number() && node["pid"] > 0) all &= Kill(node["name"]);
  }
  Shell("umount -l " + mount_);
  return all;
}

Cluster* SharedClusterTest::cluster_ = nullptr;

void SharedClusterTest::SetUpTestSuite() {
  cluster_ = new Cluster;
  ASSERT_TRUE(cluster_->Up());
}

void SharedClusterTest::TearDownTestSuite() {
  delete cluster_;
  cluster_ = nullptr;
}

ShellResult Cluster::Tercet(const std::string& arguments, int timeout_seconds) {
  return Shell("TERCET_META=" + meta_address() + " " + Binary("tercet") + " " + arguments,
               timeout_seconds);
}

nlohmann::json Cluster::TercetJson(const std::string& arguments) {
  const ShellResult result = Tercet(arguments + " --json");
  if (!result.ok()) fprintf(stderr, "tercet %s: %s\n", arguments.c_str(), result.output.c_str());
  return nlohmann::json::parse(result.output, nullptr, /*allow_exceptions=*/false);
}

nlohmann::json Cluster::Nodes() {
  const ShellResult result = Shell(Binary("tercet") + " dev ps --json --dir " + directory_);
  return nlohmann::json::parse(result.output, nullptr, false);
}

int Cluster::PidOf(const std::string& name) {
  for (const auto& node : Nodes()) {
    if (node["name"] == name && node["pid"].is_number()) return node["pid"];
  }
  return 0;
}

std::string Cluster::meta_address() {
  std::string list;
  for (const auto& node : Nodes()) {
    if (node["role"] != "metaserver") continue;
    list += (list.empty() ? "" : ",") + node["address"].get<std::string>();
  }
  return list;
}

std::string Cluster::Logs(int lines_each) {
  return Shell("cd " + directory_ +
               " && for f in $(ls */log */*.log 2>/dev/null); do echo \"== $f\"; tail -n " +
               std::to_string(lines_each) + " $f; done")
      .output;
}

}  // namespace tercet
