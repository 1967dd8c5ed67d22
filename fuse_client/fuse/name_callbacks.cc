// Callbacks for names: lookup, making, linking, removing and renaming.
#include <sys/stat.h>

#include "fuse_client/fuse/mount_context.h"

namespace tercet {

namespace {

void Lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  ReplyEntry(request, FileSystemOf(request).Lookup(InodeId(parent), name));
}

void MakeNode(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  const fuse_ctx* caller = fuse_req_ctx(request);
  wire::FileType::type type;
  switch (mode & S_IFMT) {
    case 0:
    case S_IFREG:
      type = wire::FileType::REGULAR;
      break;
    case S_IFIFO:
      type = wire::FileType::FIFO;
      break;
    case S_IFSOCK:
      type = wire::FileType::SOCKET;
      break;
    case S_IFCHR:
      type = wire::FileType::CHARACTER_DEVICE;
      break;
    case S_IFBLK:
      type = wire::FileType::BLOCK_DEVICE;
      break;
    default:
      fuse_reply_err(request, EINVAL);
      return;
  }
  ReplyEntry(request, FileSystemOf(request).MakeNode(InodeId(parent), name, type, mode & 07777,
                                                     rdev, caller->uid, caller->gid));
}

void MakeDirectory(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  const fuse_ctx* caller = fuse_req_ctx(request);
  ReplyEntry(request, FileSystemOf(request).MakeDirectory(InodeId(parent), name, mode & 07777,
                                                          caller->uid, caller->gid));
}

void MakeSymlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  const fuse_ctx* caller = fuse_req_ctx(request);
  ReplyEntry(request, FileSystemOf(request).MakeSymlink(InodeId(parent), name, target, caller->uid,
                                                        caller->gid));
}

void ReadLink(fuse_req_t request, fuse_ino_t inode) {
  const Result<std::string> target = FileSystemOf(request).ReadLink(InodeId(inode));
  if (!target.ok()) return ReplyStatus(request, target.status());
  fuse_reply_readlink(request, target->c_str());
}

void Link(fuse_req_t request, fuse_ino_t inode, fuse_ino_t new_parent, const char* new_name) {
  ReplyEntry(request, FileSystemOf(request).Link(InodeId(inode), InodeId(new_parent), new_name));
}

void Unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  ReplyStatus(request, FileSystemOf(request).Unlink(InodeId(parent), name));
}

void RemoveDirectory(fuse_req_t request, fuse_ino_t parent, const char* name) {
  ReplyStatus(request, FileSystemOf(request).RemoveDirectory(InodeId(parent), name));
}

void Rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned int flags) {
  ReplyStatus(request, FileSystemOf(request).Rename(InodeId(parent), name, InodeId(new_parent),
                                                    new_name, flags));
}

// Inodes have no state here that a FORGET could free: their numbers are the cluster's own.
void Forget(fuse_req_t request, fuse_ino_t, uint64_t) { fuse_reply_none(request); }
void ForgetMany(fuse_req_t request, size_t, fuse_forget_data*) { fuse_reply_none(request); }

}  // namespace

void SetNameCallbacks(fuse_lowlevel_ops* ops) {
  ops->lookup = Lookup;
  ops->forget = Forget;
  ops->forget_multi = ForgetMany;
  ops->mknod = MakeNode;
  ops->mkdir = MakeDirectory;
  ops->symlink = MakeSymlink;
  ops->readlink = ReadLink;
  ops->link = Link;
  ops->unlink = Unlink;
  ops->rmdir = RemoveDirectory;
  ops->rename = Rename;
}

}  // namespace tercet
