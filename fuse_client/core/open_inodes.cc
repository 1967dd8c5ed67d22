#include "fuse_client/core/open_inodes.h"

#include <algorithm>
#include <cassert>

namespace tercet {
namespace {

constexpr size_t kMaxGivenUp = 100'000;
/// What is beyond is dropped: the metaserver names it again.
constexpr size_t kMaxReleasedQueued = 100'000;

}  // namespace

Result<InodeStatePtr> OpenInodes::Use(InodeId inode) {
  std::lock_guard lock(mutex_);
  if (given_up_.contains(static_cast<int64_t>(inode.value()))) {
    return Status(StatusCode::kStaleHandle, "the file was deleted");
  }
  Entry& entry = entries_[inode];
  if (entry.state == nullptr) entry.state = std::make_shared<InodeState>(inode, pool_);
  ++entry.uses;
  return entry.state;
}

void OpenInodes::UseAgain(const InodeStatePtr& state) {
  std::lock_guard lock(mutex_);
  auto it = entries_.find(state->id);
  assert(it != entries_.end() && it->second.state == state);
  ++it->second.uses;
}

bool OpenInodes::Unuse(const InodeStatePtr& state) {
  std::lock_guard lock(mutex_);
  auto it = entries_.find(state->id);
  assert(it != entries_.end() && it->second.state == state);
  if (--it->second.uses > 0) return false;
  entries_.erase(it);
  const auto id = static_cast<int64_t>(state->id.value());
  if (condemned_in_use_.erase(id) == 0) return false;
  GiveUpLocked(id);
  return true;
}

InodeStatePtr OpenInodes::Find(InodeId inode) const {
  std::lock_guard lock(mutex_);
  auto it = entries_.find(inode);
  return it == entries_.end() ? nullptr : it->second.state;
}

void OpenInodes::GiveUpLocked(int64_t inode) {
  if (given_up_.insert(inode).second) {
    given_up_order_.push_back(inode);
    if (given_up_order_.size() > kMaxGivenUp) {
      given_up_.erase(given_up_order_.front());
      given_up_order_.pop_front();
    }
  }
  if (released_.size() < kMaxReleasedQueued) released_.push_back(inode);
}

size_t OpenInodes::Condemn(const std::vector<int64_t>& inodes) {
  std::lock_guard lock(mutex_);
  size_t count = 0;
  for (int64_t inode : inodes) {
    if (entries_.contains(InodeId(static_cast<uint64_t>(inode)))) {
      condemned_in_use_.insert(inode);
      continue;
    }
    GiveUpLocked(inode);
    ++count;
  }
  return count;
}

std::vector<int64_t> OpenInodes::TakeReleased(size_t max) {
  std::lock_guard lock(mutex_);
  const size_t count = std::min(max, released_.size());
  std::vector<int64_t> taken(released_.begin(), released_.begin() + count);
  released_.erase(released_.begin(), released_.begin() + count);
  return taken;
}

void OpenInodes::PutBackReleased(const std::vector<int64_t>& inodes) {
  std::lock_guard lock(mutex_);
  for (int64_t inode : inodes) {
    if (released_.size() >= kMaxReleasedQueued) return;
    released_.push_back(inode);
  }
}

}  // namespace tercet
