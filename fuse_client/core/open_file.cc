#include "fuse_client/core/open_file.h"

namespace tercet {

OpenFile::OpenFile(std::shared_ptr<ClientContext> context, InodeStatePtr inode, bool writable)
    : context_(std::move(context)),
      inode_(std::move(inode)),
      writable_(writable),
      read_ahead_(context_.get(), inode_),
      seen_errors_(inode_->error_count()) {}

OpenFile::~OpenFile() { Release(); }

Status OpenFile::TakeError() {
  std::lock_guard lock(mutex_);
  return inode_->TakeError(&seen_errors_);
}

void OpenFile::Release() {
  if (released_.exchange(true)) return;
  if (context_->inodes.Unuse(inode_)) context_->metadata->RenewSoon();
}

}  // namespace tercet
