// Callbacks for open files. fuse_file_info::fh holds a pointer to an OpenFilePtr, owned from open
// to release.
#include <fcntl.h>

#include <cstdlib>
#include <memory>
#include <new>

#include "fuse_client/fuse/mount_context.h"

namespace tercet {

namespace {

constexpr size_t kPageBytes = 4096;

const OpenFilePtr& FileOf(const fuse_file_info* info) {
  return *reinterpret_cast<OpenFilePtr*>(info->fh);
}

void PutFile(fuse_file_info* info, OpenFilePtr file) {
  info->fh = reinterpret_cast<uint64_t>(new OpenFilePtr(std::move(file)));
}

void DropFile(FileSystem& file_system, const fuse_file_info* info) {
  std::unique_ptr<OpenFilePtr> file(reinterpret_cast<OpenFilePtr*>(info->fh));
  file_system.Release(*file);
}

// Close-to-open: what another mount committed before this open must be seen, although the kernel
// may still trust its attributes and pages of this file.
void SetCachePolicy(MountContext& context, const wire::Attributes& attributes,
                    fuse_file_info* info) {
  const InodeId inode(static_cast<uint64_t>(attributes.inode));
  if (context.page_cache_versions.Unchanged(inode, attributes.change_version)) {
    info->keep_cache = 1;
    return;
  }
  // Attributes only (offset -1): takes no page lock, so it cannot wait for this very request.
  fuse_lowlevel_notify_inval_inode(context.session, inode.value(), -1, 0);
}

void Create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* info) {
  const fuse_ctx* caller = fuse_req_ctx(request);
  MountContext& context = ContextOf(request);
  Result<CreateResult> created = context.file_system->Create(InodeId(parent), name, mode & 07777,
                                                             caller->uid, caller->gid, info->flags);
  if (!created.ok()) return ReplyStatus(request, created.status());
  PutFile(info, created->file);
  const fuse_entry_param entry = EntryFromAttributes(context, created->attributes);
  // ENOENT: the caller was interrupted, nobody will release this handle.
  if (fuse_reply_create(request, &entry, info) == -ENOENT) DropFile(*context.file_system, info);
}

void Open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) {
  MountContext& context = ContextOf(request);
  Result<OpenResult> opened = context.file_system->Open(InodeId(inode), info->flags);
  if (!opened.ok()) return ReplyStatus(request, opened.status());
  PutFile(info, opened->file);
  SetCachePolicy(context, opened->attributes, info);
  if (fuse_reply_open(request, info) == -ENOENT) DropFile(*context.file_system, info);
}

// One page-aligned buffer per FUSE thread, grown to the largest request it saw.
class ReadBuffer {
 public:
  ~ReadBuffer() { std::free(data_); }
  std::span<char> Get(size_t size) {
    if (size > size_) {
      const size_t rounded = (size + kPageBytes - 1) / kPageBytes * kPageBytes;
      std::free(data_);
      size_ = 0;
      data_ = static_cast<char*>(std::aligned_alloc(kPageBytes, rounded));
      if (data_ == nullptr) throw std::bad_alloc();
      size_ = rounded;
    }
    return {data_, size};
  }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
};

void Read(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  thread_local ReadBuffer buffer;
  const std::span<char> out = buffer.Get(size);
  const Result<size_t> count =
      FileSystemOf(request).Read(FileOf(info), static_cast<uint64_t>(offset), out);
  if (!count.ok()) return ReplyStatus(request, count.status());
  fuse_reply_buf(request, out.data(), *count);
}

void Write(fuse_req_t request, fuse_ino_t, const char* data, size_t size, off_t offset,
           fuse_file_info* info) {
  const Status status = FileSystemOf(request).Write(FileOf(info), static_cast<uint64_t>(offset),
                                                    std::string_view(data, size));
  if (!status.ok()) return ReplyStatus(request, status);
  fuse_reply_write(request, size);
}

void Flush(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  ReplyStatus(request, FileSystemOf(request).Flush(FileOf(info)));
}

void Sync(fuse_req_t request, fuse_ino_t, int data_only, fuse_file_info* info) {
  ReplyStatus(request, FileSystemOf(request).Sync(FileOf(info), data_only != 0));
}

void Release(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  DropFile(FileSystemOf(request), info);
  fuse_reply_err(request, 0);
}

void Fallocate(fuse_req_t request, fuse_ino_t, int mode, off_t offset, off_t length,
               fuse_file_info* info) {
  if (offset < 0 || length <= 0) {
    fuse_reply_err(request, EINVAL);
    return;
  }
  ReplyStatus(request, FileSystemOf(request).Fallocate(FileOf(info), static_cast<uint32_t>(mode),
                                                       static_cast<uint64_t>(offset),
                                                       static_cast<uint64_t>(length)));
}

}  // namespace

void SetFileCallbacks(fuse_lowlevel_ops* ops) {
  ops->create = Create;
  ops->open = Open;
  ops->read = Read;
  ops->write = Write;
  ops->flush = Flush;
  ops->fsync = Sync;
  ops->release = Release;
  ops->fallocate = Fallocate;
}

}  // namespace tercet
