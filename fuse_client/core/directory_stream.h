// Open directories: entries are fetched in batches and found again by ordinal.
//
// Offsets are ordinals: 0 is ".", 1 is "..", and entries follow in name order. For each batch the
// ordinal it begins at and the name it begins behind are kept, so a seek within the handle fetches
// one batch. Names that come and go shift the ordinals of a later seek, as POSIX allows; reading on
// in sequence goes by name and neither skips nor repeats an entry.
//
// A batch is fetched again when this mount changed the directory or when it is old: the kernel
// caches what readdirplus hands out, and would otherwise see an entry again that was just removed.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "fuse_client/core/file_system.h"
#include "fuse_client/core/metadata_client.h"

namespace tercet {

class OpenDirectory {
 public:
  using MergeAttributes = std::function<wire::Attributes(const wire::Attributes&)>;

  explicit OpenDirectory(InodeId inode) : inode_(inode) {}

  Status Read(MetadataClient& metadata, const MergeAttributes& merge, uint64_t offset,
              bool with_attributes, const FileSystem::DirectoryVisitor& visitor);
  InodeId inode() const { return inode_; }

 private:
  friend class OpenDirectories;
  using Clock = std::chrono::steady_clock;
  struct Mark {
    uint64_t ordinal;
    std::string after_name;
  };

  void Rewind();
  Status Fetch(MetadataClient& metadata, const Mark& mark, bool with_attributes);
  Status Locate(MetadataClient& metadata, uint64_t offset, bool with_attributes, bool* found);
  bool BatchIsFresh() const;
  uint64_t BatchEnd() const { return batch_start_ + batch_.size(); }
  bool Emit(const MergeAttributes& merge, uint64_t ordinal,
            const FileSystem::DirectoryVisitor& visitor) const;

  const InodeId inode_;
  std::atomic<uint64_t> changes_{0};

  std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<Mark> marks_;  // ascending; one per batch
  bool loaded_ = false;      // the batch below is there
  uint64_t batch_start_ = 0;
  std::vector<wire::DirectoryEntry> batch_;
  std::string batch_after_;     // the name the batch begins behind
  bool batch_is_last_ = false;  // nothing is behind it
  uint64_t batch_changes_ = 0;  // changes_ before it was fetched
  Clock::time_point fetched_;
  InodeId parent_;
};

/// The open directories of a mount, to tell them of changes. Thread-safe.
class OpenDirectories {
 public:
  OpenDirectoryPtr Open(InodeId inode);
  /// This mount changed the entries of `inode`, or what they show.
  void NoteChange(InodeId inode);

 private:
  std::mutex mutex_;
  // Guarded by mutex_. Handles that are gone are dropped when their directory is next touched, and
  // all of them each time the table has doubled.
  std::unordered_multimap<InodeId, std::weak_ptr<OpenDirectory>> open_;
  size_t sweep_at_ = 1024;
};

}  // namespace tercet
