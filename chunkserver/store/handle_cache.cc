#include "chunkserver/store/handle_cache.h"

#include <algorithm>
#include <vector>

namespace tercet {

HandleCache::HandleCache(size_t max_handles)
    : max_per_shard_(std::max<size_t>(1, max_handles / kShards)) {}

std::shared_ptr<BlockHandle> HandleCache::Get(BlockId block) {
  Recent dropped;  // closes files after the shard's lock is gone
  Shard& shard = shards_[block.value() % kShards];
  std::lock_guard lock(shard.mutex);
  if (auto found = shard.places.find(block); found != shard.places.end()) {
    shard.recent.splice(shard.recent.begin(), shard.recent, found->second);
    return *found->second;
  }
  auto handle = std::make_shared<BlockHandle>(block);
  shard.recent.push_front(handle);
  shard.places[block] = shard.recent.begin();
  // Nobody can get a new reference to a handle without the shard's lock: one that only the cache
  // holds stays unused while it is taken out.
  auto candidate = std::prev(shard.recent.end());
  while (shard.recent.size() > max_per_shard_ && candidate != shard.recent.begin()) {
    auto next = std::prev(candidate);
    if (candidate->use_count() == 1) {
      shard.places.erase((*candidate)->block);
      dropped.splice(dropped.end(), shard.recent, candidate);
    }
    candidate = next;
  }
  return handle;
}

std::shared_ptr<BlockHandle> HandleCache::Find(BlockId block) {
  Shard& shard = shards_[block.value() % kShards];
  std::lock_guard lock(shard.mutex);
  auto found = shard.places.find(block);
  return found == shard.places.end() ? nullptr : *found->second;
}

void HandleCache::ForEach(const std::function<void(BlockHandle&)>& visit) {
  for (Shard& shard : shards_) {
    std::vector<std::shared_ptr<BlockHandle>> handles;
    {
      std::lock_guard lock(shard.mutex);
      handles.assign(shard.recent.begin(), shard.recent.end());
    }
    for (const auto& handle : handles) visit(*handle);
  }
}

void HandleCache::WaitForWriters() {
  ForEach([](BlockHandle& handle) { std::shared_lock lock(handle.mutex); });
}

size_t HandleCache::size() const {
  size_t total = 0;
  for (const Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    total += shard.recent.size();
  }
  return total;
}

}  // namespace tercet
