// Callbacks for attributes, extended attributes and the space of the file system.
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>

#include "fuse_client/fuse/mount_context.h"

namespace tercet {

namespace {

// Read-only, on every file: the inode's number within the cluster, for `tercet file info`.
constexpr char kInodeXattr[] = "system.tercet.inode";
constexpr uint64_t kStatBlockBytes = 4096;

void GetAttributes(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  ReplyAttributes(request, FileSystemOf(request).GetAttributes(InodeId(inode)));
}

int64_t NanosFromTime(const timespec& time) {
  return time.tv_sec * int64_t{1'000'000'000} + time.tv_nsec;
}

void SetAttributes(fuse_req_t request, fuse_ino_t inode, struct stat* values, int to_set,
                   fuse_file_info*) {
  AttributeChange change;
  if (to_set & FUSE_SET_ATTR_MODE) change.mode = values->st_mode & 07777;
  if (to_set & FUSE_SET_ATTR_UID) change.uid = values->st_uid;
  if (to_set & FUSE_SET_ATTR_GID) change.gid = values->st_gid;
  if (to_set & FUSE_SET_ATTR_SIZE) change.size_bytes = static_cast<uint64_t>(values->st_size);
  if (to_set & FUSE_SET_ATTR_ATIME_NOW) {
    change.atime_now = true;
  } else if (to_set & FUSE_SET_ATTR_ATIME) {
    change.atime_ns = NanosFromTime(values->st_atim);
  }
  if (to_set & FUSE_SET_ATTR_MTIME_NOW) {
    change.mtime_now = true;
  } else if (to_set & FUSE_SET_ATTR_MTIME) {
    change.mtime_ns = NanosFromTime(values->st_mtim);
  }
  ReplyAttributes(request, FileSystemOf(request).SetAttributes(InodeId(inode), change));
}

// With size 0 the caller asks how much room it needs.
void ReplyBytes(fuse_req_t request, const std::string& bytes, size_t room) {
  if (room == 0) {
    fuse_reply_xattr(request, bytes.size());
  } else if (bytes.size() > room) {
    fuse_reply_err(request, ERANGE);
  } else {
    fuse_reply_buf(request, bytes.data(), bytes.size());
  }
}

void GetXattr(fuse_req_t request, fuse_ino_t inode, const char* name, size_t size) {
  if (std::string_view(name) == kInodeXattr) {
    return ReplyBytes(request, std::to_string(inode), size);
  }
  const Result<std::string> value = FileSystemOf(request).GetXattr(InodeId(inode), name);
  if (!value.ok()) return ReplyStatus(request, value.status());
  ReplyBytes(request, *value, size);
}

void SetXattr(fuse_req_t request, fuse_ino_t inode, const char* name, const char* value,
              size_t size, int flags) {
  if (std::string_view(name) == kInodeXattr) {
    fuse_reply_err(request, EPERM);
    return;
  }
  ReplyStatus(request,
              FileSystemOf(request).SetXattr(InodeId(inode), name, std::string_view(value, size),
                                             static_cast<uint32_t>(flags)));
}

void ListXattr(fuse_req_t request, fuse_ino_t inode, size_t size) {
  const Result<std::vector<std::string>> names = FileSystemOf(request).ListXattr(InodeId(inode));
  if (!names.ok()) return ReplyStatus(request, names.status());
  std::string list;
  for (const std::string& name : *names) list.append(name).push_back('\0');
  ReplyBytes(request, list, size);
}

void RemoveXattr(fuse_req_t request, fuse_ino_t inode, const char* name) {
  ReplyStatus(request, FileSystemOf(request).RemoveXattr(InodeId(inode), name));
}

void StatFileSystem(fuse_req_t request, fuse_ino_t) {
  const Result<FileSystemSpace> space = FileSystemOf(request).StatFileSystem();
  if (!space.ok()) return ReplyStatus(request, space.status());
  struct statvfs out = {};
  out.f_bsize = kStatBlockBytes;
  out.f_frsize = kStatBlockBytes;
  out.f_blocks = space->total_bytes / kStatBlockBytes;
  out.f_bfree = space->available_bytes / kStatBlockBytes;
  out.f_bavail = out.f_bfree;
  // Inodes are bounded by the metaserver's disk only; as many free ones as there is room for small
  // files.
  out.f_files = space->inode_count + std::max<uint64_t>(out.f_bfree, 1);
  out.f_ffree = out.f_files - space->inode_count;
  out.f_favail = out.f_ffree;
  out.f_namemax = 255;
  fuse_reply_statfs(request, &out);
}

}  // namespace

void SetAttributeCallbacks(fuse_lowlevel_ops* ops) {
  ops->getattr = GetAttributes;
  ops->setattr = SetAttributes;
  ops->getxattr = GetXattr;
  ops->setxattr = SetXattr;
  ops->listxattr = ListXattr;
  ops->removexattr = RemoveXattr;
  ops->statfs = StatFileSystem;
}

}  // namespace tercet
