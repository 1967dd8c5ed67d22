// A whole cluster of real processes on one machine, for development and tests.
//
// Everything is in one folder:
//   cluster.json        the nodes, their ports and mount points; chosen once, so that a node that
//   is
//                       started again is where the others look for it
//   lock                held by a `tercet dev` command that changes something
//   NODE/NODE.toml      configuration, written anew at each start
//   NODE/data, disk1    what the node stores
//   NODE/NODE.log       its log; stderr.log: what it printed before that was open
//   NODE/pid            process number, start time and boot id: never another process with the same
//   number
//
// Invariants:
//  - A node is never started while its process runs, and no process is signalled that is not the
//  node's.
//  - Nothing here keeps state in memory that another command could have changed, but the list of
//  nodes,
//    which only grows.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/env/disk.h"
#include "common/rpc/host_port.h"
#include "tools/process.h"

namespace tercet {

enum class DevRole { kMetaserver, kChunkserver, kMount };

/// "metaserver", "chunkserver", "mount".
std::string_view DevRoleName(DevRole role);

/// What cluster.json keeps of a node.
struct DevNode {
  std::string name;
  DevRole role = DevRole::kMetaserver;
  HostPort address;  // not for a mount
  uint16_t metrics_port = 0;
  std::string mount_point;  // absolute; only for a mount

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
  int chunkservers = 3;
  /// Mount points; relative ones are taken from the working folder.
  std::vector<std::string> mounts;
  /// Ports are taken from here on; 0: free ones outside the range the kernel gives to clients.
  uint16_t base_port = 0;
};

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
  /// serves, all chunk servers are registered and the mounts are there.
  Status Up(const DevShape& shape, const Progress& progress);
  /// Stops all nodes: mounts, chunk servers, metaservers. Those that do not end in time are killed.
  Status Down(const Progress& progress);
  /// Removes what the cluster stored. Nothing may be running.
  Status Purge();
  std::vector<DevNodeState> List() const;
  /// kNotFound for an unknown node, kFailedPrecondition when it is not running.
  Status Signal(const std::string& name, int signal);
  /// Starts one node and waits for it as Up does. OK when it runs already.
  Status Start(const std::string& name, const Progress& progress);

  const std::string& directory() const { return directory_; }
  /// "HOST:PORT,…" of the metaservers.
  std::string MetaAddresses() const;
  const std::vector<DevNode>& nodes() const { return nodes_; }

  /// The text of a node's configuration file; empty for a mount, which has none.
  std::string ConfigFor(const DevNode& node) const;

 private:
  DevCluster(std::string directory, std::string binaries);

  std::string Folder(const DevNode& node) const { return directory_ + "/" + node.name; }
  std::optional<ProcessId> ProcessOf(const DevNode& node) const;
  ProcessState StateOfNode(const DevNode& node) const;
  Result<std::unique_ptr<FileLock>> TakeLock() const;
  Status Load();
  Status Save() const;
  Status AddNodes(const DevShape& shape);
  Result<uint16_t> ChoosePort(uint16_t* next_port) const;

  /// Starts those of the role that are not running, then waits for all of the role.
  Status StartRole(DevRole role, const Progress& progress);
  Status Spawn(const DevNode& node);
  std::vector<std::string> CommandFor(const DevNode& node) const;
  Status AwaitReady(const DevNode& node);
  /// OK: ready; kUnavailable: not yet. `age` is that of the node's process.
  Status CheckReady(const DevNode& node, std::chrono::milliseconds age) const;
  Status StopRole(DevRole role, const Progress& progress);
  /// True when the mount was in use and is only detached: its process still serves those who use it.
  Result<bool> Unmount(const DevNode& node) const;

  const std::string directory_;  // absolute
  const std::string binaries_;
  std::vector<DevNode> nodes_;
};

/// Whether something is mounted there, as /proc/self/mountinfo says: never blocks on a dead mount.
bool IsMounted(const std::string& absolute_path);

}  // namespace tercet
