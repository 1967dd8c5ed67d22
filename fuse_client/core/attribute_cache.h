// The newest attributes seen of recently used inodes.
//
// It is not what makes stat(2) fast (the kernel's own cache does). It is there so that an answer
// that was made earlier (a directory listing read ahead) never replaces newer attributes, and so
// that getxattr on inodes without extended attributes costs no call.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "common/base/ids.h"
#include "tercet_thrift/metadata_types.h"

namespace tercet {

/// Thread-safe. Holds at most `capacity` inodes, about the newest.
class AttributeCache {
 public:
  using Clock = std::chrono::steady_clock;

  explicit AttributeCache(size_t capacity) : capacity_(capacity) {}

  /// Remembers `attributes` and returns them, or what is remembered if that is newer
  /// (change_version).
  wire::Attributes Update(const wire::Attributes& attributes);
  /// What was confirmed by the metaserver within `max_age`.
  std::optional<wire::Attributes> Find(InodeId inode, std::chrono::milliseconds max_age);
  void Forget(InodeId inode);

 private:
  struct Entry {
    wire::Attributes attributes;
    Clock::time_point confirmed;
  };
  Entry* FindLocked(InodeId inode);

  const size_t capacity_;
  std::mutex mutex_;
  // Guarded by mutex_. When young_ is half the capacity it replaces old_; what is used moves to
  // young_.
  std::unordered_map<InodeId, Entry> young_;
  std::unordered_map<InodeId, Entry> old_;
};

}  // namespace tercet
