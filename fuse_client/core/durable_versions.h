// Which inodes are wholly on the disks of their replicas, and as of which change. A file that is
// opened again need not be synced again for what was written before.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <unordered_map>

#include "common/base/ids.h"

namespace tercet {

/// Bounded: forgets what was noted first. Thread-safe.
class DurableVersions {
 public:
  explicit DurableVersions(size_t max_inodes = 16'384) : max_inodes_(max_inodes) {}

  /// All data of the inode is durable as of this Attributes::change_version.
  void Note(InodeId inode, int64_t change_version);
  /// Whether that was noted of exactly this version.
  bool Has(InodeId inode, int64_t change_version) const;

 private:
  const size_t max_inodes_;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::unordered_map<InodeId, int64_t> versions_;
  std::deque<InodeId> order_;  // of versions_, in the order in which they came
};

}  // namespace tercet
