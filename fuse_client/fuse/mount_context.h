// What the FUSE callbacks share: the file system, the kernel's cache times, and replies.
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "common/base/status_errno.h"
#include "fuse_client/core/file_system.h"

namespace tercet {

/// Remembers with which version of each file the kernel last filled its page cache, so that an open
/// of an unchanged file keeps the pages and an open of a changed one drops pages and attributes.
/// Bounded: forgetting an inode only costs a refill. Thread-safe.
class PageCacheVersions {
 public:
  /// Notes `version` for the inode; true when it is the one noted before.
  bool Unchanged(InodeId inode, int64_t version);

 private:
  static constexpr size_t kMaxInodes = 100'000;
  std::mutex mutex_;
  std::unordered_map<InodeId, int64_t> versions_;  // guarded by mutex_
};

/// The user data of every request. Constant after the mount, except for self-synchronised members.
struct MountContext {
  FileSystem* file_system = nullptr;  // outlives the session
  fuse_session* session = nullptr;    // set before the first request
  double attr_timeout_seconds = 1;
  double entry_timeout_seconds = 1;
  PageCacheVersions page_cache_versions;
};

inline MountContext& ContextOf(fuse_req_t request) {
  return *static_cast<MountContext*>(fuse_req_userdata(request));
}
inline FileSystem& FileSystemOf(fuse_req_t request) { return *ContextOf(request).file_system; }

struct stat StatFromAttributes(const wire::Attributes& attributes);
fuse_entry_param EntryFromAttributes(const MountContext& context,
                                     const wire::Attributes& attributes);
/// The S_IFMT bits of a type.
uint32_t FormatBits(wire::FileType::type type);

/// Every error leaves through here: one errno table (common/base/status_errno.h).
void ReplyStatus(fuse_req_t request, const Status& status);
void ReplyEntry(fuse_req_t request, const Result<wire::Attributes>& attributes);
void ReplyAttributes(fuse_req_t request, const Result<wire::Attributes>& attributes);

/// The callbacks, by what they deal with.
void SetNameCallbacks(fuse_lowlevel_ops* ops);
void SetAttributeCallbacks(fuse_lowlevel_ops* ops);
void SetFileCallbacks(fuse_lowlevel_ops* ops);
void SetDirectoryCallbacks(fuse_lowlevel_ops* ops);

}  // namespace tercet
