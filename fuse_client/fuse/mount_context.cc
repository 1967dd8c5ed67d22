#include "fuse_client/fuse/mount_context.h"

#include <sys/stat.h>

#include "common/log/log.h"

namespace tercet {

namespace {

// Inodes are never reused, so one generation does for all.
constexpr uint64_t kInodeGeneration = 1;
// What cp and stdio take as a good buffer size; larger ones waste memory in every open FILE.
constexpr int kPreferredIoBytes = 128 << 10;

timespec TimeFromNanos(int64_t nanos) {
  timespec time;
  time.tv_sec = nanos / 1'000'000'000;
  time.tv_nsec = nanos % 1'000'000'000;
  if (time.tv_nsec < 0) {
    time.tv_nsec += 1'000'000'000;
    time.tv_sec -= 1;
  }
  return time;
}

}  // namespace

bool PageCacheVersions::Unchanged(InodeId inode, int64_t version) {
  std::lock_guard lock(mutex_);
  if (versions_.size() >= kMaxInodes && !versions_.contains(inode)) versions_.clear();
  auto [entry, is_new] = versions_.try_emplace(inode, version);
  if (!is_new && entry->second == version) return true;
  entry->second = version;
  return false;
}

uint32_t FormatBits(wire::FileType::type type) {
  switch (type) {
    case wire::FileType::REGULAR:
      return S_IFREG;
    case wire::FileType::DIRECTORY:
      return S_IFDIR;
    case wire::FileType::SYMLINK:
      return S_IFLNK;
    case wire::FileType::FIFO:
      return S_IFIFO;
    case wire::FileType::SOCKET:
      return S_IFSOCK;
    case wire::FileType::CHARACTER_DEVICE:
      return S_IFCHR;
    case wire::FileType::BLOCK_DEVICE:
      return S_IFBLK;
  }
  return S_IFREG;
}

struct stat StatFromAttributes(const wire::Attributes& attributes) {
  struct stat out = {};
  out.st_ino = static_cast<ino_t>(attributes.inode);
  out.st_mode = FormatBits(attributes.type) | (static_cast<uint32_t>(attributes.mode) & 07777);
  out.st_nlink = static_cast<nlink_t>(attributes.nlink);
  out.st_uid = static_cast<uid_t>(attributes.uid);
  out.st_gid = static_cast<gid_t>(attributes.gid);
  out.st_rdev = static_cast<dev_t>(attributes.rdev);
  out.st_size = attributes.size_bytes;
  out.st_blksize = kPreferredIoBytes;
  out.st_blocks = (attributes.allocated_bytes + 511) / 512;
  out.st_atim = TimeFromNanos(attributes.atime_ns);
  out.st_mtim = TimeFromNanos(attributes.mtime_ns);
  out.st_ctim = TimeFromNanos(attributes.ctime_ns);
  return out;
}

fuse_entry_param EntryFromAttributes(const MountContext& context,
                                     const wire::Attributes& attributes) {
  fuse_entry_param entry = {};
  entry.ino = static_cast<fuse_ino_t>(attributes.inode);
  entry.generation = kInodeGeneration;
  entry.attr = StatFromAttributes(attributes);
  entry.attr_timeout = context.attr_timeout_seconds;
  entry.entry_timeout = context.entry_timeout_seconds;
  return entry;
}

void ReplyStatus(fuse_req_t request, const Status& status) {
  const int error = ErrnoFromCode(status.code());
  if (error == EIO) LOG_WARN_LIMITED("request ends with EIO: {}", status);
  fuse_reply_err(request, error);
}

void ReplyEntry(fuse_req_t request, const Result<wire::Attributes>& attributes) {
  if (!attributes.ok()) return ReplyStatus(request, attributes.status());
  const fuse_entry_param entry = EntryFromAttributes(ContextOf(request), *attributes);
  fuse_reply_entry(request, &entry);
}

void ReplyAttributes(fuse_req_t request, const Result<wire::Attributes>& attributes) {
  if (!attributes.ok()) return ReplyStatus(request, attributes.status());
  const struct stat out = StatFromAttributes(*attributes);
  fuse_reply_attr(request, &out, ContextOf(request).attr_timeout_seconds);
}

}  // namespace tercet
