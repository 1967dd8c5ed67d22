#include "fuse_client/core/attribute_cache.h"

namespace tercet {

AttributeCache::Entry* AttributeCache::FindLocked(InodeId inode) {
  if (auto it = young_.find(inode); it != young_.end()) return &it->second;
  auto it = old_.find(inode);
  if (it == old_.end()) return nullptr;
  Entry entry = std::move(it->second);
  old_.erase(it);
  if (young_.size() >= capacity_ / 2) {
    old_ = std::move(young_);
    young_.clear();
  }
  return &young_.emplace(inode, std::move(entry)).first->second;
}

wire::Attributes AttributeCache::Update(const wire::Attributes& attributes) {
  const InodeId inode(static_cast<uint64_t>(attributes.inode));
  const Clock::time_point now = Clock::now();
  std::lock_guard lock(mutex_);
  if (Entry* known = FindLocked(inode)) {
    if (known->attributes.change_version > attributes.change_version) return known->attributes;
    known->attributes = attributes;
    known->confirmed = now;
    return attributes;
  }
  if (young_.size() >= capacity_ / 2) {
    old_ = std::move(young_);
    young_.clear();
  }
  young_.emplace(inode, Entry{attributes, now});
  return attributes;
}

std::optional<wire::Attributes> AttributeCache::Find(InodeId inode,
                                                     std::chrono::milliseconds max_age) {
  std::lock_guard lock(mutex_);
  const Entry* entry = FindLocked(inode);
  if (entry == nullptr || Clock::now() - entry->confirmed > max_age) return std::nullopt;
  return entry->attributes;
}

void AttributeCache::Forget(InodeId inode) {
  std::lock_guard lock(mutex_);
  young_.erase(inode);
  old_.erase(inode);
}

}  // namespace tercet
