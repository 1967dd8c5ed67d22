#include "fuse_client/core/durable_versions.h"

namespace tercet {

void DurableVersions::Note(InodeId inode, int64_t change_version) {
  std::lock_guard lock(mutex_);
  if (!versions_.insert_or_assign(inode, change_version).second) return;
  order_.push_back(inode);
  if (order_.size() <= max_inodes_) return;
  versions_.erase(order_.front());
  order_.pop_front();
}

bool DurableVersions::Has(InodeId inode, int64_t change_version) const {
  std::lock_guard lock(mutex_);
  const auto found = versions_.find(inode);
  return found != versions_.end() && found->second == change_version;
}

}  // namespace tercet
