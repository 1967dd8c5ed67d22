// A disk in memory that loses what a real one may lose, for tests and simulations.
//
// Invariants:
//  - Readers see every write at once. What a power cut leaves is decided by Crash alone.
//  - Of a file, pages (4 KiB) and the size that were not synced are each, independently of one
//    another, kept, dropped or (pages) torn between 512-byte sectors. Synced ones are kept.
//  - Names: a create, rename or remove that was not covered by SyncDirectory is kept or dropped as
//    a whole, independently of others. Folders made by MakeDirectories are durable at once.
//  - A failed Sync leaves the pages it should have written unsynced for good, as Linux does: no
//    later Sync covers them unless they are written again.
//  - Files opened before Crash or KillProcess only ever answer kIo afterwards, and locks are gone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "common/env/disk.h"
#include "common/env/random.h"

namespace tercet {

namespace sim_disk_internal {
struct Node;
struct NameChange;
class SimFile;
class SimFileSystem;
class SimLock;
}  // namespace sim_disk_internal

/// Thread-safe. Must outlive its files and locks. Paths are taken from one root; "." and ".." are
/// resolved by their text.
class SimDisk final : public Disk {
 public:
  static constexpr uint64_t kPageBytes = 4096;
  static constexpr uint64_t kSectorBytes = 512;

  SimDisk();
  ~SimDisk() override;

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  Status MakeDirectories(const std::string& path) override;
  Status SyncDirectory(const std::string& path) override;
  Result<std::vector<std::string>> List(const std::string& path) override;
  Result<bool> Exists(const std::string& path) override;
  Result<DiskSpace> Space(const std::string& path) override;
  /// Of the folder and what is below it.
  Result<std::unique_ptr<DiskFileSystem>> OpenFileSystem(const std::string& path) override;
  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override;

  /// A power cut and the start after it: see the invariants. Ends CutPowerAfter; other faults stay.
  void Crash(Random& random);
  /// kill -9 of the process that used the disk: nothing is lost, open files and locks end.
  void KillProcess();

  /// The `nth` write (WriteAt, WriteVectorAt, Truncate, Allocate) from now on, 1 being the next,
  /// fails with kIo and changes nothing. 0 takes the fault back.
  void FailWrite(uint64_t nth);
  /// The same for File::Sync, SyncDirectory and DiskFileSystem::Sync.
  void FailSync(uint64_t nth);
  /// Every call on paths at or under `prefix`, and on open files there, fails with kIo: a dead
  /// disk.
  void FailPathsUnder(const std::string& prefix);
  void ClearFailedPaths();
  /// After `count` more changes (writes, syncs, creates, renames, removes) every call fails with
  /// kIo until Crash: a test walks `count` up to find every point at which the power may go.
  void CutPowerAfter(uint64_t count);
  /// Whether CutPowerAfter has struck.
  bool power_is_cut() const;
  /// Writes beyond fail with kNoSpace. Counts whole pages of files, and what Allocate reserved.
  void SetCapacity(uint64_t bytes);
  /// Inverts all bits of a byte, on the platter as well: bit rot. kNotFound when the file has no
  /// such byte.
  Status FlipByte(const std::string& path, uint64_t offset);
  /// Called by every File::Sync before it takes effect, without the disk's mutex: a test may block
  /// in it.
  void SetSyncHook(std::function<void(const std::string& path)> hook);

  uint64_t write_count() const;
  uint64_t sync_count() const;

 private:
  friend class sim_disk_internal::SimFile;
  friend class sim_disk_internal::SimFileSystem;
  friend class sim_disk_internal::SimLock;
  using Node = sim_disk_internal::Node;
  using NodePtr = std::shared_ptr<Node>;
  using NameChange = sim_disk_internal::NameChange;

  // All below need mutex_.
  enum class Change { kWrite, kSync, kName };
  Status CheckAlive(const std::string& path) const;
  Status CountChange(Change change, const std::string& path);
  Result<NodePtr> Find(const std::string& path) const;
  /// The folder that holds `path`, and the last part of the path.
  Result<NodePtr> FindParent(const std::string& path, std::string* name) const;
  void ApplyLive(NameChange change);
  void MakeNamesDurable(Node* folder);
  Status SyncTree(const std::string& path);
  void Unlinked(Node& node);
  Status Reserve(Node& node, uint64_t first_page, uint64_t last_page);
  void CrashTree(Node& folder, Random& random, std::set<Node*>* seen);
  void RecountSpace();

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  NodePtr root_;
  std::vector<NameChange> pending_names_;  // in order; not yet durable
  std::set<std::string> locked_;
  uint64_t incarnation_ = 1;  // grows with Crash and KillProcess
  uint64_t capacity_bytes_ = UINT64_MAX;
  uint64_t used_pages_ = 0;
  uint64_t writes_ = 0;
  uint64_t syncs_ = 0;
  uint64_t fail_write_in_ = 0;  // 0: never
  uint64_t fail_sync_in_ = 0;
  bool power_cut_armed_ = false;
  uint64_t power_cut_in_ = 0;
  bool power_is_cut_ = false;
  std::set<std::string> failed_prefixes_;
  std::function<void(const std::string&)> sync_hook_;
};

}  // namespace tercet
