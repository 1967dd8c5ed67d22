// Callbacks for directories. fuse_file_info::fh holds a pointer to an OpenDirectoryPtr, owned from
// opendir to releasedir.
#include <memory>
#include <string>

#include "fuse_client/fuse/mount_context.h"

namespace tercet {

namespace {

void Open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) {
  Result<OpenDirectoryPtr> opened = FileSystemOf(request).OpenDirectoryHandle(InodeId(inode));
  if (!opened.ok()) return ReplyStatus(request, opened.status());
  auto handle = std::make_unique<OpenDirectoryPtr>(std::move(opened).value());
  info->fh = reinterpret_cast<uint64_t>(handle.get());
  if (fuse_reply_open(request, info) != -ENOENT) handle.release();
}

void Release(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  delete reinterpret_cast<OpenDirectoryPtr*>(info->fh);
  fuse_reply_err(request, 0);
}

// Puts one entry into the kernel's buffer; false when it does not fit any more.
bool AddEntry(fuse_req_t request, const DirectoryItem& item, bool plus, std::string* name,
              std::string* buffer, size_t* used) {
  name->assign(item.name);  // the macros of libfuse want a C string
  const size_t room = buffer->size() - *used;
  size_t needed = 0;
  if (plus) {
    const MountContext& context = ContextOf(request);
    fuse_entry_param entry = {};
    if (item.attributes != nullptr) {
      entry = EntryFromAttributes(context, *item.attributes);
    } else {
      entry.attr.st_ino = item.inode.value();  // ino 0: no entry for the kernel's name cache
      entry.attr.st_mode = FormatBits(item.type);
    }
    needed = fuse_add_direntry_plus(request, buffer->data() + *used, room, name->c_str(), &entry,
                                    static_cast<off_t>(item.next_offset));
  } else {
    struct stat attributes = {};
    attributes.st_ino = item.inode.value();
    attributes.st_mode = FormatBits(item.type);
    needed = fuse_add_direntry(request, buffer->data() + *used, room, name->c_str(), &attributes,
                               static_cast<off_t>(item.next_offset));
  }
  if (needed > room) return false;
  *used += needed;
  return true;
}

void ReadEntries(fuse_req_t request, size_t size, off_t offset, fuse_file_info* info, bool plus) {
  std::string buffer(size, '\0'), name;
  size_t used = 0;
  const Status status = FileSystemOf(request).ReadDirectory(
      *reinterpret_cast<OpenDirectoryPtr*>(info->fh), static_cast<uint64_t>(offset), plus,
      [&](const DirectoryItem& item) {
        return AddEntry(request, item, plus, &name, &buffer, &used);
      });
  // An error behind the first entries is reported by the next call, which starts there.
  if (!status.ok() && used == 0) return ReplyStatus(request, status);
  fuse_reply_buf(request, buffer.data(), used);
}

void Read(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  ReadEntries(request, size, offset, info, /*plus=*/false);
}

void ReadPlus(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  ReadEntries(request, size, offset, info, /*plus=*/true);
}

// Names are durable when the call that changed them returns.
void Sync(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) { fuse_reply_err(request, 0); }

}  // namespace

void SetDirectoryCallbacks(fuse_lowlevel_ops* ops) {
  ops->opendir = Open;
  ops->releasedir = Release;
  ops->readdir = Read;
  ops->readdirplus = ReadPlus;
  ops->fsyncdir = Sync;
}

}  // namespace tercet
