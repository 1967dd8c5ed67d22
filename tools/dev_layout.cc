// What a development cluster consists of: cluster.json, ports, configuration files and command
// lines.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "common/env/posix_disk.h"
#include "common/env/random.h"
#include "tools/dev_cluster.h"

namespace tercet {
namespace {

constexpr int kFormatVersion = 1;
constexpr size_t kMaxClusterFileBytes = 1 << 20;
constexpr int kMaxNodes = 1000;
constexpr const char* kHost = "127.0.0.1";
// Below what the kernel gives to outgoing connections: else one of those could hold a stopped
// node's port.
constexpr uint16_t kFirstPort = 10'000;
constexpr uint16_t kLastPort = 30'000;

std::string TomlQuoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

/// Metaservers and witnesses have addresses of their own.
std::string HostOf(DevRole role, int number) {
  if (role == DevRole::kMetaserver) return "127.0.1." + std::to_string(number);
  if (role == DevRole::kWitness) return "127.0.2." + std::to_string(number);
  return kHost;
}

bool PortIsFree(const std::string& host, uint16_t port) {
  int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return false;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = ::inet_addr(host.c_str());
  int yes = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  bool is_free = ::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
                 ::listen(socket, 1) == 0;
  ::close(socket);
  return is_free;
}

Result<DevRole> ParseRole(const std::string& name) {
  for (DevRole role :
       {DevRole::kMetaserver, DevRole::kWitness, DevRole::kChunkserver, DevRole::kMount}) {
    if (DevRoleName(role) == name) return role;
  }
  return Status(StatusCode::kCorruption, "unknown role '" + name + "'");
}

nlohmann::json ToJson(const DevNode& node) {
  nlohmann::json json = {
      {"name", node.name}, {"role", DevRoleName(node.role)}, {"metrics_port", node.metrics_port}};
  if (node.role == DevRole::kMount) {
    json["mount_point"] = node.mount_point;
  } else {
    json["host"] = node.address.host;
    json["port"] = node.address.port;
  }
  if (node.data_image) json["data_image"] = true;
  if (node.disks != 1) json["disks"] = node.disks;
  if (node.disk_image_mb != 0) json["disk_image_mb"] = node.disk_image_mb;
  if (!node.labels.empty()) json["labels"] = node.labels;
  return json;
}

Result<DevNode> FromJson(const nlohmann::json& json) {
  DevNode node;
  ASSIGN_OR_RETURN(node.role, ParseRole(json.at("role").get<std::string>()));
  node.name = json.at("name").get<std::string>();
  // Names become folders.
  if (node.name.empty() || node.name.find_first_of("/.") != std::string::npos) {
    return Status(StatusCode::kCorruption, "bad node name '" + node.name + "'");
  }
  node.metrics_port = json.at("metrics_port").get<uint16_t>();
  if (node.role == DevRole::kMount) {
    node.mount_point = json.at("mount_point").get<std::string>();
  } else {
    node.address.host = json.at("host").get<std::string>();
    node.address.port = json.at("port").get<uint16_t>();
  }
  node.data_image = json.value("data_image", false);
  node.disks = json.value("disks", 1);
  node.disk_image_mb = json.value("disk_image_mb", 0);
  node.labels = json.value("labels", std::map<std::string, std::string>());
  return node;
}

}  // namespace

std::string DevBinaryFolder() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string();
}

std::string DefaultDevDirectory() {
  const char* named = std::getenv("TERCET_DEV_DIR");
  if (named != nullptr && *named != '\0') return named;
  return std::filesystem::exists("tools/quickstart") ? "build/dev" : "tercet-dev";
}

std::string_view DevRoleName(DevRole role) {
  switch (role) {
    case DevRole::kMetaserver:
      return "metaserver";
    case DevRole::kWitness:
      return "witness";
    case DevRole::kChunkserver:
      return "chunkserver";
    case DevRole::kMount:
      return "mount";
  }
  return "";
}

std::string DevNode::Where() const {
  return role == DevRole::kMount ? mount_point : address.ToString();
}

Status DevCluster::Load() {
  const std::string path = directory_ + "/cluster.json";
  Result<std::string> text = ReadWholeFile(RealDisk(), path, kMaxClusterFileBytes);
  if (!text.ok()) return text.status();
  nodes_.clear();
  try {
    nlohmann::json json = nlohmann::json::parse(*text);
    if (json.at("version").get<int>() > kFormatVersion) {
      return Status(StatusCode::kVersionTooNew, path + ": written by a newer version of Tercet");
    }
    for (const nlohmann::json& entry : json.at("nodes")) {
      Result<DevNode> node = FromJson(entry);
      if (!node.ok()) return node.status().WithContext(path);
      nodes_.push_back(*std::move(node));
    }
    founded_ = json.value("founded", false);
  } catch (const nlohmann::json::exception& error) {
    return Status(StatusCode::kCorruption, path + ": " + error.what());
  }
  return Status::Ok();
}

Status DevCluster::Save() const {
  nlohmann::json json = {
      {"version", kFormatVersion}, {"founded", founded_}, {"nodes", nlohmann::json::array()}};
  for (const DevNode& node : nodes_) json["nodes"].push_back(ToJson(node));
  return WriteFileAtomically(RealDisk(), directory_ + "/cluster.json", json.dump(2) + "\n");
}

Result<uint16_t> DevCluster::ChoosePort(uint16_t* next_port) const {
  std::set<uint16_t> taken;
  for (const DevNode& node : nodes_) {
    taken.insert(node.address.port);
    taken.insert(node.metrics_port);
  }
  for (int tries = 0; tries < kLastPort - kFirstPort; ++tries) {
    uint16_t port = (*next_port)++;
    if (*next_port == 0) break;  // past 65535
    // The address on which it will be used is not looked at: others use 127.0.0.1 only.
    if (!taken.contains(port) && PortIsFree(kHost, port)) return port;
  }
  return Status(StatusCode::kNoSpace, "no free port was found");
}

int DevCluster::CountOf(DevRole role) const {
  return static_cast<int>(std::count_if(nodes_.begin(), nodes_.end(),
                                        [&](const DevNode& node) { return node.role == role; }));
}

void DevCluster::MoveMetaservers() {
  for (const DevNode& node : nodes_) {
    // Those that run know the old address.
    if (StateOfNode(node) != ProcessState::kGone) return;
  }
  int number = 0;
  for (DevNode& node : nodes_) {
    if (node.role == DevRole::kMetaserver) node.address.host = HostOf(node.role, ++number);
  }
}

Status DevCluster::AddNodes(const DevShape& shape) {
  // From a random place on, so that clusters that are set up at the same time do not collide.
  auto next_port = static_cast<uint16_t>(kFirstPort + SystemRandom().Below(kLastPort - kFirstPort));
  if (shape.base_port != 0) next_port = shape.base_port;
  auto add = [&](DevRole role, const std::string& prefix) -> Status {
    if (nodes_.size() >= kMaxNodes) return Status(StatusCode::kNoSpace, "too many nodes");
    const int number = CountOf(role) + 1;
    DevNode node{.name = prefix + std::to_string(number),
                 .role = role,
                 .address = {.host = HostOf(role, number), .port = 0},
                 .metrics_port = 0,
                 .mount_point = "",
                 .data_image = shape.data_images &&
                               (role == DevRole::kMetaserver || role == DevRole::kWitness),
                 .disks = 1,
                 .disk_image_mb = 0,
                 .labels = {}};
    if (role == DevRole::kChunkserver) {
      node.disks = std::max(shape.disks_per_chunkserver, 1);
      node.disk_image_mb = shape.disk_image_mb;
    }
    ASSIGN_OR_RETURN(node.address.port, ChoosePort(&next_port));
    ASSIGN_OR_RETURN(node.metrics_port, ChoosePort(&next_port));
    nodes_.push_back(std::move(node));
    return Status::Ok();
  };
  const int metaservers = std::max(shape.metaservers, 1);
  while (CountOf(DevRole::kMetaserver) < metaservers) {
    RETURN_IF_ERROR(add(DevRole::kMetaserver, "meta"));
  }
  while (CountOf(DevRole::kWitness) < shape.witnesses) {
    RETURN_IF_ERROR(add(DevRole::kWitness, "witness"));
  }
  if (CountOf(DevRole::kMetaserver) + CountOf(DevRole::kWitness) > 1) MoveMetaservers();
  while (CountOf(DevRole::kChunkserver) < shape.chunkservers) {
    RETURN_IF_ERROR(add(DevRole::kChunkserver, "chunk"));
  }
  for (const std::string& mount : shape.mounts) {
    std::string path = std::filesystem::absolute(mount).lexically_normal().string();
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    bool known = std::any_of(nodes_.begin(), nodes_.end(),
                             [&](const DevNode& node) { return node.mount_point == path; });
    if (known) continue;
    RETURN_IF_ERROR(add(DevRole::kMount, "mount"));
    nodes_.back().address = {};
    nodes_.back().mount_point = path;
  }
  RETURN_IF_ERROR(SetLabels(shape));
  return Save();
}

Status DevCluster::SetLabels(const DevShape& shape) {
  for (const auto& [name, labels] : shape.labels) {
    const auto node = std::find_if(nodes_.begin(), nodes_.end(), [&](const DevNode& candidate) {
      return candidate.name == name && candidate.role == DevRole::kChunkserver;
    });
    if (node == nodes_.end()) {
      return Status(StatusCode::kNotFound, "--label: there is no chunk server " + name);
    }
    for (const auto& [key, value] : labels) node->labels[key] = value;
  }
  return Status::Ok();
}

Result<DevLabel> ParseDevLabel(const std::string& text) {
  const auto fine = [](const std::string& word) {
    return !word.empty() && word.size() <= 64 &&
           std::all_of(word.begin(), word.end(), [](unsigned char c) {
             return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
           });
  };
  const size_t colon = text.find(':');
  const size_t equals = text.find('=', colon == std::string::npos ? 0 : colon);
  if (colon != std::string::npos && equals != std::string::npos) {
    DevLabel label{.node = text.substr(0, colon),
                   .key = text.substr(colon + 1, equals - colon - 1),
                   .value = text.substr(equals + 1)};
    if (fine(label.node) && fine(label.key) && fine(label.value)) return label;
  }
  return Status(StatusCode::kInvalidArgument,
                "--label " + text + ": NODE:LABEL=VALUE, for example chunk1:rack=a");
}

std::vector<std::string> DevCluster::DiskFolders(const DevNode& node) const {
  std::vector<std::string> folders;
  if (node.role != DevRole::kChunkserver) return folders;
  for (int i = 1; i <= node.disks; ++i) {
    folders.push_back(Folder(node) + "/disk" + std::to_string(i));
  }
  return folders;
}

std::string DevCluster::MetaAddresses() const {
  std::string list;
  for (const DevNode& node : nodes_) {
    if (node.role != DevRole::kMetaserver) continue;
    list += (list.empty() ? "" : ",") + node.address.ToString();
  }
  return list;
}

std::vector<HostPort> DevCluster::MemberAddresses() const {
  std::vector<HostPort> addresses;
  for (const DevNode& node : nodes_) {
    if (node.IsMember()) addresses.push_back(node.address);
  }
  return addresses;
}

std::string DevCluster::ConfigFor(const DevNode& node) const {
  if (node.role == DevRole::kMount) return "";
  const std::string folder = Folder(node);
  std::string text = "# Written by `tercet dev` at each start of the node.\n";
  if (node.IsMember()) {
    const bool founder = !founded_ && node.name == "meta1";
    text += "data_dir = " + TomlQuoted(folder + "/data") + "\n";
    text += "\n[group]\njoin = " + std::string(founder ? "false" : "true") +
            "\nbind = " + TomlQuoted(node.address.host) + "\n";
  } else {
    std::string metas;
    for (const DevNode& other : nodes_) {
      if (other.role != DevRole::kMetaserver) continue;
      metas += (metas.empty() ? "" : ", ") + TomlQuoted(other.address.ToString());
    }
    text += "meta = [" + metas + "]\n";
    std::string disks;
    for (const std::string& disk : DiskFolders(node)) {
      disks += (disks.empty() ? "" : ", ") + TomlQuoted(disk);
    }
    text += "disks = [" + disks + "]\n";
    if (!node.labels.empty()) {
      text += "\n[labels]\n";
      for (const auto& [key, value] : node.labels) {
        text += TomlQuoted(key) + " = " + TomlQuoted(value) + "\n";
      }
    }
    text += "\n[advertise]\nhost = " + TomlQuoted(node.address.host) + "\n";
  }
  text += "\n[listen]\nhost = " + TomlQuoted(node.address.host) +
          "\nport = " + std::to_string(node.address.port) + "\n";
  text += "\n[metrics]\nhost = " + TomlQuoted(kHost) +
          "\nport = " + std::to_string(node.metrics_port) + "\n";
  text +=
      "\n[log]\nfile = " + TomlQuoted(folder + "/" + node.name + ".log") + "\nlevel = \"info\"\n";
  return text;
}

void DevCluster::InNextBoot(const DevNode& node, std::vector<std::string>* command) const {
  // A mount namespace of its own, in which another file is the boot id. It begins with all mounts
  // of this one; those of other nodes must not be held by it.
  std::vector<std::string> wrapped = {
      "/usr/bin/unshare",
      "--mount",
      "--propagation",
      "slave",
      "/bin/sh",
      "-c",
      "mount --bind \"$0\" /proc/sys/kernel/random/boot_id || exit 1\n"
      "while [ \"$1\" != -- ]; do umount -l \"$1\" 2>/dev/null; shift; done\n"
      "shift; exec \"$@\"",
      Folder(node) + "/boot_id"};
  for (const DevNode& other : nodes_) {
    if (other.name == node.name) continue;
    if (other.role == DevRole::kMount) wrapped.push_back(other.mount_point);
    for (const Image& image : ImagesOf(other)) wrapped.push_back(image.folder);
  }
  wrapped.emplace_back("--");
  wrapped.insert(wrapped.end(), command->begin(), command->end());
  *command = std::move(wrapped);
}

std::vector<std::string> DevCluster::CommandFor(const DevNode& node) const {
  const std::string folder = Folder(node);
  switch (node.role) {
    case DevRole::kMetaserver:
    case DevRole::kWitness:
      return {binaries_ + "/tercet-metaserver", "--config", folder + "/" + node.name + ".toml"};
    case DevRole::kChunkserver: {
      std::vector<std::string> command = {binaries_ + "/tercet-chunkserver", "--config",
                                          folder + "/" + node.name + ".toml"};
      if (std::filesystem::exists(folder + "/boot_id")) InNextBoot(node, &command);
      return command;
    }
    case DevRole::kMount:
      return {binaries_ + "/tercet-mount",
              MetaAddresses(),
              node.mount_point,
              "-f",
              "-o",
              "metrics_port=" + std::to_string(node.metrics_port),
              "--log-file",
              folder + "/" + node.name + ".log"};
  }
  return {};
}

}  // namespace tercet
