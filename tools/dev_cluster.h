// A whole cluster of real processes on one machine, for development and tests.
//
// Everything is in one folder:
//   cluster.json        the nodes, their ports and mount points; chosen once, so that a node that
//   is
//                       started again is where the others look for it
//   lock                held by a `tercet dev` command that changes something
//   NODE/NODE.toml      configuration, written anew at each start
//   NODE/data, disk1…   what the node stores
//   NODE/data.img       with --data-images: the file system that is mounted on data
//   NODE/disk1.img…     with --disk-image-mb: the same for a chunk server's disks
//   NODE/boot_id        after a power cut: what the chunk server takes for the machine's boot id
//   NODE/NODE.log       its log; stderr.log: what it printed before that was open
//   NODE/pid            process number, start time and boot id: never another process with the same
//   number
//
// The metadata group: meta1 makes the cluster, the others join it. Metaserver N listens on
// 127.0.1.N and witness N on 127.0.2.N, and speaks to the others from that address, so that the
// link between any two can be cut by firewall rules that touch nothing else. All else is on
// 127.0.0.1.
//
// Invariants:
//  - A node is never started while its process runs, and no process is signalled that is not the
//    node's.
//  - Nothing here keeps state in memory that another command could have changed, but the list of
//    nodes, which only grows.
//  - Once there is a group (`founded` in cluster.json) no metaserver with an empty folder makes a
//    new cluster: it waits to be added.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/env/disk.h"
#include "common/rpc/host_port.h"
#include "tools/process.h"

namespace tercet {

enum class DevRole { kMetaserver, kWitness, kChunkserver, kMount };

/// "metaserver", "witness", "chunkserver", "mount".
std::string_view DevRoleName(DevRole role);

/// What cluster.json keeps of a node.
struct DevNode {
  std::string name;
  DevRole role = DevRole::kMetaserver;
  HostPort address;  // not for a mount
  uint16_t metrics_port = 0;
  std::string mount_point;  // absolute; only for a mount
  bool data_image = false;  // its data folder is an image that is mounted (tools/data_image.h)
  // Of a chunk server.
  int disks = 1;
  int disk_image_mb = 0;  // each disk is an image of so many MiB; 0: a plain folder
  std::map<std::string, std::string> labels = {};

  /// Metaserver or witness.
  bool IsMember() const { return role == DevRole::kMetaserver || role == DevRole::kWitness; }
  /// What it stores can be cut off from what was not synced.
  bool HasImages() const { return data_image || disk_image_mb > 0; }
  /// HOST:PORT, or the mount point.
  std::string Where() const;
};

/// A node and its process.
struct DevNodeState {
  DevNode node;
  pid_t pid = 0;  // 0: not running
  ProcessState state = ProcessState::kGone;
};

/// What a cluster shall have at least.
struct DevShape {
  int metaservers = 1;
  int witnesses = 0;
  int chunkservers = 3;
  /// Mount points; relative ones are taken from the working folder.
  std::vector<std::string> mounts;
  /// Ports are taken from here on; 0: free ones outside the range the kernel gives to clients.
  uint16_t base_port = 0;
  /// New metaservers and witnesses keep their data in images, for `tercet drill --kind power`.
  bool data_images = false;
  /// Of new chunk servers.
  int disks_per_chunkserver = 1;
  int disk_image_mb = 0;
  /// By node: labels to be set, on earlier chunk servers, too, which are started again then.
  std::map<std::string, std::map<std::string, std::string>> labels = {};
};

/// "chunk1:rack=a" into node, label and value; kInvalidArgument otherwise.
struct DevLabel {
  std::string node;
  std::string key;
  std::string value;
};
Result<DevLabel> ParseDevLabel(const std::string& text);

/// Not thread-safe. Two commands at once on one folder: the second gets kBusy after a while.
class DevCluster {
 public:
  /// One line for people about what is being done.
  using Progress = std::function<void(const std::string&)>;

  /// `directory` is made if `create`; else kNotFound when there is no cluster in it. `binaries` is
  /// the folder with tercet-metaserver and the others.
  static Result<std::unique_ptr<DevCluster>> Open(const std::string& directory,
                                                  const std::string& binaries, bool create);

  /// Adds what the shape has more, starts everything that is not running and waits until the active
  /// serves, all members of the metadata group vote, all chunk servers are registered and the
  /// mounts are there.
  Status Up(const DevShape& shape, const Progress& progress);
  /// Stops all nodes: mounts, chunk servers, witnesses, metaservers. Those that do not end in time
  /// are killed.
  Status Down(const Progress& progress);
  /// Removes what the cluster stored. Nothing may be running.
  Status Purge();
  std::vector<DevNodeState> List() const;
  /// kNotFound for an unknown node, kFailedPrecondition when it is not running.
  Status Signal(const std::string& name, int signal);
  /// Starts one node and waits for it as Up does. OK when it runs already.
  Status Start(const std::string& name, const Progress& progress);
  /// Starts these at once, then waits for each.
  Status StartAll(const std::vector<std::string>& names, const Progress& progress);
  /// Drops what the stopped node's data folder has not on its disk yet, and mounts it anew.
  /// kNotSupported without an image.
  Status CutPowerOf(const std::string& name);
  /// Null when there is none.
  const DevNode* Find(const std::string& name) const;

  const std::string& directory() const { return directory_; }
  /// "HOST:PORT,…" of the metaservers.
  std::string MetaAddresses() const;
  /// The same with the witnesses, who know who is active but do not serve.
  std::vector<HostPort> MemberAddresses() const;
  const std::vector<DevNode>& nodes() const { return nodes_; }
  /// Where a node keeps its files.
  std::string Folder(const DevNode& node) const { return directory_ + "/" + node.name; }
  /// The folders of a chunk server's disks.
  std::vector<std::string> DiskFolders(const DevNode& node) const;

  /// The text of a node's configuration file; empty for a mount, which has none.
  std::string ConfigFor(const DevNode& node) const;

 private:
  DevCluster(std::string directory, std::string binaries);

  std::optional<ProcessId> ProcessOf(const DevNode& node) const;
  ProcessState StateOfNode(const DevNode& node) const;
  Result<std::unique_ptr<FileLock>> TakeLock() const;
  Status Load();
  Status Save() const;
  Status AddNodes(const DevShape& shape);
  Status SetLabels(const DevShape& shape);
  struct Image {
    std::string file;
    std::string folder;
    uint64_t size_bytes;
  };
  /// What a node keeps in images of file systems.
  std::vector<Image> ImagesOf(const DevNode& node) const;
  Status UnmountImages(const DevNode& node) const;
  /// To addresses of their own, when an earlier version gave them that of all others. Only while
  /// nothing runs.
  void MoveMetaservers();
  Result<uint16_t> ChoosePort(uint16_t* next_port) const;
  int CountOf(DevRole role) const;

  // tools/dev_group.cc
  /// Starts metaservers and witnesses and makes one group of them.
  Status StartGroup(const Progress& progress);
  Status AwaitActive() const;
  Status AddToGroup(const DevNode& node, const Progress& progress);
  Status AwaitVoters(const Progress& progress) const;
  /// OK: answers; with `leader`, also knows a leader.
  Status CheckMember(const DevNode& node, bool leader) const;
  /// Chunk servers and mounts that were started when there were fewer metaservers would not find
  /// the new ones if the old ones were gone.
  Status RefreshMetaLists(const Progress& progress);
  /// One at a time, those whose configuration is another one than they were started with.
  Status RestartChangedChunkservers(const Progress& progress);

  /// Starts those of the role that are not running, then waits for all of the role.
  Status StartRole(DevRole role, const Progress& progress);
  Status SpawnRole(DevRole role, const Progress& progress);
  Status Spawn(const DevNode& node);
  Status PrepareFolder(const DevNode& node);
  std::vector<std::string> CommandFor(const DevNode& node) const;
  /// Makes it the command of a chunk server after a power cut: the machine has another boot id.
  void InNextBoot(const DevNode& node, std::vector<std::string>* command) const;
  /// `leader`: false if a metaserver need only answer.
  Status AwaitReady(const DevNode& node, bool leader = true);
  /// OK: ready; kUnavailable: not yet. `age` is that of the node's process.
  Status CheckReady(const DevNode& node, std::chrono::milliseconds age) const;
  Status StopRole(DevRole role, const Progress& progress);
  /// True when the mount was in use and is only detached: its process still serves those who use
  /// it.
  Result<bool> Unmount(const DevNode& node) const;

  const std::string directory_;  // absolute
  const std::string binaries_;
  std::vector<DevNode> nodes_;
  bool founded_ = false;  // meta1 has made the cluster
};

/// The folder with this program and its siblings.
std::string DevBinaryFolder();
/// TERCET_DEV_DIR if it is set, else build/dev in a source tree, else tercet-dev.
std::string DefaultDevDirectory();

/// Whether something is mounted there, as /proc/self/mountinfo says: never blocks on a dead mount.
bool IsMounted(const std::string& absolute_path);

}  // namespace tercet
