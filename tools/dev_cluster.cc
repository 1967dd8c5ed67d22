#include "tools/dev_cluster.h"

#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/env/posix_disk.h"
#include "tools/admin_client.h"
#include "tools/data_image.h"

namespace tercet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kStartTimeout{60};
constexpr seconds kStopTimeout{20};
// A mount may have much to write out first.
constexpr seconds kUnmountTimeout{60};
constexpr seconds kKillTimeout{10};
constexpr seconds kLockTimeout{90};
constexpr milliseconds kStatusTimeout{2000};
constexpr milliseconds kReadyInterval{50};
/// Sparse: takes only what is used.
constexpr uint64_t kDataImageBytes = uint64_t{4} << 30;

/// /proc/self/mountinfo writes blanks and the like as \040.
std::string Unescaped(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

/// What the node printed, at most its last lines: why it did not start.
std::string LastWords(const std::string& folder, const std::string& name) {
  constexpr size_t kMaxLines = 3;
  for (const std::string& file : {std::string("/stderr.log"), "/" + name + ".log"}) {
    std::ifstream in(folder + file);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
      if (line.empty()) continue;
      lines.push_back(line);
      if (lines.size() > kMaxLines) lines.erase(lines.begin());
    }
    std::string text;
    for (const std::string& line : lines) text += (text.empty() ? "" : " | ") + line;
    if (!text.empty()) return text;
  }
  return "it printed nothing";
}

}  // namespace

bool IsMounted(const std::string& absolute_path) {
  std::ifstream in("/proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::string field;
    for (int i = 0; i < 5; ++i) fields >> field;  // the fifth is the mount point
    if (Unescaped(field) == absolute_path) return true;
  }
  return false;
}

DevCluster::DevCluster(std::string directory, std::string binaries)
    : directory_(std::move(directory)), binaries_(std::move(binaries)) {}

Result<std::unique_ptr<DevCluster>> DevCluster::Open(const std::string& directory,
                                                     const std::string& binaries, bool create) {
  std::error_code error;
  std::filesystem::path path = std::filesystem::absolute(directory).lexically_normal();
  std::string absolute = path.string();
  while (absolute.size() > 1 && absolute.back() == '/') absolute.pop_back();
  if (create) RETURN_IF_ERROR(RealDisk().MakeDirectories(absolute));
  // The mount table knows no symbolic links.
  path = std::filesystem::canonical(absolute, error);
  if (!error) absolute = path.string();
  std::unique_ptr<DevCluster> cluster(new DevCluster(absolute, binaries));
  Status status = cluster->Load();
  if (status.code() == StatusCode::kNotFound) {
    if (create) return cluster;
    return Status(StatusCode::kNotFound,
                  "there is no cluster in " + absolute + ": start one with `tercet dev up`");
  }
  if (!status.ok()) return status;
  return cluster;
}

Result<std::unique_ptr<FileLock>> DevCluster::TakeLock() const {
  Result<std::unique_ptr<FileLock>> lock = Status(StatusCode::kBusy, "");
  WaitFor(kLockTimeout, [&] {
    lock = RealDisk().Lock(directory_ + "/lock");
    return lock.code() != StatusCode::kBusy;
  });
  if (lock.code() == StatusCode::kBusy) {
    return Status(StatusCode::kBusy, "another `tercet dev` command is at work in " + directory_);
  }
  return lock;
}

std::optional<ProcessId> DevCluster::ProcessOf(const DevNode& node) const {
  std::optional<ProcessId> id = ReadPidFile(Folder(node) + "/pid");
  if (id && StateOf(*id) == ProcessState::kGone) return std::nullopt;
  return id;
}

ProcessState DevCluster::StateOfNode(const DevNode& node) const {
  std::optional<ProcessId> id = ProcessOf(node);
  return id ? StateOf(*id) : ProcessState::kGone;
}

std::vector<DevNodeState> DevCluster::List() const {
  std::vector<DevNodeState> list;
  for (const DevNode& node : nodes_) {
    std::optional<ProcessId> id = ProcessOf(node);
    list.push_back(
        {.node = node, .pid = id ? id->pid : 0, .state = id ? StateOf(*id) : ProcessState::kGone});
  }
  return list;
}

Status DevCluster::Up(const DevShape& shape, const Progress& progress) {
  ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock, TakeLock());
  // Another command may have added nodes before we had the lock.
  if (Status status = Load(); !status.ok() && status.code() != StatusCode::kNotFound) return status;
  RETURN_IF_ERROR(AddNodes(shape));
  RETURN_IF_ERROR(StartGroup(progress));
  RETURN_IF_ERROR(RestartChangedChunkservers(progress));
  RETURN_IF_ERROR(StartRole(DevRole::kChunkserver, progress));
  return StartRole(DevRole::kMount, progress);
}

Status DevCluster::StartRole(DevRole role, const Progress& progress) {
  RETURN_IF_ERROR(SpawnRole(role, progress));
  for (const DevNode& node : nodes_) {
    if (node.role == role) RETURN_IF_ERROR(AwaitReady(node));
  }
  return Status::Ok();
}

Status DevCluster::SpawnRole(DevRole role, const Progress& progress) {
  for (const DevNode& node : nodes_) {
    if (node.role != role) continue;
    std::optional<ProcessId> id = ProcessOf(node);
    if (id && StateOf(*id) == ProcessState::kPaused) {
      progress(node.name + " is paused: it goes on");
      RETURN_IF_ERROR(SendSignal(*id, SIGCONT));
    }
    if (id && role == DevRole::kMount && !IsMounted(node.mount_point)) {
      // Somebody unmounted it: the process is on its way out and must not be taken for the mount.
      progress("waiting for the earlier " + node.name + " to end");
      WaitFor(
          kStartTimeout,
          [&] { return StateOf(*id) == ProcessState::kGone || IsMounted(node.mount_point); },
          kReadyInterval);
      id = ProcessOf(node);
    }
    if (!id) {
      progress("starting " + node.name + " (" + node.Where() + ")");
      RETURN_IF_ERROR(Spawn(node));
    }
  }
  return Status::Ok();
}

Status DevCluster::PrepareFolder(const DevNode& node) {
  const std::string folder = Folder(node);
  RETURN_IF_ERROR(RealDisk().MakeDirectories(folder));
  if (node.role == DevRole::kMount) {
    // A killed mount leaves a mount point behind on which every call fails.
    if (IsMounted(node.mount_point)) RETURN_IF_ERROR(Unmount(node).status());
    return RealDisk().MakeDirectories(node.mount_point);
  }
  for (const Image& image : ImagesOf(node)) {
    RETURN_IF_ERROR(MountDataImage(image.file, image.folder, image.size_bytes));
  }
  if (node.IsMember()) RETURN_IF_ERROR(RealDisk().MakeDirectories(folder + "/data"));
  for (const std::string& disk : DiskFolders(node)) {
    RETURN_IF_ERROR(RealDisk().MakeDirectories(disk));
  }
  return WriteFileAtomically(RealDisk(), folder + "/" + node.name + ".toml", ConfigFor(node));
}

Status DevCluster::Spawn(const DevNode& node) {
  const std::string folder = Folder(node);
  RETURN_IF_ERROR(PrepareFolder(node).WithContext(node.name));
  Result<ProcessId> id = SpawnDaemon({.command = CommandFor(node),
                                      .pid_file = folder + "/pid",
                                      .output_file = folder + "/stderr.log",
                                      .working_directory = folder});
  if (!id.ok()) return id.status().WithContext(node.name);
  return Status::Ok();
}

Status DevCluster::AwaitReady(const DevNode& node, bool leader) {
  std::optional<ProcessId> id = ReadPidFile(Folder(node) + "/pid");
  Status status;
  bool ended = WaitFor(
      kStartTimeout,
      [&] {
        if (!id || StateOf(*id) == ProcessState::kGone) {
          status = Status(StatusCode::kFailedPrecondition,
                          node.name + " ended at its start: " + LastWords(Folder(node), node.name));
          return true;
        }
        status = leader ? CheckReady(node, AgeOf(*id)) : CheckMember(node, false);
        return status.code() != StatusCode::kUnavailable;
      },
      kReadyInterval);
  if (ended) return status;
  return Status(StatusCode::kDeadlineExceeded,
                node.name + " is not ready after " + std::to_string(kStartTimeout.count()) +
                    " s: " + status.message() + "; see " + Folder(node) + "/" + node.name + ".log");
}

Status DevCluster::CheckReady(const DevNode& node, milliseconds age) const {
  if (node.role == DevRole::kMount) {
    return IsMounted(node.mount_point)
               ? Status::Ok()
               : Status(StatusCode::kUnavailable, "nothing is mounted on " + node.mount_point);
  }
  if (node.IsMember()) return CheckMember(node, /*leader=*/true);
  ASSIGN_OR_RETURN(std::vector<HostPort> metaservers, ParseHostPorts(MetaAddresses()));
  Result<wire::GetStatusResponse> reply =
      AdminClient(metaservers, {.timeout = kStatusTimeout}).GetStatus();
  if (!reply.ok()) return Status(StatusCode::kUnavailable, reply.status().message());
  for (const wire::ServerStatus& server : reply->servers) {
    if (server.host != node.address.host || server.port != node.address.port) continue;
    // A heartbeat from before the start is that of the process that ended.
    if (server.alive && server.last_heartbeat_ms >= 0 && server.last_heartbeat_ms <= age.count()) {
      return Status::Ok();
    }
  }
  return Status(StatusCode::kUnavailable, "it has not registered with the metaserver");
}

const DevNode* DevCluster::Find(const std::string& name) const {
  for (const DevNode& node : nodes_) {
    if (node.name == name) return &node;
  }
  return nullptr;
}

Status DevCluster::Start(const std::string& name, const Progress& progress) {
  return StartAll({name}, progress);
}

Status DevCluster::StartAll(const std::vector<std::string>& names, const Progress& progress) {
  ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock, TakeLock());
  for (const std::string& name : names) {
    const DevNode* node = Find(name);
    if (node == nullptr) return Status(StatusCode::kNotFound, "there is no node " + name);
    if (StateOfNode(*node) == ProcessState::kPaused) {
      return Status(StatusCode::kFailedPrecondition, name + " is paused: `tercet dev kill " + name +
                                                         " --signal CONT` lets it go on");
    }
    if (StateOfNode(*node) == ProcessState::kGone) {
      progress("starting " + name + " (" + node->Where() + ")");
      RETURN_IF_ERROR(Spawn(*node));
    }
  }
  for (const std::string& name : names) RETURN_IF_ERROR(AwaitReady(*Find(name)));
  return Status::Ok();
}

Status DevCluster::CutPowerOf(const std::string& name) {
  const DevNode* node = Find(name);
  if (node == nullptr) return Status(StatusCode::kNotFound, "there is no node " + name);
  if (!node->HasImages()) {
    return Status(StatusCode::kNotSupported, name + "'s data folder is no image of its own");
  }
  if (StateOfNode(*node) != ProcessState::kGone) {
    return Status(StatusCode::kFailedPrecondition, name + " is running");
  }
  for (const Image& image : ImagesOf(*node)) {
    RETURN_IF_ERROR(CutPower(image.folder));
    RETURN_IF_ERROR(UnmountDataImage(image.folder));
    // Mounted while the old mount is not quite gone it would be the one that was shut down.
    RETURN_IF_ERROR(AwaitImageFree(image.file));
    RETURN_IF_ERROR(MountDataImage(image.file, image.folder, image.size_bytes));
  }
  if (node->role != DevRole::kChunkserver) return Status::Ok();
  std::string boot_id;  // such a file has no size
  std::getline(std::ifstream("/proc/sys/kernel/random/uuid") >> std::ws, boot_id);
  if (boot_id.empty()) return Status(StatusCode::kIo, "the kernel makes no uuid");
  return WriteFileAtomically(RealDisk(), Folder(*node) + "/boot_id", boot_id + "\n");
}

std::vector<DevCluster::Image> DevCluster::ImagesOf(const DevNode& node) const {
  const std::string folder = Folder(node);
  std::vector<Image> images;
  if (node.data_image) {
    images.push_back({folder + "/data.img", folder + "/data", kDataImageBytes});
  }
  if (node.disk_image_mb > 0) {
    for (const std::string& disk : DiskFolders(node)) {
      images.push_back({disk + ".img", disk, static_cast<uint64_t>(node.disk_image_mb) << 20});
    }
  }
  return images;
}

Status DevCluster::UnmountImages(const DevNode& node) const {
  for (const Image& image : ImagesOf(node)) RETURN_IF_ERROR(UnmountDataImage(image.folder));
  return Status::Ok();
}

Status DevCluster::Signal(const std::string& name, int signal) {
  for (const DevNode& node : nodes_) {
    if (node.name != name) continue;
    std::optional<ProcessId> id = ProcessOf(node);
    if (!id) return Status(StatusCode::kFailedPrecondition, name + " is not running");
    RETURN_IF_ERROR(SendSignal(*id, signal));
    if (signal == SIGKILL && !WaitUntilGone(*id, kKillTimeout)) {
      return Status(StatusCode::kDeadlineExceeded, name + " was killed but does not end");
    }
    return Status::Ok();
  }
  return Status(StatusCode::kNotFound, "there is no node " + name);
}

Status DevCluster::Down(const Progress& progress) {
  ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock, TakeLock());
  RETURN_IF_ERROR(StopRole(DevRole::kMount, progress));
  RETURN_IF_ERROR(StopRole(DevRole::kChunkserver, progress));
  RETURN_IF_ERROR(StopRole(DevRole::kMetaserver, progress));
  RETURN_IF_ERROR(StopRole(DevRole::kWitness, progress));
  for (const DevNode& node : nodes_) {
    RETURN_IF_ERROR(UnmountImages(node));
  }
  return Status::Ok();
}

Status DevCluster::StopRole(DevRole role, const Progress& progress) {
  std::vector<std::pair<const DevNode*, ProcessId>> stopping;
  for (const DevNode& node : nodes_) {
    if (node.role != role) continue;
    std::optional<ProcessId> id = ProcessOf(node);
    if (id) {
      progress("stopping " + node.name);
      // A paused process hears no SIGTERM, and a paused mount blocks its unmounting. A process that
      // is gone by now is what we want.
      if (StateOf(*id) == ProcessState::kPaused) (void)SendSignal(*id, SIGCONT);
    }
    // A mount ends by itself once it is unmounted, but not while programs hold files of a detached
    // one.
    bool needs_signal = role != DevRole::kMount;
    if (role == DevRole::kMount && IsMounted(node.mount_point)) {
      ASSIGN_OR_RETURN(needs_signal, Unmount(node));
      if (needs_signal && id) progress(node.mount_point + " is in use: it is taken away");
    }
    if (!id) continue;
    if (needs_signal) (void)SendSignal(*id, SIGTERM);
    stopping.emplace_back(&node, *id);
  }
  for (const auto& [node, id] : stopping) {
    if (WaitUntilGone(id, role == DevRole::kMount ? kUnmountTimeout : kStopTimeout)) continue;
    progress(node->name + " does not end: killing it");
    (void)SendSignal(id, SIGKILL);
    if (!WaitUntilGone(id, kKillTimeout)) {
      return Status(StatusCode::kDeadlineExceeded, node->name + " was killed but does not end");
    }
  }
  return Status::Ok();
}

Result<bool> DevCluster::Unmount(const DevNode& node) const {
  const char* path = node.mount_point.c_str();
  auto unmount = [&](int flags) {
    return RunBounded(kUnmountTimeout, [&] { return ::umount2(path, flags) == 0 ? 0 : errno; });
  };
  bool alive = StateOfNode(node) != ProcessState::kGone;
  // Programs may just be leaving the mount; without its process there is nothing to wait for.
  int error = alive ? unmount(0) : EBUSY;
  for (int tries = 0; error == EBUSY && alive && tries < 20; ++tries) {
    ::usleep(100'000);
    error = unmount(0);
  }
  const bool in_use = error != 0;
  if (in_use) error = unmount(MNT_DETACH);
  if (error == EPERM) {
    return Status(StatusCode::kNotPermitted,
                  "unmounting " + node.mount_point + " needs root: run this with sudo");
  }
  if (error != 0 && IsMounted(node.mount_point)) {
    return StatusFromErrno(error, "unmount " + node.mount_point);
  }
  return in_use;
}

Status DevCluster::Purge() {
  ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock, TakeLock());
  for (const DevNode& node : nodes_) {
    if (StateOfNode(node) != ProcessState::kGone) {
      return Status(StatusCode::kFailedPrecondition, node.name + " is running");
    }
    if (node.role == DevRole::kMount && IsMounted(node.mount_point)) {
      return Status(StatusCode::kFailedPrecondition, node.mount_point + " is mounted");
    }
    RETURN_IF_ERROR(UnmountImages(node));
  }
  std::error_code error;
  for (const DevNode& node : nodes_) {
    std::filesystem::remove_all(Folder(node), error);
    if (error) return StatusFromErrno(error.value(), "remove " + Folder(node));
    // A mount point is removed only if it is empty, and only if it is ours.
    if (node.mount_point.starts_with(directory_ + "/")) ::rmdir(node.mount_point.c_str());
  }
  nodes_.clear();
  founded_ = false;
  std::filesystem::remove(directory_ + "/drills.jsonl", error);  // of drills; may not be there
  RETURN_IF_ERROR(RealDisk().Remove(directory_ + "/cluster.json"));
  RETURN_IF_ERROR(RealDisk().Remove(directory_ + "/lock"));
  ::rmdir(directory_.c_str());  // stays when there is anything else in it
  return Status::Ok();
}

}  // namespace tercet
